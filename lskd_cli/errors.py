"""Exceptions that end a command, each with its exit code."""


class RequestError(ValueError):
    """The request was wrong: nothing was trained or overwritten. Exit code 2.

    The message is one line that names the file, the key and the remedy. It is a ``ValueError`` for
    users of the Python interface.
    """

    exit_code = 2
    from_other_process = False  # another process raised it and has printed its message


class RunError(Exception):
    """The command failed while it was running; finished work is kept. Exit code 1."""

    exit_code = 1
    from_other_process = False


class DivergenceError(RunError):
    """A loss, a weight or a metric of a run is not finite; its last saved state is kept."""

    def __init__(self, problem: str) -> None:
        """Add the remedy to the problem, which names the run and the step."""
        super().__init__(
            f"{problem}; the last saved state is kept; restart with --fresh --set "
            "optimizer.lr=LOWER or --set optimizer.clip_grad_norm=1"
        )


class Interrupted(Exception):  # noqa: N818 (an interruption is not an error)
    """The user stopped the run, and its state is saved. Exit code 130."""

    exit_code = 130
    from_other_process = False


def first_line(error: BaseException) -> str:
    """The first line of the message of an error, or its type if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the device or of the machine was too small."""
    # The error of PyTorch for devices is a class of its own, and that for the CPU is not.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
