"""lskd report --watch."""

import json
import shutil
from pathlib import Path

import pytest

from lskd_cli.cli import report_watch
from lskd_cli.cli.report import _check_writable
from lskd_cli.cli.report_watch import watch_runs
from lskd_cli.errors import RunError
from lskd_cli.search_info import SearchInfo, write_search_info

KEPT = Path(__file__).parents[2] / "docs" / "results"
FINISHED = ("kd-r56-r20", "kd-r56-r20+stand")


def _copy_unfinished(runs_dir: Path) -> None:
    """Copy runs in the state after three of their 24 epochs."""
    for name in FINISHED:
        run = shutil.copytree(KEPT / name, runs_dir / name) / "seed0"
        epochs = (run / "metrics.jsonl").read_text().splitlines(keepends=True)[:3]
        (run / "metrics.jsonl").write_text("".join(epochs))
        info = json.loads((run / "run.json").read_text())
        info |= {"state": "running", "finished": None, "last": json.loads(epochs[-1])}
        (run / "run.json").write_text(json.dumps(info))


def _wait_with(monkeypatch: pytest.MonkeyPatch, *steps: object) -> None:
    """Do the next step instead of every wait: a function is called, an exception is raised."""
    remaining = list(steps)

    def sleep(_seconds: float) -> None:
        step = remaining.pop(0)
        if isinstance(step, BaseException):
            raise step
        assert callable(step)
        step()

    monkeypatch.setattr(report_watch.time, "sleep", sleep)


def test_a_page_is_rewritten_when_runs_change_until_all_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_dir, out = tmp_path / "runs", tmp_path / "report"
    out.mkdir()
    versions = []

    def start() -> None:
        assert not (out / "index.html").exists()  # no run has a finished epoch yet
        _copy_unfinished(runs_dir)

    def wait() -> None:
        versions.append((out / "version.js").read_text())

    def finish() -> None:
        wait()
        shutil.rmtree(runs_dir)
        for name in FINISHED:
            shutil.copytree(KEPT / name, runs_dir / name)

    _wait_with(monkeypatch, start, wait, finish)
    assert watch_runs(runs_dir, [], pytest.fail, out, "best")
    assert versions[0] == versions[1]  # nothing had changed
    page = (out / "index.html").read_text()
    last = (out / "version.js").read_text()
    assert last != versions[1]
    version = last.split('"')[1]
    assert f'data-version="{version}"' in page
    assert "2 runs, 2 finished" in page


def test_searches_are_shown_as_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_dir, out = tmp_path / "runs", tmp_path / "report"

    def end_search() -> None:
        assert not (out / "index.html").exists()
        search = SearchInfo(
            name="kd-digits", command="lskd tune kd-digits", pair="resnet20 → resnet8 on digits",
            epochs=2, seeds=[0], num_trials=0, held_out=15, sampler="tpe", pruner="none",
            dimensions={}, trials=[],
        )  # fmt: skip
        write_search_info(runs_dir / "tune-kd-digits" / "search.json", search)

    out.mkdir()
    _wait_with(monkeypatch, end_search, KeyboardInterrupt())
    assert not watch_runs(runs_dir, [], pytest.fail, out, "best")
    assert "Search of kd-digits" in (out / "index.html").read_text()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder without files")
def test_a_folder_that_takes_no_files_is_refused_before_figures_are_drawn() -> None:
    with pytest.raises(RunError, match="/proc: cannot be written"):
        _check_writable(Path("/proc"))


def test_ctrl_c_ends_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_dir, out = tmp_path / "runs", tmp_path / "report"
    out.mkdir()
    _copy_unfinished(runs_dir)
    _wait_with(monkeypatch, KeyboardInterrupt())
    assert not watch_runs(runs_dir, [], pytest.fail, out, "best")
    assert "2 unfinished runs" in (out / "index.html").read_text()
