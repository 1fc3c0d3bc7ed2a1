"""Processes that start at the same moment: one download for all, one writer for a run."""

import multiprocessing
import random
from collections.abc import Callable
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from lskd_cli.data.sets import digits
from lskd_cli.errors import RequestError
from lskd_cli.teachers.cifar import fetch
from tests.data.test_cifar_download import cifar_archive, load_cifar
from tests.digits import digits_loader
from tests.engine.helpers import digits_preset, silent, train, training_options
from tests.faults.archives import good_archive
from tests.faults.outcome import Outcome
from tests.servers import serving

_GROUPS, _PROCESSES = 7, 4
_REFUSED = 3  # exit code of a process whose run is being written by another one


def run(root: Path) -> list[Outcome]:
    """Start groups of processes."""
    context = multiprocessing.get_context("spawn")
    return [_cifar(root, context), _teachers(root, context), _runs(root, context)]


def _start(context: SpawnContext, target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Exit codes of processes that run a function at the same time."""
    processes = [context.Process(target=target, args=arguments) for _ in range(_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def _cifar(root: Path, context: SpawnContext) -> Outcome:
    outcome = Outcome(
        f"{_PROCESSES} processes start without CIFAR-100 in one folder", "one download, all succeed"
    )
    archive = cifar_archive()
    for number in range(_GROUPS):
        with serving({"c": archive}) as server:
            server.delay = random.Random(number).uniform(0, 0.3)
            folder = root / f"cifar{number}"
            codes = _start(context, load_cifar, folder, server.url("c"), archive)
            files = [path.name for path in folder.iterdir()]
            is_right = codes == [0] * _PROCESSES and server.ranges == [None]
            outcome.check(f"group {number}: {codes}", is_right and files == ["cifar-100-python"])
    return outcome


def fetch_teacher(folder: Path, url: str) -> None:
    """Fetch a teacher in a process of its own."""
    fetch(["resnet56"], folder, url, None, silent)


def _teachers(root: Path, context: SpawnContext) -> Outcome:
    outcome = Outcome(
        f"{_PROCESSES} processes fetch a teacher into one folder", "one download, all succeed"
    )
    with serving({"t": good_archive()}) as server:
        for number in range(_GROUPS):
            server.ranges.clear()
            folder = root / f"teachers{number}"
            codes = _start(context, fetch_teacher, folder, server.url("t"))
            files = [path.name for path in folder.iterdir()]
            is_right = codes == [0] * _PROCESSES and server.ranges == [None]
            is_right &= files == ["resnet56.safetensors"]
            outcome.check(f"group {number}: {codes}", is_right)
    return outcome


def train_digits(root: Path) -> None:
    """Train a run in a process of its own."""
    digits.load = digits_loader(150)
    try:
        train([digits_preset(epochs=8)], root)
    except RequestError as error:
        raise SystemExit(_REFUSED if "another process is writing" in str(error) else 1) from None


def _runs(root: Path, context: SpawnContext) -> Outcome:
    outcome = Outcome(
        f"{_PROCESSES} processes train the same run",
        "each trains it, finds it finished, or is refused with one line",
    )
    for number in range(_GROUPS):
        folder = root / f"runs{number}"
        training_options(folder)
        codes = _start(context, train_digits, folder)
        is_right = set(codes) <= {0, _REFUSED} and 0 in codes
        leftovers = list((folder / "runs").rglob(".*"))
        outcome.check(f"group {number}: {codes}", is_right and not leftovers)
    return outcome
