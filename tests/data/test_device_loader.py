"""timm's transform on batches: the same distribution, and reproducible views."""

import random

import pytest
import torch
from PIL import Image
from timm.data.auto_augment import AugmentOp, rotate, shear_x, translate_x_rel
from torch import Tensor
from torch.utils.data import default_collate

from lskd_cli.config import Data, View, load_preset
from lskd_cli.data import Batch, DataShard, InMemoryImages, Loader, create_loader
from lskd_cli.data.device_loader import DeviceLoader, affine_transform
from lskd_cli.data.image_ops import OP_CODES, OPERATIONS, affine_matrix
from lskd_cli.data.timm_transform import TransformSampler, seed_everything, timm_transform
from lskd_cli.errors import RequestError
from tests.data.test_image_ops import from_pillow, images, to_pillow

DATA = load_preset("kd-r56g-deit-tiny").data.model_copy(update={"image_size": 48, "batch_size": 50})
FILL = (124, 116, 104)


def _set(count: int = 120) -> InMemoryImages:
    return InMemoryImages(images(count).permute(0, 2, 3, 1).contiguous(), torch.arange(count) % 10)


def _with(**changes: object) -> Data:
    assert DATA.augmentation is not None
    return DATA.model_copy(update={"augmentation": DATA.augmentation.model_copy(update=changes)})


def _epoch(data: Data, views: tuple[View, ...] = ("weak",), start: int = 0) -> list[Tensor]:
    loader = create_loader(_set(), data)
    loader.start_epoch(3, views, start)
    steps = range(start, loader.num_steps)
    batches = [loader.make_batch(loader.batch_spec(step, 1)) for step in steps]
    return [batch.views[view] for batch in batches for view in views]


def _first_batch(loader: Loader, epoch: int = 1) -> Batch:
    loader.start_epoch(epoch, ["weak"], 0)
    return loader.make_batch(loader.batch_spec(0, 1))


@pytest.mark.parametrize("pipeline", ["device", "workers"])
def test_an_epoch_is_the_same_again_and_from_its_middle(pipeline: str) -> None:
    data = _with(pipeline=pipeline)
    first, second = _epoch(data)
    assert first.shape == (50, 3, 48, 48)
    assert not torch.equal(first, second)
    assert torch.equal(_epoch(data)[0], first)
    assert torch.equal(_epoch(data, start=1)[0], second)


@pytest.mark.parametrize("pipeline", ["device", "workers"])
def test_processes_share_the_views_of_a_single_process(pipeline: str) -> None:
    data = _with(pipeline=pipeline)
    loaders = [create_loader(_set(), data, DataShard(rank, 2)) for rank in (0, 1)]
    parts = [_first_batch(loader, epoch=3).views["weak"] for loader in loaders]
    assert [len(part) for part in parts] == [25, 25]
    assert torch.equal(torch.cat(parts), _epoch(_with(pipeline=pipeline))[0])


def test_without_a_policy_images_are_only_cropped_and_flipped() -> None:
    data = _with(policy=None, erasing=0.0)
    complete = InMemoryImages(
        torch.full((60, 32, 32, 3), 255, dtype=torch.uint8), torch.arange(60) % 10
    )
    loader = create_loader(complete, data)
    white = _first_batch(loader).views["weak"]
    assert white.shape == (50, 3, 48, 48)
    for channel, mean, std in zip(white.unbind(1), data.mean, data.std, strict=True):
        torch.testing.assert_close(channel, torch.full_like(channel, (1 - mean) / std))


@pytest.mark.parametrize("pipeline", ["device", "workers"])
def test_other_epochs_and_seeds_have_other_views_and_orders(pipeline: str) -> None:
    targets = []
    for epoch, seed in ((1, 0), (2, 0), (1, 1)):
        data = _with(pipeline=pipeline).model_copy(update={"seed": seed})
        loader = create_loader(_set(), data)
        targets.append(_first_batch(loader, epoch).target)
    assert not torch.equal(targets[0], targets[1])
    assert not torch.equal(targets[0], targets[2])


def test_both_pipelines_take_the_images_in_the_same_order() -> None:
    batches = []
    for pipeline in ("device", "workers"):
        loader = create_loader(_set(), _with(pipeline=pipeline))
        batches.append(_first_batch(loader).target)
    assert torch.equal(*batches)


def test_the_partial_batch_is_left_out_where_the_recipe_says_so() -> None:
    assert create_loader(_set(120), DATA).num_steps == 2
    kept = DATA.model_copy(update={"drop_last": False})
    assert create_loader(_set(120), kept).num_steps == 3
    with pytest.raises(RequestError, match="exceeds the training set"):
        create_loader(_set(40), DATA)


