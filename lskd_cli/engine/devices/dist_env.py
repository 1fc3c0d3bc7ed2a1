"""The environment variables that torchrun sets for the processes that it starts."""

import os


def is_launched() -> bool:
    """Whether torchrun started this process: it sets all of these variables to numbers."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    return all(os.environ.get(name, "").isdecimal() for name in names)


def rank() -> int:
    """Global rank of this process; 0 in a single process."""
    return int(os.environ["RANK"]) if is_launched() else 0


def local_rank() -> int:
    """Rank of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if is_launched() else 0


def is_on_one_machine() -> bool:
    """Whether all processes of the run are on this machine."""
    return os.environ.get("GROUP_WORLD_SIZE", "1") == "1"


def restart_count() -> int:
    """How many times torchrun has restarted the processes after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if is_launched() else 0


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_launched() else 1


def world_size() -> int:
    """Number of processes on all machines."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1
