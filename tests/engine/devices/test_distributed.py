"""Training in several processes: two of them with gloo, as torchrun starts them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.engine.devices.cuda_graphs import create_runner
from lskd_cli.engine.devices.distributed import SINGLE_PROCESS, ProcessGroup
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.evaluation import evaluate
from lskd_cli.errors import RequestError, RunError
from lskd_cli.preprocessing import Preprocessing
from tests.digits import digits_loader
from tests.engine.distributed_target import main, scenario_presets
from tests.engine.helpers import (
    CPU,
    digest,
    digits_preset,
    metrics,
    run_path,
    silent,
    train,
    training_options,
)
from tests.workers import run_lskd, start


def _torchrun(root: Path, scenario: str, *launch: str) -> subprocess.CompletedProcess[str]:
    """Two processes as users start them; every other test forks its processes."""
    training_options(root)
    environment = {key: v for key, v in os.environ.items() if not key.startswith("TORCHELASTIC")}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", *launch]
    target = ["-m", "tests.engine.distributed_target", scenario, str(root)]
    return subprocess.run(
        [sys.executable, *launcher, *target],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def _group(
    root: Path,
    function: Callable[..., object],
    *arguments: object,
    processes: int = 2,
    restarts: int = 0,
) -> list[int | None]:
    """Exit codes of processes with the variables that torchrun sets; one process has none."""
    root.mkdir(exist_ok=True)
    if processes == 1:
        members = [start(function, *arguments, err=root / "err0")]
        store = None
    else:
        # The store belongs to this process, as it belongs to torchrun's agent.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        variables = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "TORCHELASTIC_RESTART_COUNT": str(restarts),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        members = [
            start(
                function,
                *arguments,
                environment=variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                err=root / f"err{rank}",
            )
            for rank in range(processes)
        ]
    try:
        for member in members:
            member.join(timeout=200)
        return [member.exitcode for member in members]
    finally:
        for member in members:
            member.kill()
        del store


def _target(root: Path, scenario: str, processes: int = 2, device: str = "cpu") -> None:
    training_options(root)  # creates the teacher before two processes search for it
    codes = _group(root, main, scenario, root, device, processes=processes)
    assert codes == [0] * processes, (root / "err0").read_text()[-3000:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run of two processes."""
    root = tmp_path_factory.mktemp("whole")
    _target(root, "whole")
    return root


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a kd and a dkd run, trained together by one process and by two."""
    roots = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for processes, root in enumerate(roots, start=1):
        _target(root, "equal", processes=processes)
    return roots


def _assert_equal_metrics(roots: Sequence[Path], preset: Preset, tolerance: float) -> None:
    one, two = (metrics(run_path(root, preset)) for root in roots)
    for epoch, other in zip(one, two, strict=True):
        for key, value in epoch.items():
            if "second" not in key:
                assert other[key] == pytest.approx(value, rel=tolerance), key
    assert one[0]["train_loss"] > one[-1]["train_loss"]


@pytest.mark.parametrize("number", [0, 1], ids=["kd", "dkd"])
def test_two_processes_have_the_losses_of_one(one_and_two: tuple[Path, Path], number: int) -> None:
    _assert_equal_metrics(one_and_two, scenario_presets("equal")[number], tolerance=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_have_the_losses_of_one(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for processes, root in enumerate(roots, start=1):
        _target(root, "equal", processes, "cuda")
    for preset in scenario_presets("equal"):
        _assert_equal_metrics(roots, preset, tolerance=1e-3)


def test_two_processes_train_on_every_image_once(
    one_and_two: tuple[Path, Path],
) -> None:
    def seen(root: Path, rank: int) -> list[list[int]]:
        lines = (root / f"images{rank}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    one, two = one_and_two
    steps = [[*a, *b] for a, b in zip(seen(two, 0), seen(two, 1), strict=True)]
    assert steps == seen(one, 0)
    assert [len(step) for step in seen(two, 0)] == [32, 32, 11] * 2
    assert sorted(index for step in steps[:3] for index in step) == list(range(151))


def test_four_processes_share_a_last_batch_of_three_images(tmp_path: Path) -> None:
    roots = {processes: tmp_path / str(processes) for processes in (1, 4)}
    for processes, root in roots.items():
        _target(root, "idle", processes)
    for preset in scenario_presets("idle"):  # one of them with dot
        (one,), (four,) = (metrics(run_path(root, preset)) for root in roots.values())
        for key in ("train_loss", "train_top1", "test_loss"):
            assert four[key] == pytest.approx(one[key], rel=1e-4), key


def test_two_processes_evaluate_every_test_image_once(one_and_two: tuple[Path, Path]) -> None:
    for preset in scenario_presets("equal"):
        one, two = (metrics(run_path(root, preset))[-1] for root in one_and_two)
        assert two["test_top1"] == one["test_top1"]
        assert two["test_top1"] * 51 / 100 == pytest.approx(round(two["test_top1"] * 51 / 100))


def test_metrics_are_those_of_the_saved_weights(whole: Path, tmp_path: Path) -> None:
    """Batch norms see other images in each process; the statistics of the first are saved."""
    (preset,) = scenario_presets("whole")
    folder = run_path(whole, preset)
    network = load_checkpoint(folder / "student.safetensors").load_network("resnet8", 10, 16)
    test = digits_loader(151, 51)(preset.data, tmp_path, silent).test
    values = evaluate(network, test, Preprocessing.of_data(preset.data), SINGLE_PROCESS)
    last = metrics(folder)[-1]
    for key, value in values.items():
        assert last[f"test_{key}"] == pytest.approx(value, rel=1e-5), key


def test_only_the_main_process_writes(one_and_two: tuple[Path, Path]) -> None:
    _, two = one_and_two
    info = json.loads((run_path(two, scenario_presets("equal")[0]) / "run.json").read_text())
    assert (info["state"], info["processes"]) == ("done", 2)
    assert "student.safetensors" in (two / "writes0.txt").read_text()
    assert not (two / "writes1.txt").exists()


@pytest.mark.parametrize("is_torchrun", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_with_a_killed_process_equals_an_uninterrupted_one(
    is_torchrun: bool, whole: Path, tmp_path: Path
) -> None:
    if is_torchrun:
        done = _torchrun(tmp_path, "killed", "--max-restarts=1")
        assert done.returncode == 0, done.stderr[-3000:]
    else:
        training_options(tmp_path)
        _, code = _group(tmp_path, main, "killed", tmp_path)
        assert code == -signal.SIGKILL
        assert _group(tmp_path, main, "killed", tmp_path, restarts=1) == [0, 0]
    (preset,) = scenario_presets("killed")
    runs = [run_path(root, preset) for root in (whole, tmp_path)]
    for name in ("student.safetensors", "best.safetensors"):
        assert digest(runs[0] / name) == digest(runs[1] / name)
    losses = [[epoch["train_loss"] for epoch in metrics(run)] for run in runs]
    assert losses[0] == losses[1]


def test_a_loss_that_is_not_finite_stops_all_processes(tmp_path: Path) -> None:
    _target(tmp_path, "nan")
    messages = [(tmp_path / f"error{rank}").read_text() for rank in (0, 1)]
    assert messages[0] == messages[1]
    assert "loss not finite at epoch 1, step 2: ce = nan, kd = nan" in messages[0]
    (preset,) = scenario_presets("nan")
    state = torch.load(run_path(tmp_path, preset) / "resume.pt", weights_only=True)
    assert state["position"] == (1, 1)


def test_the_cause_is_that_of_the_process_that_failed(tmp_path: Path) -> None:
    _target(tmp_path, "failed")
    messages = [(tmp_path / f"error{rank}").read_text() for rank in (0, 1)]
    assert messages[0] == messages[1]
    assert messages[0].startswith("process 1: the disk of this machine is gone; the last saved")
    (preset,) = scenario_presets("failed")
    info = json.loads((run_path(tmp_path, preset) / "run.json").read_text())
    assert (info["state"], info["error"]) == (
        "failed",
        "process 1: the disk of this machine is gone",
    )


def test_a_process_that_does_not_answer_ends_the_run(tmp_path: Path) -> None:
    _target(tmp_path, "stopped")
    assert (tmp_path / "error0").read_text().startswith("another process did not answer in time")


def test_two_processes_share_the_memory_bank_of_a_feature_method(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    at, crd, *recent = scenario_presets("features")
    _target(two, "features")
    _target(one, "features", processes=1)
    for preset in (at, *recent):
        records = (metrics(run_path(root, preset)) for root in (one, two))
        for epoch, other in zip(*records, strict=True):
            assert other["train_loss"] == pytest.approx(epoch["train_loss"], rel=1e-4)
    # The processes sample other negatives, but their memory banks are equal.
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
def test_one_process_resumes_a_run_of_two(tmp_path: Path) -> None:
    assert _torchrun(tmp_path, "killed").returncode != 0
    (preset,) = scenario_presets("killed")
    train([preset], tmp_path)
    assert [epoch["epoch"] for epoch in metrics(run_path(tmp_path, preset))] == [1, 2, 3]


def test_several_processes_take_one_step_at_a_time_on_any_device() -> None:
    on_cuda = Runtime(torch.device("cuda"), "fp32")
    assert create_runner(on_cuda, print).steps_per_launch > 1
    several = replace(on_cuda, process_group=ProcessGroup(0, 2))
    assert create_runner(several, print).steps_per_launch == 1


def test_a_wrong_request_is_reported_by_one_process(tmp_path: Path) -> None:
    folders = [f"--{name}-dir={tmp_path / name}" for name in ("data", "checkpoints", "runs")]
    command = ["train", "--preset", "kd-r56-r20", *folders, "--device=cpu"]
    assert _group(tmp_path, run_lskd, *command) == [2, 2]
    messages = "".join((tmp_path / f"err{rank}").read_text() for rank in (0, 1))
    assert messages.count("error teacher resnet56 (100 classes) is neither in") == 1


def test_a_single_process_needs_no_communication() -> None:
    assert SINGLE_PROCESS.any_rank(True, False) == [True, False]
    assert SINGLE_PROCESS.all_gather(torch.arange(3)).tolist() == [[0, 1, 2]]
    assert SINGLE_PROCESS.on_main_process(lambda: 5) == 5
    with pytest.raises(RunError):
        SINGLE_PROCESS.on_main_process(_fail)
    module = torch.nn.Linear(1, 1)
    assert SINGLE_PROCESS.wrap_ddp(module, all_params_used=True) is module


def _fail() -> None:
    raise RunError("no space left")


DIGEST = "ab" * 32


class _Pair(ProcessGroup):
    """Two processes, of which the other one has other values."""

    def all_gather(self, values: torch.Tensor) -> torch.Tensor:
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
    ("group", "message"),
    [
        (_OtherState(), "--runs-dir must be a folder that all machines share"),
        (_OtherImages(), "--data-dir: the processes find different files"),
        (_OtherRuns(), "the processes disagree on the runs"),
    ],
)
def test_machines_that_see_different_files_are_refused(
    group: ProcessGroup, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lskd_cli.engine.training.train.images_digest", lambda _: DIGEST)
    with pytest.raises(RequestError, match=message):
        train([digits_preset()], tmp_path, runtime=replace(CPU, process_group=group))
    assert not list((tmp_path / "runs").glob("*/seed0/run.json"))
