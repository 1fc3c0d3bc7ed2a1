"""Methods of features: values and gradients against the reference, extreme inputs, every pair."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lskd_cli.config import list_pairs, load_preset
from lskd_cli.distillers import Distiller, FeatureSpec, StepInputs, create_distiller
from lskd_cli.distillers.at import at_loss
from lskd_cli.distillers.crd import CRD, NegativeSampler
from lskd_cli.distillers.features import BatchNorm, l2_normalize, match_stages
from lskd_cli.distillers.fitnet import FitNet
from lskd_cli.distillers.kd import kd_loss
from lskd_cli.distillers.kdsvd import _align, kdsvd_loss
from lskd_cli.distillers.nst import nst_loss
from lskd_cli.distillers.ofd import OFD, margins, ofd_loss
from lskd_cli.distillers.pkt import pkt_loss
from lskd_cli.distillers.reviewkd import ReviewKD, hcl_loss
from lskd_cli.distillers.rkd import rkd_loss
from lskd_cli.distillers.sp import sp_loss
from lskd_cli.distillers.vid import VID
from lskd_cli.errors import RequestError
from lskd_cli.models import (
    FeatureShapes,
    Network,
    Output,
    create_model,
    feature_shapes,
    teacher_image_size,
)
from tests.golden_inputs import chirp, load

METHODS = ("fitnet", "at", "nst", "pkt", "kdsvd", "ofd", "rkd", "vid", "sp", "crd", "reviewkd")
GOLDEN = load("losses")["features"]
Maps = Sequence[Tensor]
OF_MAPS: dict[str, Callable[..., Tensor]] = {
    "at": at_loss,
    "nst": nst_loss,
    "sp": lambda student, teacher: sp_loss(student[-1:], teacher[-1:]),
    "kdsvd": kdsvd_loss,
    "reviewkd_hcl": hcl_loss,
}
OF_POOLED: dict[str, Callable[..., Tensor]] = {"rkd": rkd_loss, "pkt": pkt_loss}


def _maps(shapes: Sequence[Sequence[int]], phase: float) -> list[Tensor]:
    return [chirp(tuple(s), phase + 0.1 * i, 0.9).abs() for i, s in enumerate(shapes)]


def _golden(case: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
    """The loss of a case, and what its gradients are taken of."""
    name = case["name"]
    if name in OF_POOLED:
        pooled = chirp((6, 64), 0.3, 0.9).requires_grad_()
        return OF_POOLED[name](pooled, chirp((6, 48), 1.1, 0.9)), [pooled]
    if name == "ofd_feat":
        student = chirp((4, 16, 8, 8), 0.3, 0.9).requires_grad_()
        margin = -(0.2 + chirp((1, 16, 1, 1), 0.4, 0.9).abs())
        return ofd_loss(student, chirp((4, 16, 8, 8), 1.1, 0.9), margin), [student]
    shapes = GOLDEN["student_shapes"]
    teacher_maps = (
        shapes if "note" in case else case.get("teacher_shapes", GOLDEN["teacher_shapes"])
    )
    student_maps = [feature.requires_grad_() for feature in _maps(shapes, 0.3)]
    settings = {key: case[key] for key in ("p", "k") if key in case}
    loss = OF_MAPS[name](student_maps, _maps(teacher_maps, 1.1), **settings)
    return loss, student_maps[-1:] if name == "sp" else student_maps


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_a_loss_equals_the_reference(case: dict[str, Any]) -> None:
    loss, inputs = _golden(case)
    # The reference decomposes in float32.
    exact, slope = (3e-5, 3e-4) if case["name"] == "kdsvd" else (1e-8, 1e-5)
    assert loss.item() == pytest.approx(case["loss"], rel=exact)
    gradients = torch.autograd.grad(loss, inputs)
    for gradient, expected in zip(gradients, case["grads"], strict=True):
        assert gradient.norm().item() == pytest.approx(expected["norm"], rel=exact * 100)
        head = torch.tensor(expected["head"], dtype=torch.float64)
        found = gradient.flatten()[: len(head)]
        torch.testing.assert_close(found, head, rtol=slope, atol=slope * expected["norm"] / 10)


@pytest.mark.parametrize("name", [*OF_MAPS, *OF_POOLED])
def test_a_student_that_is_its_teacher_loses_nothing(name: str) -> None:
    if name in OF_POOLED:
        pooled = chirp((6, 64), 0.3, 0.9)
        loss = OF_POOLED[name](pooled, pooled)
    else:
        loss = OF_MAPS[name](*(_maps(GOLDEN["student_shapes"], 0.3),) * 2)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def _step(student: Output, teacher: Output, epoch: float = 30) -> StepInputs:
    rows = len(student.logits)
    return StepInputs(
        {"weak": student},
        {"weak": teacher},
        torch.arange(rows) % 10,
        torch.tensor(epoch),
        torch.arange(rows),
    )


def _outputs(shapes: FeatureShapes, rows: int, make: Callable[..., Tensor] = torch.randn) -> Output:
    feats, preacts = (
        [make(rows, *shape).requires_grad_() for shape in of]
        for of in (shapes.feats, shapes.preacts)
    )
    pooled = make(rows, shapes.pooled).requires_grad_()
    return Output(torch.randn(rows, 10), feats, preacts, pooled)


def _shapes(name: str) -> tuple[FeatureShapes, FeatureShapes]:
    preset = load_preset(name)
    size = preset.data.image_size
    theirs = feature_shapes(preset.teacher, teacher_image_size(preset.teacher, size))
    return feature_shapes(preset.student, size), theirs


def _distiller(name: str, *settings: str) -> Distiller:
    preset = load_preset(name, settings)
    teacher = _teacher(str(preset.teacher))
    torch.manual_seed(0)
    return create_distiller(preset, teacher, torch.arange(200) % 10)


@cache
def _teacher(name: str) -> Network:
    torch.manual_seed(0)
    return create_model(name)


def _total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@cache
def _meta_teacher(name: str, size: int) -> Network:
    with torch.device("meta"):
        return create_model(name, 10, size)


def _any_network(size: int) -> Network:
    """For methods that read nothing but the size of the teacher's images."""
    network = _meta_teacher("resnet8", 32)
    network.image_size = size
    return network


