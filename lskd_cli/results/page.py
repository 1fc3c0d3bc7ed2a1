"""The report: one HTML file that needs nothing else."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lskd_cli import __version__
from lskd_cli.results.figures.style import as_svg
from lskd_cli.results.gallery import Shown
from lskd_cli.results.runs import Run
from lskd_cli.results.tables import make_tables


def render_page(runs: Sequence[Run], accuracy: str, figures: Sequence[Shown]) -> str:
    """The page of some runs, each with at least one epoch.

    Args:
        runs: finished ones enter the table.
        accuracy: "best" or "last" epoch in the table.
        figures: shown below the table.
    """
    environment = Environment(
        loader=PackageLoader("lskd_cli.results", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        version=__version__,
        runs=runs,
        finished=sum(run.finished for run in runs),
        tables=make_tables(runs, accuracy),
        # Our own SVG; everything else in the page is escaped.
        figures=[
            (one, Markup(as_svg(one.figure, one.name, str(escape(one.title))))) for one in figures
        ],
    )
