"""The report: one HTML file that needs nothing else."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lskd_cli import __version__
from lskd_cli.config import to_yaml
from lskd_cli.results.details import make_details
from lskd_cli.results.figures.style import as_svg
from lskd_cli.results.gallery import Section, Shown
from lskd_cli.results.runs import Run
from lskd_cli.results.table import clock
from lskd_cli.results.tables import make_tables


def render_page(sections: Sequence[Section], accuracy: str) -> str:
    """The page of some runs.

    Args:
        sections: settings with their runs, each with at least one epoch; finished ones enter the
            tables.
        accuracy: "best" or "last" epoch in the comparison.
    """
    # Students alone stand in several sections.
    runs = list({run.path: run for section in sections for run in section.runs}.values())
    commands: dict[str, list[str]] = {}
    for run in runs:
        commands.setdefault(run.info.get("command", "unknown"), []).append(run.preset.run_path)
    environment = Environment(
        loader=PackageLoader("lskd_cli.results", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        version=__version__,
        tables=make_tables(runs, accuracy),
        sections=[
            {
                "title": section.title,
                "tables": make_details(section.runs),
                # Our own SVG; everything else in the page is escaped.
                "figures": [(one, _drawn(one, section.title)) for one in section.figures],
            }
            for section in sections
        ],
        runs=[_line(run) for run in runs],
        finished=sum(run.finished for run in runs),
        commands=commands,
        presets=[(run.preset.run_path, to_yaml(run.preset)) for run in runs],
    )


def _drawn(shown: Shown, of: str) -> Markup:
    return Markup(as_svg(shown.figure, shown.name, str(escape(f"{shown.title}: {of}"))))


def _line(run: Run) -> list[str]:
    """Of a run: its path, state, epochs, last and best accuracy, time, speed, device, versions."""
    info: dict[str, Any] = run.info
    speeds = [epoch["images_per_second"] for epoch in run.history if "images_per_second" in epoch]
    return [
        run.preset.run_path,
        info["state"],
        f"{len(run.history)} of {run.preset.schedule.epochs}",
        f"{run.top1('last'):.2f}",
        f"{run.top1('best'):.2f}",
        clock(info["seconds"]),
        f"{sum(speeds) / len(speeds):.0f}" if speeds else "",
        f"{info['device']}, {info['precision']}",
        ", ".join(f"{name} {version}" for name, version in info.get("versions", {}).items()),
    ]