def test_the_strong_view_is_another_one() -> None:
    weak, strong, *_ = _epoch(DATA, ("weak", "strong"))
    assert weak.shape == strong.shape
    assert not torch.equal(weak, strong)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(RequestError, match="timm does not know"):
        DeviceLoader(_set(), _with(policy="rand-x9"))


def test_a_policy_with_operations_that_batches_lack_names_the_other_pipeline() -> None:
    with pytest.raises(RequestError, match=r"use --set data\.augmentation\.pipeline=workers"):
        DeviceLoader(_set(), _with(policy="rand-t3a"))


@pytest.mark.parametrize(
    ("name", "function", "values"),
    [
        ("Rotate", rotate, (-28.0, 3.0, 30.0)),
        ("ShearX", shear_x, (-0.27, 0.01, 0.3)),
        ("TranslateX", translate_x_rel, (-0.4, 0.013, 0.45)),
    ],
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_moved_image_is_that_of_pillow_but_for_its_sharper_filter(
    name: str, function: object, values: tuple[float, ...], interpolation: str
) -> None:
    # Smooth images, as enlarged ones are: noise would show the filters' difference alone.
    batch = images(60)[1::6].repeat_interleave(7, dim=2).repeat_interleave(7, dim=3)
    parameter = torch.tensor(values, dtype=torch.float64).repeat(4)[: len(batch)]
    matrix = affine_matrix(batch, torch.full((len(batch),), OP_CODES[name]), parameter)
    result = affine_transform(batch, matrix, interpolation, torch.tensor(FILL).view(3, 1, 1))
    filter_ = getattr(Image.Resampling, interpolation.upper())
    expected = torch.stack(
        [
            from_pillow(function(to_pillow(one), value, resample=filter_, fillcolor=FILL))
            for one, value in zip(batch, parameter.tolist(), strict=True)
        ]
    )
    difference = (result.int() - expected.int()).abs().float()
    assert difference.mean().item() < 1.0
    assert difference.quantile(0.999).item() <= (1 if interpolation == "bilinear" else 12)


def test_choices_are_what_timm_would_draw_from_the_same_seed() -> None:
    transform = timm_transform(DATA)
    augment = next(part for part in transform.transforms if hasattr(part, "num_layers"))
    crop = transform.transforms[0]
    seed_everything(5)
    choices = TransformSampler(DATA)(32, 32, 40)
    seed_everything(5)
    drawn: list[tuple[str, tuple[float, ...]]] = []
    for operation in augment.ops:
        operation.aug_fn = _noting(operation, drawn)
    for number in range(40):
        box = crop.get_params(Image.new("RGB", (32, 32)), crop.scale, crop.ratio)
        assert tuple(choices.boxes[number].tolist()) == box
        assert choices.flip[number].item() == (random.random() < 0.5)
        drawn.clear()
        augment(None)
        operations = [(OPERATIONS[c[number]], p[number].item()) for c, p in choices.layers]
        named = [one for one in operations if one[0] != "Identity"]
        assert [name for name, _ in named] == [name.removesuffix("Rel") for name, _ in drawn]
        for (_, parameter), (_, levels) in zip(named, drawn, strict=True):
            assert parameter == pytest.approx(levels[0] if levels else 0.0)


def _noting(operation: AugmentOp, drawn: list[tuple[str, tuple[float, ...]]]) -> object:
    name = operation.name.removesuffix("Increasing")
    return lambda image, *levels, **_: drawn.append((name, levels))


def test_batches_are_distributed_as_timms_images() -> None:
    """Means, deviations and their spread over images, over what is erased, black and saturated."""
    data = DATA.model_copy(update={"image_size": 64})
    source = images(120)[1::6]  # smooth ones, as photographs are
    repeated = source.repeat(100, 1, 1, 1)
    loader = DeviceLoader(
        InMemoryImages(
            repeated.permute(0, 2, 3, 1).contiguous(), torch.zeros(2000, dtype=torch.int64)
        ),
        data.model_copy(update={"batch_size": 2000}),
    )
    result = _first_batch(loader).views["weak"]
    transform = timm_transform(data)
    seed_everything(1)
    expected = default_collate([transform(to_pillow(image)) for image in repeated])
    for measure, tolerance in (
        (lambda x: x.mean(dim=(1, 2, 3)), 0.06),
        (lambda x: x.std(dim=(1, 2, 3)), 0.04),
        (lambda x: (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3)), 0.02),  # sharpness
        (lambda x: x.amin(dim=(1, 2, 3)), 0.12),
        (lambda x: x.amax(dim=(1, 2, 3)), 0.12),
        (lambda x: x[:, 0].mean(dim=(1, 2)) - x[:, 2].mean(dim=(1, 2)), 0.06),  # colour
    ):
        mine, other = measure(result).sort().values, measure(expected).sort().values
        # The distance of two distributions: the mean gap of their sorted values.
        assert (mine - other).abs().mean().item() < tolerance
