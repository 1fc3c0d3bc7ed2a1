"""Captured steps: a replay computes what Python computes, and reads nothing from the device."""

from collections.abc import Callable, Hashable
from pathlib import Path

import pytest
import torch

from lskd_cli.config import Preset, builtin_methods, load_preset
from lskd_cli.data import BatchSpec
from lskd_cli.engine.devices import cuda_graphs
from lskd_cli.engine.devices.cuda_graphs import EagerRunner, GraphRunner, JointStep, StepRunner
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.training import loop
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.models import create_model
from tests.digits import few_digits
from tests.engine.fake_graph_recorder import FakeGraphRecorder
from tests.engine.helpers import CPU, Hears, after, digest, digits_preset, metrics, run_path, train

pytestmark = pytest.mark.usefixtures("tiny_digits")
EPOCHS = 4  # one of them runs before the capture
STEPS = ("data.batch_size=16",)  # of 16, 16 and 8 images


def _use(monkeypatch: pytest.MonkeyPatch, create: Callable[[Warn], StepRunner]) -> None:
    """Train with another runner, which captures after one step instead of three."""

    def create_runner(runtime: Runtime, warn: Warn) -> StepRunner:
        return create(warn)

    monkeypatch.setattr(loop, "create_runner", create_runner)
    monkeypatch.setattr(cuda_graphs, "WARMUP_RUNS", 1)


