"""Progress of downloads."""

from types import TracebackType

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lskd_cli.cli.console import err, say


class DownloadBar:
    """A bar on a terminal, a line for each tenth elsewhere; nothing if nothing is downloaded."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.tenths = -1
        self.bars = Progress(
            TextColumn(f"downloading {what}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=err,
        )
        self.task = self.bars.add_task("", total=None)

    def __enter__(self) -> "DownloadBar":
        return self

    def __call__(self, done: int, total: int | None) -> None:
        """So many bytes of a total are there; the bar goes when they all are."""
        if err.is_terminal:
            self.bars.start()
            self.bars.update(self.task, completed=done, total=total)
            if done == total:
                self.bars.stop()
        elif total and 10 * done // total > self.tenths:
            self.tenths = 10 * done // total
            say(f"downloading {self.what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if err.is_terminal:
            self.bars.stop()
