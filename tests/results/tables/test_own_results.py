"""docs/results.md and docs/choosing.md agree with the measurements that are kept with them."""

import csv
import json
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


def test_kept_runs_have_their_state_and_name_no_folder_of_a_machine() -> None:
    unfinished = list_runs(DOCS / "results" / "unfinished")
    for run in [*list_runs(DOCS / "results"), *unfinished]:
        names = {path.name for path in run.iterdir()}
        assert names == {"metrics.jsonl", "preset.yaml", "run.json"}
        text = (run / "run.json").read_text()
        state = "interrupted" if run in unfinished else "done"
        assert f'"state": "{state}"' in text
        assert '"/' not in text
        assert "=/" not in text


def test_the_page_shows_how_far_unfinished_runs_are() -> None:
    page = (DOCS / "results.md").read_text()
    for run in list_runs(DOCS / "results" / "unfinished"):
        history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        last, best = history[-1]["test_top1"], max(epoch["test_top1"] for epoch in history)
        assert f"| {len(history)} | {last:.2f} | {best:.2f} |" in page


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
