"""Images: data sets, views, batches. Everything stays on the training device as uint8."""

from lskd_cli.data.datasets import Dataset, ImageSet, load_dataset, num_classes
from lskd_cli.data.loader import Batch, Draws, Loader, Normalizer, rows

__all__ = [
    "Batch",
    "Dataset",
    "Draws",
    "ImageSet",
    "Loader",
    "Normalizer",
    "load_dataset",
    "num_classes",
    "rows",
]
