"""The command ``lskd doctor``."""

from typing import Annotated

import typer

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import out, print_json
from lskd_cli.config import PrecisionName
from lskd_cli.errors import RunError
from lskd_cli.io.printable import printable


def doctor(
    data_dir: options.DataDir = options.DATA_DIR,
    checkpoints_dir: options.CheckpointsDir = options.CHECKPOINTS_DIR,
    device: options.Device = "auto",
    precision: Annotated[PrecisionName, typer.Option(help="Precision of the self-test.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print system information for a bug report, and test a training step on the device.

    On CUDA, captured steps are compared with eager ones. The exit code is 1 if a test fails.

    Example: [bold]lskd doctor --json > report.json[/]
    """
    from lskd_cli.engine.devices.runtime import resolve_runtime
    from lskd_cli.engine.diagnosis import diagnose, passed

    diagnosis = diagnose(resolve_runtime(device, precision), data_dir, checkpoints_dir)
    if as_json:
        print_json(diagnosis)
    else:
        for section, entries in diagnosis.items():
            out.print(f"[bold]{section.replace('_', ' ')}[/]")
            for name, value in (entries or {"none found": ""}).items():
                lines = f"{name:24} {value}".strip().splitlines()
                for line in [lines[0], *(f"{'':24} {more}" for more in lines[1:])]:
                    out.print(f"  {printable(line)}", markup=False, highlight=False, soft_wrap=True)
    if not passed(diagnosis):
        raise RunError("the self-test failed; the output shows which part")
