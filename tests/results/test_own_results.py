"""docs/results.md agrees with the metrics in docs/results."""

from pathlib import Path

import pytest

from lskd_cli.results.details import make_details
from lskd_cli.results.runs import find_runs
from lskd_cli.results.table_format import as_markdown
from lskd_cli.run_paths import list_runs

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_are_those_of_the_kept_runs() -> None:
    page = (DOCS / "results.md").read_text()
    tables = make_details(find_runs(DOCS / "results", [], pytest.fail))
    assert tables
    for table in tables:
        assert as_markdown([table]) in page


def test_kept_runs_are_finished_and_name_no_folder_of_a_machine() -> None:
    runs = list_runs(DOCS / "results")
    for run in runs:
        names = {path.name for path in run.iterdir()}
        assert names == {"metrics.jsonl", "preset.yaml", "run.json"}
        text = (run / "run.json").read_text()
        assert '"state": "done"' in text
        assert '"/' not in text
        assert "=/" not in text