@pytest.fixture(scope="module")
def eager_kd(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Digest of the student of an undisturbed eager kd run."""
    root = tmp_path_factory.mktemp("eager")
    with few_digits(40, 20):
        train([KD], root)
    return _students(root, [KD])


KD = digits_preset("kd", False, EPOCHS, *STEPS)


def _students(root: Path, presets: list[Preset]) -> list[str]:
    return [digest(run_path(root, preset) / "student.safetensors") for preset in presets]


@pytest.mark.parametrize(
    ("methods", "precision"),
    [
        (("kd", "dkd", "mlkd", "ctkd+stand"), "fp32"),
        pytest.param(
            ("skd", "sdd_kd", "wkd+stand", "wkd_f", "simkd"), "fp32", marks=pytest.mark.slow
        ),
        pytest.param(("kd",), "bf16", marks=pytest.mark.slow),
        pytest.param(("fitnet", "at", "ofd", "rkd"), "bf16", marks=pytest.mark.slow),
        pytest.param(("nst", "pkt", "vid", "sp"), "bf16", marks=pytest.mark.slow),
    ],
)
def test_replayed_steps_give_the_weights_and_metrics_of_eager_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: tuple[str, ...], precision: str
) -> None:
    runtime = Runtime(torch.device("cpu"), precision)  # type: ignore[arg-type]
    presets = [
        # Weight, lambda and learning rate change while the recording does not.
        digits_preset(m.removesuffix("+stand"), m.endswith("+stand"), EPOCHS, *STEPS)
        for m in methods
    ]
    recorder = FakeGraphRecorder()
    _use(monkeypatch, lambda warn: EagerRunner(2))
    train(presets, tmp_path / "eager", runtime=runtime)
    _use(monkeypatch, lambda warn: GraphRunner(recorder, 2, pytest.fail))
    train(presets, tmp_path / "replayed", runtime=runtime)
    assert (recorder.captures, recorder.replays) == (
        2,
        2 * 3,
    )  # two full steps, and the partial one
    assert _students(tmp_path / "replayed", presets) == _students(tmp_path / "eager", presets)
    for preset in presets:
        eager, replayed = (metrics(run_path(tmp_path / r, preset)) for r in ("eager", "replayed"))
        for one, other in zip(eager, replayed, strict=True):
            assert {k: v for k, v in one.items() if "second" not in k} == {
                k: v for k, v in other.items() if "second" not in k
            }


@pytest.mark.parametrize("name", ["sgd", "dot"])
def test_mixed_images_and_averaged_weights_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = ("data.mixup=0.2", "data.cutmix=1.0", "label_smoothing=0.1")
    optimizer = ("optimizer.ema_decay=0.9", "optimizer.backbone_lr_scale=0.5")
    optimizer += (f"optimizer.name={name}", "optimizer.clip_grad_norm=2")
    preset = digits_preset("dkd", False, EPOCHS, *STEPS, *settings, *optimizer)
    recorder = FakeGraphRecorder()
    _use(monkeypatch, lambda warn: EagerRunner(1))
    train([preset], tmp_path / "eager")
    _use(monkeypatch, lambda warn: GraphRunner(recorder, 1, pytest.fail))
    train([preset], tmp_path / "replayed")
    assert recorder.replays > 6
    for name in ("student.safetensors", "ema.safetensors"):
        eager, replayed = (
            digest(run_path(tmp_path / root, preset) / name) for root in ("eager", "replayed")
        )
        assert eager == replayed, name


# crd draws other images than eager steps do; reviewkd's convolutions round otherwise in the memory
# of this recorder. kdsvd is not captured.
@pytest.mark.parametrize(
    "method",
    [
        name if name == "crd" else pytest.param(name, marks=pytest.mark.slow)
        for name in builtin_methods()
        if name not in ("none", "kdsvd")
    ],
)
def test_steps_of_other_methods_read_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    preset = digits_preset(method, False, EPOCHS, *STEPS)
    recorder = FakeGraphRecorder()
    _use(monkeypatch, lambda warn: GraphRunner(recorder, 2, pytest.fail))
    train([preset], tmp_path)
    assert (recorder.captures, recorder.replays) == (2, 2 * 3)


def test_students_that_join_later_are_captured_together_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, stand = KD, digits_preset("kd", True, EPOCHS, *STEPS)
    train([plain, stand], tmp_path / "undisturbed")
    recorder = FakeGraphRecorder()
    _use(monkeypatch, lambda warn: GraphRunner(recorder, 1, pytest.fail))
    with pytest.raises(Exception, match="stopped at epoch 2"):
        train([plain], tmp_path / "apart", should_stop=after(4))
    assert recorder.captures == 1
    train([plain, stand], tmp_path / "apart")
    # Full and partial steps of the late student alone, and those of both together.
    assert recorder.captures == 1 + 1 + 2
    undisturbed = _students(tmp_path / "undisturbed", [plain, stand])
    assert _students(tmp_path / "apart", [plain, stand]) == undisturbed


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        (
            "operation not permitted when stream is capturing\nmore",
            "operation not permitted when stream is capturing",
        ),
        ("", "RuntimeError"),
    ],
)
def test_a_failed_capture_is_reported_once_and_training_continues_eagerly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eager_kd: list[str],
    message: str,
    reported: str,
) -> None:
    class Refuses(FakeGraphRecorder):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError(message)

    hears = Hears()
    _use(monkeypatch, lambda warn: GraphRunner(Refuses(), 1, warn))
    train([KD], tmp_path / "refused", hears)
    assert hears.heard == [f"--graphs: failed; falling back to eager execution: {reported}"]
    assert _students(tmp_path / "refused", [KD]) == eager_kd


def _spec(value: float) -> BatchSpec:
    return BatchSpec(torch.full((3,), value), {})


def _step(*branches: Callable[[torch.Tensor], object]) -> JointStep:
    return JointStep("key", lambda spec: (spec.index,), branches)  # type: ignore[arg-type]


@pytest.mark.parametrize("in_branch", [False, True])
def test_running_out_of_memory_during_a_capture_is_not_a_failed_capture(in_branch: bool) -> None:
    class Full(FakeGraphRecorder):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                if in_branch:  # its stream is not joined, which is another error
                    raise RuntimeError("capture was not joined to the original stream")

    runner = GraphRunner(Full(), 1, pytest.fail)
    for _ in range(3):
        runner.run(_step(), _spec(0.0))
    with pytest.raises(torch.OutOfMemoryError):
        runner.run(_step(), _spec(0.0))


def test_a_replay_reads_new_inputs() -> None:
    total = torch.zeros(())

    def add(index: torch.Tensor) -> None:
        total.add_(index.sum())

    runner = GraphRunner(FakeGraphRecorder(), 1, pytest.fail)
    for value in range(8):
        runner.run(_step(add), _spec(float(value)))
    assert total.item() == 3 * sum(range(8))


@pytest.mark.parametrize(
    "read",
    [
        lambda index: index.sum().item(),
        lambda index: index.nonzero(),
        lambda index: index + torch.tensor([1.0]),
        lambda index: index[index > 0],
        lambda index: index.masked_fill_(index > 0, index.sum()),
    ],
)
def test_the_fake_recorder_refuses_operations_that_synchronize_a_device(
    read: Callable[[torch.Tensor], object],
) -> None:
    heard: list[str] = []
    runner = GraphRunner(FakeGraphRecorder(), 1, heard.append)
    for _ in range(5):
        runner.run(_step(read), _spec(1.0))
    assert len(heard) == 1
    assert "not permitted" in heard[0]


class _Errs(FakeGraphRecorder):
    """Replays another number of times than it should."""

    def __init__(self, replays: int) -> None:
        super().__init__()
        self.replays_per_step = replays

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        replay = super().capture(function)

        def replay_wrongly() -> None:
            for _ in range(self.replays_per_step):
                replay()

        return replay_wrongly


@pytest.mark.parametrize("replays", [0, 2])
def test_a_recorder_that_errs_is_found_and_training_continues_eagerly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager_kd: list[str], replays: int
) -> None:
    heard: list[str] = []
    recorder = _Errs(replays)
    _use(monkeypatch, lambda warn: GraphRunner(recorder, 1, heard.append))
    train([KD], tmp_path)
    assert len(heard) == 1
    assert heard[0].startswith("--graphs: disabled: captured steps differ from eager ones: ")
    assert recorder.captures == 1
    assert _students(tmp_path, [KD]) == eager_kd


def test_a_replay_of_old_images_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager_kd: list[str]
) -> None:
    def replay(runner: GraphRunner, key: Hashable, spec: BatchSpec, seed: int) -> None:
        runner.graphs[key][1]()  # on the images of the capture

    def capture(
        runner: GraphRunner, key: Hashable, spec: BatchSpec, run: Callable[[BatchSpec], None]
    ) -> bool:
        old = spec.map(lambda tensor: tensor.roll(1, 0) if tensor.ndim else tensor.clone())
        old.index.fill_(3)
        return original(runner, key, old, run)

    original = GraphRunner._capture
    monkeypatch.setattr(GraphRunner, "_replay", replay)
    monkeypatch.setattr(GraphRunner, "_capture", capture)
    heard: list[str] = []
    _use(monkeypatch, lambda warn: GraphRunner(FakeGraphRecorder(), 1, heard.append))
    train([KD], tmp_path)
    assert len(heard) == 1
    assert "captured steps differ from eager ones: parameters differ by" in heard[0]
    assert _students(tmp_path, [KD]) == eager_kd


def test_the_cause_of_a_failed_capture_is_reported() -> None:
    class Fails(FakeGraphRecorder):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            try:
                raise RuntimeError("operation not permitted: aten::item")
            finally:
                raise RuntimeError("capture_end failed")

    heard: list[str] = []
    runner = GraphRunner(Fails(), 1, heard.append)
    for _ in range(5):
        runner.run(_step(), _spec(0.0))
    assert heard == [
        "--graphs: failed; falling back to eager execution: operation not permitted: aten::item"
    ]


@pytest.mark.parametrize(
    ("preset", "is_stochastic"),
    [("kd-digits", False), ("crd-digits", True), ("alone-deit-tiny", True)],
)
def test_steps_that_draw_random_numbers_are_not_compared(preset: str, is_stochastic: bool) -> None:
    teacher, targets = create_model("resnet20", 10), torch.arange(20) % 10
    student = StudentTrainer(load_preset(preset), CPU, teacher, targets)
    assert student.is_stochastic == is_stochastic


def test_several_steps_per_launch_give_the_losses_of_single_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = digits_preset("mlkd", True, 3, *STEPS)
    train([preset], tmp_path / "one", runtime=CPU)
    _use(monkeypatch, lambda warn: EagerRunner(4))
    train([preset], tmp_path / "several", runtime=CPU)
    one, several = (metrics(run_path(tmp_path / root, preset)) for root in ("one", "several"))
    for early, late in zip(one, several, strict=True):
        assert late["train_loss"] == pytest.approx(early["train_loss"], rel=1e-4)
