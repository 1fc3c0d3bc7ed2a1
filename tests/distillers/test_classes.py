"""The module of every method returns what its loss function returns, with the preset's weights.

All inputs differ from each other, so that no two arguments can be exchanged: networks, views,
hyper-parameters, and the target of the cross entropy where it is a distribution.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import Preset, load_preset
from lskd_cli.distillers import Distiller, StepInputs, create_distiller
from lskd_cli.distillers.abkd import abkd_loss
from lskd_cli.distillers.at import at_loss
from lskd_cli.distillers.crd import CRD
from lskd_cli.distillers.crld import crld_losses
from lskd_cli.distillers.ctkd import curriculum
from lskd_cli.distillers.dist import dist_loss
from lskd_cli.distillers.dkd import dkd_loss
from lskd_cli.distillers.features import l2_normalize
from lskd_cli.distillers.fitnet import FitNet
from lskd_cli.distillers.guidance import guidance_loss
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.kdsvd import kdsvd_loss
from lskd_cli.distillers.ldrld import ldrld_loss
from lskd_cli.distillers.luminet import luminet_loss
from lskd_cli.distillers.mlkd import mlkd_losses
from lskd_cli.distillers.nkd import nkd_loss
from lskd_cli.distillers.normkd import normkd_loss
from lskd_cli.distillers.nst import nst_loss
from lskd_cli.distillers.ofd import OFD, ofd_loss
from lskd_cli.distillers.pkt import pkt_loss
from lskd_cli.distillers.reviewkd import ReviewKD, hcl_loss
from lskd_cli.distillers.rkd import rkd_loss
from lskd_cli.distillers.rld import rld_loss
from lskd_cli.distillers.skd import skd_loss
from lskd_cli.distillers.sp import sp_loss
from lskd_cli.distillers.ttm import ttm_loss
from lskd_cli.distillers.vid import VID
from lskd_cli.distillers.wttm import wttm_loss
from lskd_cli.models import FeatureShapes, Output, create_model, feature_shapes

ROWS, CLASSES, EPOCH = 6, 100, 3.0
VIEWS = ("weak", "strong")
WARMUP = EPOCH / 20  # of methods whose presets warm up over 20 epochs

# Hyper-parameters that all differ, from each other and from the defaults.
SETTINGS: dict[str, dict[str, float]] = {
    "none": {"ce_weight": 1.3},
    "kd": {"ce_weight": 0.3, "kd_weight": 0.7, "temperature": 3.5},
    "dkd": {"ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "alpha": 1.7, "beta": 5.5},
    "mlkd": {"ce_weight": 0.3, "kd_weight": 0.7, "temperature": 3.5},
    "ctkd": {"ce_weight": 0.3, "kd_weight": 0.7, "temperature": 1.5, "temperature_range": 17.0},
    "rld": {
        "ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "alpha_temperature": 1.6,
        "alpha": 1.7, "beta": 5.5,
    },
    "normkd": {"ce_weight": 0.3, "kd_weight": 0.7, "t_norm": 1.9},
    "ttm": {"ce_weight": 1.3, "kd_weight": 0.7, "gamma": 0.3},
    "wttm": {"ce_weight": 1.3, "kd_weight": 0.7, "gamma": 0.3},
    "luminet": {"ce_weight": 1.3, "kd_weight": 0.7, "alpha": 2.3, "temperature": 3.5},
    "dist": {"ce_weight": 1.3, "kd_weight": 0.7, "beta": 1.7, "gamma": 2.9},
    "nkd": {"ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "gamma": 1.9},
    "skd": {"ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "ridge": 0.02},
    "crld": {
        "ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "tau_weak": 0.5,
        "tau_strong": 0.07, "within_weight": 2.3, "cross_weight": 0.6,
    },
    "abkd": {"ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "alpha": 0.7, "beta": 0.4},
    "ldrld": {
        "ce_weight": 1.3, "kd_weight": 0.7, "temperature": 3.5, "alpha": 9.5, "beta": 6.0, "k": 4
    },
}  # fmt: skip
STAND = {"stand.temperature": 2.2, "stand.kd_weight": 8.5}
CAN_STANDARDIZE = ("kd", "dkd", "mlkd", "ctkd", "rld", "nkd", "crld", "abkd", "ldrld")
# Their losses contain plain logits too: confidences, or the probability of the target.
MIXED = ("mlkd", "crld", "nkd")
VARIANTS = [(m, s) for m in SETTINGS for s in ((False, True) if m in CAN_STANDARDIZE else (False,))]


def _preset(method: str, settings: Mapping[str, object], standardized: bool) -> Preset:
    name = "alone-r8x4" if method == "none" else f"{method}-r56-r20"
    overrides = [f"method.{key}={value}" for key, value in settings.items()]
    if standardized:
        overrides += ["stand.enabled=true", *(f"{key}={value}" for key, value in STAND.items())]
    return load_preset(name, overrides)


def _random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _logits(soft: bool) -> StepInputs:
    """Logits that differ by network and view; teacher and student have other scales and means."""
    student = {view: Output(3 * _random(ROWS, CLASSES, seed=s)) for s, view in enumerate(VIEWS)}
    teacher = {view: Output(5 * _random(ROWS, CLASSES, seed=2 + s)) for s, view in enumerate(VIEWS)}
    for outputs in (student, teacher):
        outputs["strong"] = Output(2 * outputs["strong"].logits + 1)
    target = torch.arange(ROWS) * 7 + 3
    return StepInputs(
        student,
        teacher,
        target,
        torch.tensor(EPOCH, dtype=torch.float64),
        torch.arange(ROWS) + 4,
        soft_target=_random(ROWS, CLASSES, seed=9).softmax(dim=1) if soft else None,
    )


def _expected(method: str, config: Any, step: StepInputs, standardized: bool) -> dict[str, Tensor]:
    """The losses as their functions give them, with every argument under its name."""
    student, teacher = step.student["weak"].logits, step.teacher["weak"].logits
    target = step.target if step.soft_target is None else step.soft_target
    if method == "mlkd":
        return mlkd_losses(
            student_weak=student,
            student_strong=step.student["strong"].logits,
            teacher_weak=teacher,
            teacher_strong=step.teacher["strong"].logits,
            target=target,
            temperature=config.temperature,
            ce_weight=config.ce_weight,
            kd_weight=config.kd_weight,
            standardized=standardized,
        )
    if method == "crld":
        strong = step.student["strong"].logits
        terms = crld_losses(
            student_weak=student,
            student_strong=strong,
            teacher_weak=teacher,
            teacher_strong=step.teacher["strong"].logits,
            temperature=config.temperature,
            tau_weak=config.tau_weak,
            tau_strong=config.tau_strong,
            within_weight=config.within_weight,
            cross_weight=config.cross_weight,
            standardized=standardized,
        )
        both = F.cross_entropy(student, target) + F.cross_entropy(strong, target)
        weighted = {name: config.kd_weight * value for name, value in terms.items()}
        return {"ce": config.ce_weight * both} | weighted
    ce = {"ce": config.ce_weight * F.cross_entropy(student, target)}
    if method == "none":
        return ce
    if method == "ctkd":
        theta = torch.ones((), dtype=torch.float32)
        temperature = config.temperature + config.temperature_range * theta.sigmoid()
        return ce | {"kd": config.kd_weight * kd_loss(student, teacher, temperature, standardized)}
    weight = config.kd_weight * (WARMUP if method in ("dkd", "rld", "luminet") else 1)
    return ce | {
        method: weight * LOSSES[method](student, teacher, step.target, config, standardized)
    }


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Any, bool], Tensor]] = {
    "kd": lambda s, t, y, c, stand: kd_loss(
        student=s, teacher=t, temperature=c.temperature, standardized=stand
    ),
    "dkd": lambda s, t, y, c, stand: dkd_loss(
        student=s, teacher=t, target=y, alpha=c.alpha, beta=c.beta, temperature=c.temperature,
        standardized=stand,
    ),
    "rld": lambda s, t, y, c, stand: rld_loss(
        student=s, teacher=t, target=y, alpha=c.alpha, beta=c.beta, temperature=c.temperature,
        alpha_temperature=c.alpha_temperature, standardized=stand,
    ),
    "normkd": lambda s, t, y, c, stand: normkd_loss(student=s, teacher=t, t_norm=c.t_norm),
    "ttm": lambda s, t, y, c, stand: ttm_loss(student=s, teacher=t, gamma=c.gamma),
    "wttm": lambda s, t, y, c, stand: wttm_loss(student=s, teacher=t, gamma=c.gamma),
    "luminet": lambda s, t, y, c, stand: luminet_loss(
        student=s, teacher=t, alpha=c.alpha, temperature=c.temperature
    ),
    "dist": lambda s, t, y, c, stand: dist_loss(
        student=s, teacher=t, beta=c.beta, gamma=c.gamma
    ),
    "nkd": lambda s, t, y, c, stand: nkd_loss(
        student=s, teacher=t, target=y, temperature=c.temperature, gamma=c.gamma,
        standardized=stand,
    ),
    "skd": lambda s, t, y, c, stand: _skd(s, t, c),
    "abkd": lambda s, t, y, c, stand: abkd_loss(
        student=s, teacher=t, alpha=c.alpha, beta=c.beta, temperature=c.temperature,
        standardized=stand,
    ),
    "ldrld": lambda s, t, y, c, stand: ldrld_loss(
        student=s, teacher=t, alpha=c.alpha, beta=c.beta, temperature=c.temperature, k=c.k,
        standardized=stand,
    ),
}  # fmt: skip


def _skd(student: Tensor, teacher: Tensor, config: Any) -> Tensor:
    """The two terms with the fractions of images and classes up to the medians of NumPy."""
    probabilities = teacher.softmax(dim=1).numpy()
    confidence, sums = probabilities.max(axis=1), probabilities.sum(axis=0)
    kd = kd_loss(student=student, teacher=teacher, temperature=config.temperature)
    relation = skd_loss(student=student, teacher=teacher, ridge=config.ridge)
    images, classes = (float((v <= np.median(v)).mean()) for v in (confidence, sums))
    return images * kd + classes * relation


def _assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=0, check_dtype=False)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("method", "standardized"), VARIANTS)
def test_a_logit_method_returns_its_loss_function(
    method: str, standardized: bool, soft: bool
) -> None:
    preset = _preset(method, SETTINGS[method], standardized)
    config = preset.effective_method()
    if standardized:
        assert (config.temperature, config.kd_weight) == (2.2, 8.5)
    step = _logits(soft)
    _assert_same(
        create_distiller(preset).losses(step), _expected(method, config, step, standardized)
    )


def _plain_and_standardized(method: str) -> tuple[Distiller, Distiller]:
    """Two distillers of a method that differ in nothing but standardization."""
    stand = _preset(method, SETTINGS[method], True)
    settings = stand.effective_method().model_dump(exclude={"name"})
    return create_distiller(_preset(method, settings, False)), create_distiller(stand)


@pytest.mark.parametrize("method", CAN_STANDARDIZE)
def test_standardization_changes_the_distillation_loss_alone(method: str) -> None:
    plain, stand = (d.losses(_logits(soft=False)) for d in _plain_and_standardized(method))
    names = {"mlkd": ["kd"], "ctkd": ["kd"], "crld": ["within", "cross"]}.get(method, [method])
    for name in names:
        assert abs(stand[name] / plain[name] - 1) > 0.1
    for other in plain.keys() - set(names):
        torch.testing.assert_close(stand[other], plain[other])


@pytest.mark.parametrize("method", [m for m in CAN_STANDARDIZE if m not in MIXED])
def test_a_standardized_loss_is_the_plain_one_of_standardized_logits(method: str) -> None:
    before = _logits(soft=False)
    for outputs in (before.student, before.teacher):
        for output in outputs.values():
            array = output.logits.numpy()
            mean, std = array.mean(1, keepdims=True), array.std(1, ddof=1, keepdims=True)
            output.logits = torch.from_numpy((array - mean) / (std + 1e-7))
    plain, stand = _plain_and_standardized(method)
    name = "kd" if method == "ctkd" else method
    found = stand.losses(_logits(soft=False))[name]
    torch.testing.assert_close(found, plain.losses(before)[name], rtol=1e-6, atol=0)


def _ctkd_slope(epoch: float) -> tuple[float, float]:
    """The gradient of CTKD's loss by theta, and that of the same loss without reversal."""
    distiller: Any = create_distiller(_preset("ctkd", SETTINGS["ctkd"], False)).double()
    step = _logits(soft=False)
    step.epoch = torch.tensor(epoch, dtype=torch.float64)
    (found,) = torch.autograd.grad(distiller.losses(step)["kd"], distiller.theta)
    theta = torch.ones((), dtype=torch.float64, requires_grad=True)
    kd = 0.7 * kd_loss(
        step.student["weak"].logits, step.teacher["weak"].logits, 1.5 + 17.0 * theta.sigmoid()
    )
    (forward,) = torch.autograd.grad(kd, theta)
    return found.item(), forward.item()