def _relevant_shapes(method: str, shapes: FeatureShapes) -> object:
    """What the adapters of a method depend on."""
    if method in ("rkd", "pkt"):
        return None  # any number of pooled features
    if method == "crd":
        return shapes.pooled
    if method in ("at", "nst", "kdsvd", "sp"):
        return [shape[1:] for shape in shapes.feats]
    return shapes


@pytest.mark.parametrize("method", METHODS)
def test_a_method_fits_the_features_of_all_pairs_of_different_shapes(method: str) -> None:
    tested = []
    for pair in list_pairs():
        if (method, pair) == ("ofd", "own"):  # needs the batch norms of a built-in teacher
            continue
        preset = load_preset(f"{method}-{pair}")
        size = teacher_image_size(str(preset.teacher), preset.data.image_size)
        shapes = _shapes(preset.name)
        key = [_relevant_shapes(method, of) for of in shapes]
        key += [preset.teacher] if method == "ofd" else []
        if key in tested:
            continue
        tested.append(key)
        with torch.device("meta"):
            is_read = method == "ofd"
            teacher = _meta_teacher(str(preset.teacher), size) if is_read else _any_network(size)
            distiller = create_distiller(preset, teacher, torch.zeros(20, dtype=torch.int64))
            student, goal = (_outputs(of, 3) for of in shapes)
            losses = distiller.losses(_step(student, goal))
            assert list(losses) == ["ce", method]
            _total(losses).backward()
        assert all(parameter.grad is not None for parameter in distiller.parameters()), pair
        features = (*student.feats, *student.preacts, student.pooled)
        assert any(feature.grad is not None for feature in features), pair
    assert len(tested) == 1 or len(tested) > 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["one", "equal", "zero", "student_zero", "bfloat16"])
