"""Archives of teachers in the form of the published one, and malformed ones."""

import io
import tarfile
from collections.abc import Mapping, Sequence

import torch

MEMBER = "cifar_teachers/{}_vanilla/ckpt_epoch_240.pth"


def pickled(content: object) -> bytes:
    """A file of ``torch.save``."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def make_archive(
    members: Mapping[str, bytes],
    links: Mapping[str, str] | None = None,
    folders: Sequence[str] = (),
) -> bytes:
    """A tar archive of files, symbolic links to targets, and folders."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
    return stream.getvalue()


def header_of_huge_member(name: str, size: int) -> bytes:
    """The header of a member, without its content."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()
