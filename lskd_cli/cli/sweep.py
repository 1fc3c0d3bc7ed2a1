"""Several runs, one after the other, whatever becomes of each."""

import json
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lskd_cli.cli.console import complain, out, say
from lskd_cli.cli.training import train_presets
from lskd_cli.config import Preset
from lskd_cli.engine.device import Compute
from lskd_cli.engine.request import Places, by_folder
from lskd_cli.engine.run_folder import RunFolder
from lskd_cli.errors import Interrupted, RequestError, RunError


def sweep(
    presets: Sequence[Preset], places: Places, compute: Compute, fresh: bool, as_json: bool
) -> None:
    """Train what is not finished, go on after failures, and show what became of every run.

    Processes of one team would not meet again after a failure of one: there it ends the sweep.

    Raises:
        RequestError: a run is asked for twice with different settings.
        RunError: some runs failed; the others are done.
        Interrupted: it was stopped.
    """
    by_path = by_folder(presets, places.runs)
    failures: dict[str, str] = {}
    for number, (path, preset) in enumerate(by_path.items(), start=1):
        say(f"run {number} of {len(by_path)}: {preset.run_path}")
        try:
            train_presets([preset], places, compute, fresh)
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(f"stopped before {path}; finished runs are kept") from None
        except Exception as error:  # whatever ends a run, the others are still wanted
            if compute.team.size > 1:
                raise
            is_ours = isinstance(error, (RequestError, RunError))
            reason = str(error) if is_ours else f"{type(error).__name__}: {error}"
            complain(reason)
            failures[preset.run_path] = reason
    records = [_record(preset, RunFolder(path), failures) for path, preset in by_path.items()]
    if as_json:
        out.print_json(json.dumps(records))
    else:
        out.print(_table(records))
    if failures:
        raise RunError(f"{len(failures)} of {len(by_path)} runs failed: {', '.join(failures)}")


def _record(preset: Preset, folder: RunFolder, failures: dict[str, str]) -> dict[str, Any]:
    failure = failures.get(preset.run_path)
    info = {} if failure else folder.info()
    best, last = info.get("best") or {}, info.get("last") or {}
    return {
        "run": str(folder.path),
        "state": "failed" if failure else info.get("state"),
        "best_top1": best.get("test_top1"),
        "last_top1": last.get("test_top1"),
        "error": failure,
    }


def _table(records: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("state")
    table.add_column("best top-1", justify="right")
    table.add_column("last top-1", justify="right")
    for record in records:
        accuracies = (record["best_top1"], record["last_top1"])
        texts = ("" if value is None else f"{value:.2f}" for value in accuracies)
        style = "red" if record["error"] else ""
        table.add_row(record["run"], record["state"], *texts, style=style)
    return table
