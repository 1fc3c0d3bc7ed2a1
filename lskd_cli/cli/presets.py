"""The commands ``lskd presets list``, ``show``, ``diff`` and ``validate``."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from tabulate import tabulate

from lskd_cli.cli import completion, options
from lskd_cli.cli.options import MethodFiles, command_help, load_method_files
from lskd_cli.cli.terminal.console import info, out, print_json
from lskd_cli.config import list_presets, load_preset, to_yaml
from lskd_cli.config.differences import find_differences
from lskd_cli.config.methods.builtin import NO_METHOD
from lskd_cli.errors import RequestError, RunError

app = typer.Typer(no_args_is_help=True, help="List, show, compare and validate presets.")
Name = Annotated[
    str,
    typer.Argument(autocompletion=completion.presets, help="Name or YAML file of a preset."),
]


def list_(
    filter_: Annotated[
        str, typer.Argument(metavar="TEXT", help="Only presets whose names contain this text.")
    ] = "",
    method: Annotated[str | None, typer.Option(help="Only presets of this method.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Only presets with this teacher.")] = None,
    student: Annotated[str | None, typer.Option(help="Only presets with this student.")] = None,
    data: Annotated[str | None, typer.Option(help="Only presets of this data set.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print names and published values as JSON.")
    ] = False,
    method_files: MethodFiles = None,
) -> None:
    """List the presets with their published accuracies.

    Example: [bold]lskd presets list r8x4[/]
    """
    load_method_files(method_files)
    selected, problems = [], set()
    for name in list_presets():
        if filter_ not in name or (method not in (None, NO_METHOD) and not name.startswith(method)):
            continue
        try:
            preset = load_preset(name, allow_unknown_method=True)
        except RequestError as error:  # of an installed plug-in
            problems.add(str(error))
            continue
        found = (preset.method.name, preset.teacher, preset.student, preset.data.name)
        wanted = (method, teacher, student, data)
        if all(one in (None, other) for one, other in zip(wanted, found, strict=True)):
            selected.append(preset)
    for problem in sorted(problems):
        info(f"left out: {problem}")
    if not selected:
        raise RunError(
            "no preset matches; 'lskd presets list' prints all presets with their networks"
        )
    if as_json:
        published = {p.name: p.published.model_dump(exclude={"log"}) for p in selected}
        print_json(published)
        return
    rows = [
        (p.name, p.teacher, p.student, p.data.name, p.published.top1, p.published.top1_stand)
        for p in selected
    ]
    headings = ("preset", "teacher", "student", "data", "published", "+Ours")
    # rich needs a second for these hundreds of rows.
    print(tabulate(rows, headings, tablefmt="plain", floatfmt=".2f"))  # noqa: T201


def show(name: Name, settings: options.Settings = None, method_files: MethodFiles = None) -> None:
    """Print a preset as one complete YAML file, which --preset accepts.

    Example: [bold]lskd presets show kd-r32x4-r8x4 > mine.yaml[/]
    """
    load_method_files(method_files)
    print(to_yaml(load_preset(name, settings or ())), end="")  # noqa: T201 (rich would wrap lines)


def diff(first: Name, second: Name, method_files: MethodFiles = None) -> None:
    """Print the keys in which two presets differ, with both values.

    Example: [bold]lskd presets diff kd-r32x4-r8x4 dkd-r32x4-r8x4[/]
    """
    load_method_files(method_files)
    one, two = (load_preset(name).model_dump(exclude_none=True) for name in (first, second))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("key", first, second):
        table.add_column(escape(heading), overflow="fold")
    for key, *values in find_differences(one, two):
        table.add_row(key, *("" if value is None else escape(str(value)) for value in values))
    out.print(table)


def validate(
    names: Annotated[list[str], typer.Argument(help="Names or YAML files of presets.")],
    method_files: MethodFiles = None,
    model_files: options.ModelFiles = None,
) -> None:
    """Check keys, values and networks of presets.

    Example: [bold]lskd presets validate mine.yaml[/]
    """
    from lskd_cli.engine.training.dry_run import check_networks

    load_method_files(method_files)
    options.load_model_files(model_files)
    problems = []
    for name in names:
        try:
            check_networks([load_preset(name)])
            info(f"{name}: valid")
        except RequestError as error:
            problems.append(str(error))
    if problems:
        raise RequestError("\n".join(problems))


for _name, _command in (("list", list_), ("show", show), ("diff", diff), ("validate", validate)):
    app.command(_name, help=command_help(_command))(_command)
