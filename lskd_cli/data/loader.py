"""The loader that a preset's data asks for."""

from lskd_cli.config import Data
from lskd_cli.data.augmented import DeviceLoader
from lskd_cli.data.batch import Loader
from lskd_cli.data.crops import CropLoader
from lskd_cli.data.datasets import ImageSet
from lskd_cli.data.workers import WorkerLoader


def create_loader(images: ImageSet, data: Data) -> Loader:
    """Training batches of images, on the device that holds them.

    Raises:
        RequestError: the augmentation is unknown, or there are too few images for a batch.
    """
    if data.augmentation is None:
        return CropLoader(images, data)
    if data.augmentation.pipeline == "workers":
        return WorkerLoader(images, data)
    return DeviceLoader(images, data)
