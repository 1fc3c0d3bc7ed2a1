"""Creation of the loader that the data settings of a preset select."""

from lskd_cli.config import Data
from lskd_cli.data.batch import UNSHARDED, DataShard
from lskd_cli.data.crop_loader import CropLoader
from lskd_cli.data.loader_base import Loader
from lskd_cli.data.sets.file_images import FileImages
from lskd_cli.data.sets.splits import Images
from lskd_cli.data.worker_loader import WorkerLoader


def create_loader(images: Images, data: Data, shard: DataShard = UNSHARDED) -> Loader:
    """A loader of training batches on the device of the images.

    Raises:
        RequestError: the augmentation is unknown, or the images do not make batches.
    """
    if isinstance(images, FileImages) or data.augmentation is not None:
        return WorkerLoader(images, data, shard)
    return CropLoader(images, data, shard)
