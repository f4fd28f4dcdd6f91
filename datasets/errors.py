"""The base class of errors that a user can fix, and how to print untrusted names."""


class ScarlensError(Exception):
    """An error that the user can fix: the message says what was expected, what was found, and what to do."""


def printable(text: str) -> str:
    """Return text as one printable line, with control, bidirectional and unencodable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
