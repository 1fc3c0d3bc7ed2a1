"""The recipe ``strong``: mixed images, soft targets, and the moving average of the weights."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from timm.data.mixup import mixup_target
from torch import nn

from lskd_cli.config import load_preset
from lskd_cli.data import Batch, DataShard, InMemoryImages, load_splits
from lskd_cli.data.augment.mixing import Mixer, mix_batch
from lskd_cli.data.loader import create_loader
from lskd_cli.engine.inference.network_evaluation import evaluate_networks
from lskd_cli.engine.inference.trained_network import load_trained_network
from lskd_cli.engine.training.dry_run import dry_run
from lskd_cli.engine.training.joint_step import create_joint_step
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.engine.training.weight_average import WeightAverage
from lskd_cli.errors import Interrupted, RequestError
from lskd_cli.models import Output
from tests.engine.helpers import CPU, after, digest, digits_preset, metrics, run_path, silent, train


# tests/distillers/test_classes.py trains every method on soft targets; these have their own class.
@pytest.mark.parametrize("method", ["kd", "mlkd", "ctkd"])
def test_a_method_of_logits_trains_with_it(method: str) -> None:
    preset = load_preset(f"{method}-digits-strong")
    assert preset.data.is_mixed
    assert preset.published.top1 is None
    for variant in (preset, *([preset.with_stand(True)] if preset.can_standardize else [])):
        assert dry_run(variant, CPU)["train_loss"] > 0


def test_it_changes_every_recipe_and_keeps_the_rest() -> None:
    preset, plain = load_preset("dkd-r32x4-shv2-strong"), load_preset("dkd-r32x4-shv2")
    assert (preset.schedule.name, preset.schedule.epochs) == ("cosine", 600)
    assert preset.optimizer.lr == plain.optimizer.lr == 0.01
    assert preset.method == plain.method
    assert preset.data.mean == plain.data.mean
    assert load_preset("alone-r20-strong").label_smoothing == 0.1
    with pytest.raises(RequestError, match="method crd, which remembers single images"):
        load_preset("crd-r56-r20-strong")


def _mixed(mixup: float, cutmix: float, step: int = 0) -> tuple[Batch, Batch]:
    data = load_preset("kd-r56-r20", [f"data.mixup={mixup}", f"data.cutmix={cutmix}"]).data
    images = torch.rand(6, 3, 32, 32)
    batch = Batch({"weak": images, "strong": -images}, torch.arange(6), torch.arange(6))
    return batch, mix_batch(batch, Mixer(data)(1, step))


def test_mixup_blends_images_and_targets_with_one_weight() -> None:
    for step in range(4):
        batch, mixed = _mixed(1.0, 0.0, step)
        images = batch.views["weak"]
        assert mixed.target_weight is not None
        share = (
            mixed.target_weight
            if torch.equal(mixed.target, batch.target)
            else 1 - mixed.target_weight
        )
        expected = share * images + (1 - share) * images.flip(0)
        torch.testing.assert_close(mixed.views["weak"], expected)
        torch.testing.assert_close(mixed.views["strong"], -expected)
        soft = mixed.soft_target(6, smoothing=0.1)
        timm_target = mixup_target(batch.target, 6, lam=share.item(), smoothing=0.1)
        torch.testing.assert_close(soft, timm_target)


def test_cutmix_pastes_a_box_whose_area_is_the_share() -> None:
    for step in range(4):
        batch, mixed = _mixed(0.0, 1.0, step)
        images, found = batch.views["weak"], mixed.views["weak"]
        own = (found == images).all(dim=1)
        pasted = (found == images.flip(0)).all(dim=1)
        assert bool((own | pasted).all())
        area = own[0].float().mean()
        assert mixed.target_weight is not None
        assert float(torch.maximum(area, 1 - area)) == pytest.approx(
            float(mixed.target_weight), abs=1e-6
        )


def test_steps_differ_and_are_the_same_again() -> None:
    mixer = Mixer(load_preset("kd-r56-r20-strong").data)
    first, again, other = mixer(1, 0), mixer(1, 0), mixer(1, 1)
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.weights, other.weights)
    assert not torch.equal(first.weights, mixer(2, 0).weights)


def test_teacher_and_student_see_the_same_mixed_images(small_digits: None, tmp_path: Path) -> None:
    preset = digits_preset("kd", False, 1, "data.cutmix=1.0")
    splits = load_splits(preset.data, tmp_path, silent)
    loader = create_loader(splits.train, preset.data)
    assert not loader.supports_several_steps
    loader.start_epoch(1, ["weak"], 0)
    seen = []

    class Spy:
        def __call__(self, images: object, views: object) -> dict[str, Output]:
            seen.append(images["weak"])  # type: ignore[index]
            return {"weak": Output(torch.zeros(64, 10))}

    student = StudentTrainer(preset, CPU)
    step = create_joint_step(loader, Spy(), [student])  # type: ignore[arg-type]
    batch, _ = step.shared(loader.batch_spec(0, 1))
    assert batch.other_target is not None
    assert torch.equal(seen[0], batch.views["weak"])


def test_the_cross_entropy_has_soft_targets() -> None:
    preset = digits_preset("kd", False, 1, "label_smoothing=0.2")
    trainer = StudentTrainer(preset, CPU)
    images, target = torch.randn(4, 3, 32, 32), torch.arange(4)
    teacher = {"weak": Output(torch.zeros(4, 10))}
    logits, losses = trainer.module(Batch({"weak": images}, target, target), teacher, trainer.epoch)
    expected = F.cross_entropy(logits, target, label_smoothing=0.2)
    torch.testing.assert_close(losses["ce"], preset.method.ce_weight * expected)


@torch.no_grad()
def test_buffers_that_are_not_saved_may_change_their_shape() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("positions", torch.zeros(1), persistent=False)

    network = Positions()
    average = WeightAverage(network, 0.5, torch.device("cpu"))  # type: ignore[arg-type]
    network.positions = torch.zeros(5)  # as in the first forward pass of timm's ConViT
    before = average.network.layer.weight.clone()
    network.layer.weight += 1
    average.update(network)  # type: ignore[arg-type]
    assert torch.allclose(average.network.layer.weight, before + 9 / 11)


def test_the_average_of_the_weights_is_evaluated_saved_and_resumed(
    small_digits: None, tmp_path: Path
) -> None:
    settings = ("optimizer.ema_decay=0.9", "data.mixup=0.2", "data.cutmix=1.0")
    preset = digits_preset("kd", False, 2, *settings)
    train([preset], tmp_path / "whole")
    with pytest.raises(Interrupted):
        train([preset], tmp_path / "parts", should_stop=after(4))
    train([preset], tmp_path / "parts")
    whole, parts = (run_path(tmp_path / name, preset) for name in ("whole", "parts"))
    for name in ("student.safetensors", "best.safetensors", "ema.safetensors"):
        assert digest(whole / name) == digest(parts / name), name
    assert digest(whole / "student.safetensors") != digest(whole / "ema.safetensors")
    last = metrics(whole)[-1]
    averaged = load_trained_network(whole, None, None, "ema", tmp_path)
    assert averaged.checkpoint.metadata["top1"] == f"{last['ema_test_top1']:.2f}"
    (result,) = evaluate_networks([averaged], None, tmp_path, CPU, silent)
    assert result["loss"] == pytest.approx(last["ema_test_loss"], rel=1e-5)
    plain = digits_preset("kd", False, 1)
    train([plain], tmp_path / "plain")
    with pytest.raises(RequestError, match=r"was trained without optimizer\.ema_decay"):
        load_trained_network(run_path(tmp_path / "plain", plain), None, None, "ema", tmp_path)


@pytest.mark.parametrize(("num_updates", "decay"), [(0, 2 / 11), (100, 0.75)])
def test_the_average_follows_the_decay(num_updates: int, decay: float) -> None:
    trainer = StudentTrainer(digits_preset("kd", False, 1, "optimizer.ema_decay=0.75"), CPU)
    assert trainer.ema is not None
    trainer.ema.num_updates.fill_(num_updates)
    trainer.start_epoch()
    before = [p.detach().clone() for p in trainer.student.parameters()]
    images, target = torch.randn(4, 3, 32, 32), torch.arange(4)
    teacher = {"weak": Output(torch.zeros(4, 10))}
    trainer.train_steps(Batch({"weak": images}, target, target), teacher)
    averaged = trainer.ema.network.parameters()
    for old, new, mean in zip(before, trainer.student.parameters(), averaged, strict=True):
        torch.testing.assert_close(mean, decay * old + (1 - decay) * new)
    statistics = trainer.student.state_dict()["bn1.running_mean"]  # initially 0
    averaged_statistics = trainer.ema.network.state_dict()["bn1.running_mean"]
    torch.testing.assert_close(averaged_statistics, (1 - decay) * statistics)


def test_a_process_with_one_image_cannot_mix_it() -> None:
    data = load_preset("kd-digits-strong", ["data.batch_size=8"]).data
    images = InMemoryImages(torch.zeros(80, 32, 32, 3, dtype=torch.uint8), torch.arange(80) % 10)
    with pytest.raises(RequestError, match="every process needs at least 2 images"):
        create_loader(images, data, DataShard(0, 8, num_workers=1))
