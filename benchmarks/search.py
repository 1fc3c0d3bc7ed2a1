"""Time of a search in joint runs, compared with separate runs and with one trial at a time.

python -m benchmarks.search [--trials 20] [--epochs 9] [--images 256] [PAIR ...]

One trial at a time is what a plain loop over Optuna's trials does, with the same sampler, pruner
and engine. Trains kd of the pairs on CIFAR-100 in ``--data-dir`` with untrained teachers; times are
without loading. Students are evaluated, but the accuracies that decide are random, one for each
student and epoch, because those of such short trainings would mostly be equal.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from tabulate import tabulate

from benchmarks.common import machine
from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config import Preset, TrainingOptions, load_preset
from lskd_cli.config.search_space import FormSpace, search_spaces
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime
from lskd_cli.engine.inference.evaluation import evaluate
from lskd_cli.engine.planning.prepare import LoadedFiles, prepare
from lskd_cli.engine.search.search import SearchCallback, SearchRun
from lskd_cli.engine.search.study import SearchOptions, SearchStudy
from lskd_cli.engine.training import loop
from lskd_cli.engine.training.train import train_joint_run
from lskd_cli.models import Network, create_model

_PAIRS = ["r32x4-r8x4", "r56-r20"]
_NUM_TRAIN = 50_000  # images of CIFAR-100


class _Measurement:
    """The searches and separate runs of a pair, which share the loaded teacher and images."""

    def __init__(self, pair: str, options: argparse.Namespace, folder: Path) -> None:
        settings = [
            f"data.val_split={options.images / _NUM_TRAIN}",
            f"data.limit_train={options.images}",
        ]
        base: Preset = load_preset(f"kd-{pair}", settings)
        self.base = base.with_epochs(options.epochs)
        self.spaces: list[FormSpace] = search_spaces({"kd": self.base}, [])
        self.folder = folder
        self.files = LoadedFiles()
        self.runtime: Runtime = resolve_runtime("auto", options.precision)
        checkpoints = _untrained_teacher(self.base, folder)
        self.training = TrainingOptions(options.data_dir, checkpoints, folder / "runs")
        self.count = 0

    def separate_run(self) -> float:
        """Seconds of a run of its own."""
        self.count += 1
        preset = self.base.model_copy(update={"name": f"run{self.count}"})
        with prepare([preset], self.training, self.runtime, _silent, loaded=self.files) as plan:
            (joint_run,) = plan.joint_runs
            joint_run.evaluates_test = False
            students = joint_run.create_students()
            start = time.monotonic()
            train_joint_run(joint_run, students, [], "benchmark", lambda: False)
            return time.monotonic() - start

    def search(self, num_trials: int, parallel: int) -> tuple[float, str]:
        """Seconds of a search, and the epochs of its trials."""
        self.count += 1
        folder = self.folder / f"search{self.count}"
        study = SearchStudy(
            self.spaces, folder, SearchOptions(num_trials, [0], "tpe", "hyperband"), {}
        )
        training = replace(self.training, runs_dir=folder / "trials")
        run = SearchRun(
            study,
            training,
            self.runtime,
            _silent,
            self.files,
            SearchCallback(),
            "benchmark",
            lambda: False,
        )
        start = time.monotonic()
        run.run(parallel)
        seconds = time.monotonic() - start
        epochs = Counter(len(trial.accuracies) for trial in study.trials())
        return seconds, ", ".join(f"{n} with {count}" for count, n in sorted(epochs.items()))


def main() -> None:
    """Measure each pair, and print its Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--images", type=int, default=100, help="trained and held out")
    parser.add_argument("--parallel", type=int, default=5)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("pairs", nargs="*", default=_PAIRS, metavar="PAIR")
    options = parser.parse_args()
    for pair in options.pairs:
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.object(loop, "evaluate", _RandomAccuracies()),
        ):
            measurement = _Measurement(pair, options, Path(folder))
            measurement.separate_run()  # loads teacher and images
            runs = [measurement.separate_run()]
            joint, joint_epochs = measurement.search(options.trials, options.parallel)
            runs.append(measurement.separate_run())
            single, single_epochs = measurement.search(options.trials, 1)
            runs.append(measurement.separate_run())
            run = median(runs)
            table = [
                [f"joint runs of {options.parallel}", joint, joint / run, joint_epochs],
                ["one at a time", single, single / run, single_epochs],
                ["separate run", run, 1.0, ""],
            ]
            headings = [f"{options.trials} trials", "s", "separate runs", "trials by epochs"]
            print(f"kd-{pair}; {machine(measurement.runtime)}")
            text = tabulate(table, headings, tablefmt="github", floatfmt=("", ".0f", ".2f", ""))
            print(f"{text}\n", flush=True)


class _RandomAccuracies:
    """An evaluation whose accuracies are those of a random quality of each network, with noise."""

    def __init__(self) -> None:
        self.random = random.Random(0)
        self.qualities: dict[int, float] = {}

    def __call__(self, network: Network, *arguments: Any) -> dict[str, float]:
        quality = self.qualities.setdefault(id(network), self.random.uniform(20, 70))
        return evaluate(network, *arguments) | {"top1": quality + self.random.uniform(-5, 5)}


def _untrained_teacher(preset: Preset, folder: Path) -> Path:
    """A folder with random weights of the teacher of a preset."""
    assert preset.teacher is not None
    metadata = {"model": preset.teacher, "num_classes": "100", "dataset": "cifar100"}
    weights = create_model(preset.teacher).state_dict()
    save_checkpoint(folder / "checkpoints" / f"{preset.teacher}.safetensors", weights, metadata)
    return folder / "checkpoints"


def _silent(done: int, total: int | None) -> None:
    pass


if __name__ == "__main__":
    main()
