"""The common base of everything that a user can mend."""


class ScarlensError(Exception):
    """Something a user can mend: the message says what was expected, what came, and what to do."""