def test_extreme_features_stay_finite(method: str, kind: str) -> None:
    # Without native bf16, convolutions of larger networks take seconds on a CPU.
    name = f"{method}-digits" if kind == "bfloat16" else f"{method}-r32x4-shv2"
    distiller = _distiller(name).train()
    student_shapes, teacher_shapes = _shapes(name)
    rows = 1 if kind == "one" else 4

    def make(*shape: int) -> Tensor:
        if kind == "zero":
            return torch.zeros(shape)
        if kind == "equal":
            return torch.randn(shape[1:]).expand(shape).clone()
        return torch.randn(shape, dtype=torch.bfloat16 if kind == "bfloat16" else None)

    student = _outputs(student_shapes, rows, torch.zeros if kind == "student_zero" else make)
    teacher = _outputs(teacher_shapes, rows, make)
    step = _step(student, teacher)
    if kind == "bfloat16":
        step.precision = lambda: torch.autocast("cpu", torch.bfloat16)
    losses = distiller.losses(step)
    _total(losses).backward()
    read = [
        x.grad for x in (*student.feats, *student.preacts, student.pooled) if x.grad is not None
    ]
    assert read
    for value in [*losses.values(), *read, *(p.grad for p in distiller.parameters())]:
        assert value is not None
        assert value.isfinite().all()
        assert value.abs().max() < 1e6


