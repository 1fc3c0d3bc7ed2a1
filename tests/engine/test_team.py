"""Several processes that train one run: two of them here, over gloo, as torchrun starts them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lskd_cli.engine.device import Compute
from lskd_cli.engine.replay import execution
from lskd_cli.engine.team import ALONE, Team
from lskd_cli.errors import RequestError, RunError
from tests.engine.helpers import CPU, digest, digits_preset, metrics, places, run_path, train
from tests.engine.team_target import arms


def _launched(*command: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    return _run(*launcher, *command)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: v for key, v in os.environ.items() if not key.startswith("TORCHELASTIC")}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def _target(root: Path, scenario: str, *launch: str, processes: int = 2) -> None:
    places(root)  # its teacher is there before two processes look for it
    target = ["-m", "tests.engine.team_target", scenario, str(root)]
    done = _launched(*launch, *target, processes=processes) if processes > 1 else _run(*target)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a kd and a dkd run, trained in one pass by one process and by two."""
    roots = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for processes, root in enumerate(roots, start=1):
        _target(root, "equal", processes=processes)
    return roots


@pytest.mark.parametrize("number", [0, 1], ids=["kd", "dkd"])
def test_two_processes_have_the_losses_of_one(one_and_two: tuple[Path, Path], number: int) -> None:
    preset = arms("equal")[number]
    one, two = (metrics(run_path(root, preset)) for root in one_and_two)
    for epoch, other in zip(one, two, strict=True):
        for key, value in epoch.items():
            if "second" not in key:
                assert other[key] == pytest.approx(value, rel=1e-4), key
    assert one[0]["train_loss"] > one[-1]["train_loss"]


def test_two_processes_see_the_images_of_one_each_once(one_and_two: tuple[Path, Path]) -> None:
    def seen(root: Path, rank: int) -> list[list[int]]:
        lines = (root / f"images{rank}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    one, two = one_and_two
    steps = [[*a, *b] for a, b in zip(seen(two, 0), seen(two, 1), strict=True)]
    assert steps == seen(one, 0)
    assert [len(step) for step in seen(two, 0)] == [32, 32, 11] * 2
    assert sorted(index for step in steps[:3] for index in step) == list(range(151))


def test_two_processes_measure_every_test_image_once(one_and_two: tuple[Path, Path]) -> None:
    for preset in arms("equal"):
        one, two = (metrics(run_path(root, preset))[-1] for root in one_and_two)
        assert two["test_top1"] == one["test_top1"]
        assert two["test_top1"] * 51 / 100 == pytest.approx(round(two["test_top1"] * 51 / 100))


def test_the_first_process_alone_writes(one_and_two: tuple[Path, Path]) -> None:
    _, two = one_and_two
    info = json.loads((run_path(two, arms("equal")[0]) / "run.json").read_text())
    assert (info["state"], info["processes"]) == ("done", 2)


def test_a_run_of_which_a_process_was_killed_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _target(whole, "whole")
    _target(killed, "killed", "--max-restarts=1")
    (preset,) = arms("killed")
    for name in ("student.safetensors", "best.safetensors"):
        files = [run_path(root, preset) / name for root in (whole, killed)]
        assert digest(files[0]) == digest(files[1])
    losses = [[e["train_loss"] for e in metrics(run_path(r, preset))] for r in (whole, killed)]
    assert losses[0] == losses[1]


def test_two_processes_learn_and_remember_features_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    at, crd = arms("features")
    _target(two, "features")
    _target(one, "features", processes=1)
    for epoch, other in zip(*(metrics(run_path(root, at)) for root in (one, two)), strict=True):
        assert other["train_at"] == pytest.approx(epoch["train_at"], rel=1e-4)
    # Negatives are others in each process; what is remembered is not.
    memories = [(two / f"memory{rank}.jsonl").read_text().splitlines() for rank in (0, 1)]
    assert memories[0] == memories[1]
    assert len(memories[0]) == 6
    losses = [[epoch["train_crd"] for epoch in metrics(run_path(r, crd))] for r in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    entries = [json.loads(line)[-1] for line in memories[0]]
    moved = [
        sum(old != new for old, new in zip(before, after, strict=True))
        for before, after in pairwise(entries)
    ]
    assert moved == [64, 23, 64, 64, 23]


@pytest.mark.slow
def test_one_process_goes_on_with_a_run_of_two(tmp_path: Path) -> None:
    places(tmp_path)
    target = ["-m", "tests.engine.team_target", "killed", str(tmp_path)]
    assert _launched(*target).returncode != 0
    (preset,) = arms("killed")
    train([preset], tmp_path)
    assert [epoch["epoch"] for epoch in metrics(run_path(tmp_path, preset))] == [1, 2, 3]


def test_several_processes_take_one_step_at_a_time_on_any_device() -> None:
    on_cuda = Compute(torch.device("cuda"), "fp32")
    assert execution(on_cuda, print).ahead > 1
    assert execution(replace(on_cuda, team=Team(0, 2)), print).ahead == 1


def test_what_is_wrong_is_told_once_by_all_processes(tmp_path: Path) -> None:
    folders = [f"--{name}-dir={tmp_path / name}" for name in ("data", "checkpoints", "runs")]
    command = ["-m", "lskd_cli", "train", "--preset", "kd-digits", *folders, "--device=cpu"]
    done = _launched("--standalone", *command)
    assert done.returncode != 0
    assert done.stderr.count("error teacher resnet20 (10 classes) is neither in") == 1


def test_one_process_alone_decides_and_counts_for_itself() -> None:
    assert ALONE.agreed(True, False) == [True, False]
    assert ALONE.gathered(torch.arange(3)).tolist() == [[0, 1, 2]]
    assert ALONE.led(lambda: 5) == 5
    with pytest.raises(RunError):
        ALONE.led(_fail)
    module = torch.nn.Linear(1, 1)
    assert ALONE.joined(module, uses_all=True) is module


def _fail() -> None:
    raise RunError("no space left")


DIGEST = "ab" * 32


class _Pair(Team):
    """Two processes, of which the other one has other values."""

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack([values, self.other(values)])

    def other(self, values: torch.Tensor) -> torch.Tensor:
        return values


class _OtherState(_Pair):
    def other(self, values: torch.Tensor) -> torch.Tensor:
        return values + 1 if values.dtype == torch.int64 else values


class _OtherImages(_Pair):
    def other(self, values: torch.Tensor) -> torch.Tensor:
        is_digest = values.tolist() == list(bytes.fromhex(DIGEST))
        return values + 1 if is_digest else values


class _OtherRuns(_Pair):
    def other(self, values: torch.Tensor) -> torch.Tensor:
        return values + 1 if values.dtype == torch.uint8 else values


@pytest.mark.parametrize(
    ("team", "message"),
    [
        (_OtherState(), "--runs-dir has to be a folder that all machines share"),
        (_OtherImages(), "--data-dir: the processes do not find the same files"),
        (_OtherRuns(), "the processes do not find the same runs or teachers"),
    ],
)
def test_machines_that_do_not_see_the_same_files_are_told(
    team: Team, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lskd_cli.engine.training.images_digest", lambda _: DIGEST)
    with pytest.raises(RequestError, match=message):
        train([digits_preset()], tmp_path, compute=replace(CPU, team=team))
    assert not list((tmp_path / "runs").glob("*/seed0/run.json"))
