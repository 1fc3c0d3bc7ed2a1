"""The ways a command can end before its time, and the exit code of each."""


class RequestError(Exception):
    """The request was wrong: nothing was trained or overwritten. Exit code 2.

    The message is one line that names the file, the key and what would be right.
    """

    exit_code = 2
    told = False  # by another process, which this one goes along with


class RunError(Exception):
    """Something failed while running: what was finished is kept. Exit code 1."""

    exit_code = 1
    told = False


class Interrupted(Exception):  # noqa: N818 (not an error)
    """The user stopped the run: its state is saved. Exit code 130."""

    exit_code = 130
    told = False
