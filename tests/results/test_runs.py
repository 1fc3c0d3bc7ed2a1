"""Reading of run folders, also of corrupt ones."""

import json
import math
import os
from pathlib import Path

import pytest

from lskd_cli.config import load_preset, to_yaml
from lskd_cli.errors import RequestError
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.report.page import ReportSection, render_page
from lskd_cli.results.report.report_figures import run_figures
from lskd_cli.results.runs import find_runs, read_run
from lskd_cli.run_info import RunInfo, write_metrics
from lskd_cli.run_paths import list_seeds

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
    with pytest.raises(RequestError, match=r"metrics\.jsonl: corrupt"):
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
    sections = [ReportSection(group, run_figures(group, "best")) for group in group_runs(runs)]
    assert [len(section.group.runs) for section in sections] == [1, 1]
    page = render_page(sections, "best")
    assert "2 runs, 0 finished; 1 seed;" in page
    assert "<b>kd-r56-r20</b>: epoch 2 of 240" in page
    assert '<td class="number">2 of 240</td>' in page
    assert "Published values are" not in page


BAD_LINES = {
    "no test_top1": ('{"epoch": 2, "train_loss": 2.0}', "line 2 has no test_top1"),
    "null": ('{"epoch": 2, "train_loss": 2.0, "test_top1": null}', "line 2: test_top1"),
    "NaN": ('{"epoch": 2, "train_loss": NaN, "test_top1": 1.0}', "line 2: train_loss"),
    "an enormous integer": (
        f'{{"epoch": 2, "train_loss": 2.0, "test_top1": {"9" * 400}}}',
        "line 2: test_top1",
    ),
    "a text": ('{"epoch": 2, "train_loss": "x", "test_top1": 1.0}', "line 2: train_loss"),
    "a list": ("[1, 2]", "line 2: Input should be"),
    "another epoch": ('{"epoch": 7, "train_loss": 2.0, "test_top1": 1.0}', "belongs to epoch 7"),
    "deep JSON": ('{"epoch": ' + "[" * 9000 + "]" * 9000 + "}", "line 2: Invalid JSON"),
    "a lone surrogate": ('{"epoch": 2, "\\ud800": 1}', "line 2: Invalid JSON"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_run_with_bad_metrics_is_named_and_left_out(tmp_path: Path, case: str) -> None:
    line, message = BAD_LINES[case]
    bad = _folder(tmp_path, "\n".join([LINES[0], line, LINES[1]]), name="kd-r56-r20")
    good = _folder(tmp_path, "\n".join(LINES), name="dkd-r56-r20")
    warnings: list[str] = []
    assert [run.path for run in find_runs(tmp_path, [], warnings.append)] == [good]
    (warning,) = warnings
    assert warning.startswith(f"{bad}/metrics.jsonl: corrupt: ")
    assert message in warning
    assert warning.endswith("this run is left out")
    with pytest.raises(RequestError, match=r"metrics\.jsonl: corrupt"):
        find_runs(tmp_path, [bad], warnings.append)


BAD_INFO = {
    "no state": "{}",
    "NaN": '{"state": "done", "seconds": NaN}',
    "negative seconds": '{"state": "done", "seconds": -1}',
    "a number as the device": '{"state": "done", "device": 3}',
    "null as the best epoch's accuracy": '{"state": "done", "best": {"test_top1": null}}',
    "a list": "[]",
    "deep JSON": '{"state": ' + "[" * 9000 + "]" * 9000 + "}",
    "a lone surrogate": '{"state": "done", "device": "\\ud800"}',
    "not UTF-8": "\udcff",
    "an empty file": "",
}


@pytest.mark.parametrize("case", BAD_INFO)
def test_a_run_with_a_bad_description_is_named_and_left_out(tmp_path: Path, case: str) -> None:
    bad = _folder(tmp_path, "\n".join(LINES), name="kd-r56-r20")
    (bad / "run.json").write_bytes(BAD_INFO[case].encode(errors="surrogateescape"))
    good = _folder(tmp_path, "\n".join(LINES), name="dkd-r56-r20")
    warnings: list[str] = []
    assert [run.path for run in find_runs(tmp_path, [], warnings.append)] == [good]
    (warning,) = warnings
    assert warning.startswith(f"{bad}/run.json: corrupt")


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "preset.yaml"])
def test_a_pipe_instead_of_a_file_does_not_block(tmp_path: Path, name: str) -> None:
    bad = _folder(tmp_path, "\n".join(LINES))
    (bad / name).unlink()
    os.mkfifo(bad / name)
    with pytest.raises(RequestError, match="not a regular file"):
        read_run(bad, print)


def test_escape_sequences_in_a_description_are_escaped(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "\n".join(LINES))
    (folder / "run.json").write_text('{"state": "running", "device": "\\u001b[31mred"}')
    assert read_run(folder, print).info.device == r"\x1b[31mred"


def test_a_metric_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics(tmp_path, [{"epoch": 1, "test_top1": math.nan}])
    assert list(tmp_path.iterdir()) == []


def test_paths_of_a_run_are_kept_unless_json_cannot_contain_them() -> None:
    for path in ("写真\u3000集", "a\u00a0b", "\u200d"):
        assert RunInfo(state="done", data_dir=path, teacher=path, init=path).data_dir == path
    assert RunInfo(state="done", teacher="r\udce9").teacher == "r\\udce9"


def test_seeds_are_listed_by_number(tmp_path: Path) -> None:
    for seed in ("0", "10", "2", "3.old1", "\u00b2"):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "run.json").touch()
    assert [path.name for path in list_seeds(tmp_path)] == ["seed0", "seed2", "seed10"]