@pytest.mark.parametrize(("epoch", "factor"), [(0.0, 0.0), (5.0, -0.5), (10.0, -1.0), (99.0, -1.0)])
def test_the_gradient_of_theta_is_reversed(epoch: float, factor: float) -> None:
    found, forward = _ctkd_slope(epoch)
    assert abs(forward) > 1e-3
    assert found == pytest.approx(factor * forward, rel=1e-9, abs=1e-12)
    assert curriculum(torch.tensor(epoch), 10).item() == pytest.approx(factor, abs=1e-6)


FEATURE_METHODS = (
    "fitnet", "at", "nst", "pkt", "kdsvd", "ofd", "rkd", "vid", "sp", "crd", "reviewkd",
)  # fmt: skip
FEATURE_SETTINGS: dict[str, dict[str, float]] = {
    "at": {"p": 3},
    "kdsvd": {"k": 2},
    "rkd": {"distance_weight": 17, "angle_weight": 31},
    "fitnet": {"hint_stage": 1},
}


def _features(shapes: FeatureShapes, seed: int) -> Output:
    """Features in float64 that differ by network, stage and place before or after activations."""
    feats, preacts = (
        [_random(ROWS, *shape, seed=seed + 10 * n + m) for m, shape in enumerate(of)]
        for n, of in enumerate((shapes.feats, shapes.preacts))
    )
    pooled = _random(ROWS, shapes.pooled, seed=seed + 5)
    return Output(4 * _random(ROWS, 10, seed=seed + 6), feats, preacts, pooled)