@pytest.mark.parametrize("method", METHODS)
def test_a_students_features_and_adapters_learn_to_lower_the_loss(method: str) -> None:
    name = f"{method}-digits"
    distiller = _distiller(name).train()
    student, teacher = (_outputs(shapes, 4) for shapes in _shapes(name))
    parameters = [*student.feats, *student.preacts, student.pooled, *distiller.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    values = []
    for _ in range(20):
        loss = distiller.losses(_step(student, teacher))[method]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distiller.on_step_end(lambda rows: rows)
        values.append(loss.item())
    assert values[-1] < values[0] - 0.01 * abs(values[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_kl_term_is_added_where_it_has_a_weight_and_can_be_standardized(method: str) -> None:
    name = f"{method}-digits"
    student, teacher = (_outputs(shapes, 4) for shapes in _shapes(name))
    settings = ("method.kd_weight=0.9",)
    plain = _distiller(name, *settings).losses(_step(student, teacher))
    assert list(plain) == ["ce", method, "kd"]
    stand = _distiller(name, *settings, "stand.enabled=true").losses(_step(student, teacher))
    torch.testing.assert_close(stand[method], plain[method])
    shifted = Output(3 * student.logits + 1, student.feats, student.preacts, student.pooled)
    expected = 9 * kd_loss(student.logits, teacher.logits, 2.0, standardized=True)
    torch.testing.assert_close(stand["kd"], expected)
    again = _distiller(name, *settings, "stand.enabled=true").losses(_step(shifted, teacher))
    torch.testing.assert_close(again["kd"], stand["kd"])
    with pytest.raises(ValueError, match=r"method\.kd_weight"):
        load_preset(name).with_stand(True)
    with pytest.raises(RequestError, match=r"stand.enabled: method \w+ uses no logits"):
        load_preset(name, ["stand.enabled=true"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "pair",
    [
        "student=torchvision/squeezenet1_1",
        "teacher=torchvision/squeezenet1_1",
        "teacher=torchvision/inception_v3",
    ],
)
def test_a_network_without_features_is_refused(method: str, pair: str) -> None:
    preset = load_preset(f"{method}-r32x4-r8x4", [pair])
    with pytest.raises(RequestError, match=r"uses .*features.*; \w+/\w+ provides none"):
        create_distiller(preset, create_model("resnet8"), torch.arange(4))


def test_networks_of_several_depths_are_matched_at_even_distances() -> None:
    assert match_stages(range(12), range(3)) == ([0, 6, 11], [0, 1, 2])
    assert match_stages("abc", "abcde") == (list("abc"), list("ace"))
    assert match_stages([1, 2], [1, 2]) == ([1, 2], [1, 2])
    assert match_stages([1, 2, 3], [9]) == ([3], [9])


def test_vectors_of_zeros_pass_no_gradient_on() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    made = l2_normalize(vectors, dim=1)
    assert made.flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0])
    made.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad[1].tolist() == [0, 0]


def test_one_value_a_channel_is_normalized_by_the_running_statistics() -> None:
    norm = BatchNorm(3)
    with torch.no_grad():
        norm.running_mean.fill_(1.0)
    assert norm(torch.full((1, 3, 1, 1), 2.0)).flatten().tolist() == pytest.approx([1, 1, 1], 1e-4)
    values = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(norm(values), nn.BatchNorm2d(3)(values))


@pytest.mark.parametrize("rows", [1, 5])
def test_equal_images_have_no_relations(rows: int) -> None:
    student = chirp((1, 8), 0.1, 0.7).repeat(rows, 1).requires_grad_()
    teacher = chirp((1, 4), 0.2, 0.9).repeat(rows, 1)
    for loss in (rkd_loss(student, teacher), pkt_loss(student, teacher)):
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(0, abs=1e-3)
        assert gradient.abs().max() < 1


class TestOFD:
    def test_a_margin_is_the_mean_of_the_negative_values(self) -> None:
        norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.1]))
            norm.bias.copy_(torch.tensor([0.0, 0.3, -1.0, 5.0]))
        x = torch.linspace(-40, 0, 400_001, dtype=torch.float64)[:, None]
        mean, deviation = norm.bias.double(), norm.weight.double().abs()
        density = torch.exp(-((x - mean) ** 2) / (2 * deviation**2))
        expected = ((x * density).sum(dim=0) / density.sum(dim=0))[:3]
        found = margins(norm)
        assert found.shape == (1, 4, 1, 1)
        torch.testing.assert_close(found[0, :3, 0, 0].double(), expected, rtol=1e-4, atol=1e-4)
        assert found[0, 3].item() == pytest.approx(-0.3)  # hardly ever negative

    def test_the_last_stage_counts_most(self) -> None:
        distiller = _distiller("ofd-digits").eval()
        student, teacher = (_outputs(shapes, 2) for shapes in _shapes("ofd-digits"))
        assert isinstance(distiller, OFD)
        total = distiller.distillation_loss(student, teacher, _step(student, teacher))
        maps = zip(distiller.connectors, student.preacts[1:], teacher.preacts[1:], strict=True)
        parts = [
            ofd_loss(connect(own), goal, distiller.get_buffer(f"margin{index}"))
            for index, (connect, own, goal) in enumerate(maps)
        ]
        assert total.item() == pytest.approx((parts[0] / 4 + parts[1] / 2 + parts[2]).item())

    def test_a_teacher_without_batch_norms_is_refused(self) -> None:
        preset = load_preset("ofd-r32x4-r8x4", ["teacher=MobileNetV2"])
        with pytest.raises(
            RequestError, match="needs a teacher whose stages end with a batch norm"
        ):
            create_distiller(preset, create_model("MobileNetV2"), torch.arange(4))

    @pytest.mark.parametrize(
        "name", ["resnet8x4", "ResNet18", "vgg8", "wrn_16_2", "resnet18", "mobilenet_v1"]
    )
    def test_the_norms_are_those_that_end_the_stages(self, name: str) -> None:
        network = create_model(name, 10, 64 if name in ("resnet18", "mobilenet_v1") else None)
        with torch.no_grad():
            for norm in network.final_batch_norms():
                norm.bias.add_(100.0)
            side = network.image_size
            output = network.train().forward_features(torch.randn(4, 3, side, side))
        stages = output.preacts[-len(network.final_batch_norms()) :]
        assert len(stages) == len(output.feats) - 1
        assert all(stage.mean() > 50 for stage in stages)


