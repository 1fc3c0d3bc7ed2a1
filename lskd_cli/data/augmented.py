"""timm's training transform on whole batches, on the device that holds the images.

What happens to an image is chosen on the host by timm itself; the host then knows which images an
operation is for, and only those pass through it.
"""

from collections.abc import Callable, Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lskd_cli.config import Data
from lskd_cli.data.batch import (
    ALONE,
    VIEW_STREAMS,
    Batch,
    Draws,
    Loader,
    Normalizer,
    Share,
    epoch_order,
    finished,
    rows,
    seed_of,
)
from lskd_cli.data.datasets import ImageSet
from lskd_cli.data.operations import (
    BLENDS,
    CODES,
    LOOK_UPS,
    MOVES,
    affine_matrix,
    blend_with_itself,
    look_up,
)
from lskd_cli.data.resample import crop_and_resize
from lskd_cli.data.strong import draw_strong, strengthen
from lskd_cli.data.timm_transform import Chooser, eraser, seed_everything
from lskd_cli.view import View


class DeviceLoader(Loader):
    """Training batches whose views are made ahead of the step that learns from them.

    The random numbers are those of a whole batch: each of several processes makes all of it.
    """

    def __init__(self, images: ImageSet, data: Data, share: Share = ALONE) -> None:
        """Take the training images, on the device where the batches are wanted.

        Raises:
            RequestError: the policy asks for what is not there, or the images make no batches.
        """
        super().__init__(len(images), data, share)
        self.images = images
        self.normalize = Normalizer(data, images.device)
        self.choose = Chooser(data)
        self.erase = eraser(data, images.device)
        grey = [min(255, round(255 * mean)) for mean in data.mean]  # as timm fills what moves in
        self.fill = torch.tensor(grey, device=images.device).view(3, 1, 1)

    def epoch(self, epoch: int, views: Collection[View], start: int) -> Callable[[int, int], Draws]:
        """Finished views of one step of an epoch (from 1) at a time."""
        order = epoch_order(len(self.images), self.data, epoch)
        size = self.data.batch_size

        def make(step: int, steps: int) -> Draws:
            index = _sent(order[step * size : (step + steps) * size], self.images.device)
            draws = {"index": index, "target": self.images.targets[index]}
            for view in views:
                seed_everything(seed_of(self.data.seed, epoch, VIEW_STREAMS[view], step))
                draws[f"view.{view}"] = self._view(self.images.images[index], view)
            return rows(draws, self.share.rows(len(index)))

        return make

    def cut(self, draws: Mapping[str, Tensor]) -> Batch:
        return finished(draws)

    def _view(self, images: Tensor, view: View) -> Tensor:
        """Of (N, H, W, 3) uint8 images."""
        augmentation, device = self.data.augmentation, images.device
        assert augmentation is not None
        count, height, width, _ = images.shape
        choices = self.choose(height, width, count)
        pixels = crop_and_resize(
            images.permute(0, 3, 1, 2),
            _sent(choices.boxes, device),
            _sent(choices.flip, device),
            self.data.image_size,
            augmentation.interpolation,
        )
        for codes, parameters in choices.layers:
            pixels = _operate(pixels, codes, parameters, augmentation.interpolation, self.fill)
        if view == "strong":
            # Beyond timm: what the strong view adds to the weak one everywhere.
            numbers = draw_strong(count, torch.default_generator)
            pixels = strengthen(pixels, {k: _sent(v, device) for k, v in numbers.items()})
        normal = self.normalize(pixels)
        return self.erase(normal).contiguous(memory_format=torch.channels_last)


def _operate(
    images: Tensor, codes: Tensor, parameters: Tensor, interpolation: str, fill: Tensor
) -> Tensor:
    """One operation on each (N, 3, S, S) uint8 image, in place; codes and parameters on the CPU."""

    def move(chosen: Tensor, operation: Tensor, parameter: Tensor) -> Tensor:
        matrix = affine_matrix(chosen, operation, parameter)
        return move_smoothly(chosen, matrix, interpolation, fill)

    for names, function in ((LOOK_UPS, look_up), (MOVES, move), (BLENDS, blend_with_itself)):
        wanted = torch.tensor([CODES[name] for name in names])
        where = torch.isin(codes, wanted).nonzero()[:, 0]
        if len(where):
            place, operation, parameter = (
                _sent(one, images.device) for one in (where, codes[where], parameters[where])
            )
            images[place] = function(images[place], operation, parameter)
    return images


def move_smoothly(images: Tensor, matrix: Tensor, interpolation: str, fill: Tensor) -> Tensor:
    """Affine transform of images with a colour outside.

    PyTorch's bicubic filter (a = -0.75) is a little softer than Pillow's for transforms (a = -1).

    Args:
        images: (N, 3, S, S) uint8.
        matrix: (6, N), of ``affine_matrix``.
        interpolation: bilinear or bicubic.
        fill: (3, 1, 1) colour.
    """
    count, _, height, width = images.shape
    of_x, of_y = matrix.to(torch.float32).view(2, 3, count).unbind(0)
    x = torch.arange(width, device=images.device) + 0.5
    y = (torch.arange(height, device=images.device) + 0.5)[:, None]
    column, row = (
        (a[:, None, None] * x + b[:, None, None] * y + c[:, None, None]) for a, b, c in (of_x, of_y)
    )
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    grid = torch.stack([2 * column / width - 1, 2 * row / height - 1], dim=-1)
    moved = F.grid_sample(
        images.to(torch.float32),
        grid,
        mode=interpolation,
        padding_mode="border",
        align_corners=False,
    )
    whole = torch.where(inside[:, None], moved.add_(0.5).floor_().clamp_(0, 255), fill)
    return whole.to(torch.uint8)


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """A small tensor on a device, without waiting for what the device is doing."""
    return values.to(device, non_blocking=True)
