"""The report: one self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lskd_cli import __version__
from lskd_cli.atomic_io import write_text
from lskd_cli.config import to_yaml
from lskd_cli.results.build_tables import make_tables
from lskd_cli.results.details import make_details
from lskd_cli.results.figures.style import as_svg
from lskd_cli.results.grouping import RunGroup
from lskd_cli.results.report_figures import ReportFigure
from lskd_cli.results.runs import Run
from lskd_cli.results.table_format import format_duration


@dataclass
class ReportSection:
    """A group of runs with its figures."""

    group: RunGroup
    figures: list[ReportFigure]


def write_page(path: Path, sections: Sequence[ReportSection], accuracy: str) -> None:
    """Render the page and replace the file.

    Args:
        path: path of the HTML file.
        sections: groups of runs with at least one finished epoch; tables contain finished runs.
        accuracy: "best" or "last" epoch in the comparison.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(path, render_page(sections, accuracy))


def render_page(sections: Sequence[ReportSection], accuracy: str) -> str:
    """The page as HTML; the arguments are those of ``write_page``."""
    # Student baselines are part of several groups.
    runs = list({run.path: run for section in sections for run in section.group.runs}.values())
    commands: dict[str, list[str]] = {}
    for run in runs:
        commands.setdefault(run.info.command, []).append(run.preset.run_path)
    environment = Environment(
        loader=PackageLoader("lskd_cli.results", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        version=__version__,
        tables=make_tables(runs, accuracy),
        sections=[_section_values(section) for section in sections],
        runs=[_run_cells(run) for run in runs],
        num_finished=sum(run.is_finished for run in runs),
        commands=commands,
        presets=[(run.preset.run_path, to_yaml(run.preset)) for run in runs],
    )


def _section_values(section: ReportSection) -> dict[str, Any]:
    title = section.group.title
    return {
        "title": title,
        "tables": make_details(section.group.runs),
        # Our own SVG; everything else in the page is escaped.
        "figures": [(figure, _svg(figure, title)) for figure in section.figures],
    }


def _svg(figure: ReportFigure, section_title: str) -> Markup:
    alternative_text = str(escape(f"{figure.title}: {section_title}"))
    return Markup(as_svg(figure.figure, figure.name, alternative_text))


def _run_cells(run: Run) -> list[str]:
    """Path, state, epochs, last and best accuracy, time, speed, device and versions of a run."""
    info = run.info
    speeds = [epoch["images_per_second"] for epoch in run.history if "images_per_second" in epoch]
    return [
        run.preset.run_path,
        info.state,
        f"{len(run.history)} of {run.preset.schedule.epochs}",
        f"{run.top1('last'):.2f}",
        f"{run.top1('best'):.2f}",
        format_duration(info.seconds),
        f"{sum(speeds) / len(speeds):.0f}" if speeds else "",
        f"{info.device}, {info.precision}",
        ", ".join(f"{name} {version}" for name, version in info.versions.items()),
    ]
