"""Runs the campaign: ``python -m tests.faults [PART]...``."""

import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

PARTS = (
    "malformed", "user_files", "python_interface", "archives", "concurrency", "disks", "numbers",
    "worker_ends", "processes", "kills",
)  # fmt: skip


def main(names: list[str]) -> int:
    """Print a Markdown table; the result is the number of failures."""
    failures: list[str] = []
    print("| Fault | Expected | Tried | Passed |", "| --- | --- | ---: | ---: |", sep="\n")
    for name in names or PARTS:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            outcomes = import_module(f"tests.faults.{name}").run(Path(folder))
        for outcome in outcomes:
            print(outcome.row(), flush=True)
            failures += [f"{outcome.fault}: {failure}" for failure in outcome.failures]
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    for failure in failures:
        print("failed:", failure, file=sys.stderr)
    return len(failures)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
