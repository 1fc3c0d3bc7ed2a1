"""Progress of what comes before training: downloads, and the check of images in files."""

import time
from types import TracebackType

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

from lskd_cli.cli.console import err, say, speaks
from lskd_cli.config import Data

_SOON = 2.0  # seconds after which a person wants to know


class Bar:
    """A bar on a terminal, a line for each tenth of what takes long elsewhere."""

    def __init__(self, what: str, of_bytes: bool = True) -> None:
        self.what = what
        self.of_bytes = of_bytes
        self.tenths = -1
        self.began = time.monotonic()
        amount: list[ProgressColumn] = (
            [DownloadColumn(), TransferSpeedColumn()] if of_bytes else [MofNCompleteColumn()]
        )
        self.bars = Progress(
            TextColumn(what), BarColumn(), *amount, TimeRemainingColumn(), console=err
        )
        self.task = self.bars.add_task("", total=None)

    @classmethod
    def of_data(cls, data: Data) -> "Bar":
        """For getting the images of a preset ready."""
        if data.on_disk:
            return cls("checking images", of_bytes=False)
        return cls(f"downloading {data.name}")

    def __enter__(self) -> "Bar":
        return self

    def __call__(self, done: int, total: int | None) -> None:
        """So much of a total is done; the bar goes when all is."""
        if not speaks:
            return
        if err.is_terminal:
            self.bars.start()
            self.bars.update(self.task, completed=done, total=total)
            if done == total:
                self.bars.stop()
        elif time.monotonic() - self.began < _SOON:
            return
        elif total and 10 * done // total > self.tenths:
            self.tenths = 10 * done // total
            unit = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
            say(f"{self.what}: {unit if self.of_bytes else f'{done:,} of {total:,}'}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if err.is_terminal:
            self.bars.stop()
