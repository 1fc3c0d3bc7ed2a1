"""Images: data sets, views, batches. Everything stays on the training device as uint8."""

from lskd_cli.data.batch import (
    Batch,
    Draws,
    Loader,
    Normalizer,
    images_of,
    rows,
    seed_of,
)
from lskd_cli.data.crops import CropLoader
from lskd_cli.data.datasets import Dataset, ImageSet, load_dataset, num_classes
from lskd_cli.data.loader import create_loader

__all__ = [
    "Batch",
    "CropLoader",
    "Dataset",
    "Draws",
    "ImageSet",
    "Loader",
    "Normalizer",
    "create_loader",
    "images_of",
    "load_dataset",
    "num_classes",
    "rows",
    "seed_of",
]
