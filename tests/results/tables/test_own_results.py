"""docs/results.md and docs/choosing.md agree with the measurements that are kept with them."""

import csv
import re
from pathlib import Path

import pytest

from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import find_runs
from lskd_cli.results.tables.details import make_details
from lskd_cli.results.tables.table_format import as_markdown
from lskd_cli.run_paths import list_runs

DOCS = Path(__file__).parents[3] / "docs"


def test_the_tables_are_those_of_the_kept_runs() -> None:
    page = (DOCS / "results.md").read_text()
    tables = make_details(group_runs(find_runs(DOCS / "results", [], pytest.fail)))
    assert tables
    for table in tables:
        assert as_markdown([table]) in page


def test_kept_runs_are_finished_and_name_no_folder_of_a_machine() -> None:
    runs = list_runs(DOCS / "results")
    assert runs
    for run in runs:
        names = {path.name for path in run.iterdir()}
        assert names == {"metrics.jsonl", "preset.yaml", "run.json"}
        text = (run / "run.json").read_text()
        assert '"state": "done"' in text
        assert '"/' not in text
        assert "=/" not in text


def test_the_accuracies_of_the_page_about_settings_were_measured() -> None:
    page = (DOCS / "choosing.md").read_text()
    measured = set()
    for file in (DOCS / "choosing").glob("*.csv"):
        for row in csv.DictReader(file.read_text().splitlines()):
            for kind in ("plain", "standardized"):
                if row[f"{kind}_std"]:
                    mean, std = (float(row[f"{kind}_{item}"]) for item in ("mean", "std"))
                    measured.add(f"{mean:.2f} ± {std:.2f}")
    quoted = re.findall(r"\d+\.\d\d ± \d+\.\d\d", page)
    assert quoted
    assert set(quoted) <= measured