def _feature_step(preset: Preset, soft: bool = False) -> StepInputs:
    weak = [
        _features(feature_shapes(name, 32), seed)
        for seed, name in ((0, preset.student), (100, str(preset.teacher)))
    ]
    target = torch.arange(ROWS) % 10
    return StepInputs(
        {"weak": weak[0]},
        {"weak": weak[1]},
        target,
        torch.tensor(EPOCH, dtype=torch.float64),
        torch.arange(ROWS) + 4,
        soft_target=_random(ROWS, 10, seed=9).softmax(dim=1) if soft else None,
    )


def _of_features(method: str, distiller: Any, student: Output, teacher: Output) -> Tensor:
    """The loss of the features as the function of the method gives it."""
    stages = student.feats[1:], teacher.feats[1:]
    if method == "fitnet":
        assert isinstance(distiller, FitNet)
        return F.mse_loss(distiller.regressor(stages[0][0]), stages[1][0])
    if method == "ofd":
        assert isinstance(distiller, OFD)
        before = zip(student.preacts[-3:], teacher.preacts[-3:], strict=True)
        return sum(
            (
                ofd_loss(distiller.connectors[n](s), t, distiller.get_buffer(f"margin{n}"))
                / 2 ** (2 - n)
                for n, (s, t) in enumerate(before)
            ),
            torch.zeros(()),
        )
    if method == "vid":
        assert isinstance(distiller, VID)
        terms = []
        for prediction, s, t in zip(distiller.predictions, *stages, strict=True):
            variance = (F.softplus(prediction.scale) + 1e-5)[:, None, None]
            terms.append(((prediction.mean(s) - t) ** 2 / 2 / variance + variance.log() / 2).mean())
        return torch.stack(terms).sum()
    if method == "reviewkd":
        assert isinstance(distiller, ReviewKD)
        levels = [*stages[0], student.pooled[:, :, None, None]]
        goals = [*teacher.preacts[-3:], teacher.pooled[:, :, None, None]]
        outputs, deeper = [], None
        for fusion, level, goal in reversed(
            list(zip(distiller.fusions, levels, goals, strict=True))
        ):
            output, deeper = fusion(level, deeper, goal.shape[2])
            outputs.insert(0, output)
        return hcl_loss(outputs, goals)
    if method == "crd":
        assert isinstance(distiller, CRD)
        return _crd(distiller, student, teacher)
    functions: dict[str, Callable[[], Tensor]] = {
        "at": lambda: at_loss(*stages, p=3),
        "nst": lambda: nst_loss(*stages),
        "kdsvd": lambda: kdsvd_loss(*stages, k=2),
        "sp": lambda: sp_loss([student.feats[-1]], [teacher.feats[-1]]),
        "pkt": lambda: pkt_loss(student.pooled, teacher.pooled),
        "rkd": lambda: rkd_loss(
            student.pooled, teacher.pooled, distance_weight=17, angle_weight=31
        ),
    }
    return functions[method]()


