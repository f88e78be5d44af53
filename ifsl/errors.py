"""The one exception of the package that speaks to its user."""


class InputError(ValueError):
    """Something given from outside cannot be used.

    The message is one sentence that names the file or the option and says what to do; the command line prints it
    and ends with status 2.
    """
