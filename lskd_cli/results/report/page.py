"""The report: one self-contained HTML file."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lskd_cli import __version__
from lskd_cli.config import to_yaml
from lskd_cli.io.atomic import write_text
from lskd_cli.results.figures.chart import Figure
from lskd_cli.results.grouping import RunGroup, method_name, pair_label
from lskd_cli.results.report.headline import make_headline
from lskd_cli.results.report.overview import forest_rows, progress_lines
from lskd_cli.results.report.page_data import page_data
from lskd_cli.results.report.report_figures import make_names_unique, overview_figure
from lskd_cli.results.runs import EpochName, Run
from lskd_cli.results.sweeps import without_sweeps
from lskd_cli.results.tables.comparison import make_comparison
from lskd_cli.results.tables.details import make_details
from lskd_cli.results.tables.search_table import make_search_table
from lskd_cli.results.tables.table_format import Table, format_duration, table_lines
from lskd_cli.search_info import SearchInfo

PAGE = "index.html"
VERSION_FILE = "version.js"  # written beside a page that is rewritten, see page_watch.js
_VERSIONS = ("lskd", "torch")  # in the table of runs; run.json has more
_COPY_FORMATS = {"LaTeX": "latex", "Markdown": "md", "CSV": "csv"}


@dataclass
class SearchSection:
    """A search with its figures."""

    search: SearchInfo
    figures: list[Figure]


@dataclass
class ReportSection:
    """A group of runs with its figures."""

    group: RunGroup
    figures: list[Figure]

    @cached_property
    def compared(self) -> RunGroup:
        """The group without sweeps, which have figures instead of rows."""
        return without_sweeps(self.group)


def write_page(
    path: Path,
    sections: Sequence[ReportSection],
    epoch: EpochName,
    version: str | None = None,
    searches: Sequence[SearchSection] = (),
) -> None:
    """Render the page and replace the file; equal names of figures are numbered.

    Args:
        path: path of the HTML file.
        sections: groups of runs with at least one finished epoch; tables contain finished runs.
        epoch: the best or the last epoch in the comparison.
        version: for a page that is rewritten during training, what identifies this version.
        searches: searches of settings.

    Raises:
        RunError: the file cannot be written.
        RequestError: two runs have the same settings and seed.
    """
    page = render_page(sections, epoch, version, searches)
    write_text(path, page.encode(errors="replace").decode())  # bytes of paths may be no text
    if version is not None:
        write_text(path.parent / VERSION_FILE, f'lskdVersion("{version}");\n')


def finish_watching(folder: Path) -> None:
    """Make an open page load the last version, which does not reload itself any more.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(folder / VERSION_FILE, 'lskdVersion("finished");\n')


def overview(sections: Sequence[ReportSection], epoch: EpochName) -> list[Figure]:
    """The figures above all sections: the forest plot, if a method was trained both ways.

    Raises:
        RequestError: two runs have the same settings and seed.
    """
    groups = [section.compared for section in sections]
    rows = forest_rows(list(zip(groups, _anchors(sections), strict=True)), epoch)
    # Before the first difference, unfinished runs are listed elsewhere.
    return [overview_figure(rows)] if any(row.difference is not None for row in rows) else []


def section_figures(
    sections: Sequence[ReportSection], searches: Sequence[SearchSection]
) -> list[Figure]:
    """The figures of all sections."""
    figures = [figure for section in sections for figure in section.figures]
    return figures + [figure for section in searches for figure in section.figures]


