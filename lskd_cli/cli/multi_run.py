"""Summary of several separate runs."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lskd_cli.cli.run_training import Failures, list_folders, train_presets
from lskd_cli.cli.terminal.console import out, print_json
from lskd_cli.cli.training_options import LoggerName
from lskd_cli.config import Preset, TrainingOptions
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.planning.training_plan import presets_by_path
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.errors import RunError
from lskd_cli.results.tables.table_format import format_value


def train_separately(
    presets: Sequence[Preset],
    options: TrainingOptions,
    runtime: Runtime,
    loggers: Sequence[LoggerName] | None,
    as_json: bool,
) -> None:
    """Train every unfinished run, continue after failures, and print the result of every run.

    All runs are checked before the first one starts.

    Raises:
        RequestError: a run does not fit the request, or two runs have the same folder.
        RunError: some runs failed; the others are finished.
        Interrupted: the training was stopped.
    """
    presets = list(presets_by_path(presets, options.runs_dir).values())
    failures = train_presets(presets, options, runtime, loggers, joint=False)
    records = [
        _record(preset, folder, failures)
        for preset, folder in zip(presets, list_folders(presets, options), strict=True)
    ]
    if as_json:
        print_json(records)
    else:
        out.print(_table(records))
    if failures:
        raise RunError(f"{len(failures)} of {len(presets)} runs failed: {', '.join(failures)}")


def _record(preset: Preset, folder: RunFolder, failures: Failures) -> dict[str, Any]:
    failure = failures.get(preset.run_path)
    info = None if failure else folder.info()
    best, last = (info.best, info.last) if info else (None, None)
    return {
        "run": str(folder.path),
        "state": info.state if info else "failed",
        "best_top1": best and best.get("test_top1"),
        "last_top1": last and last.get("test_top1"),
        "error": failure,
    }


def _table(records: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("state")
    table.add_column("best top-1", justify="right")
    table.add_column("last top-1", justify="right")
    for record in records:
        texts = [format_value(record[key]) for key in ("best_top1", "last_top1")]
        style = "red" if record["error"] else ""
        table.add_row(escape(record["run"]), record["state"], *texts, style=style)
    return table
