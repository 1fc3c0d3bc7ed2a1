"""``lskd report --watch``: rewrites the page as epochs finish."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lskd_cli.cli.terminal.console import info
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.report.page import PAGE, ReportSection, SearchSection, write_page
from lskd_cli.results.report.report_figures import run_figures, search_figures
from lskd_cli.results.runs import EpochName, Run, find_run_folders, find_runs
from lskd_cli.run_paths import METRICS, RUN
from lskd_cli.search_info import SearchInfo, find_search_files, find_searches
from lskd_cli.wording import counted

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
            files = [] if paths else find_search_files(runs_dir)
            folders = find_run_folders(runs_dir, paths)
            files += [folder / name for folder in folders for name in (METRICS, RUN)]
            state = tuple((str(f), f.stat().st_mtime_ns) for f in files if f.exists())
            if state != seen:
                seen = state
                runs = find_runs(runs_dir, paths, warn)
                started = [run for run in runs if run.history]
                searches = [] if paths else find_searches(runs_dir, warn)
                if started or searches:
                    write_page(
                        out_dir / PAGE,
                        run_sections(started, epoch),
                        epoch,
                        str(time.time_ns()),
                        search_sections(searches),
                    )
                    epochs = counted(sum(len(run.history) for run in started), "epoch")
                    counts = [counted(len(started), "run"), epochs]
                    if searches:
                        counts.append(counted(len(searches), "search", "searches"))
                    info(f"page written: {', '.join(counts)}")
                if started and all(run.is_finished for run in runs):
                    return True
            time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        return False


def run_sections(runs: Sequence[Run], epoch: EpochName) -> list[ReportSection]:
    """The sections of the page with the figures that need only the run folders."""
    return [ReportSection(group, run_figures(group, epoch)) for group in group_runs(runs)]


def search_sections(searches: Sequence[SearchInfo]) -> list[SearchSection]:
    """The sections of searches."""
    return [SearchSection(search, search_figures(search)) for search in searches]