class TestCRD:
    def test_negatives_are_images_of_all_other_classes(self) -> None:
        targets = torch.tensor([2, 0, 1, 0, 2, 2, 1, 0, 0, 2])
        negatives = NegativeSampler(targets)
        torch.manual_seed(0)
        index = torch.tensor([0, 1, 2])
        drawn = negatives.sample(index, 6000)
        for image, row in zip(index.tolist(), drawn, strict=True):
            others = (targets != targets[image]).nonzero()[:, 0].tolist()
            counts = row.bincount(minlength=len(targets))
            assert [place for place, count in enumerate(counts) if count] == others
            expected = 6000 / len(others)
            assert all(abs(counts[place] - expected) < 0.15 * expected for place in others)

    def test_its_loss_is_that_of_its_formula(self) -> None:
        distiller = _distiller("crd-digits", "method.negatives=50")
        assert isinstance(distiller, CRD)
        bank = distiller.teacher_bank
        embeddings = l2_normalize(torch.randn(3, 128), dim=1)
        index, drawn = torch.tensor([5, 6, 7]), torch.randint(0, 200, (3, 50))
        found = bank.loss(embeddings, index, drawn)
        chosen = torch.cat([index[:, None], drawn], dim=1)
        scores = torch.exp((bank.entries[chosen] * embeddings[:, None]).sum(dim=2) / 0.07)
        assert bank.constant.item() == pytest.approx(scores.mean().item(), rel=1e-5)
        h, noise = scores / scores.mean() / 200, 50 / 200
        own = torch.log(h[:, 0] / (h[:, 0] + noise))
        others = torch.log(noise / (h[:, 1:] + noise)).sum(dim=1)
        assert found.item() == pytest.approx(-(own + others).mean().item(), rel=1e-5)
        before = bank.constant.clone()
        bank.loss(l2_normalize(torch.randn(3, 128), dim=1), index, drawn)
        assert bank.constant == before

    def test_it_remembers_what_it_has_seen_half_of_it_new(self) -> None:
        distiller = _distiller("crd-digits", "method.negatives=50")
        assert isinstance(distiller, CRD)
        entries = distiller.student_bank.entries.clone()
        student, teacher = (_outputs(shapes, 3) for shapes in _shapes("crd-digits"))
        distiller.losses(_step(student, teacher))
        assert torch.equal(distiller.student_bank.entries, entries)
        (_, embeddings, _) = distiller.pending[0]
        distiller.on_step_end(lambda rows: rows)
        expected = l2_normalize(entries[:3] + embeddings, dim=1)
        torch.testing.assert_close(distiller.student_bank.entries[:3], expected)
        assert torch.equal(distiller.student_bank.entries[3:], entries[3:])
        assert not distiller.pending

    def test_images_of_one_class_are_refused(self) -> None:
        preset = load_preset("crd-digits")
        with pytest.raises(RequestError, match="at least two classes"):
            create_distiller(preset, create_model("resnet20"), torch.zeros(5, dtype=torch.int64))


def test_a_singular_vector_is_matched_with_the_nearest_one_up_to_its_sign() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # (1, W, 2) columns
    teacher = torch.tensor([[[-0.9], [0.4]]])
    torch.testing.assert_close(_align(vectors, teacher), -vectors[..., :1])


def test_maps_that_are_no_numbers_are_decomposed_all_the_same() -> None:
    student, teacher = (_maps(GOLDEN["student_shapes"], phase) for phase in (0.3, 1.1))
    student[0][0, 0, 0, 0] = math.nan
    assert kdsvd_loss(student, teacher).shape == ()


