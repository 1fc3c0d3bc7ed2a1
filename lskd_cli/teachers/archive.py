"""What the catalogues of published teachers share: source, checks and storage of weight files."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lskd_cli.checkpoints import Checkpoint, save_checkpoint
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.atomic import remove_temporary_files
from lskd_cli.io.download import ArchiveError, Progress, downloaded, is_url, public_url
from lskd_cli.io.folders import exists
from lskd_cli.io.printable import shorten
from lskd_cli.models import create_model
from lskd_cli.pickled_weights import read_pickled_weights


def use_source(source: str, target: Path, progress: Progress, use: Callable[[Path], None]) -> None:
    """Call ``use`` with the local file of a source, which is downloaded if it is a URL.

    A download is removed after it has been used, and if its content is wrong; a local file stays.

    Args:
        source: URL or local path.
        target: path of the download; the digest of the source is inserted into its name.
        progress: progress of the download.
        use: raises an ``ArchiveError`` if the content of the file is wrong.

    Raises:
        RequestError: the local path is not a file.
        RunError: the download failed, or ``use`` raised it.
    """
    if not is_url(source):
        if not exists(Path(source)) or not Path(source).is_file():
            raise RequestError(f"--from {shorten(source)}: neither a URL nor a file")
        use(Path(source))
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(downloaded(source, target, progress))
        except RunError as error:
            raise RunError(f"{error} (--from takes a mirror or a local copy)") from None
        use(file)


def store_teacher(
    path: Path, model: str, num_classes: int, pickled: Path, label: str, metadata: dict[str, str]
) -> None:
    """Convert the weights of a published teacher to a safetensors file.

    Args:
        path: path of the safetensors file.
        model: name of the network.
        num_classes: number of classes.
        pickled: the published file.
        label: name of the published file in messages.
        metadata: dataset, top1, source and sha256; a URL is stored without what may be secret.

    Raises:
        ArchiveError: the file contains other weights, or corrupt ones.
        RunError: the safetensors file cannot be written.
    """
    try:
        checkpoint = Checkpoint(pickled, read_pickled_weights(pickled), {})
        network = create_model(model, num_classes)
        weights = checkpoint.weights_for(network)
        checkpoint.check(model, network, weights)
    except RequestError as error:
        raise ArchiveError(str(error).replace(str(pickled), label)) from None
    described = {"model": model, "num_classes": str(num_classes), **metadata}
    remove_temporary_files(path.parent, path.name)
    save_checkpoint(path, weights, described | {"source": public_url(metadata["source"])})