def render_page(
    sections: Sequence[ReportSection],
    epoch: EpochName,
    version: str | None = None,
    searches: Sequence[SearchSection] = (),
) -> str:
    """The page as HTML; the arguments are those of ``write_page``."""
    # Student baselines are part of several groups.
    runs = list({run.path: run for section in sections for run in section.group.runs}.values())
    commands: dict[str, list[str]] = {}
    for run in runs:
        commands.setdefault(run.info.command, []).append(run.preset.run_path)
    figures = section_figures(sections, searches)
    make_names_unique(figures)
    top_figures = overview(sections, epoch)
    comparison = make_comparison([section.compared for section in sections], epoch)
    environment = Environment(
        loader=PackageLoader("lskd_cli.results.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    unfinished = [run for run in runs if not run.is_finished]
    return environment.get_template("page.html.j2").render(
        lskd_version=__version__,
        page_version=version,
        overview=top_figures,
        headline=make_headline([run.preset for run in runs], comparison.rows if comparison else []),
        comparison=_table_values(comparison) if comparison else None,
        sections=list(map(_section_values, sections, _anchors(sections))),
        searches=list(map(_search_values, searches, _search_anchors(searches))),
        runs=[_run_values(run) for run in runs],
        unfinished=progress_lines(unfinished),
        num_unfinished=len(unfinished),
        seeds=sorted({run.preset.seed for run in runs}),
        epochs=sorted({run.preset.schedule.epochs for run in runs}),
        states=_distinct("finished" if run.is_finished else "unfinished" for run in runs),
        methods=_distinct(method_name(run) for run in runs),
        pairs=_distinct(section.group.pair for section in sections),
        commands=commands,
        presets=[(run.preset.run_path, to_yaml(run.preset)) for run in runs],
        # Both contain no text from outside that could end the element.
        data=Markup(page_data(runs, [*top_figures, *figures])),
        vega=Markup(_vega()),
    )


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as JavaScript."""
    bundle = vl_convert.javascript_bundle(None)  # type: ignore[arg-type]  # not in its stub
    return re.sub("</(script)", r"<\\/\1", bundle, flags=re.IGNORECASE)


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _anchors(sections: Sequence[ReportSection]) -> list[str]:
    return _unique_anchors(section.group.title for section in sections)


def _search_anchors(searches: Sequence[SearchSection]) -> list[str]:
    return _unique_anchors(f"search-{section.search.name}" for section in searches)


def _unique_anchors(texts: Iterable[str]) -> list[str]:
    """Identifiers of elements of the page; equal ones are numbered."""
    counts: dict[str, int] = {}
    anchors = []
    for text in texts:
        name = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
        counts[name] = counts.get(name, 0) + 1
        anchors.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return anchors


def _section_values(section: ReportSection, anchor: str) -> dict[str, Any]:
    runs = section.group.runs
    is_finished = all(run.is_finished for run in runs)
    return {
        "title": section.group.title,
        "anchor": anchor,
        "pair": section.group.pair,
        "methods": json.dumps(_distinct(method_name(run) for run in runs), ensure_ascii=False),
        "state": "finished" if is_finished else "unfinished",
        "tables": [_table_values(table) for table in make_details([section.compared])],
        "figures": section.figures,
    }


def _search_values(section: SearchSection, anchor: str) -> dict[str, Any]:
    search = section.search
    return {
        "title": f"Search of {search.name}",
        "pair": search.pair,
        "anchor": anchor,
        "table": _table_values(make_search_table(search)),
        "figures": section.figures,
        "command": search.command,
    }


def _table_values(table: Table) -> dict[str, Any]:
    """Cells, attributes of the rows for filters and links, and the lines of all text formats."""
    rows = [
        {
            "cells": [
                (column.text(row), column.role, column.sign(row)) for column in table.columns
            ],
            "method": getattr(row, "method", "").removesuffix("+Ours"),
            "pair": pair_label(row.teacher, row.student) if hasattr(row, "student") else "",
            "run_name": getattr(row, "run_name", ""),
        }
        for row in table.rows
    ]
    copies = {
        label: table_lines(table, format_name) for label, format_name in _COPY_FORMATS.items()
    }
    columns = [(column.heading, column.role) for column in table.columns]
    return {"table": table, "columns": columns, "rows": rows, "copies": copies}


def _run_values(run: Run) -> dict[str, Any]:
    """Cells and attributes of a row of the table of runs."""
    info = run.info
    speeds = [epoch["images_per_second"] for epoch in run.history if "images_per_second" in epoch]
    left = run.seconds_left
    cells = [
        (run.preset.run_path, "text"),
        (info.state, "text"),
        (f"{len(run.history)} of {run.preset.schedule.epochs}", "number"),
        (f"{run.top1('last'):.2f}", "number"),
        (f"{run.top1('best'):.2f}", "number"),
        (format_duration(info.seconds), "number"),
        ("" if left is None else format_duration(left), "number"),
        (f"{sum(speeds) / len(speeds):.0f}" if speeds else "", "number"),
        (f"{info.device}, {info.precision}", "text"),
        (", ".join(f"{n} {info.versions[n]}" for n in _VERSIONS if n in info.versions), "text"),
    ]
    preset = run.preset
    return {
        "cells": cells,
        "path": run.path.as_posix(),
        "run_name": preset.run_name,
        "method": method_name(run),
        "pair": pair_label(preset.teacher, preset.student),
        "state": "finished" if run.is_finished else "unfinished",
    }
