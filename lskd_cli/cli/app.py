"""The program: its commands, and how each way of ending becomes an exit code."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lskd_cli import __version__, launch
from lskd_cli.cli import compare, evaluate, fetch_teachers, presets, report, train
from lskd_cli.cli.console import complain, err, say, speaks
from lskd_cli.config import fault
from lskd_cli.errors import Interrupted, RequestError, RunError

app = typer.Typer(
    name="lskd",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fetch-teachers")(fetch_teachers.fetch_teachers)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.add_typer(presets.app, name="presets")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lskd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Distill small image classifiers from large ones, with and without logit standardization.

    [bold]lskd compare --train --preset kd-digits[/] trains a student twice and prints the table.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 failed, 2 wrong request, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given)
    except (RequestError, RunError, Interrupted) as error:
        _traceback_if_wanted(given)
        if isinstance(error, Interrupted):
            say(str(error))
        elif speaks:
            complain(str(error))
        elif not error.told:
            complain(f"process {launch.rank()}: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        _traceback_if_wanted(given)
        complain(f"{error.filename or 'file system'}: {error.strerror or error}")
        sys.exit(RunError.exit_code)
    except Exception as error:
        _traceback_if_wanted(given)
        told = f"{type(error).__name__}: {error} (a defect of lskd; --debug shows where)"
        complain(fault(error) or told)
        sys.exit(RunError.exit_code)


def _traceback_if_wanted(arguments: Sequence[str]) -> None:
    if "--debug" in arguments:
        err.print_exception()
