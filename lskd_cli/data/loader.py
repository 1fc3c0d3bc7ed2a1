"""The loader that a preset's data asks for."""

from lskd_cli.config import Data
from lskd_cli.data.augmented import DeviceLoader
from lskd_cli.data.batch import ALONE, Loader, Share
from lskd_cli.data.crops import CropLoader
from lskd_cli.data.datasets import Images
from lskd_cli.data.folder import FolderSet
from lskd_cli.data.workers import WorkerLoader


def create_loader(images: Images, data: Data, share: Share = ALONE) -> Loader:
    """Training batches of images, on their device.

    Raises:
        RequestError: the augmentation is unknown, or the images make no batches.
    """
    if isinstance(images, FolderSet) or (
        data.augmentation is not None and data.augmentation.pipeline == "workers"
    ):
        return WorkerLoader(images, data, share)
    if data.augmentation is None:
        return CropLoader(images, data, share)
    return DeviceLoader(images, data, share)
