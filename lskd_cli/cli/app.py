"""The command-line application: its commands, and the exit code of each way of ending."""

import io
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from lskd_cli import __version__
from lskd_cli.cli import (
    compare,
    doctor,
    evaluate,
    export,
    fetch_teachers,
    predict,
    presets,
    report,
    train,
    tune,
)
from lskd_cli.cli.options import command_help
from lskd_cli.cli.terminal.console import err, info, is_main_process, print_error
from lskd_cli.config import format_plugin_error
from lskd_cli.engine.devices import dist_env
from lskd_cli.errors import (
    Interrupted,
    RequestError,
    RunError,
    first_line,
    is_out_of_memory,
)
from lskd_cli.memo import start_command

app = typer.Typer(
    name="lskd",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in (
    ("fetch-teachers", fetch_teachers.fetch_teachers),
    ("train", train.train),
    ("eval", evaluate.evaluate),
    ("compare", compare.compare),
    ("report", report.report),
    ("tune", tune.tune),
    ("predict", predict.predict),
    ("export", export.export),
    ("doctor", doctor.doctor),
):
    app.command(name, help=command_help(command))(command)
app.add_typer(presets.app, name="presets")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"lskd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    """Distill small image classifiers from large ones, with and without logit standardization.

    [bold]lskd compare --train --preset kd-digits[/] trains a student twice and prints the table.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the application and exit.

    Exit codes: 0 done, 1 failed while running, 2 wrong request, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    start_command()
    # Unusual metadata of images; images that cannot be decoded are reported by lskd.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for stream in (sys.stdout, sys.stderr):
        # An encoding that lacks a character must not end the command.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        _run(arguments)
    finally:
        with suppress(OSError):
            _flush_results()


def _run(arguments: Sequence[str]) -> NoReturn:
    try:
        try:
            app(args=arguments)
        except SystemExit:
            _flush_results()
            raise
    except (RequestError, RunError, Interrupted) as error:
        _print_traceback(arguments)
        if isinstance(error, Interrupted):
            info(str(error))
        elif is_main_process:
            print_error(str(error))
        elif not error.from_other_process:
            print_error(f"process {dist_env.rank()}: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader has what it wanted
        sys.exit(RunError.exit_code)
    except OSError as error:
        _print_traceback(arguments)
        print_error(f"{error.filename or 'file system'}: {error.strerror or error}")
        sys.exit(RunError.exit_code)
    except Exception as error:
        _print_traceback(arguments)
        if is_out_of_memory(error):
            print_error(
                f"out of memory ({first_line(error)}); train fewer presets or seeds at a time, use "
                "a smaller --batch-size, or end other programs"
            )
            sys.exit(RunError.exit_code)
        reason = f"{type(error).__name__}: {error}"
        message = f"{reason} (internal error; please report it with --debug output)"
        print_error(format_plugin_error(error) or message)
        sys.exit(RunError.exit_code)
    raise AssertionError("the application has returned")  # it exits


def _flush_results() -> None:
    """Write what is still buffered, while a full disk can be reported.

    Raises:
        OSError: standard output cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would try again when it exits.
        with suppress(OSError, ValueError), open(os.devnull, "w") as null:  # noqa: PTH123
            os.dup2(null.fileno(), sys.stdout.fileno())
        raise


def _print_traceback(arguments: Sequence[str]) -> None:
    if "--debug" in arguments:
        err.print_exception()
