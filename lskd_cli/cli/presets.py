"""lskd presets: what there is, resolved."""

import json
from typing import Annotated

import typer
from rich.table import Table

from lskd_cli.cli.console import out, say
from lskd_cli.cli.options import MethodFile, load_method_files
from lskd_cli.config import list_presets, load_preset, to_yaml
from lskd_cli.errors import RequestError

app = typer.Typer(no_args_is_help=True, help="List, show and validate presets.")
Name = Annotated[str, typer.Argument(help="A preset's name, or a YAML file of one.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")
]


@app.command("list")
def list_(
    filter_: Annotated[str, typer.Argument(metavar="[PART]", help="Only names with this.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Names and published values.")] = False,
    method_files: MethodFile = None,
) -> None:
    """List the presets with their published accuracies.

    Example: [bold]lskd presets list r8x4[/]
    """
    load_method_files(method_files)
    chosen, problems = [], set()
    for name in list_presets():
        try:
            chosen += [load_preset(name)] if filter_ in name else []
        except RequestError as error:  # of an installed package
            problems.add(str(error))
    for problem in sorted(problems):
        say(f"left out: {problem}")
    if as_json:
        names = {p.name: p.published.model_dump(exclude={"log"}) for p in chosen}
        out.print_json(json.dumps(names))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("preset", "teacher", "student", "data"):
        table.add_column(heading)
    table.add_column("published", justify="right")
    table.add_column("+stand", justify="right")
    for preset in chosen:
        values = (preset.published.top1, preset.published.top1_stand)
        table.add_row(
            preset.name,
            preset.teacher or "",
            preset.student,
            preset.data.name,
            *("" if value is None else f"{value:.2f}" for value in values),
        )
    out.print(table)


@app.command()
def show(name: Name, settings: Settings = None, method_files: MethodFile = None) -> None:
    """Print a preset as one complete YAML file, which --preset takes back.

    Example: [bold]lskd presets show kd-r32x4-r8x4 > mine.yaml[/]
    """
    load_method_files(method_files)
    print(to_yaml(load_preset(name, settings or ())), end="")  # noqa: T201 (as it is, unwrapped)


@app.command()
def validate(
    names: Annotated[list[str], typer.Argument(help="Names or YAML files.")],
    method_files: MethodFile = None,
) -> None:
    """Check presets: keys, values, networks.

    Example: [bold]lskd presets validate mine.yaml[/]
    """
    from lskd_cli.engine.rehearsal import check_networks

    load_method_files(method_files)
    problems = []
    for name in names:
        try:
            check_networks([load_preset(name)])
            say(f"{name}: valid")
        except RequestError as error:
            problems.append(str(error))
    if problems:
        raise RequestError("\n".join(problems))
