"""Predictions for image files, streamed in batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import joblib
import torch
from torch import Tensor

from lskd_cli.data.sets.image_formats import ImageFilter, open_image
from lskd_cli.engine.inference.trained_network import BATCH_SIZE, Prediction, TrainedNetwork
from lskd_cli.errors import RequestError, first_line
from lskd_cli.io.atomic import regular_file
from lskd_cli.io.folders import exists, walk_files
from lskd_cli.io.printable import shorten


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction for one file.

    Attributes:
        path: path of the image.
        predictions: the most probable classes; empty if the file cannot be read.
        error: why it cannot be read.
    """

    path: Path
    predictions: list[Prediction]
    error: str | None = None


def find_images(
    paths: Sequence[Path], is_image: ImageFilter, warn: Callable[[str], None] = lambda _: None
) -> Iterator[Path]:
    """The given files, and all images below the given folders, in the order of their names.

    Args:
        paths: files and folders.
        is_image: selects the images of folders.
        warn: called for a subfolder that cannot be read and is left out.

    Raises:
        RequestError: a path does not exist.
    """
    for path in paths:
        if not exists(path):
            raise RequestError(f"{shorten(str(path))}: no such image or folder")
        if not path.is_dir():
            yield path
            continue
        for folder, files in walk_files(path, warn):
            for file in (folder / name for name in files):
                if is_image(str(file.relative_to(path))):
                    yield file


def predict_files(
    student: TrainedNetwork, paths: Iterable[Path], top_k: int
) -> Iterator[list[ImagePrediction]]:
    """Predictions for image files, a batch at a time and in order.

    Files are decoded by several threads; at most one batch is in memory.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        while batch := list(islice(remaining, BATCH_SIZE)):
            prepared = list(threads.map(lambda path: _prepare(student, path), batch))
            images = [pixels for pixels in prepared if isinstance(pixels, Tensor)]
            found: Iterator[list[Prediction]] = iter(())
            if images:
                probabilities = student.logits(torch.stack(images)).softmax(dim=1)
                found = iter(student.top_k(probabilities, top_k))
            yield [
                ImagePrediction(path, next(found))
                if isinstance(pixels, Tensor)
                else ImagePrediction(path, [], pixels)
                for path, pixels in zip(batch, prepared, strict=True)
            ]


def _prepare(student: TrainedNetwork, path: Path) -> Tensor | str:
    """The preprocessed image, or why it cannot be read."""
    try:
        with open_image(regular_file(path)) as image:
            return student.prepare(image)
    # A corrupt file can raise any exception.
    except Exception as error:
        return first_line(error)
