"""Images: data sets, views and batches. Small data sets stay on the training device as uint8."""

from lskd_cli.data.batch import (
    UNSHARDED,
    Batch,
    BatchSpec,
    DataShard,
    worker_count,
)
from lskd_cli.data.crop_loader import CropLoader
from lskd_cli.data.eval_batches import center_view, eval_batches
from lskd_cli.data.loader import create_loader
from lskd_cli.data.loader_base import Loader, epoch_size
from lskd_cli.data.loading import (
    count_train_images,
    identify_images,
    identify_images_once,
    load_splits,
)
from lskd_cli.data.sets.file_images import FileImages, FolderImages
from lskd_cli.data.sets.image_folder import class_names
from lskd_cli.data.sets.in_memory import ImagesIdentity, InMemoryImages
from lskd_cli.data.sets.splits import DataSplits, Images

__all__ = [
    "UNSHARDED",
    "Batch",
    "BatchSpec",
    "CropLoader",
    "DataShard",
    "DataSplits",
    "FileImages",
    "FolderImages",
    "Images",
    "ImagesIdentity",
    "InMemoryImages",
    "Loader",
    "center_view",
    "class_names",
    "count_train_images",
    "create_loader",
    "epoch_size",
    "eval_batches",
    "identify_images",
    "identify_images_once",
    "load_splits",
    "worker_count",
]
