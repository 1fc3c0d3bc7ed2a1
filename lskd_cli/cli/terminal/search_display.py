"""Display of a search: progress bars and a table of trials on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Group
from rich.progress import (
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lskd_cli.cli.terminal.console import err, info
from lskd_cli.cli.terminal.live_display import LiveDisplay
from lskd_cli.engine.search.search import SearchCallback
from lskd_cli.engine.search.study import Trial
from lskd_cli.engine.training.callback import RunningMetrics
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.results.tables.table_format import format_duration, format_value
from lskd_cli.search_info import TrialInfo, settings_text
from lskd_cli.wording import counted

_STYLES = {"complete": "green", "failed": "red", "pruned": "dim"}


class SearchDisplay(LiveDisplay, SearchCallback):
    """Shows the trials of a search."""

    def __init__(
        self,
        trials: Callable[[], Sequence[TrialInfo]],
        num_trials: int,
        epochs: int,
        num_images: int,
        heading: str,
    ) -> None:
        """Create the display.

        Args:
            trials: returns all trials of all processes.
            num_trials: number of trials.
            epochs: number of epochs of a trial that is not pruned.
            num_images: number of images in an epoch.
            heading: description of the search, printed above the bars.
        """
        super().__init__(heading, speed_period=300)
        self.trials = trials
        self.epochs = epochs
        self.known: dict[tuple[str, int], TrialInfo] = {}
        self.active: list[Trial] = []
        # In epochs of trials: one that is pruned counts as if it had all its epochs.
        self.total = Progress(
            TextColumn("search"),
            self.bar,
            TextColumn("{task.fields[finished]} of " + f"{num_trials} trials"),
            TimeRemainingColumn(),
            console=err,
            speed_estimate_period=3600,
        )
        self.total_task = self.total.add_task("", total=num_trials * epochs, finished=0)
        self.num_images = num_images
        self.epoch_task = self.progress.add_task("epoch", total=num_images)
        self.start = time.monotonic()
        self.done_at_start: int | None = None
        self.num_total = num_trials * epochs

    def __rich__(self) -> Group:
        heading, height = self.layout(num_bars=2)
        return Group(heading, self.total, self.progress, self._table(height))

    def on_trials_start(self, trials: Sequence[Trial]) -> None:
        self.active = list(trials)
        self.known = {(trial.form, trial.number): trial for trial in self.trials()}
        done = self._done()
        if self.done_at_start is None:
            self.done_at_start = done
        self._update()
        if not err.is_terminal:
            for trial in trials:
                info(f"{_name(trial)} starts: {settings_text(trial.settings)}")

    def on_epoch_start(self, epoch: int, step: int, num_steps: int) -> None:
        self.progress.reset(
            self.epoch_task,
            completed=round(step / num_steps * self.num_images),
            description=f"epoch {epoch}/{self.epochs}",
        )

    def on_steps_end(self, num_images: int, running_metrics: RunningMetrics | None) -> None:
        self.progress.advance(self.epoch_task, num_images)

    def on_joint_epoch_end(self, students: Sequence[StudentTrainer]) -> None:
        self._update()
        running = [trial for trial in self.active if trial.state == "running" and trial.accuracies]
        if running and not err.is_terminal:
            values = sorted(trial.accuracies[-1] for trial in running)
            span = " to ".join(dict.fromkeys(f"{value:.2f}" for value in (values[0], values[-1])))
            epoch = max(len(trial.accuracies) for trial in running)
            trials = counted(len(running), "trial")
            info(f"epoch {epoch}/{self.epochs}: {trials}, held-out top-1 {span} %{self._eta()}")

    def on_trial_end(self, trial: Trial) -> None:
        self._update()
        if not err.is_terminal:
            top1 = f", held-out top-1 {trial.accuracies[-1]:.2f} %" if trial.accuracies else ""
            reason = f": {trial.error}" if trial.error else ""
            epochs = f"{len(trial.accuracies)} of {counted(self.epochs, 'epoch')}"
            info(f"{_name(trial)} is {trial.state} after {epochs}{top1}{reason}")

    def _update(self) -> None:
        finished = [row for row in self._rows() if row.is_finished]
        self.total.update(self.total_task, completed=self._done(), finished=len(finished))

    def _done(self) -> int:
        """Epochs of all trials, of which finished ones have all."""
        return sum(self.epochs if row.is_finished else len(row.accuracies) for row in self._rows())

    def _eta(self) -> str:
        done = self._done() - (self.done_at_start or 0)
        if done <= 0:
            return ""
        seconds = (time.monotonic() - self.start) / done
        return f", ETA {format_duration(seconds * (self.num_total - self._done()))}"

    def _rows(self) -> Iterator[TrialInfo]:
        """All trials; those of this process as they are now."""
        current = {
            (trial.form, trial.number): TrialInfo(
                form=trial.form,
                number=trial.number,
                state=trial.state,
                settings=dict(trial.settings),
                accuracies=trial.accuracies,
                error=trial.error,
            )
            for trial in self.active
        }
        yield from (self.known | current).values()

    def _table(self, height: int) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("trial", no_wrap=True)
        table.add_column("settings", no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True)
        for heading in ("epoch", "top-1", "best"):
            table.add_column(heading, justify="right", no_wrap=True)
        rows = sorted(self._rows(), key=lambda row: (row.is_finished, -(row.top1 or 0)))
        shown = rows if len(rows) + 1 <= height else rows[: max(height - 2, 1)]
        for row in shown:
            best = max(row.accuracies, default=None)
            style = _STYLES.get(row.state, "")
            table.add_row(
                _name(row),
                settings_text(row.settings),
                Text(row.state, style=style),
                f"{len(row.accuracies)}/{self.epochs}",
                format_value(row.top1),
                format_value(best),
            )
        if len(shown) < len(rows):
            table.add_row(Text(f"... {len(rows) - len(shown)} more", style="dim"))
        return table


def _name(trial: Trial | TrialInfo) -> str:
    return f"{trial.form} {trial.number}"
