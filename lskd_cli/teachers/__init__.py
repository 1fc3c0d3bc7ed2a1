"""Download and conversion of published teachers."""

from lskd_cli.teachers.cifar import ARCHIVE_URL, CATALOGUE, fetch
from lskd_cli.teachers.imagenet import IMAGENET, fetch_imagenet

__all__ = ["ARCHIVE_URL", "CATALOGUE", "IMAGENET", "fetch", "fetch_imagenet"]
