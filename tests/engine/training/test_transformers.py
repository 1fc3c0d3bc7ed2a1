"""Training of transformers: resumption, micro-batches, weight decay, joint runs."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.config import Preset, load_preset
from lskd_cli.data import Batch, InMemoryImages
from lskd_cli.data.sets import digits
from lskd_cli.engine.devices import cuda_graphs
from lskd_cli.engine.devices.cuda_graphs import EagerRunner, GraphRunner
from lskd_cli.engine.inference.evaluation import predict
from lskd_cli.engine.inference.network_evaluation import evaluate_networks
from lskd_cli.engine.inference.trained_network import load_trained_network
from lskd_cli.engine.training import loop
from lskd_cli.engine.training.dry_run import check_networks
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import Interrupted, RequestError
from lskd_cli.models import Output, create_model
from lskd_cli.preprocessing import Preprocessing
from tests.data.augment.test_image_ops import from_pillow
from tests.digits import digits_loader
from tests.engine.fake_graph_recorder import FakeGraphRecorder
from tests.engine.helpers import (
    CPU,
    after,
    digest,
    digits_preset,
    metrics,
    run_path,
    silent,
    train,
)

# Digits instead of CIFAR-100, two by two patches: seconds instead of minutes.
SMALL = (
    "data.name=digits",
    "data.image_size=32",
    "data.limit_train=32",
    "data.batch_size=16",
    "schedule.epochs=2",
    "schedule.warmup_epochs=1",
    "drop_path=0.3",
)


@pytest.fixture(autouse=True)
def _few_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "load", digits_loader(128, 20))


def _preset(name: str, *more: str) -> Preset:
    return load_preset(name, [*SMALL, *more])


def _teacher(root: Path) -> None:
    path = root / "checkpoints" / "resnet56_guide.safetensors"
    torch.manual_seed(0)
    weights = create_model("resnet56_guide", 10).state_dict()
    save_checkpoint(path, weights, {"model": "resnet56_guide", "dataset": "digits", "top1": "50"})


def _weights(root: Path, preset: Preset) -> str:
    return digest(run_path(root, preset) / "student.safetensors")


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (("guidance-r56g-deit-tiny",), 3),
        pytest.param(("kd-r56g-deit-tiny", "guidance-r56g-deit-tiny"), 3, marks=pytest.mark.slow),
        pytest.param(("kd-r56g-t2t-vit-7",), 1, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_ends_as_an_undisturbed_one(
    names: Sequence[str], steps: int, tmp_path: Path
) -> None:
    presets = [_preset(name) for name in names]
    presets = [p.with_stand(True) if p.stand else p for p in presets]
    complete, stopped = tmp_path / "complete", tmp_path / "stopped"
    for root in (complete, stopped):
        _teacher(root)
    train(presets, complete)
    with pytest.raises(Interrupted):
        train(presets, stopped, should_stop=after(steps))
    train(presets, stopped)
    for preset in presets:
        assert _weights(complete, preset) == _weights(stopped, preset)
        first, second = (metrics(run_path(root, preset)) for root in (complete, stopped))
        assert [epoch["train_loss"] for epoch in first] == [epoch["train_loss"] for epoch in second]


def test_stochastic_depth_is_the_same_in_single_and_joint_runs(tmp_path: Path) -> None:
    single, joint = tmp_path / "single", tmp_path / "joint"
    for root in (single, joint):
        _teacher(root)
    preset = _preset("kd-r56g-deit-tiny", "schedule.epochs=1", "schedule.warmup_epochs=0")
    train([preset], single)
    train([preset.with_stand(True), preset], joint)
    assert _weights(single, preset) == _weights(joint, preset)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kd-r56g-deit-tiny", "guidance-r56g-deit-tiny"])
def test_captured_steps_equal_eager_ones(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without dropped paths, whose numbers a recording draws at another place.
    preset = _preset(
        name, "drop_path=0", "optimizer.clip_grad_norm=1", "optimizer.grad_accum_steps=2"
    )
    monkeypatch.setattr(cuda_graphs, "WARMUP_RUNS", 1)
    recorder = FakeGraphRecorder()
    for root, runner in (
        (tmp_path / "eager", EagerRunner(1)),
        (tmp_path / "replayed", GraphRunner(recorder, 8, pytest.fail)),
    ):
        _teacher(root)
        monkeypatch.setattr(loop, "create_runner", lambda *_, runner=runner: runner)
        train([preset], root)
    assert (recorder.captures, recorder.replays) == (1, 3)  # one step before
    assert _weights(tmp_path / "eager", preset) == _weights(tmp_path / "replayed", preset)


def test_images_of_a_dropped_batch_are_not_counted(tmp_path: Path) -> None:
    _teacher(tmp_path)
    preset = _preset("alone-deit-tiny", "data.limit_train=100", "data.batch_size=32")
    train([preset], tmp_path)
    first, *_ = metrics(run_path(tmp_path, preset))
    assert first["images_per_second"] * first["seconds"] == pytest.approx(96)


def _trainer(*more: str) -> StudentTrainer:
    trainer = StudentTrainer(_preset("kd-r56g-deit-tiny", "drop_path=0", *more), CPU)
    trainer.start_epoch()
    return trainer


def _train_step(trainer: StudentTrainer) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, 3, 32, 32, generator=generator)
    teacher = Output(3 * torch.randn(12, 10, generator=generator))
    trainer.learning_rates.set(1e-3)
    batch = Batch({"weak": images}, torch.arange(12) % 10, torch.arange(12))
    trainer.train_steps(batch, {"weak": teacher})
    return [p.grad.clone() for p in trainer.student.parameters() if p.grad is not None]


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_batch_in_parts_gives_the_gradient_and_the_losses_of_the_whole(parts: int) -> None:
    full, split = _trainer(), _trainer(f"optimizer.grad_accum_steps={parts}")
    for one, other in zip(_train_step(full), _train_step(split), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    expected, found = (trainer.meters.means() for trainer in (full, split))
    assert found == pytest.approx(expected, rel=1e-5)


def test_no_micro_batch_of_batch_norms_has_a_single_image() -> None:
    convolutional = StudentTrainer(
        digits_preset("kd", False, 1, "optimizer.grad_accum_steps=16"), CPU, create_model("resnet8")
    )
    for images in range(2, 20):
        sizes = [part.stop - part.start for part, _ in convolutional._micro_batches(images)]
        assert min(sizes) >= 2
        assert (sum(sizes), len(sizes)) == (images, min(16, images // 2))
    assert [part for part, _ in convolutional._micro_batches(1)] == [slice(0, 1)]
    transformer = _trainer("optimizer.grad_accum_steps=16")
    assert len(list(transformer._micro_batches(12))) == 12


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    def norm(gradients: Sequence[torch.Tensor]) -> float:
        return torch.stack([one.norm() for one in gradients]).norm().item()

    free = norm(_train_step(_trainer()))
    assert free > 0.1
    assert norm(_train_step(_trainer("optimizer.clip_grad_norm=0.1"))) == pytest.approx(
        0.1, rel=1e-3
    )


@pytest.mark.parametrize(
    "name", ["deit-tiny", "t2t-vit-7", "pit-tiny", "pvt-tiny", "pvt-v2-b0", "cvt-13"]
)
def test_adamw_decays_matrices_alone(name: str) -> None:
    trainer = StudentTrainer(_preset(f"alone-{name}", "data.image_size=64"), CPU)
    by_id = {id(p): key for key, p in trainer.student.named_parameters()}
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            key = by_id[id(parameter)]
            is_free = parameter.ndim <= 1 or "cls_token" in key or "pos_embed" in key
            assert group["weight_decay"] == (0 if is_free else 0.05), key


def test_adamw_can_be_recorded_also_after_a_resumption() -> None:
    trainer = _trainer()
    _train_step(trainer)
    state = trainer.state_dict()
    for group in state["optimizer"]["param_groups"]:
        assert group["capturable"]
    again = _trainer()
    again.load_state_dict(state)
    assert all(group["capturable"] for group in again.optimizer.param_groups)
    rate = again.learning_rates.rates[1.0]
    assert all(group["lr"] is rate for group in again.optimizer.param_groups)


def test_parameters_that_are_fixed_stay_as_they_are() -> None:
    trainer = StudentTrainer(_preset("alone-t2t-vit-7"), CPU)
    fixed = {k: p.clone() for k, p in trainer.student.named_parameters() if not p.requires_grad}
    assert set(fixed) == {
        "pos_embed",
        "t2t_module.attention.0.attn.w",
        "t2t_module.attention.1.attn.w",
    }
    trainer.start_epoch()
    _train_step(trainer)
    for key, before in fixed.items():
        assert torch.equal(trainer.student.get_parameter(key), before)


def test_test_images_are_enlarged_as_pillow_does() -> None:
    preset = load_preset("alone-deit-tiny", ["data.image_size=64"])
    network = create_model("deit_tiny", 10, 64).eval()
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    large = torch.stack([_enlarged(image, 64) for image in images]).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preset.data.mean, preset.data.std))
    with torch.no_grad():
        expected = network((large - mean) / std)
    targets = torch.zeros(3, dtype=torch.int64)
    output, _ = predict(
        network, InMemoryImages(images, targets), Preprocessing.of_data(preset.data)
    )
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-3)


def _enlarged(image: torch.Tensor, size: int) -> torch.Tensor:
    large = Image.fromarray(image.numpy()).resize((size, size), Image.Resampling.BILINEAR)
    return from_pillow(large)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("kd-r56g-deit-tiny", "data.image_size=217", "nearest: 224"),
        (
            "kd-r56g-deit-tiny",
            "student=resnet20",
            "resnet20 supports images of at most 64 pixels, not 224",
        ),
        ("kd-r56-r20", "drop_path=0.1", "drop_path: resnet20 does not support it"),
        (
            "guidance-r56g-deit-tiny",
            "method.student_layers=[0, 1, 99]",
            "must be between 0 and 11, not 99",
        ),
    ],
)
def test_networks_that_do_not_fit_their_preset_are_refused(
    name: str, override: str, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        check_networks([load_preset(name, [override])])
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"preset {name}: ")
    assert "\n" not in str(caught.value)


def test_a_saved_transformer_is_read_under_its_published_names(tmp_path: Path) -> None:
    _teacher(tmp_path)
    preset = _preset("alone-deit-tiny", "schedule.epochs=1", "schedule.warmup_epochs=0")
    train([preset], tmp_path)
    saved = load_checkpoint(run_path(tmp_path, preset) / "student.safetensors")
    assert "layers.0.attn.qkv_transform.weight" in saved.weights
    network = saved.load_network("deit_tiny", 10, 32)
    assert network.image_size == 32
    with pytest.raises(RequestError, match=r"pos_embed is \(1, 5, 192\), expected \(1, 197, 192\)"):
        saved.load_network("deit_tiny", 10)


def test_eval_finds_the_accuracy_of_the_run_again_and_its_teacher_at_its_own_size(
    tmp_path: Path,
) -> None:
    _teacher(tmp_path)
    preset = _preset("kd-r56g-deit-tiny", "data.image_size=48", "schedule.epochs=2")
    train([preset], tmp_path)
    student = load_trained_network(
        run_path(tmp_path, preset), None, None, weights="last", data_dir=tmp_path
    )
    weights = tmp_path / "checkpoints" / "resnet56_guide.safetensors"
    teacher = load_trained_network(weights, None, None, "last", tmp_path)
    [result] = evaluate_networks([student], teacher, tmp_path, CPU, silent)
    last = metrics(run_path(tmp_path, preset))[-1]
    assert result["top1"] == last["test_top1"]
    assert 0 <= float(str(result["agreement"])) <= 100
