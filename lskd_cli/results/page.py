"""The report: one HTML file that needs nothing else."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lskd_cli import __version__
from lskd_cli.results.comparison import METHOD_NAMES
from lskd_cli.results.figures import accuracy_curves
from lskd_cli.results.guided import is_guided
from lskd_cli.results.runs import Run
from lskd_cli.results.tables import make_tables


def render_page(runs: Sequence[Run], accuracy: str) -> str:
    """The page of some runs, each with at least one epoch.

    Args:
        runs: finished ones enter the table, all enter the curves.
        accuracy: "best" or "last" epoch in the table.
    """
    environment = Environment(
        loader=PackageLoader("lskd_cli.results", "."), autoescape=True, undefined=StrictUndefined
    )
    by_figure: dict[str, list[Run]] = {}
    for run in runs:
        by_figure.setdefault(_title(run), []).append(run)
    return environment.get_template("page.html.j2").render(
        version=__version__,
        runs=runs,
        finished=sum(run.finished for run in runs),
        tables=make_tables(runs, accuracy),
        # Our own SVG; everything else in the page is escaped.
        figures=[(title, Markup(accuracy_curves(group))) for title, group in by_figure.items()],
    )


def _title(run: Run) -> str:
    preset = run.preset
    if is_guided(run):
        return f"{preset.student}, {preset.data.name}"
    if preset.teacher is None:
        return f"{preset.student} alone, {preset.data.name} ({preset.name})"
    method = METHOD_NAMES.get(preset.method.name, preset.method.name)
    return f"{method}: {preset.teacher} → {preset.student}, {preset.data.name} ({preset.name})"
