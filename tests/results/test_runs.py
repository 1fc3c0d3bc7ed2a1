"""Reading of run folders, also of damaged ones."""

import json
from pathlib import Path

import pytest

from lskd_cli.config import load_preset, to_yaml
from lskd_cli.errors import RequestError
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.page import ReportSection, render_page
from lskd_cli.results.report_figures import run_figures
from lskd_cli.results.runs import find_runs, read_run

LINES = [
    json.dumps({"epoch": number, "test_top1": 10.0 * number, "train_loss": 2.0})
    for number in (1, 2)
]


def _folder(root: Path, metrics: str, state: str = "running", name: str = "kd-r56-r20") -> Path:
    folder = root / name / "seed0"
    folder.mkdir(parents=True)
    (folder / "preset.yaml").write_text(to_yaml(load_preset(name)))
    info = {"state": state, "device": "cpu", "precision": "fp32", "seconds": 60.0}
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "metrics.jsonl").write_text(metrics)
    return folder


def test_a_truncated_last_line_is_ignored_with_a_warning(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "\n".join([*LINES, '{"epoch": 3, "tes']))
    warnings: list[str] = []
    assert [record["epoch"] for record in read_run(folder, warnings.append).history] == [1, 2]
    assert warnings == [f"{folder}/metrics.jsonl: truncated last line ignored"]


def test_a_finished_run_that_lacks_epochs_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "\n".join(LINES), "done")
    with pytest.raises(
        RequestError, match=r"metrics\.jsonl: 2 of the 240 epochs of a finished run"
    ):
        read_run(folder, print)


def test_another_broken_line_is_damage(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "\n".join([LINES[0], "{", LINES[1]]))
    with pytest.raises(RequestError, match=r"metrics\.jsonl: damaged"):
        read_run(folder, print)


def test_complete_metrics_cause_no_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert len(read_run(_folder(tmp_path, "\n".join(LINES)), warnings.append).history) == 2
    assert warnings == []


def test_a_finished_run_without_metrics_is_damage(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="missing or empty, although the run is finished"):
        read_run(_folder(tmp_path, "", "done"), print)


def test_the_page_shows_an_unfinished_run_as_one_and_keeps_data_sets_apart(tmp_path: Path) -> None:
    _folder(tmp_path, "\n".join(LINES))
    _folder(tmp_path, "\n".join(LINES), "interrupted", "kd-digits")
    runs = find_runs(tmp_path, [], print)
    sections = [ReportSection(group, run_figures(group)) for group in group_runs(runs)]
    assert [len(section.group.runs) for section in sections] == [1, 1]
    page = render_page(sections, "best")
    assert "2 runs, 0 of them finished" in page
    assert "Unfinished: kd-r56-r20/seed0." in page
    assert "<td>2 of 240</td>" in page
    assert "Published values are" not in page