class TestAdapters:
    @pytest.mark.parametrize(
        ("student_size", "teacher_size"), [(32, 16), (16, 32), (8, 8), (14, 8), (4, 16), (14, 16)]
    )
    def test_a_hint_has_the_size_of_the_teachers_stage(
        self, student_size: int, teacher_size: int
    ) -> None:
        distiller = _hint(student_size, teacher_size)
        hint = distiller.regressor(torch.zeros(2, 3, student_size, student_size))
        assert hint.shape == (2, 5, teacher_size, teacher_size)

    def test_a_stage_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(RequestError, match="hint_stage: must be between 1 and 3, not 4"):
            _distiller("fitnet-digits", "method.hint_stage=4")

    def test_the_variance_starts_where_the_paper_says_and_is_learned(self) -> None:
        distiller = _distiller("vid-digits")
        assert isinstance(distiller, VID)
        student, teacher = (_outputs(shapes, 3) for shapes in _shapes("vid-digits"))
        for prediction in distiller.predictions:
            variance = nn.functional.softplus(prediction.scale) + 1e-5
            assert variance.tolist() == pytest.approx([5.0] * len(variance), rel=1e-5)
            assert prediction.scale.ndim == 1  # not decayed, as AdamW has it
        _total(distiller.losses(_step(student, teacher))).backward()
        assert all(prediction.scale.grad.abs().sum() > 0 for prediction in distiller.predictions)

    def test_a_large_variance_is_taken_too(self) -> None:
        scale = _distiller("vid-digits", "method.initial_variance=1e4").predictions[0].scale
        assert scale[0].item() == pytest.approx(1e4)

    def test_the_likelihood_is_that_of_a_normal_distribution(self) -> None:
        distiller = _distiller("vid-digits")
        prediction = distiller.predictions[0]
        student, teacher = torch.randn(2, 16, 8, 8), torch.randn(2, 16, 8, 8)
        step = _step(Output(torch.zeros(2, 10)), Output(torch.zeros(2, 10)))
        likely = torch.distributions.Normal(prediction.mean(student), math.sqrt(5.0))
        expected = -likely.log_prob(teacher).mean().item() - math.log(2 * math.pi) / 2
        found = prediction(student, teacher, step).item()
        assert found == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("levels", [2, 3, 6])
    def test_any_number_of_levels_is_reviewed(self, levels: int) -> None:
        sides = [2 ** (levels - number) for number in range(levels)]
        student_shapes = FeatureShapes([(4 + n, side, side) for n, side in enumerate(sides)], [], 9)
        teacher_shapes = FeatureShapes(
            [(6 + n, side, side) for n, side in enumerate(sides)], [], 11
        )
        method = load_preset("reviewkd-digits").method
        spec = _spec(student_shapes, teacher_shapes)
        distiller = ReviewKD(method, False, spec)
        student, teacher = _outputs(student_shapes, 2), _outputs(teacher_shapes, 2)
        losses = distiller.losses(_step(student, teacher))
        _total(losses).backward()
        assert len(distiller.fusions) == levels  # all but the stem, and the pooled features
        read = (*student.feats[1:], student.pooled)
        assert all(feature.grad.abs().sum() > 0 for feature in read)

    def test_a_review_grows_to_its_weight_over_the_warmup(self) -> None:
        distiller = _distiller("reviewkd-r56-r20").eval()
        student, teacher = (_outputs(shapes, 2) for shapes in _shapes("reviewkd-r56-r20"))
        full, first = (
            distiller.losses(_step(student, teacher, epoch))["reviewkd"] for epoch in (20, 1)
        )
        assert first.item() == pytest.approx(full.item() / 20, rel=1e-5)


def _spec(student: FeatureShapes, teacher: FeatureShapes) -> FeatureSpec:
    network = create_model("resnet8")
    return FeatureSpec(student, teacher, network, torch.arange(4), 9, lambda: torch.zeros(4, 1, 1))


def _hint(student_size: int, teacher_size: int) -> FitNet:
    shapes = [
        FeatureShapes([(3, side, side)] + [(channels, side, side)] * 2, [], 8)
        for channels, side in ((3, student_size), (5, teacher_size))
    ]
    method = load_preset("fitnet-digits").method
    return FitNet(method, False, _spec(*shapes))


def test_ofd_refuses_a_teacher_without_known_batch_norms() -> None:
    preset = load_preset("ofd-own")
    with torch.device("meta"):
        teacher = create_model(preset.teacher, 10, 224)
        with pytest.raises(
            RequestError, match="needs a teacher whose stages end with a batch norm"
        ):
            create_distiller(preset, teacher, torch.zeros(20, dtype=torch.int64))