def _crd(distiller: CRD, student: Output, teacher: Output) -> Tensor:
    """Each network's embeddings against the entries of the other one's bank."""
    index = torch.arange(ROWS) + 4
    torch.manual_seed(7)
    negatives = distiller.negatives.sample(index, distiller.config.negatives)
    own = l2_normalize(distiller.of_student(student.pooled), dim=1)
    other = l2_normalize(distiller.of_teacher(teacher.pooled), dim=1)
    return distiller.teacher_bank.loss(own, index, negatives) + distiller.student_bank.loss(
        other, index, negatives
    )


def _feature_distiller(preset: Preset) -> Distiller:
    torch.manual_seed(0)
    teacher = create_model(str(preset.teacher))
    return create_distiller(preset, teacher, torch.arange(40) % 10).double().train()


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("method", FEATURE_METHODS)
def test_a_feature_method_returns_its_loss_function_and_the_kd_term(
    method: str, standardized: bool
) -> None:
    settings = {"ce_weight": 1.3, "feature_weight": 0.6, "temperature": 3.5, "kd_weight": 0.7}
    preset = _preset(method, settings | FEATURE_SETTINGS.get(method, {}), standardized)
    distiller, step = _feature_distiller(preset), _feature_step(preset)
    torch.manual_seed(7)  # crd draws negatives
    found = distiller.losses(step)
    student, teacher = step.student["weak"], step.teacher["weak"]
    temperature, weight = (2.2, 8.5) if standardized else (3.5, 0.7)
    warmup = WARMUP if method == "reviewkd" else 1
    _assert_same(
        found,
        {
            "ce": 1.3 * F.cross_entropy(student.logits, step.target),
            method: warmup * 0.6 * _of_features(method, distiller, student, teacher),
            "kd": weight * kd_loss(student.logits, teacher.logits, temperature, standardized),
        },
    )


def test_guidance_returns_its_loss_function() -> None:
    settings = {"ce_weight": 1.3, "guidance_weight": 0.6, "teacher_stages": [0, 2]}
    preset = _preset("guidance", settings | {"student_layers": [1, 2]}, False)
    distiller: Any = _feature_distiller(preset)
    step = _feature_step(preset, soft=True)
    student, teacher = step.student["weak"], step.teacher["weak"]
    adapted = [distiller.adapters[0](student.feats[2]), distiller.adapters[1](student.feats[3])]
    _assert_same(
        distiller.losses(step),
        {
            "ce": 1.3 * F.cross_entropy(student.logits, step.soft_target),
            "guidance": 0.6 * guidance_loss(adapted, [teacher.feats[1], teacher.feats[3]]),
        },
    )
