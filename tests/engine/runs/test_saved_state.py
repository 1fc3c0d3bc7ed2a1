"""The saved state of a run: a corrupt one is refused, and a good one is never lost."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lskd_cli.distillers import StepInputs
from lskd_cli.distillers.kd import KD
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.errors import Interrupted, RequestError, RunError
from tests.digits import few_digits
from tests.engine.helpers import (
    after,
    digest,
    digits_preset,
    metrics,
    run_path,
    train,
    training_options,
)

pytestmark = pytest.mark.usefixtures("small_digits")
PRESET = digits_preset(epochs=3)


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run that was stopped in its second epoch; read only."""
    root = tmp_path_factory.mktemp("interrupted")
    with few_digits(), pytest.raises(Interrupted):
        train([PRESET], root, should_stop=after(5))
    return root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the same run without interruptions; read only."""
    root = tmp_path_factory.mktemp("undisturbed")
    with few_digits():
        train([PRESET], root)
    return root


@pytest.fixture
def interrupted(interrupted_once: Path, tmp_path: Path) -> Path:
    """The folder of a run in ``tmp_path`` that was stopped in its second epoch."""
    shutil.copytree(interrupted_once, tmp_path, dirs_exist_ok=True)
    folder = run_path(tmp_path, PRESET)
    assert json.loads((folder / "run.json").read_text())["last"]["epoch"] == 1
    return folder


def _refusal(root: Path) -> str:
    """The message with which a training is refused."""
    with pytest.raises(RequestError) as caught:
        train([PRESET], root)
    return str(caught.value)


def test_flipped_bits_are_found_or_have_no_effect(tmp_path: Path, interrupted: Path) -> None:
    folder = interrupted
    file = folder / "resume.pt"
    content = file.read_bytes()
    expected = torch.load(file, weights_only=True)
    found = 0
    for number in range(60):
        flipped = bytearray(content)
        flipped[number * (len(content) - 1) // 59] ^= 1 << number % 8
        file.write_bytes(flipped)
        try:
            state = _load(folder)
        except RequestError:
            found += 1
        else:
            for part in ("student", "distiller"):
                for name, tensor in state[part].items():
                    assert torch.equal(tensor, expected[part][name])
            assert state["history"] == expected["history"]
    assert found > 40


def _load(folder: Path) -> dict[str, dict[str, Tensor]]:
    state = RunFolder(folder).load_state()
    assert state is not None
    return state


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"student": {}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"position": ("second", "third")},
        {"history": []},
        {"meters": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_state_of_another_structure_is_refused(
    tmp_path: Path, interrupted: Path, change: dict[str, object]
) -> None:
    file = interrupted / "resume.pt"
    torch.save(torch.load(file, weights_only=True) | change, file)
    message = f"{file}: corrupt or written by an incompatible version; --fresh restarts the run"
    assert _refusal(tmp_path).startswith(message)
    assert "\n" not in _refusal(tmp_path)


def test_weights_that_are_not_finite_are_not_resumed(tmp_path: Path, interrupted: Path) -> None:
    file = interrupted / "resume.pt"
    state = torch.load(file, weights_only=True)
    state["student"]["fc.bias"].fill_(torch.nan)
    torch.save(state, file)
    assert _refusal(tmp_path).startswith(f"{file}: corrupt or written by an incompatible version")


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("run.json", "contains student.safetensors, but no run.json"),
        ("resume.pt", "contains student.safetensors, but no resume.pt"),
        ("preset.yaml", "contains run.json, but no preset.yaml"),
    ],
)
def test_a_run_that_lacks_a_file_is_not_trained_over(
    tmp_path: Path, interrupted: Path, removed: str, message: str
) -> None:
    folder = interrupted
    (folder / removed).unlink()
    before = digest(folder / "student.safetensors")
    refusal = _refusal(tmp_path)
    assert message in refusal
    assert "\n" not in refusal
    assert digest(folder / "student.safetensors") == before
    train([PRESET], tmp_path, fresh=True)
    assert digest(folder.with_name("seed0.old1") / "student.safetensors") == before


def test_a_kill_before_the_first_state_does_not_prevent_a_restart(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train([PRESET], tmp_path, should_stop=after(2))
    folder = run_path(tmp_path, PRESET)
    (folder / "resume.pt").unlink()
    (folder / "student.safetensors").write_bytes(b"written before the kill")
    train([PRESET], tmp_path)
    assert json.loads((folder / "run.json").read_text())["state"] == "done"


@pytest.mark.parametrize("last_file", ["student.safetensors", "metrics.jsonl", "resume.pt"])
@pytest.mark.parametrize("epoch", [2, 3])
def test_a_kill_between_the_files_of_an_epoch_loses_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, last_file: str, epoch: int
) -> None:
    """The state is written last: until then, the epoch counts as not trained."""
    training_options(tmp_path / "killed")
    rename = Path.replace

    def killed(source: Path, target: Path) -> Path:
        nonlocal epoch
        if Path(target).name == last_file:
            epoch -= 1
            if epoch == 0:
                raise SystemError  # stands for a kill
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(SystemError):
            train([PRESET], tmp_path / "killed")
    train([PRESET], tmp_path / "killed")
    for name in ("student.safetensors", "best.safetensors"):
        digests = [
            digest(run_path(root, PRESET) / name) for root in (undisturbed, tmp_path / "killed")
        ]
        assert digests[0] == digests[1], name
    folder = run_path(tmp_path / "killed", PRESET)
    assert json.loads((folder / "run.json").read_text())["last"]["epoch"] == 3
    assert [epoch["epoch"] for epoch in metrics(folder)] == [1, 2, 3]


def test_a_kill_before_the_run_is_marked_as_done_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = RunFolder.update

    def killed(folder: RunFolder, **changes: object) -> None:
        if changes.get("state") == "done":
            raise SystemError  # stands for a kill
        update(folder, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "update", killed)
        with pytest.raises(SystemError):
            train([PRESET], tmp_path)
    train([PRESET], tmp_path)
    assert json.loads((run_path(tmp_path, PRESET) / "run.json").read_text())["state"] == "done"


def test_a_gradient_that_is_not_finite_does_not_replace_the_last_good_state(
    tmp_path: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted
    good = digest(folder / "resume.pt")
    losses = KD.losses

    def with_bad_gradient(self: KD, inputs: StepInputs) -> dict[str, Tensor]:
        terms = losses(self, inputs)
        # The square root has an infinite derivative at 0: the loss is 0, its gradient NaN.
        return terms | {"bad": (0 * inputs.student["weak"].logits).sum().abs().sqrt()}

    monkeypatch.setattr(KD, "losses", with_bad_gradient)
    with pytest.raises(RunError, match=r"conv1\.weight not finite after epoch 2, step \d+"):
        train([PRESET], tmp_path, should_stop=after(1))
    assert digest(folder / "resume.pt") == good
    monkeypatch.undo()
    train([PRESET], tmp_path)
    assert json.loads((folder / "run.json").read_text())["state"] == "done"


def test_a_refused_request_leaves_no_files(tmp_path: Path) -> None:
    preset = digits_preset("kd", False, 2, "data.limit_train=3")
    with pytest.raises(RequestError):
        train([preset], tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_finished_run_leaves_no_lock(tmp_path: Path) -> None:
    train([digits_preset(epochs=1)], tmp_path)
    assert [path.name for path in (tmp_path / "runs").rglob(".*")] == []
