"""What is seen while training: bars and a table on a terminal, a line per epoch elsewhere."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

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
from rich.table import Table
from rich.text import Text

from lskd_cli.cli.console import err, say
from lskd_cli.config import Preset
from lskd_cli.engine.arm import Arm
from lskd_cli.engine.loop import Listener
from lskd_cli.results.table import clock

_REFRESH = 0.5  # seconds between two looks at the losses of the running epoch
_WIDE = 100  # columns for everything; a narrower screen leaves out the number of the best epoch
_LOSS = "train_"


class SpeedColumn(ProgressColumn):
    """Images per second over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} images/s", style="cyan")


class Screen(Listener):
    """Shows a pass of one or more arms."""

    def __init__(self, presets: Sequence[Preset], images: int, heading: str) -> None:
        """Prepare the screen of a pass.

        Args:
            presets: of the arms, in the order of the pass.
            images: in an epoch.
            heading: what is trained where, in a line.
        """
        self.epochs = presets[0].schedule.epochs
        self.images = images
        self.heading = heading
        several = len({preset.seed for preset in presets}) > 1
        self.labels = {
            preset.run_path: f"{preset.run_name} seed {preset.seed}" if several else preset.run_name
            for preset in presets
        }
        self.now: dict[str, dict[str, float]] = {}
        self.arms: dict[str, Arm] = {}
        self.looked_at = 0.0
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            SpeedColumn(),
            console=err,
            speed_estimate_period=30,
            expand=True,
        )
        self.all_images = self.bars.add_task("training", total=self.epochs * images)
        self.epoch_images = self.bars.add_task("epoch", total=images)
        self.live = Live(self, console=err, refresh_per_second=4, transient=False)
        self.began = time.monotonic()
        self.images_at_start: int | None = None

    def __enter__(self) -> "Screen":
        if err.is_terminal:
            self.live.start()
        else:
            say(self.heading)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if err.is_terminal:
            self.live.stop()

    def __rich__(self) -> Group:
        return Group(Text(self.heading, style="bold"), self.bars, self._table())

    def epoch_begins(self, epoch: int, step: int, steps: int) -> None:
        share = step / steps
        done = round((epoch - 1 + share) * self.images)
        if self.images_at_start is None:
            self.images_at_start = done
        self.bars.update(self.all_images, completed=done)
        self.bars.reset(
            self.epoch_images,
            completed=round(share * self.images),
            description=f"epoch {epoch}/{self.epochs}",
        )

    def steps_done(
        self, images: int, peek: Callable[[], dict[str, dict[str, float]]] | None
    ) -> None:
        self.bars.advance(self.all_images, images)
        self.bars.advance(self.epoch_images, images)
        if peek is not None and time.monotonic() - self.looked_at > _REFRESH:
            self.looked_at = time.monotonic()
            self.now |= peek()

    def notice(self, message: str) -> None:
        say(message)

    def epoch_done(self, arm: Arm) -> None:
        path = arm.preset.run_path
        self.arms[path] = arm
        self.now[path] = arm.history[-1]
        if not err.is_terminal:
            say(self._line(arm))

    def _table(self) -> Table:
        parts = sorted({key for record in self.now.values() for key in _parts(record)})
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("run", overflow="fold")
        headings = ["loss", *(part.removeprefix(_LOSS) for part in parts)]
        for heading in (*headings, "train top-1", "test top-1", "best", "lr"):
            table.add_column(heading, justify="right")
        for path, label in self.labels.items():
            now, arm = self.now.get(path, {}), self.arms.get(path)
            losses = [_number(now.get(key), ".4f") for key in ("train_loss", *parts)]
            last = arm.history[-1] if arm else {}
            best = arm.best if arm and arm.best else {}
            at = f" (epoch {best['epoch']})" if best and err.width >= _WIDE else ""
            table.add_row(
                Text(label, style="green" if "+stand" in label else ""),
                *losses,
                _number(now.get("train_top1"), ".2f"),
                _number(last.get("test_top1"), ".2f"),
                _number(best.get("test_top1"), ".2f") + at,
                _number(last.get("lr"), "g"),
            )
        return table

    def _line(self, arm: Arm) -> str:
        record, best = arm.history[-1], arm.best or arm.history[-1]
        parts = ", ".join(f"{key.removeprefix(_LOSS)} {record[key]:.4f}" for key in _parts(record))
        done = arm.position[0] - 1
        elapsed = time.monotonic() - self.began
        new = max(done * self.images - (self.images_at_start or 0), 1)
        left = elapsed / new * (self.epochs - done) * self.images
        return (
            f"{arm.preset.run_name} seed {arm.preset.seed}  epoch {done}/{self.epochs}  "
            f"loss {record['train_loss']:.4f} ({parts})  train {record['train_top1']:.2f} %  "
            f"test {record['test_top1']:.2f} %  best {best['test_top1']:.2f} %  "
            f"{record['images_per_second']:,.0f} images/s  left {clock(left)}"
        )


def _parts(record: dict[str, float]) -> list[str]:
    other = ("train_loss", "train_top1")
    return [key for key in record if key.startswith(_LOSS) and key not in other]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
