"""timm's transform in worker processes: reproducible views."""

import pytest
import torch
from torch import Tensor

from lskd_cli.config import Data, View, load_preset
from lskd_cli.data import Batch, DataShard, InMemoryImages, Loader, create_loader
from lskd_cli.errors import RequestError
from tests.data.augment.test_image_ops import images

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


def test_an_epoch_is_the_same_again_and_from_its_middle() -> None:
    first, second = _epoch(DATA)
    assert first.shape == (50, 3, 48, 48)
    assert not torch.equal(first, second)
    assert torch.equal(_epoch(DATA)[0], first)
    assert torch.equal(_epoch(DATA, start=1)[0], second)


def test_processes_share_the_views_of_a_single_process() -> None:
    loaders = [create_loader(_set(), DATA, DataShard(rank, 2)) for rank in (0, 1)]
    parts = [_first_batch(loader, epoch=3).views["weak"] for loader in loaders]
    assert [len(part) for part in parts] == [25, 25]
    assert torch.equal(torch.cat(parts), _epoch(DATA)[0])


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


def test_other_epochs_and_seeds_have_other_views_and_orders() -> None:
    targets = []
    for epoch, seed in ((1, 0), (2, 0), (1, 1)):
        data = DATA.model_copy(update={"seed": seed})
        loader = create_loader(_set(), data)
        targets.append(_first_batch(loader, epoch).target)
    assert not torch.equal(targets[0], targets[1])
    assert not torch.equal(targets[0], targets[2])


def test_an_image_has_other_views_in_another_epoch() -> None:
    data = DATA.model_copy(update={"drop_last": False})
    views = []
    for epoch in (1, 2):
        loader = create_loader(_set(), data)
        loader.start_epoch(epoch, ["weak"], 0)
        batches = [loader.make_batch(loader.batch_spec(step, 1)) for step in range(3)]
        by_index = {
            int(i): v for b in batches for i, v in zip(b.index, b.views["weak"], strict=True)
        }
        views.append(torch.stack([by_index[index] for index in range(120)]))
    difference = (views[0] - views[1]).abs().amax(dim=(1, 2, 3))
    assert (difference > 0.1).double().mean() > 0.8  # some images are constant


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
        create_loader(_set(), _with(policy="rand-x9"))
