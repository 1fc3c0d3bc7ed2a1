"""The command ``lskd report``."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

from lskd_cli.cli import options
from lskd_cli.cli.terminal.console import info, print_json
from lskd_cli.errors import RequestError, RunError
from lskd_cli.results.runs import Run, find_runs
from lskd_cli.search_info import SearchInfo, find_searches
from lskd_cli.wording import counted


def report(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders; by default all in --runs-dir."),
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the page.")] = Path("report"),
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write the figures as PDF, SVG and PNG.")
    ] = False,
    logits: Annotated[
        bool,
        typer.Option("--logits/--no-logits", help="Include figures of logits of test images."),
    ] = True,
    sample: Annotated[
        int, typer.Option(help="Index of the test image whose logits are drawn.")
    ] = 0,
    classes: Annotated[
        str | None, typer.Option(help="Classes in the t-SNE, e.g. 0,1,2; by default all.")
    ] = None,
    points: Annotated[
        int, typer.Option(help="Largest number of images in the t-SNE.", min=10)
    ] = 1000,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Rewrite the page as epochs finish, until all runs are finished or Ctrl-C is "
            "pressed; the open page refreshes itself.",
        ),
    ] = False,
    accuracy: options.Accuracy = "best",
    model_files: options.ModelFiles = None,
    data_dir: options.DataDir = options.DATA_DIR,
    device: options.Device = "auto",
    runs_dir: options.RunsDir = options.RUNS_DIR,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the paths of page, runs and figures as JSON.")
    ] = False,
) -> None:
    """Write a self-contained, interactive page with tables, curves and figures of all runs.

    Example: [bold]lskd report --out report[/]
    """
    if not logits:
        only_logits = ("sample", "classes", "points", "model_files", "data_dir", "device")
        options.refuse_options(context, only_logits, "not valid with --no-logits")
    options.load_model_files(model_files)
    selected_classes = [] if classes is None else options.parse_ints("--classes", classes)
    warn = cache(info)  # every message once, however often the runs are read
    if not watch:
        started, searches = _find(runs_dir, runs or [], warn)
    from lskd_cli.cli.report_outputs import group_outputs
    from lskd_cli.cli.report_watch import run_sections, search_sections, watch_runs
    from lskd_cli.engine.devices.runtime import resolve_runtime
    from lskd_cli.results.report import report_figures
    from lskd_cli.results.report.page import (
        PAGE,
        finish_watching,
        overview,
        section_figures,
        write_page,
    )

    _check_writable(out_dir)
    if watch:
        is_complete = watch_runs(runs_dir, runs or [], warn, out_dir, accuracy)
        logits = logits and is_complete
        started, searches = _find(runs_dir, runs or [], warn)
    sections, searched = run_sections(started, accuracy), search_sections(searches)
    if logits:
        runtime = resolve_runtime(device)
        tsne = report_figures.TsneOptions(selected_classes, points)
        for section in sections:
            folder = options.recorded_data_dir(context, section.group.runs[0].path, data_dir)
            outputs = group_outputs(section.group, folder, runtime, sample)
            if outputs is not None:
                section.figures += report_figures.logit_figures(
                    section.group, outputs, sample, tsne, info
                )
    page = out_dir / PAGE
    write_page(page, sections, accuracy, searches=searched)
    if watch:
        finish_watching(out_dir)
    files = []
    if figures:
        all_figures = section_figures(sections, searched) + overview(sections, accuracy)
        files = report_figures.write(all_figures, out_dir / "figures")
    if as_json:
        paths = {"page": page, "runs": [run.path for run in started], "figures": files}
        print_json(paths)
        return
    counts = [counted(len(started), "run")]
    if searches:
        counts.append(counted(len(searches), "search", "searches"))
    info(f"{page}: {', '.join(counts)}")
    for file in files:
        info(str(file))


def _find(
    runs_dir: Path, paths: Sequence[Path], warn: Callable[[str], None]
) -> tuple[list[Run], list[SearchInfo]]:
    """The runs that have finished an epoch, and the searches.

    Raises:
        RequestError: there are none.
    """
    searches = [] if paths else find_searches(runs_dir, warn)
    started = [run for run in find_runs(runs_dir, paths, warn) if run.history]
    if not started and not searches:
        searched = ", ".join(map(str, paths or [runs_dir]))
        raise RequestError(
            f"no run with a finished epoch in {searched}; train one with 'lskd train'"
        )
    return started, searches


def _check_writable(folder: Path) -> None:
    """Fail before the figures are computed, which takes long.

    Raises:
        RunError: the folder cannot be created, or no file in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from None
