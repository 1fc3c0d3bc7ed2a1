"""Images: data sets, views, batches. Everything stays on the training device as uint8."""

from lskd_cli.data.datasets import Dataset, ImageSet, load_dataset, num_classes
from lskd_cli.data.loader import Batch, Loader, Normalizer

__all__ = ["Batch", "Dataset", "ImageSet", "Loader", "Normalizer", "load_dataset", "num_classes"]
