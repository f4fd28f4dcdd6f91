"""The common base of everything that a user can mend, and how names are shown that may hold anything."""


class ScarlensError(Exception):
    """Something a user can mend: the message says what was expected, what came, and what to do."""


def printable(text: str) -> str:
    """Return a text as one line: characters that control, reorder or cannot be encoded are escaped as Python does."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
