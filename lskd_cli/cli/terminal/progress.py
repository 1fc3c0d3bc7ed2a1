"""Progress bars of everything that precedes training: downloads and the check of images."""

import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lskd_cli.cli.terminal.console import err, info, is_main_process
from lskd_cli.config import Data

_DELAY = 2.0  # seconds before progress is printed without a terminal


class ProgressBar:
    """A progress bar on a terminal; elsewhere a line for every 10 % of a long operation."""

    def __init__(self, description: str, in_bytes: bool = True) -> None:
        self.description = description
        self.in_bytes = in_bytes
        self.last_tenth = -1
        self.start = time.monotonic()
        amount: list[ProgressColumn] = (
            [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
        )
        self.progress = Progress(
            TextColumn(description), BarColumn(), *amount, TimeRemainingColumn(), console=err
        )
        self.task = self.progress.add_task("", total=None)

    @classmethod
    def for_data(cls, data: Data) -> "ProgressBar":
        """A bar for loading a data set."""
        if data.on_disk or data.is_custom:
            return cls("checking images", in_bytes=False)
        return cls(f"downloading {data.name}")

    def __enter__(self) -> "ProgressBar":
        return self

    def __call__(self, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` is complete; the bar disappears at the end."""
        if not is_main_process:
            return
        if err.is_terminal:
            self.progress.start()
            self.progress.update(self.task, completed=done, total=total)
            if done == total:
                self.progress.stop()
        elif time.monotonic() - self.start < _DELAY:
            return
        elif total and 10 * done // total > self.last_tenth:
            self.last_tenth = 10 * done // total
            megabytes = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
            info(f"{self.description}: {megabytes if self.in_bytes else f'{done:,} of {total:,}'}")

    def __exit__(self, *error: object) -> None:
        if err.is_terminal:
            self.progress.stop()
