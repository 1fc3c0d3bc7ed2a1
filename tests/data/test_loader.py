"""Padded crops: equality with torchvision, order, and reproducibility."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from lskd_cli.config import Data, View, load_preset
from lskd_cli.data import Batch, CropLoader, InMemoryImages
from lskd_cli.data.batch import Normalizer
from lskd_cli.errors import RequestError

DATA = load_preset("kd-r32x4-r8x4").data


def _images(count: int = 150, size: int = 32) -> InMemoryImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)
    return InMemoryImages(pixels, torch.arange(count))


def _uint8(view: Tensor, data: Data = DATA) -> Tensor:
    mean, std = torch.tensor(data.mean).view(3, 1, 1), torch.tensor(data.std).view(3, 1, 1)
    return ((view * std + mean) * 255).round().to(torch.uint8)


def _loader(count: int = 150, **changes: object) -> CropLoader:
    return CropLoader(_images(count), DATA.model_copy(update=changes))


def _batches(loader: CropLoader, epoch: int, views: list[View], start: int = 0) -> list[Batch]:
    loader.start_epoch(epoch, views, start)
    steps = range(start, loader.num_steps)
    return [loader.make_batch(loader.batch_spec(step, 1)) for step in steps]


def _whole_epoch(loader: CropLoader, epoch: int, views: list[View]) -> Batch:
    return loader.make_batch(loader.draw_epoch(epoch, views))


def test_crops_and_flips_are_exactly_those_of_torchvision() -> None:
    loader = _loader(seed=3)
    spec = loader.draw_epoch(2, ["weak"])
    crop = spec.views["weak"].crop
    assert crop is not None
    top, left, flip = crop.top, crop.left, crop.flip
    views = loader.make_batch(spec).views["weak"]
    to_input = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(DATA.mean, DATA.std)]
    )
    for position in range(150):
        image = loader.images.images[spec.index[position]].permute(2, 0, 1)
        cut = tv.crop(tv.pad(image, [4]), top[position], left[position], 32, 32)
        expected = tv.horizontal_flip(cut) if flip[position] else cut
        torch.testing.assert_close(views[position], to_input(expected), rtol=0, atol=1e-6)


def test_offsets_and_flips_are_uniform() -> None:
    crop = _loader(90_000).draw_epoch(1, ["weak"]).views["weak"].crop
    assert crop is not None
    joint = torch.bincount(crop.top * 9 + crop.left, minlength=81) / 90_000
    assert (joint - 1 / 81).abs().max().item() < 5 * (1 / 81 / 90_000) ** 0.5
    assert crop.flip.float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_every_image_comes_once_an_epoch_and_the_last_batch_is_partial() -> None:
    batches = _batches(_loader(), 1, ["weak"])
    assert [len(batch.target) for batch in batches] == [64, 64, 22]
    assert sorted(torch.cat([batch.target for batch in batches]).tolist()) == list(range(150))


def test_an_epoch_derives_from_seed_and_number_alone() -> None:
    def views(seed: int, epoch: int) -> Tensor:
        return _whole_epoch(_loader(seed=seed), epoch, ["weak"]).views["weak"]

    assert torch.equal(views(1, 5), views(1, 5))
    assert not torch.equal(views(1, 5), views(1, 6))
    assert not torch.equal(views(1, 5), views(2, 5))


def test_several_steps_at_once_equal_single_steps() -> None:
    loader, views = _loader(), ["weak", "strong"]
    loader.start_epoch(3, views, 0)
    joint = loader.make_batch(loader.batch_spec(0, 2))
    single = _batches(loader, 3, views)[:2]
    assert torch.equal(joint.target, torch.cat([batch.target for batch in single]))
    for view in views:
        assert torch.equal(joint.views[view], torch.cat([b.views[view] for b in single]))


def test_an_epoch_can_start_in_its_middle() -> None:
    complete = _batches(_loader(), 4, ["weak", "strong"])
    rest = _batches(_loader(), 4, ["weak", "strong"], start=1)
    assert len(rest) == 2
    for early, late in zip(complete[1:], rest, strict=True):
        assert torch.equal(early.target, late.target)
        assert torch.equal(early.views["strong"], late.views["strong"])


def test_asking_for_the_strong_view_does_not_change_the_weak_one() -> None:
    loader = _loader()
    weak = _whole_epoch(loader, 1, ["weak"])
    both = _whole_epoch(loader, 1, ["weak", "strong"])
    assert torch.equal(weak.views["weak"], both.views["weak"])
    assert not torch.equal(both.views["weak"], both.views["strong"])


def test_views_are_channels_last() -> None:
    batch = _batches(_loader(), 1, ["weak", "strong"])[0]
    for view in batch.views.values():
        assert view.shape == (64, 3, 32, 32)
        assert view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)


def test_no_flip_and_no_padding_leave_the_images_as_they_are() -> None:
    loader = _loader(flip=False, padding=0)
    for batch in _batches(loader, 1, ["weak"]):
        expected = loader.images.images[batch.target].permute(0, 3, 1, 2)
        assert torch.equal(_uint8(batch.views["weak"]), expected)


def test_normalization_is_that_of_torchvision() -> None:
    images = _images().images.permute(0, 3, 1, 2)
    expected = tv.normalize(tv.to_dtype(images, torch.float32, scale=True), DATA.mean, DATA.std)
    torch.testing.assert_close(Normalizer(DATA.mean, DATA.std, images.device)(images), expected)


@pytest.mark.parametrize("size", [28, 64])
def test_padded_crops_have_the_size_of_the_images(size: int) -> None:
    images = _images(size=size)
    loader = CropLoader(images, DATA.model_copy(update={"image_size": size, "flip": False}))
    spec = loader.draw_epoch(1, ["weak"])
    crop = spec.views["weak"].crop
    assert crop is not None
    views = loader.make_batch(spec).views["weak"]
    image = images.images[spec.index[0]].permute(2, 0, 1)
    expected = tv.crop(tv.pad(image, [4]), crop.top[0], crop.left[0], size, size)
    assert torch.equal(_uint8(views)[0], expected)


def test_padded_crops_of_another_size_than_the_images_are_refused() -> None:
    with pytest.raises(RequestError, match=r"data\.image_size: .* have 32 pixels, not 28"):
        _loader(image_size=28)


def test_a_single_last_image_is_left_out() -> None:
    assert [len(batch.target) for batch in _batches(_loader(129), 1, ["weak"])] == [64, 64]
    assert [len(batch.target) for batch in _batches(_loader(130), 1, ["weak"])] == [64, 64, 2]
