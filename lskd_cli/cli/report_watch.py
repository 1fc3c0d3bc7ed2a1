"""``lskd report --watch``: rewrites the page as epochs finish."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lskd_cli.cli.terminal.console import info
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.report.page import PAGE, ReportSection, write_page
from lskd_cli.results.report.report_figures import run_figures
from lskd_cli.results.runs import EpochName, Run, find_run_folders, find_runs
from lskd_cli.run_paths import METRICS, RUN

_INTERVAL = 2.0  # polling interval in seconds


def watch_runs(
    runs_dir: Path,
    paths: Sequence[Path],
    warn: Callable[[str], None],
    out_dir: Path,
    epoch: EpochName,
) -> bool:
    """Write the page whenever a run has changed, until all runs are finished or Ctrl-C is pressed.

    Args:
        runs_dir: searched for runs if ``paths`` is empty; new runs are found.
        paths: folders of runs.
        warn: called for runs that cannot be read.
        out_dir: folder of the page.
        epoch: the best or the last epoch in the comparison.

    Returns:
        Whether all runs are finished.

    Raises:
        RunError: the page cannot be written.
        RequestError: two runs have the same settings and seed, or a given folder has no run.
    """
    info(f"{out_dir / PAGE}: rewritten as epochs finish; press Ctrl-C to stop")
    seen: tuple[object, ...] | None = None
    try:
        while True:
            state = _file_times(find_run_folders(runs_dir, paths))
            if state != seen:
                seen = state
                runs = find_runs(runs_dir, paths, warn)
                started = [run for run in runs if run.history]
                if started:
                    write_page(out_dir / PAGE, run_sections(started), epoch, str(time.time_ns()))
                    epochs = sum(len(run.history) for run in started)
                    info(f"page written: {len(started)} runs, {epochs} epochs")
                    if all(run.is_finished for run in runs):
                        return True
            time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        return False


def run_sections(runs: Sequence[Run]) -> list[ReportSection]:
    """The sections of the page with the figures that need only the run folders."""
    return [ReportSection(group, run_figures(group)) for group in group_runs(runs)]


def _file_times(folders: Sequence[Path]) -> tuple[object, ...]:
    files = [folder / name for folder in folders for name in (METRICS, RUN)]
    return tuple((str(file), file.stat().st_mtime_ns) for file in files if file.exists())
