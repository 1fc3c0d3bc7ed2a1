"""lskd fetch-teachers."""

import json
from typing import Annotated

import typer
from rich.table import Table

from lskd_cli.cli import options
from lskd_cli.cli.console import out, say


def fetch_teachers(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="All six if none is given.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL/PATH", help="A mirror or a local copy of the archive."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Refuse the archive unless it has this digest.")
    ] = None,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    list_: Annotated[
        bool, typer.Option("--list", help="Show what can be fetched and what is there.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download the published CIFAR-100 teachers (one archive of 364 MB) and convert them.

    A broken download goes on where it stopped. Nothing in the files is executed.

    Example: [bold]lskd fetch-teachers resnet32x4 --from ~/cifar_teachers.tar[/]
    """
    from lskd_cli.cli.progress import Bar
    from lskd_cli.config import load_preset
    from lskd_cli.teachers import ARCHIVE_URL, CATALOGUE, fetch

    there = {name: t.path(checkpoints_dir).exists() for name, t in CATALOGUE.items()}
    if list_:
        published = {name: load_preset(f"teacher-{name}").published.top1 for name in CATALOGUE}
        if as_json:
            rows = {n: {"published_top1": published[n], "present": there[n]} for n in CATALOGUE}
            out.print_json(json.dumps(rows))
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("teacher", "published top-1", "file"):
            table.add_column(heading)
        for name, teacher in CATALOGUE.items():
            path = str(teacher.path(checkpoints_dir))
            table.add_row(name, f"{published[name]:.2f} %", path if there[name] else "")
        out.print(table)
        return
    wanted = names or list(CATALOGUE)
    missing = [name for name in wanted if fresh or not there.get(name, False)]
    for name in wanted:
        if name not in missing:
            say(f"{CATALOGUE[name].path(checkpoints_dir)}: there already; --fresh replaces it")
    if missing:
        with Bar("downloading cifar_teachers.tar") as bar:
            fetch(
                missing,
                checkpoints_dir,
                source or ARCHIVE_URL,
                sha256,
                bar,
                lambda path: say(f"{path}: stored"),
            )
    if as_json:
        files = {name: str(CATALOGUE[name].path(checkpoints_dir)) for name in wanted}
        out.print_json(json.dumps(files))
