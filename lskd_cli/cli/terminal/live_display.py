"""What the displays of trainings and searches have in common."""

from abc import ABC, abstractmethod
from typing import TypeVar

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lskd_cli.cli.terminal.console import err, info
from lskd_cli.engine.training.callback import Callback

_BAR_COLUMNS = 62  # columns of a line without its bar
_MAX_BAR = 60
Display = TypeVar("Display", bound="LiveDisplay")


class SpeedColumn(ProgressColumn):
    """Images per second over the period of the estimate."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} images/s", style="cyan")


class LiveDisplay(Callback, ABC):
    """A heading, progress bars of images and a table on a terminal; elsewhere the heading only.

    Attributes:
        heading: what is printed above the bars.
        bar: the bar of all tasks, as wide as the terminal permits.
        progress: tasks that count images.
    """

    def __init__(self, heading: str, speed_period: float) -> None:
        """Create the display.

        Args:
            heading: what is printed above the bars.
            speed_period: seconds over which the speed is estimated.
        """
        self.heading = heading
        self.bar = BarColumn()
        self.progress = Progress(
            TextColumn("{task.description}"),
            self.bar,
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            SpeedColumn(),
            console=err,
            speed_estimate_period=speed_period,
        )
        self.live = Live(self, console=err, refresh_per_second=4, transient=False)

    def __enter__(self: Display) -> Display:
        if err.is_terminal:
            self.live.start()
        else:
            info(self.heading)
        return self

    def __exit__(self, *error: object) -> None:
        if err.is_terminal:
            self.live.stop()

    @abstractmethod
    def __rich__(self) -> Group:
        """The whole display."""

    def layout(self, num_bars: int) -> tuple[Text, int]:
        """Fit the bars to the terminal.

        Returns:
            The heading, and the lines of the screen below it and the bars; one line stays empty for
            the cursor.
        """
        heading = Text(self.heading, style="bold")
        self.bar.bar_width = max(min(err.width - _BAR_COLUMNS, _MAX_BAR), 0)
        return heading, err.height - len(heading.wrap(err, err.width)) - num_bars - 1

    def on_warning(self, message: str) -> None:
        info(message)
