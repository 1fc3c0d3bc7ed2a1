"""Searches on few digits that are small enough for tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from lskd_cli.config import Preset
from lskd_cli.config.search_space import FormSpace, search_spaces
from lskd_cli.data import Images
from lskd_cli.engine.devices.distributed import ProcessGroup
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.evaluation import evaluate
from lskd_cli.engine.planning.prepare import LoadedFiles
from lskd_cli.engine.search.search import SearchCallback, SearchRun
from lskd_cli.engine.search.study import SearchOptions, SearchStudy
from lskd_cli.engine.training import loop
from lskd_cli.models import Network
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.search_info import PrunerName, TrialInfo
from tests.digits import few_digits
from tests.engine.helpers import CPU, digits_preset, silent, training_options

EPOCHS = 3
SPACE = ("stand.temperature=1:4:log", "method.temperature=2:8:log")


def base_preset(*more: str) -> Preset:
    """kd-digits with held-out images: an epoch is two steps."""
    return digits_preset("kd", False, EPOCHS, "data.val_split=0.2", *more)


def spaces(texts: Sequence[str] = SPACE, *more: str) -> list[FormSpace]:
    return search_spaces({"kd": base_preset(*more)}, texts)


def search(
    root: Path,
    num_trials: int = 4,
    parallel: int = 2,
    texts: Sequence[str] = SPACE,
    seeds: Sequence[int] = (0,),
    pruner: PrunerName = "none",
    callback: SearchCallback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    runtime: Runtime = CPU,
    checkpoint_interval: float = 120.0,
    storage: str | None = None,
    preset_settings: Sequence[str] = (),
) -> list[TrialInfo]:
    """Run a search with random proposals, which depend on the number of a trial only."""
    options = SearchOptions(num_trials, seeds, "random", pruner, storage)
    folder = root / "runs" / "tune"
    study = SearchStudy(spaces(texts, *preset_settings), folder, options, {"space": list(texts)})
    trained = replace(
        training_options(root),
        runs_dir=folder / "trials",
        checkpoint_minutes=checkpoint_interval / 60,
    )
    SearchRun(
        study,
        trained,
        runtime,
        silent,
        LoadedFiles(),
        callback or SearchCallback(),
        "test",
        should_stop,
    ).run(parallel)
    return study.trials()


def evaluate_loss(
    network: Network, images: Images, preprocessing: Preprocessing, group: ProcessGroup
) -> dict[str, float]:
    """An accuracy that short trainings change: 100 minus the loss."""
    values = evaluate(network, images, preprocessing, group)
    return values | {"top1": 100 - values["loss"]}


def main(root: Path) -> None:
    """What the processes of the kill test do."""
    with few_digits(), patch.object(loop, "evaluate", evaluate_loss):
        search(root, num_trials=6, checkpoint_interval=0.1)
