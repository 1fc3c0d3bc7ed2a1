"""Joint runs of one or more students: how they share, stop, resume and fail."""

import json
import resource
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lskd_cli.checkpoints import save_checkpoint
from lskd_cli.config import Preset, TrainingOptions, load_preset
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.planning import teacher_files
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.planning.training_plan import group_joint_runs
from lskd_cli.engine.runs.compatibility import check_resumable
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.engine.training.callback import Callback
from lskd_cli.engine.training.joint_run import PlannedRun
from lskd_cli.engine.training.student_trainer import StudentTrainer, create_student
from lskd_cli.errors import Interrupted, RequestError, RunError
from lskd_cli.models import create_model
from tests.digits import few_digits
from tests.engine.helpers import (
    CPU,
    SMALL_IMAGES,
    after,
    digest,
    digits_preset,
    metrics,
    run_path,
    silent,
    train,
    training_options,
)

pytestmark = pytest.mark.usefixtures("small_digits")


def _saved_position(folder: Path) -> tuple[int, int]:
    state = RunFolder(folder).load_state()
    assert state is not None
    epoch, step = state["position"]
    return epoch, step


def test_a_run_leaves_the_files_of_its_contract(tmp_path: Path) -> None:
    preset = digits_preset(stand=True)
    train([preset], tmp_path)
    folder = run_path(tmp_path, preset)
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors", "metrics.jsonl", "preset.yaml", "run.json", "student.safetensors",
    ]  # fmt: skip
    info = json.loads((folder / "run.json").read_text())
    assert info["state"] == "done"
    assert (info["teacher_top1"], info["precision"]) == (50.0, "fp32")
    assert info["last"] == metrics(folder)[-1]
    with safe_open(folder / "best.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["model"] == "resnet8"
    assert metadata["preset"] == "kd-digits+stand"
    assert float(metadata["top1"]) == pytest.approx(info["best"]["test_top1"], abs=0.005)


def test_an_epoch_has_a_line_of_metrics(tmp_path: Path) -> None:
    preset = digits_preset("ctkd")
    train([preset], tmp_path)
    first, second = metrics(run_path(tmp_path, preset))
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert set(first) == {
        "epoch", "lr", "train_loss", "train_ce", "train_kd", "train_top1", "test_top1",
        "test_top5", "test_loss", "temperature", "seconds", "images_per_second",
        "data_wait_seconds",
    }  # fmt: skip
    assert first["train_loss"] == pytest.approx(first["train_ce"] + first["train_kd"])


def test_students_of_a_joint_run_equal_those_of_single_runs(tmp_path: Path) -> None:
    plain, stand = digits_preset("mlkd"), digits_preset("kd", stand=True)
    train([plain, stand], tmp_path / "together")
    train([plain], tmp_path / "first")
    train([stand], tmp_path / "second")
    for preset, root in ((plain, "first"), (stand, "second")):
        together = run_path(tmp_path / "together", preset) / "student.safetensors"
        alone = run_path(tmp_path / root, preset) / "student.safetensors"
        assert digest(together) == digest(alone)


def test_a_student_baseline_in_a_joint_run_equals_that_of_a_single_run(
    tmp_path: Path,
) -> None:
    alone, kd = load_preset("alone-digits", [SMALL_IMAGES]).with_epochs(2), digits_preset()
    train([alone, kd], tmp_path / "together")
    train([alone], tmp_path / "alone")
    folders = [run_path(tmp_path / root, alone) for root in ("together", "alone")]
    assert len({digest(folder / "student.safetensors") for folder in folders}) == 1
    info = json.loads((folders[0] / "run.json").read_text())
    assert info["joint_runs"] == [kd.run_path, alone.run_path]
    assert not [key for key in info if "teacher" in key]
    info = json.loads((run_path(tmp_path / "together", kd) / "run.json").read_text())
    assert info["teacher_top1"] == 50.0


def test_several_seeds_in_a_joint_run_equal_single_runs(tmp_path: Path) -> None:
    presets = [digits_preset("kd", False, 2, f"seed={seed}") for seed in (0, 1, 2)]
    with prepare(presets, training_options(tmp_path), CPU, silent) as plan:
        assert [len(run.runs) for run in plan.joint_runs] == [3]
    train(presets, tmp_path / "together")
    train(presets[1:2], tmp_path / "alone")
    files = [
        run_path(tmp_path / root, presets[1]) / "student.safetensors"
        for root in ("together", "alone")
    ]
    assert digest(files[0]) == digest(files[1])


def test_plain_and_standardized_students_have_equal_initial_weights() -> None:
    plain, stand = (create_student(digits_preset(stand=s)).state_dict() for s in (False, True))
    other = create_student(digits_preset("kd", False, 2, "seed=1")).state_dict()
    assert all(torch.equal(plain[name], stand[name]) for name in plain)
    assert not torch.equal(plain["conv1.weight"], other["conv1.weight"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a joint run of kd and ctkd without interruptions."""
    root = tmp_path_factory.mktemp("undisturbed")
    with few_digits():
        train([digits_preset("kd"), digits_preset("ctkd")], root)
    return root


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_stopped_runs_end_with_the_weights_of_undisturbed_ones(
    tmp_path: Path, undisturbed: Path, steps: int
) -> None:
    presets = [digits_preset("kd"), digits_preset("ctkd")]
    with pytest.raises(Interrupted):
        train(presets, tmp_path, should_stop=after(steps))
    folders = [run_path(tmp_path, preset) for preset in presets]
    for folder in folders:
        assert json.loads((folder / "run.json").read_text())["state"] == "interrupted"
    train(presets, tmp_path)
    for preset, folder in zip(presets, folders, strict=True):
        expected = run_path(undisturbed, preset)
        for name in ("student.safetensors", "best.safetensors"):
            assert digest(folder / name) == digest(expected / name)
        timeless = [
            [{k: v for k, v in record.items() if "second" not in k} for record in metrics(path)]
            for path in (folder, expected)
        ]
        assert timeless[0] == timeless[1]


def test_students_that_stopped_at_different_steps_resume_together(tmp_path: Path) -> None:
    plain, stand = digits_preset(epochs=3), digits_preset(stand=True, epochs=3)
    train([plain, stand], tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train([plain], tmp_path / "apart", should_stop=after(5))
    with pytest.raises(Interrupted):
        train([stand], tmp_path / "apart", should_stop=after(1))
    train([plain, stand], tmp_path / "apart")
    for preset in (plain, stand):
        files = [
            run_path(tmp_path / root, preset) / "student.safetensors"
            for root in ("undisturbed", "apart")
        ]
        assert digest(files[0]) == digest(files[1])


def test_a_kill_costs_at_most_the_time_between_two_saves(tmp_path: Path) -> None:
    preset = digits_preset()
    killed = after(5)

    def should_stop() -> bool:
        if killed():
            raise SystemError  # stands for a kill: nothing catches it, nothing is saved after it
        return False

    with pytest.raises(SystemError):
        train([preset], tmp_path, should_stop=should_stop, checkpoint_interval=0)
    assert _saved_position(run_path(tmp_path, preset)) == (2, 1)


def test_time_is_counted_once_however_often_the_state_is_saved(tmp_path: Path) -> None:
    start = time.monotonic()
    train([digits_preset()], tmp_path, checkpoint_interval=0)
    elapsed = time.monotonic() - start
    records = metrics(run_path(tmp_path, digits_preset()))
    assert 0 < sum(record["seconds"] for record in records) < elapsed
    for record in records:
        assert record["images_per_second"] == pytest.approx(150 / record["seconds"])


def test_the_state_is_saved_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr(RunFolder, "save_state", lambda *_: saved.append(time.monotonic()))
    train([digits_preset()], tmp_path / "often", checkpoint_interval=0)
    assert len(saved) == 2 * 3 + 2  # after every step, and at the end of each epoch
    saved.clear()
    train([digits_preset()], tmp_path / "seldom", checkpoint_interval=1000)
    assert len(saved) == 2


def test_a_finished_run_is_skipped(trained_copy: Path) -> None:
    folder = run_path(trained_copy, digits_preset())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with prepare([digits_preset()], training_options(trained_copy), CPU, silent) as plan:
        assert plan.joint_runs == []
        assert [finished.path for finished in plan.finished] == [folder]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_fresh_archives_the_previous_run(trained_copy: Path) -> None:
    preset = digits_preset(epochs=1)
    folder = run_path(trained_copy, preset)
    before = digest(folder / "run.json")
    train([preset], trained_copy, fresh=True)
    train([preset], trained_copy, fresh=True)
    assert digest(folder.with_name("seed0.old1") / "run.json") == before
    assert folder.with_name("seed0.old2").exists()


def test_a_run_with_other_settings_is_not_overwritten(trained_copy: Path) -> None:
    other = digits_preset("kd", False, 2, "method.temperature=3")
    message = r"saved method\.temperature 4\.0, requested 3\.0.*--fresh.*--set name=NEW"
    with pytest.raises(RequestError, match=message):
        train([other], trained_copy)


def test_an_unfinished_run_is_not_resumed_in_another_precision(tmp_path: Path) -> None:
    preset = digits_preset()
    with pytest.raises(Interrupted):
        train([preset], tmp_path, should_stop=after(1))
    folder = RunFolder(run_path(tmp_path, preset))
    with pytest.raises(RequestError, match="saved precision fp32, requested bf16"):
        check_resumable(folder, preset, "bf16", None)


def test_a_folder_that_is_being_written_is_refused(tmp_path: Path) -> None:
    preset = digits_preset()
    with (
        RunFolder.of(tmp_path / "runs", preset).locked(),
        pytest.raises(RequestError, match="another process is writing this run"),
    ):
        train([preset], tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"nonsense"])
def test_a_corrupt_state_is_named_with_its_remedy(tmp_path: Path, content: bytes) -> None:
    preset = digits_preset()
    with pytest.raises(Interrupted):
        train([preset], tmp_path, should_stop=after(1))
    state = run_path(tmp_path, preset) / "resume.pt"
    state.write_bytes(content)
    with pytest.raises(RequestError, match=r"resume\.pt: corrupt or .* --fresh restarts"):
        train([preset], tmp_path)
    assert state.read_bytes() == content


def test_times_include_the_work_that_the_device_has_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(runtime: Runtime) -> None:
        time.sleep(0.5)

    monkeypatch.setattr(Runtime, "synchronize", finish)
    train([digits_preset(epochs=1)], tmp_path, checkpoint_interval=0)
    (epoch,) = metrics(run_path(tmp_path, digits_preset(epochs=1)))
    # Before each of the three saved states, and at the end of the epoch.
    assert epoch["seconds"] > 4 * 0.5


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(
    tmp_path: Path,
) -> None:
    preset = digits_preset(epochs=3)
    with pytest.raises(Interrupted):
        train([preset], tmp_path, should_stop=after(4))
    folder = run_path(tmp_path, preset)
    state = torch.load(folder / "resume.pt", weights_only=True)
    state["student"]["fc.weight"].fill_(3e38)  # the logits overflow
    torch.save(state, folder / "resume.pt")
    kept = digest(folder / "student.safetensors")
    with pytest.raises(RunError, match=r"not finite at epoch 2, step 2: ce = nan, kd = nan"):
        train([preset], tmp_path)
    assert digest(folder / "student.safetensors") == kept
    info = json.loads((folder / "run.json").read_text())
    assert info["state"] == "failed"
    assert "epoch 2, step 2" in info["error"]


def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(tmp_path: Path) -> None:
    preset = digits_preset(epochs=3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillsTheDisk(Callback):
        def on_epoch_end(self, student: StudentTrainer) -> None:
            # Less than the weights take: from here on they cannot be written.
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    message = r"\.(safetensors|pt): cannot be written: File too large"
    try:
        with pytest.raises(RunError, match=message):
            train([preset], tmp_path, FillsTheDisk())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    folder = run_path(tmp_path, preset)
    assert _saved_position(folder) == (2, 0)
    assert json.loads((folder / "run.json").read_text())["state"] == "failed"
    train([preset], tmp_path)
    assert len(metrics(folder)) == 3


def test_a_run_is_not_resumed_with_another_teacher(tmp_path: Path) -> None:
    preset = digits_preset()
    with pytest.raises(Interrupted):
        train([preset], tmp_path, should_stop=after(1))
    other = create_model("resnet20", 10).state_dict()
    save_checkpoint(tmp_path / "checkpoints" / "resnet20.safetensors", other, {})
    with pytest.raises(RequestError, match=r"saved teacher .*, requested "):
        train([preset], tmp_path)


def test_fresh_restarts_a_corrupt_run(tmp_path: Path) -> None:
    preset = digits_preset(epochs=1)
    train([preset], tmp_path)
    corrupt = run_path(tmp_path, preset) / "run.json"
    corrupt.write_text("{")
    with pytest.raises(RequestError, match=r"run\.json: corrupt .*--fresh"):
        train([preset], tmp_path)
    train([preset], tmp_path, fresh=True)
    assert json.loads(corrupt.read_text())["state"] == "done"


def test_a_fresh_request_archives_all_runs_before_the_first_starts(tmp_path: Path) -> None:
    presets = [
        digits_preset("kd", False, 1, f"seed={seed}", f"data.seed={seed}") for seed in (0, 1)
    ]
    train(presets, tmp_path)
    with pytest.raises(Interrupted):
        train(presets, tmp_path, should_stop=after(1), fresh=True)
    for preset in presets:
        assert run_path(tmp_path, preset).with_name(f"seed{preset.seed}.old1").exists()
    train(presets, tmp_path)
    assert all(len(metrics(run_path(tmp_path, preset))) == 1 for preset in presets)


def test_nothing_is_written_before_all_runs_are_checked(tmp_path: Path) -> None:
    good, bad = digits_preset(), digits_preset("kd", False, 2, "seed=1", "teacher=resnet32")
    with pytest.raises(RequestError, match=r"teacher resnet32 .* is neither in"):
        train([good, bad], tmp_path)
    assert not run_path(tmp_path, good).exists()


def test_running_out_of_memory_is_reported_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    preset = digits_preset()
    monkeypatch.setattr(StudentTrainer, "train_steps", full)
    with pytest.raises(RunError, match=r"out of memory; .*--batch-size"):
        train([preset], tmp_path)
    info = json.loads((run_path(tmp_path, preset) / "run.json").read_text())
    assert info["state"] == "failed"


def test_a_missing_teacher_is_reported_with_remedies(tmp_path: Path) -> None:
    empty = TrainingOptions(tmp_path, tmp_path / "checkpoints", tmp_path / "runs")
    with (
        pytest.raises(RequestError, match=r"'lskd train --preset teacher-digits'"),
        prepare([digits_preset()], empty, CPU, silent),
    ):
        pass
    assert not (tmp_path / "runs" / "kd-digits" / "seed0").exists()


def test_a_kill_after_the_last_epoch_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = digits_preset()

    def killed(*_: object, **__: object) -> None:
        raise SystemError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "update", killed)
        with pytest.raises(SystemError):
            train([preset], tmp_path)
    train([preset], tmp_path)
    folder = run_path(tmp_path, preset)
    assert json.loads((folder / "run.json").read_text())["last"] == metrics(folder)[-1]


def test_a_corrupt_teacher_run_of_another_name_is_ignored(tmp_path: Path) -> None:
    where = training_options(tmp_path)
    broken = where.runs_dir / "teacher-aaa" / "seed0" / "run.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    (where.checkpoints_dir / "resnet20.safetensors").unlink()
    with (
        pytest.raises(RequestError, match="is neither in"),
        prepare([digits_preset()], where, CPU, silent),
    ):
        pass


def test_a_corrupt_state_is_reported_before_the_first_run_starts(tmp_path: Path) -> None:
    first, second = (
        digits_preset("kd", False, 2, f"seed={seed}", f"data.seed={seed}") for seed in (0, 1)
    )
    with pytest.raises(Interrupted):
        train([second], tmp_path, should_stop=after(1))
    (run_path(tmp_path, second) / "resume.pt").write_bytes(b"nonsense")
    with pytest.raises(RequestError, match="corrupt or written by an incompatible version"):
        train([first, second], tmp_path)
    assert not run_path(tmp_path, first).exists()


def test_a_finished_teacher_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_files, "_shortened", lambda *_: None)
    teacher = digits_preset("kd", False, 2, "name=teacher-own", "student=resnet20")
    train([teacher], tmp_path)
    (tmp_path / "checkpoints" / "resnet20.safetensors").unlink()
    where = TrainingOptions(tmp_path, tmp_path / "checkpoints", tmp_path / "runs")
    with prepare([digits_preset("dkd")], where, CPU, silent) as plan:
        (run,) = plan.joint_runs
        assert run.load_teacher is not None
        found = run.load_teacher().checkpoint.path
        assert found == run_path(tmp_path, teacher) / "student.safetensors"


def _grouped(*presets: Preset) -> list[list[Preset]]:
    runs = [PlannedRun(preset) for preset in presets]
    return [[run.preset for run in group] for group in group_joint_runs(runs)]


def test_presets_share_a_joint_run_where_images_teacher_and_length_agree() -> None:
    kd, dkd, longer = digits_preset(), digits_preset("dkd"), digits_preset(epochs=3)
    other_weights = digits_preset("kd", True, 2, "seed=1")
    other_order = digits_preset("kd", True, 2, "data.seed=1")
    groups = _grouped(kd, other_weights, longer, dkd, other_order)
    assert groups == [[kd, other_weights, dkd], [longer], [other_order]]


def test_student_baselines_join_the_joint_run_of_distilled_students() -> None:
    baseline = load_preset("alone-digits", [SMALL_IMAGES]).with_epochs(2)
    kd = digits_preset()
    assert _grouped(baseline, digits_preset(epochs=3), kd)[1:] == [[kd, baseline]]
    assert _grouped(baseline) == [[baseline]]
