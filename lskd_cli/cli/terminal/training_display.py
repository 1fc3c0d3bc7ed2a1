"""Display of a training: progress bars and a table on a terminal, lines elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group

from lskd_cli.cli.terminal.console import err, info
from lskd_cli.cli.terminal.live_display import LiveDisplay
from lskd_cli.cli.terminal.training_table import Row, training_table
from lskd_cli.config import MethodConfig, Preset, is_feature_method
from lskd_cli.engine.training.callback import RunningMetrics
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.results.tables.table_format import format_duration
from lskd_cli.run_info import Metrics

_REFRESH_INTERVAL = 0.5  # seconds between two reads of the losses of the current epoch
_LOSS_PREFIX = "train_"


class TrainingDisplay(LiveDisplay):
    """Shows the training of one or more students."""

    def __init__(self, presets: Sequence[Preset], num_images: int, heading: str) -> None:
        """Create the display.

        Args:
            presets: presets of the students.
            num_images: number of images in an epoch.
            heading: description of the training, printed above the bars.
        """
        super().__init__(heading, speed_period=30)
        self.presets = presets
        self.epochs = presets[0].schedule.epochs
        self.methods = [preset.effective_method() for preset in presets]
        self.num_images = num_images
        has_seeds = len({preset.seed for preset in presets}) > 1
        self.labels = {
            preset.run_path: f"{preset.run_name} seed {preset.seed}"
            if has_seeds
            else preset.run_name
            for preset in presets
        }
        self.metrics: dict[str, dict[str, float]] = {}
        self.students: dict[str, StudentTrainer] = {}
        self.num_seeds = Counter(preset.run_name for preset in presets)
        self.unprinted: dict[str, list[StudentTrainer]] = {}  # of the last epoch, by run name
        self.last_refresh = 0.0
        self.total_task = self.progress.add_task("training", total=self.epochs * num_images)
        self.epoch_task = self.progress.add_task("epoch", total=num_images)
        self.start = time.monotonic()
        self.images_at_start: int | None = None

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._print_rest()

    def __rich__(self) -> Group:
        heading, height = self.layout(len(self.progress.tasks))
        rows = list(self._rows())
        terms = sorted({key for row in rows for key in _loss_terms(row.values)})
        headings = {term: _term_label(term, self.methods) for term in terms}
        table = training_table(rows, headings, err, height)
        return Group(heading, self.progress, table)

    def on_epoch_start(self, epoch: int, step: int, num_steps: int) -> None:
        self._print_rest()
        fraction = step / num_steps
        done = round((epoch - 1 + fraction) * self.num_images)
        if self.images_at_start is None:
            self.images_at_start = done
        self.progress.update(self.total_task, completed=done)
        self.progress.reset(
            self.epoch_task,
            completed=round(fraction * self.num_images),
            description=f"epoch {epoch}/{self.epochs}",
        )

    def on_steps_end(self, num_images: int, running_metrics: RunningMetrics | None) -> None:
        self.progress.advance(self.total_task, num_images)
        self.progress.advance(self.epoch_task, num_images)
        is_due = time.monotonic() - self.last_refresh > _REFRESH_INTERVAL
        if running_metrics is not None and is_due:
            self.last_refresh = time.monotonic()
            self.metrics |= running_metrics()

    def on_epoch_end(self, student: StudentTrainer) -> None:
        path = student.preset.run_path
        self.students[path] = student
        self.metrics[path] = student.history[-1]
        if not err.is_terminal:
            name = student.preset.run_name
            self.unprinted.setdefault(name, []).append(student)
            if len(self.unprinted[name]) == self.num_seeds[name]:
                info(self._epoch_line(self.unprinted.pop(name)))

    def _rows(self) -> Iterator[Row]:
        for preset in self.presets:
            path = preset.run_path
            student = self.students.get(path)
            values = dict(self.metrics.get(path, {}))
            values.pop("test_top1", None)
            if student is not None:
                last = student.history[-1]
                best = student.best or last
                values |= {key: last[key] for key in ("test_top1", "lr") if key in last}
                values |= {"best": best["test_top1"], "best_epoch": best["epoch"]}
            yield Row(preset.run_name, self.labels[path], values)

    def _print_rest(self) -> None:
        """Print the epochs of students whose other seeds had already finished them."""
        for students in self.unprinted.values():
            info(self._epoch_line(students))
        self.unprinted.clear()

    def _epoch_line(self, students: Sequence[StudentTrainer]) -> str:
        """The last epoch of one method: the values of one seed, or the ranges over all seeds."""
        history = [student.history[-1] for student in students]
        best = [student.best or student.history[-1] for student in students]
        preset, epoch = students[0].preset, students[0].position[0] - 1
        terms = ", ".join(
            f"{_term_label(key, [preset.effective_method()])} {_range(history, key, '.4f')}"
            for key in _loss_terms(history[0])
        )
        elapsed = time.monotonic() - self.start
        trained_images = max(epoch * self.num_images - (self.images_at_start or 0), 1)
        remaining = elapsed / trained_images * (self.epochs - epoch) * self.num_images
        seeds = f"seed {preset.seed}" if len(students) == 1 else f"{len(students)} seeds"
        return (
            f"{preset.run_name} {seeds}  epoch {epoch}/{self.epochs}  "
            f"loss {_range(history, 'train_loss', '.4f')} ({terms})  "
            f"train {_range(history, 'train_top1')} %  test {_range(history, 'test_top1')} %  "
            f"best {_range(best, 'test_top1')} %  "
            f"{history[-1]['images_per_second']:,.0f} images/s  ETA {format_duration(remaining)}"
        )


def _range(epochs: Sequence[Metrics], key: str, format_spec: str = ".2f") -> str:
    """A metric of one student, or its lowest and highest value, for example 71.20 to 73.05."""
    values = [epoch[key] for epoch in epochs]
    low, high = (format(value, format_spec) for value in (min(values), max(values)))
    return low if len(values) == 1 or low == high else f"{low} to {high}"


def _term_label(metric: str, methods: Sequence[MethodConfig]) -> str:
    """Name of a loss term, with its weight: that of all methods, unless it is 1."""
    term = metric.removeprefix(_LOSS_PREFIX)
    weights = set()
    for method in methods:
        own = "feature_weight" if is_feature_method(method) else "kd_weight"
        keys = {method.name: own, "ce": "ce_weight", "kd": "kd_weight"}
        weights.add(getattr(method, keys.get(term, ""), 1))
    if len(weights) > 1:
        return f"weighted {term}"
    weight = weights.pop()
    return term if weight == 1 else f"{weight:g} {term}"


def _loss_terms(metrics: Mapping[str, float]) -> list[str]:
    totals = ("train_loss", "train_top1")
    return [key for key in metrics if key.startswith(_LOSS_PREFIX) and key not in totals]
