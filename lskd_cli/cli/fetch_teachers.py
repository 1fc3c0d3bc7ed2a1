"""lskd fetch-teachers."""

import json
from typing import Annotated

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.console import out, say
from lskd_cli.errors import RequestError


def fetch_teachers(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Teachers, or all of cifar100 (if none is given) or imagenet."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL/PATH", help="A mirror or a local copy."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Refuse the CIFAR-100 archive unless it has this digest.")
    ] = None,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    list_: Annotated[
        bool, typer.Option("--list", help="Show what can be fetched and what is there.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download published teachers and convert them.

    Those of CIFAR-100 are one archive of 364 MB; resnet34 and resnet50 of ImageNet are weights of
    torchvision, 83 and 98 MB. A broken download goes on where it stopped. Nothing in the files is
    executed.

    Example: [bold]lskd fetch-teachers resnet32x4 --from ~/cifar_teachers.tar[/]
    """
    from lskd_cli.cli.progress import Bar
    from lskd_cli.config import load_preset
    from lskd_cli.teachers import ARCHIVE_URL, CATALOGUE, IMAGENET, fetch, fetch_imagenet

    known = [*CATALOGUE, *IMAGENET]
    paths = {name: teacher.path(checkpoints_dir) for name, teacher in CATALOGUE.items()}
    paths |= {name: teacher.path(checkpoints_dir) for name, teacher in IMAGENET.items()}
    if list_:
        presets = {name: f"teacher-{name}" for name in CATALOGUE}
        presets |= {name: f"teacher-imagenet-{name}" for name in IMAGENET}
        published = {name: load_preset(preset).published.top1 for name, preset in presets.items()}
        there = {name: path.exists() for name, path in paths.items()}
        if as_json:
            rows = {n: {"published_top1": published[n], "present": there[n]} for n in known}
            out.print_json(json.dumps(rows))
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("teacher", "data", "published top-1", "file"):
            table.add_column(heading)
        for name in known:
            data = "imagenet" if name in IMAGENET else "cifar100"
            file = str(paths[name]) if there[name] else ""
            table.add_row(name, data, f"{published[name]:.2f} %", file)
        out.print(table)
        return
    groups = {"cifar100": list(CATALOGUE), "imagenet": list(IMAGENET)}
    wanted = [one for name in names or ["cifar100"] for one in groups.get(name, [name])]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise RequestError(f"unknown teacher {unknown[0]!r}; one of {', '.join([*known, *groups])}")
    missing = [name for name in wanted if fresh or not paths[name].exists()]
    of_archive = [name for name in missing if name in CATALOGUE]
    of_imagenet = [name for name in missing if name in IMAGENET]
    if source and of_archive and of_imagenet:
        raise RequestError("--from: of CIFAR-100's teachers or of ImageNet's; ask for one kind")
    for name in wanted:
        if name not in missing:
            say(f"{paths[name]}: there already; --fresh replaces it")
    if of_archive:
        with Bar("downloading cifar_teachers.tar") as bar:
            fetch(
                of_archive,
                checkpoints_dir,
                source or ARCHIVE_URL,
                sha256,
                bar,
                lambda path: say(f"{path}: stored"),
            )
    for name in of_imagenet:
        with Bar(f"downloading {IMAGENET[name].file_name}") as bar:
            say(f"{fetch_imagenet(name, checkpoints_dir, source, bar)}: stored")
    if as_json:
        out.print_json(json.dumps({name: str(paths[name]) for name in wanted}))
