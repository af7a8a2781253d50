"""Errors that are the user's to mend: one line on stderr, exit status 2, never a traceback."""


class MagicError(Exception):
    """A fault in settings, files or the machine that the user can put right.

    The message names the setting or file, the value found, what is allowed, and what to do next.
    """


class SettingsError(MagicError, ValueError):
    """A setting has a value that is not allowed."""
