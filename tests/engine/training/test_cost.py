"""The estimate of time and memory before a training."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lskd_cli.config import Preset, load_preset
from lskd_cli.engine.devices.cuda_graphs import GraphRunner, StepRunner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.training import cost, dry_run
from lskd_cli.engine.training.cost import TrainingCost, joint_run_cost, preset_cost
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import Interrupted
from tests.engine.fake_graph_recorder import FakeGraphRecorder
from tests.engine.helpers import CPU, after, digits_preset, silent, train, training_options
from tests.image_folders import make_folder


def test_time_is_that_of_all_steps() -> None:
    assert TrainingCost(0.5, 300, None).seconds == 150


def test_steps_are_counted_from_the_settings(tmp_path: Path) -> None:
    preset = load_preset("kd-digits", ["data.limit_train=130", "data.batch_size=64"])
    found = preset_cost(preset.with_epochs(4), tmp_path, CPU)
    assert found.num_steps == 4 * 3
    assert 0 < found.step_seconds < 60
    assert found.memory is not None
    assert 50e6 < found.memory < 50e9


def test_custom_images_are_counted(tmp_path: Path) -> None:
    make_folder(tmp_path, train=8, val=1, classes=3)
    settings = ["data.name=imagefolder", "data.num_classes=3", "data.image_size=32"]
    settings += ["data.batch_size=8", "data.val_split=0.25", "student=resnet8"]
    preset = load_preset("teacher-imagenet-resnet34", settings)
    assert preset_cost(preset.with_epochs(2), tmp_path, CPU).num_steps == 2 * 3


def test_finished_epochs_cost_nothing(
    tmp_path: Path, small_digits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = [digits_preset("kd", stand, 3) for stand in (False, True)]
    with pytest.raises(Interrupted):
        train(presets, tmp_path, should_stop=after(4))  # in the second epoch of three steps each
    trained: list[str] = []
    train_steps = StudentTrainer.train_steps

    def counted(student: StudentTrainer, *inputs: object) -> None:
        trained.append(student.preset.run_name)
        train_steps(student, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(StudentTrainer, "train_steps", counted)
    with prepare(presets, training_options(tmp_path), CPU, silent) as plan:
        (joint_run,) = plan.joint_runs
        assert joint_run_cost(joint_run).num_steps == 2 * 3
    assert trained.count("kd-digits") == trained.count("kd-digits+stand") >= 3


def test_captured_steps_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = FakeGraphRecorder()

    def create_runner(runtime: Runtime, warn: Warn) -> StepRunner:
        return GraphRunner(recorder, 2, warn)

    monkeypatch.setattr(dry_run, "create_runner", create_runner)
    preset_cost(digits_preset(), Path(), replace(CPU, graphs=True))
    assert recorder.captures == 1
    assert recorder.replays > 2


def test_a_batch_is_not_larger_than_the_training_set(
    tmp_path: Path, small_digits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def run(presets: Sequence[Preset], *_: object) -> Iterator[tuple[int, list[StudentTrainer]]]:
        sizes.append(presets[0].data.batch_size)
        yield from [(1, [])] * 50

    monkeypatch.setattr(cost, "run_launches", run)
    preset = load_preset("kd-digits", ["data.batch_size=1000000"]).with_epochs(3)
    assert preset_cost(preset, tmp_path, CPU).num_steps == 3
    assert sizes == [1437]
