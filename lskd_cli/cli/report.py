"""lskd report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lskd_cli.cli import options
from lskd_cli.cli.console import out, say
from lskd_cli.errors import RequestError


def report(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Run folders; all if none.")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the page.")] = Path("report"),
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write the figures as PDF, SVG and PNG.")
    ] = False,
    logits: Annotated[
        bool,
        typer.Option("--logits/--no-logits", help="Figures of the networks on test images."),
    ] = True,
    sample: Annotated[int, typer.Option(help="Test image whose logits are drawn.")] = 0,
    classes: Annotated[
        str | None, typer.Option(help="Classes in the t-SNE, as 0,1,2; all if not given.")
    ] = None,
    points: Annotated[int, typer.Option(help="Images in the t-SNE, at most.", min=10)] = 1000,
    accuracy: options.Accuracy = "best",
    data_dir: options.DataDir = options.DATA_DIR,
    device: options.Device = "auto",
    runs_dir: options.RunsDir = options.RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path as JSON.")] = False,
) -> None:
    """Write a self-contained page: tables, curves over the published ones, logits and features.

    Example: [bold]lskd report --out report[/]
    """
    options.check_one_of("--accuracy", accuracy, ("best", "last"))
    chosen = options.listed("--classes", classes) if classes else []
    from lskd_cli.cli.exhibits import exhibit_of
    from lskd_cli.engine.device import resolve_compute
    from lskd_cli.files import write_text
    from lskd_cli.results import gallery
    from lskd_cli.results.page import render_page
    from lskd_cli.results.runs import find_runs
    from lskd_cli.results.settings import by_setting

    found = [run for run in find_runs(runs_dir, runs or [], say) if run.history]
    if not found:
        searched = ", ".join(map(str, runs or [runs_dir]))
        raise RequestError(f"no run with a finished epoch in {searched}; 'lskd train' makes one")
    page = out_dir / "index.html"
    compute = resolve_compute(device)
    sections = [gallery.section(setting) for setting in by_setting(found)]
    # Written before what takes long, too: what is wrong with runs or folder is told at once.
    write_text(page, render_page(sections, accuracy))
    for section in sections if logits else ():
        if exhibit := exhibit_of(section.runs, data_dir, compute, sample):
            section.figures += gallery.portraits(section.runs, exhibit, sample, chosen, points, say)
    gallery.number_names(sections)
    write_text(page, render_page(sections, accuracy))
    shown = [one for section in sections for one in section.figures]
    files = gallery.write(shown, out_dir / "figures") if figures else []
    if as_json:
        told = {"page": page, "runs": [run.path for run in found], "figures": files}
        out.print_json(json.dumps(told, default=str))
        return
    say(f"{page}: {len(found)} runs")
    for file in files:
        say(str(file))
