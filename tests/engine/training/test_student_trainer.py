"""One student in training: which images its networks see, and which random numbers it draws."""

import pytest
import torch

from lskd_cli.config import load_preset
from lskd_cli.data import Batch
from lskd_cli.distillers.mlkd import mlkd_losses
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.models import Output, create_model
from tests.engine.helpers import CPU, digits_preset


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_step_passes_every_view_to_its_place() -> None:
    trainer = StudentTrainer(digits_preset("mlkd"), CPU)
    views = {"weak": _random(6, 3, 16, 16, seed=0), "strong": _random(6, 3, 16, 16, seed=1)}
    views["strong"] = views["strong"] * 2 + 1
    target = torch.arange(6)
    teacher = {view: Output(_random(6, 10, seed=2 + s)) for s, view in enumerate(views)}
    trainer.module.eval()  # running statistics: the logits of a view do not depend on the other
    with torch.no_grad():
        logits, losses = trainer.module(
            Batch(views, target, torch.arange(6)), teacher, torch.ones(())
        )
        weak, strong = (trainer.student(views[view]) for view in ("weak", "strong"))
    assert not torch.allclose(weak, strong, atol=1e-2)
    torch.testing.assert_close(logits, weak)
    method = trainer.preset.method
    expected = mlkd_losses(
        weak,
        strong,
        teacher["weak"].logits,
        teacher["strong"].logits,
        target,
        method.temperature,
        method.ce_weight,
        method.kd_weight,
    )
    assert list(losses) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_mixed_images_and_label_smoothing_reach_the_cross_entropy() -> None:
    trainer = StudentTrainer(
        digits_preset("kd", False, 1, "label_smoothing=0.1", "data.mixup=0.2"), CPU
    )
    target, other = torch.arange(6), torch.arange(6) + 3
    views = {"weak": _random(6, 3, 16, 16, seed=0)}
    batch = Batch(
        views, target, torch.arange(6), other_target=other, target_weight=torch.tensor(0.7)
    )
    trainer.module.eval()
    with torch.no_grad():
        logits, losses = trainer.module(
            batch, {"weak": Output(_random(6, 10, seed=2))}, torch.ones(())
        )
    one_hot = torch.eye(10)
    soft = 0.9 * (0.7 * one_hot[target] + 0.3 * one_hot[other]) + 0.01
    expected = 0.1 * -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(losses["ce"], expected)


def test_clipping_bounds_the_gradients_of_student_and_method_together() -> None:
    preset = digits_preset("fitnet", False, 1, "optimizer.clip_grad_norm=0.1")
    trainer = StudentTrainer(preset, CPU, create_model("resnet20", 10, 16), torch.arange(20) % 10)
    trainer.start_epoch()
    images = _random(6, 3, 16, 16, seed=0)
    teacher = create_model("resnet20", 10, 16).eval()
    teacher.enable_features()
    with torch.no_grad():
        outputs = {"weak": teacher.forward_features(images)}
    trainer.train_steps(Batch({"weak": images}, torch.arange(6), torch.arange(6)), outputs)
    norms = [
        torch.stack([p.grad.norm() for p in part.parameters() if p.grad is not None]).norm()
        for part in (trainer.module, trainer.student, trainer.distiller)
    ]
    assert norms[0].item() == pytest.approx(0.1, rel=1e-3)
    assert min(norms[1:]) > 1e-3


def test_the_average_has_averaged_statistics_of_batch_norms() -> None:
    trainer = StudentTrainer(digits_preset("kd", False, 1, "optimizer.ema_decay=0.5"), CPU)
    trainer.start_epoch()
    images = _random(6, 3, 16, 16, seed=0) + 3
    batch = Batch({"weak": images}, torch.arange(6), torch.arange(6))
    trainer.train_steps(batch, {"weak": Output(_random(6, 10, seed=2))})
    assert trainer.ema is not None
    own = dict(trainer.student.named_buffers())
    decay = 2 / 11  # after one update
    for name, average in trainer.ema.network.named_buffers():
        if name.endswith("running_mean"):
            torch.testing.assert_close(average, (1 - decay) * own[name])  # from 0
        elif name.endswith("num_batches_tracked"):
            assert average == own[name] == 1


class TestStochasticDepth:
    """The numbers that a step draws are determined by run and position alone."""

    @staticmethod
    def _drawn(seed: int = 0, epoch: int = 1, first_step: int = 0) -> list[float]:
        """First random number of each of two steps."""
        preset = load_preset("kd-digits", [f"seed={seed}", "data.batch_size=4"])
        trainer = StudentTrainer(preset, CPU)
        trainer.position = (epoch, first_step)
        torch.manual_seed(12345)  # whatever was drawn before has no effect
        index = torch.arange(8)
        batch = Batch({"weak": _random(8, 3, 16, 16, seed=0)}, index, index)
        return [torch.rand(()).item() for _ in trainer._steps(batch, {})]

    def test_they_are_those_of_the_seed_the_epoch_and_the_step(self) -> None:
        first, second = self._drawn()
        assert first != second
        assert self._drawn() == [first, second]
        assert self._drawn(first_step=1)[0] == second
        others = [
            self._drawn(seed=1),
            self._drawn(epoch=2),
            self._drawn(first_step=2),
        ]
        numbers = [first, second, *(number for drawn in others for number in drawn)]
        assert len(set(numbers)) == len(numbers)
