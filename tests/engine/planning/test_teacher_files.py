"""Finding the weights of a teacher."""

import sys
from pathlib import Path

import pytest

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config import Preset, load_preset, to_yaml
from lskd_cli.config.methods import registry as method_registry
from lskd_cli.distillers import registry as distiller_registry
from lskd_cli.engine.planning.teacher_files import find_teacher, missing_teachers
from lskd_cli.errors import RequestError
from lskd_cli.models import create_model
from tests.registries import own_registries

STUDENT = load_preset("kd-digits")


def _finished_run(runs: Path, preset: Preset, top1: str = "98.00") -> Path:
    folder = runs / preset.run_name / "seed0"
    metadata = {"model": preset.student, "num_classes": "10", "dataset": "digits", "top1": top1}
    save_checkpoint(
        folder / "student.safetensors", create_model(preset.student, 10).state_dict(), metadata
    )
    (folder / "preset.yaml").write_text(to_yaml(preset))
    (folder / "run.json").write_text('{"state": "done"}')
    return folder


def _find(root: Path) -> Path:
    return find_teacher(STUDENT, root / "checkpoints", root / "runs").path


def test_a_finished_run_of_the_teacher_preset_is_used(tmp_path: Path) -> None:
    folder = _finished_run(tmp_path / "runs", load_preset("teacher-digits"))
    assert _find(tmp_path) == folder / "student.safetensors"


def test_the_method_of_a_missing_teacher_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "lskd_cli.distillers.none", raising=False)
    with own_registries():
        method_registry._configs.pop("none", None)
        distiller_registry._distillers.pop("none", None)
        (teacher,) = missing_teachers([load_preset("kd-digits")], tmp_path, tmp_path)
        assert teacher.name == "teacher-digits"
        distiller_registry.distiller_class(teacher.method.name)


@pytest.mark.parametrize(
    ("overrides", "difference"),
    [
        (["schedule.epochs=2", "schedule.milestones=[1]"], "for 2 epochs instead of"),
        (["schedule.epochs=1", "schedule.milestones=[]"], "for 1 epoch instead of"),
        (["schedule.epochs=1", "schedule.milestones=[]", "name=teacher-mine"], "for 1 epoch"),
        (["data.limit_train=100"], "on 100 images only"),
    ],
)
def test_a_shortened_run_has_to_be_selected(
    tmp_path: Path, overrides: list[str], difference: str
) -> None:
    shortened = load_preset("teacher-digits", overrides)
    folder = _finished_run(tmp_path / "runs", shortened, "41.00")
    with pytest.raises(RequestError) as error:
        _find(tmp_path)
    message = str(error.value)
    assert f"{folder} (41.00 % top-1) was trained {difference}" in message
    assert message.endswith(f"use it with --teacher-checkpoint {folder}")


def test_a_complete_run_is_used_although_there_is_a_shortened_one(tmp_path: Path) -> None:
    _finished_run(tmp_path / "runs", load_preset("teacher-digits", ["data.limit_train=100"]))
    complete = load_preset("teacher-digits", ["name=teacher-mine"])
    folder = _finished_run(tmp_path / "runs", complete)
    assert _find(tmp_path) == folder / "student.safetensors"


def test_stored_weights_are_preferred_to_runs(tmp_path: Path) -> None:
    _finished_run(tmp_path / "runs", load_preset("teacher-digits"))
    stored = tmp_path / "checkpoints" / "resnet20.safetensors"
    weights = create_model("resnet20", 10).state_dict()
    save_checkpoint(stored, weights, {"model": "resnet20", "dataset": "digits"})
    assert _find(tmp_path) == stored


def test_a_file_of_another_data_set_is_not_used(tmp_path: Path) -> None:
    weights = create_model("resnet20", 10).state_dict()
    file = tmp_path / "checkpoints" / "resnet20.safetensors"
    metadata = {"model": "resnet20", "num_classes": "10", "dataset": "imagefolder"}
    save_checkpoint(file, weights, metadata)
    with pytest.raises(RequestError, match="is neither in"):
        _find(tmp_path)
    save_checkpoint(file, weights, metadata | {"dataset": "digits"})
    assert _find(tmp_path) == file
