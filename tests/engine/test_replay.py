"""Recorded steps: what a graph would do is what Python does, and nothing is read in between."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lskd_cli.config import Preset
from lskd_cli.data import Draws
from lskd_cli.engine import loop
from lskd_cli.engine.compiled import Notify
from lskd_cli.engine.device import Compute
from lskd_cli.engine.loop import Listener
from lskd_cli.engine.replay import Eager, Execution, Replayed
from tests.engine.helpers import CPU, after, digest, digits_preset, metrics, run_path, train
from tests.engine.tape import Tape

pytestmark = pytest.mark.usefixtures("small_digits")
EPOCHS = 6  # three of them run before the recording


def _use(monkeypatch: pytest.MonkeyPatch, make: Callable[[Notify], Execution]) -> None:
    def execution(compute: Compute, notify: Notify) -> Execution:
        return make(notify)

    monkeypatch.setattr(loop, "execution", execution)


def _students(root: Path, presets: list[Preset]) -> list[str]:
    return [digest(run_path(root, preset) / "student.safetensors") for preset in presets]


@pytest.mark.parametrize(
    ("methods", "precision"),
    [
        (methods, precision)
        for methods in (("kd", "dkd"), ("mlkd",), ("ctkd", "ctkd+stand"))
        for precision in ("fp32", "bf16")
    ]
    + [
        (("fitnet", "at", "ofd", "rkd"), "bf16"),
        pytest.param(("nst", "pkt", "vid", "sp"), "bf16", marks=pytest.mark.slow),
    ],
)
def test_replayed_steps_give_the_weights_and_metrics_of_eager_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: tuple[str, ...], precision: str
) -> None:
    compute = Compute(torch.device("cpu"), precision)  # type: ignore[arg-type]
    presets = [
        # Weight, lambda and learning rate change while the recording does not.
        digits_preset(m.removesuffix("+stand"), m.endswith("+stand"), EPOCHS)
        for m in methods
    ]
    tape = Tape()
    _use(monkeypatch, lambda notify: Eager(ahead=2))
    train(presets, tmp_path / "eager", compute=compute)
    _use(monkeypatch, lambda notify: Replayed(tape, 2, pytest.fail))
    train(presets, tmp_path / "replayed", compute=compute)
    assert (tape.recorded, tape.replayed) == (2, 2 * 3)  # two whole steps, and the partial one
    assert _students(tmp_path / "replayed", presets) == _students(tmp_path / "eager", presets)
    for preset in presets:
        eager, replayed = (metrics(run_path(tmp_path / r, preset)) for r in ("eager", "replayed"))
        for one, other in zip(eager, replayed, strict=True):
            assert {k: v for k, v in one.items() if "second" not in k} == {
                k: v for k, v in other.items() if "second" not in k
            }


# crd draws other images than eager steps do; reviewkd's convolutions round otherwise in the memory
# of this recorder.
@pytest.mark.parametrize("method", ["crd", "kdsvd", "reviewkd"])
def test_steps_of_other_methods_read_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    preset = digits_preset(method, False, EPOCHS)
    tape = Tape()
    _use(monkeypatch, lambda notify: Replayed(tape, 2, pytest.fail))
    train([preset], tmp_path)
    assert (tape.recorded, tape.replayed) == (2, 2 * 3)


def test_arms_that_join_later_are_recorded_with_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, stand = digits_preset(epochs=EPOCHS), digits_preset(stand=True, epochs=EPOCHS)
    train([plain, stand], tmp_path / "undisturbed")
    _use(monkeypatch, lambda notify: Replayed(Tape(), 1, pytest.fail))
    with pytest.raises(Exception, match="stopped at epoch 5"):
        train([plain], tmp_path / "apart", stopping=after(13))
    train([plain, stand], tmp_path / "apart")
    undisturbed = _students(tmp_path / "undisturbed", [plain, stand])
    assert _students(tmp_path / "apart", [plain, stand]) == undisturbed


def test_where_nothing_can_be_recorded_training_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(Tape):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    class Hears(Listener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def notice(self, message: str) -> None:
            self.heard.append(message)

    preset, hears = digits_preset(epochs=EPOCHS), Hears()
    train([preset], tmp_path / "eager")
    _use(monkeypatch, lambda notify: Replayed(Refuses(), 1, notify))
    train([preset], tmp_path / "refused", hears)
    assert hears.heard == [
        "--graphs: not possible here, training goes on without: "
        "operation not permitted when stream is capturing"
    ]
    assert _students(tmp_path / "refused", [preset]) == _students(tmp_path / "eager", [preset])


def test_memory_that_ends_while_recording_is_not_taken_for_a_refusal() -> None:
    class Full(Tape):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def nothing(draws: Draws) -> None:
        pass

    replayed = Replayed(Full(), 1, pytest.fail)
    for _ in range(3):
        replayed("key", nothing, {"index": torch.zeros(1)})
    with pytest.raises(torch.OutOfMemoryError):
        replayed("key", nothing, {"index": torch.zeros(1)})


def test_a_recording_reads_its_inputs_anew() -> None:
    total = torch.zeros(())

    def add(draws: Draws) -> None:
        total.add_(draws["value"].sum())

    replayed = Replayed(Tape(), 1, pytest.fail)
    for value in range(8):
        replayed("key", add, {"value": torch.full((3,), float(value))})
    assert total.item() == 3 * sum(range(8))


@pytest.mark.parametrize(
    "read",
    [
        lambda draws: draws["value"].sum().item(),
        lambda draws: draws["value"].nonzero(),
        lambda draws: draws["value"] + torch.tensor([1.0]),
    ],
)
def test_the_recorder_of_these_tests_refuses_what_a_device_would_wait_for(
    read: Callable[[Draws], object],
) -> None:
    heard: list[str] = []
    replayed = Replayed(Tape(), 1, heard.append)
    for _ in range(5):
        replayed("key", read, {"value": torch.ones(3)})  # type: ignore[arg-type]
    assert len(heard) == 1
    assert "not permitted" in heard[0]


def test_several_batches_ahead_give_what_one_at_a_time_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = digits_preset("mlkd", True, 3)
    train([preset], tmp_path / "one", compute=CPU)
    _use(monkeypatch, lambda notify: Eager(ahead=4))
    train([preset], tmp_path / "ahead", compute=CPU)
    one, ahead = (metrics(run_path(tmp_path / root, preset)) for root in ("one", "ahead"))
    for early, late in zip(one, ahead, strict=True):
        assert late["train_loss"] == pytest.approx(early["train_loss"], rel=1e-4)
