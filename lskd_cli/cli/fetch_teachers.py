"""The command ``lskd fetch-teachers``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.cli.terminal.rich_tables import plain_text
from lskd_cli.config import load_preset
from lskd_cli.errors import RequestError
from lskd_cli.teachers.catalogue import ARCHIVE_URL, CATALOGUE, IMAGENET


def fetch_teachers(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Teachers, or all of cifar100 (the default) or imagenet.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL/PATH", help="A mirror or a local copy."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Expected SHA-256 of the archive of CIFAR-100 teachers.")
    ] = None,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    list_: Annotated[
        bool, typer.Option("--list", help="List the available teachers and existing files.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download published teachers and convert them to safetensors.

    The CIFAR-100 teachers are one archive of 364 MB; the ImageNet teachers resnet34 and resnet50
    are weights of torchvision, 83 and 98 MB. An interrupted download is resumed. Pickled files are
    loaded with weights_only=True.

    Example: [bold]lskd fetch-teachers resnet32x4 --from ~/cifar_teachers.tar[/]
    """
    paths = {name: teacher.path(checkpoints_dir) for name, teacher in CATALOGUE.items()}
    paths |= {name: teacher.path(checkpoints_dir) for name, teacher in IMAGENET.items()}
    if list_:
        without_effect = ("names", "source", "sha256", "fresh")
        options.refuse_options(context, without_effect, "not valid with --list")
        _list_teachers(paths, as_json)
        return
    groups = {"cifar100": list(CATALOGUE), "imagenet": list(IMAGENET)}
    requested = [teacher for name in names or ["cifar100"] for teacher in groups.get(name, [name])]
    unknown = [name for name in requested if name not in paths]
    if unknown:
        known = ", ".join([*paths, *groups])
        raise RequestError(f"unknown teacher {unknown[0]!r}; choose from {known}")
    if not any(name in CATALOGUE for name in requested):
        options.refuse_options(context, ("sha256",), "only valid for CIFAR-100 teachers")
    missing = [name for name in requested if fresh or not paths[name].exists()]
    for name in requested:
        if name not in missing:
            info(f"{paths[name]}: already exists; use --fresh to replace it")
    _fetch(missing, checkpoints_dir, source, sha256, fresh)
    if as_json:
        print_json({name: str(paths[name]) for name in requested})


def _fetch(
    names: list[str], checkpoints_dir: Path, source: str | None, sha256: str | None, fresh: bool
) -> None:
    from lskd_cli.cli.terminal.progress import ProgressBar
    from lskd_cli.teachers.cifar import fetch
    from lskd_cli.teachers.imagenet import fetch_imagenet

    cifar = [name for name in names if name in CATALOGUE]
    imagenet = [name for name in names if name in IMAGENET]
    if source is not None and cifar and imagenet:
        raise RequestError(
            "--from: request either CIFAR-100 or ImageNet teachers, not both at once"
        )
    if cifar:
        with ProgressBar("downloading cifar_teachers.tar") as bar:
            address = ARCHIVE_URL if source is None else source
            for path in fetch(cifar, checkpoints_dir, address, sha256, bar, fresh):
                info(f"stored {path}")
    for name in imagenet:
        with ProgressBar(f"downloading {IMAGENET[name].file_name}") as bar:
            info(f"stored {fetch_imagenet(name, checkpoints_dir, source, bar, fresh)}")


def _list_teachers(paths: dict[str, Path], as_json: bool) -> None:
    published = {}
    for name in paths:
        prefix = "teacher-imagenet" if name in IMAGENET else "teacher"
        preset = load_preset(f"{prefix}-{name}", allow_unknown_method=True)
        published[name] = preset.published.top1
    if as_json:
        records = {
            name: {"published_top1": published[name], "present": path.exists()}
            for name, path in paths.items()
        }
        print_json(records)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("teacher", "data", "published top-1", "file"):
        table.add_column(heading)
    for name, path in paths.items():
        data = "imagenet" if name in IMAGENET else "cifar100"
        file = str(path) if path.exists() else ""
        table.add_row(name, data, f"{published[name]:.2f} %", plain_text(file))
    out.print(table)
