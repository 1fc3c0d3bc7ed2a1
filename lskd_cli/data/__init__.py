"""Images: data sets, views, batches. Small sets stay on the training device as uint8."""

from lskd_cli.data.batch import (
    ALONE,
    Batch,
    Draws,
    Loader,
    Share,
    images_of,
    rows,
    seed_of,
    worker_count,
)
from lskd_cli.data.centres import whole_images
from lskd_cli.data.crops import CropLoader
from lskd_cli.data.datasets import (
    Dataset,
    Images,
    ImageSet,
    image_folder,
    load_dataset,
    num_classes,
)
from lskd_cli.data.folder import FolderSet, class_names
from lskd_cli.data.loader import create_loader

__all__ = [
    "ALONE",
    "Batch",
    "CropLoader",
    "Dataset",
    "Draws",
    "FolderSet",
    "ImageSet",
    "Images",
    "Loader",
    "Share",
    "class_names",
    "create_loader",
    "image_folder",
    "images_of",
    "load_dataset",
    "num_classes",
    "rows",
    "seed_of",
    "whole_images",
    "worker_count",
]
