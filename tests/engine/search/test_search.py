"""Searches: joint runs of trials, pruning, interruptions, and several processes."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import pytest

from lskd_cli.config import Preset
from lskd_cli.data import Images
from lskd_cli.engine.search import search as search_module
from lskd_cli.engine.search import study as study_module
from lskd_cli.engine.search.search import SearchCallback
from lskd_cli.engine.search.study import SearchOptions, SearchStudy, Trial
from lskd_cli.engine.training import loop
from lskd_cli.errors import Interrupted, RequestError
from lskd_cli.models import Network
from lskd_cli.search_info import TrialInfo
from tests.digits import few_digits
from tests.engine.helpers import after, metrics, run_path, train
from tests.engine.search_target import EPOCHS, SPACE, evaluate_loss, main, search, spaces
from tests.workers import start

pytestmark = pytest.mark.usefixtures("small_digits")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[TrialInfo]:
    """The trials of a search of six trials without interruptions."""
    with few_digits(), patch.object(loop, "evaluate", evaluate_loss):
        return search(tmp_path_factory.mktemp("undisturbed"), num_trials=6)


@pytest.fixture(autouse=True)
def _informative_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "evaluate", evaluate_loss)


def _results(trials: list[TrialInfo]) -> list[tuple[object, ...]]:
    found = [(t.form, t.number, t.state, sorted(t.settings.items()), t.accuracies) for t in trials]
    return sorted(found)


def test_both_forms_have_as_many_trials_and_the_first_has_the_settings_of_the_preset(
    undisturbed: list[TrialInfo],
) -> None:
    assert [(t.form, t.number, t.state) for t in undisturbed] == [
        (form, number, "complete") for form in ("plain", "standardized") for number in range(3)
    ]
    first = [t for t in undisturbed if t.is_preset]
    assert [t.settings for t in first] == [{"method.temperature": 4}, {"stand.temperature": 2}]
    assert len({str(t.settings) for t in undisturbed}) == 6
    assert all(len(t.accuracies) == EPOCHS for t in undisturbed)


def test_a_trial_has_the_accuracies_of_a_run_of_its_own(
    undisturbed: list[TrialInfo], tmp_path: Path
) -> None:
    plain, standardized = spaces()
    for trial, space in ((undisturbed[1], plain), (undisturbed[4], standardized)):
        preset = space.trial_preset(trial.settings, "alone", 0)
        train([preset], tmp_path)
        epochs = metrics(run_path(tmp_path, preset))
        assert trial.accuracies == [epoch["val_top1"] for epoch in epochs]


def test_test_images_are_not_evaluated_and_runs_of_ended_trials_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []

    def count(network: Network, images: Images, *rest: Any) -> dict[str, float]:
        evaluated.append(len(images))
        return evaluate_loss(network, images, *rest)

    monkeypatch.setattr(loop, "evaluate", count)
    search(tmp_path, num_trials=2)
    assert set(evaluated) == {30}
    assert len(evaluated) == 2 * EPOCHS
    assert not list((tmp_path / "runs").glob("**/seed*"))


class _PruneWorst(optuna.pruners.BasePruner):
    """Prunes the trial with the lowest accuracy of those that were reported after an epoch."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        last = trial.last_step
        values = [
            other.intermediate_values[last]
            for other in study.get_trials(deepcopy=False)
            if last is not None and last in other.intermediate_values
        ]
        return last == 1 and trial.intermediate_values[1] == min(values) < max(values)


def test_pruned_trials_leave_and_do_not_change_the_others(
    undisturbed: list[TrialInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "create_pruner", lambda *_: _PruneWorst())
    ended: list[tuple[str, int]] = []

    class Recorder(SearchCallback):
        def on_trial_end(self, trial: Trial) -> None:
            ended.append((trial.state, len(trial.accuracies)))

    trials = search(tmp_path, num_trials=6, parallel=6, callback=Recorder())
    assert (
        {(t.state, len(t.accuracies)) for t in trials}
        == set(ended)
        == {
            ("pruned", 1),
            ("complete", EPOCHS),
        }
    )
    for trial, other in zip(trials, undisturbed, strict=True):
        assert trial.settings == other.settings
        assert trial.accuracies == other.accuracies[: len(trial.accuracies)]


def test_an_interrupted_search_ends_as_an_undisturbed_one(
    undisturbed: list[TrialInfo], tmp_path: Path
) -> None:
    for steps in (3, 8):
        with pytest.raises(Interrupted):
            search(tmp_path, num_trials=6, should_stop=after(steps))
    assert _results(search(tmp_path, num_trials=6)) == _results(undisturbed)
    assert _results(search(tmp_path, num_trials=6)) == _results(undisturbed)  # nothing to do
    assert len(search(tmp_path, num_trials=8)) == 8


def test_processes_join_a_search_and_continue_the_trials_of_a_killed_one(
    undisturbed: list[TrialInfo], tmp_path: Path
) -> None:
    chance = random.Random(0)
    for _ in range(3):
        first, second = start(main, tmp_path), start(main, tmp_path)
        first.join(chance.uniform(0.2, 2.0))
        first.kill()
        first.join()
        second.join()
        assert second.exitcode == 0
    assert _results(search(tmp_path, num_trials=6)) == _results(undisturbed)


def test_a_trial_that_diverges_fails_alone(tmp_path: Path) -> None:
    trials = search(
        tmp_path,
        num_trials=4,
        parallel=4,
        texts=["optimizer.lr=0.05,1000000.0"],
        preset_settings=["optimizer.lr=0.05"],
    )
    failed = {t.settings["optimizer.lr"] for t in trials if t.state == "failed"}
    assert failed == {1e6}
    assert {t.settings["optimizer.lr"] for t in trials if t.state == "complete"} == {0.05}
    assert any("not finite" in (t.error or "") for t in trials)


def test_a_trial_that_cannot_be_trained_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = search_module.prepare

    def refuse(presets: Sequence[Preset], *more: Any, **options: Any) -> Any:
        if any(preset.run_name == "trial1" for preset in presets):
            raise RequestError("student: lacks features")
        return prepare(presets, *more, **options)

    monkeypatch.setattr(search_module, "prepare", refuse)
    trials = {(t.form, t.number): (t.state, t.error) for t in search(tmp_path, num_trials=4)}
    assert trials["plain", 1] == ("failed", "student: lacks features")
    assert [state for state, _ in trials.values()].count("complete") == 3


def test_a_trial_that_another_process_has_just_finished_is_not_trained_again(
    tmp_path: Path,
) -> None:
    options = SearchOptions(2, [0], "random", "none", None)
    one, other = (SearchStudy(spaces(), tmp_path, options, {}) for _ in range(2))
    trial, *_ = one.claim(1)
    listed = other.studies[trial.form].get_trials()[trial.number]
    one.finish(trial, "failed", "diverged")
    assert other._resume(trial.form, listed) is None


def test_a_kill_before_a_new_trial_has_its_folder_loses_no_point(
    undisturbed: list[TrialInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "set_user_attr", _fail)
        with pytest.raises(SystemError):
            search(tmp_path, num_trials=6)
    assert _results(search(tmp_path, num_trials=6)) == _results(undisturbed)


def _fail(*_: object) -> None:
    raise SystemError  # stands for a kill


def test_runs_with_dot_in_a_relative_folder_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs") / "tune"
    folder.mkdir(parents=True)
    (folder / "journal.log.lock").symlink_to("nothing")  # of a process that was killed
    dot = ("optimizer.name=dot", "optimizer.momentum=0.9", "optimizer.nesterov=false")
    trials = search(Path(), num_trials=2, preset_settings=dot)
    assert [trial.state for trial in trials] == ["complete"] * 2
    assert not list(folder.glob("trials/*"))


def test_the_mean_over_seeds_decides(tmp_path: Path) -> None:
    (trial,) = search(tmp_path, 1, seeds=[0, 1], texts=["method.temperature=2:8"])
    (space,) = spaces(["method.temperature=2:8"])
    histories = []
    for seed in (0, 1):
        preset = space.trial_preset(trial.settings, "alone", seed)
        train([preset], tmp_path)
        histories.append([epoch["val_top1"] for epoch in metrics(run_path(tmp_path, preset))])
    assert trial.accuracies == pytest.approx(
        [sum(epoch) / 2 for epoch in zip(*histories, strict=True)]
    )


def _study(folder: Path, request: dict[str, object], storage: str | None = None) -> SearchStudy:
    options = SearchOptions(2, [0], "tpe", "hyperband", storage)
    return SearchStudy(spaces(), folder, options, request)


def test_the_storage_of_another_search_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for storage in (None, url):
        folder = tmp_path / str(storage is None)
        _study(folder, {"space": ["a"], "seeds": [0]}, storage)
        _study(folder, {"space": ["a"], "seeds": [0]}, storage)
        with pytest.raises(RequestError, match=r"belongs to another search \(space differs\); use"):
            _study(folder, {"space": ["b"], "seeds": [0]}, storage)


def test_a_search_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    _study(tmp_path, {"preset": "a"})
    _study(tmp_path, {"preset": "a", "precision": "fp32"})
    with pytest.raises(RequestError, match=r"belongs to another search \(precision differs\)"):
        _study(tmp_path, {"preset": "a", "precision": "bf16"})
    with pytest.raises(RequestError, match=r"belongs to another search \(preset differs\)"):
        _study(tmp_path, {"preset": "b", "precision": "fp32"})


def test_the_url_of_a_database_is_refused_without_its_password(tmp_path: Path) -> None:
    for url in ("postgresql://me:SE@CR:ET@host/name", "me:SECRET@host"):
        with pytest.raises(RequestError, match="not the URL of a database") as caught:
            _study(tmp_path, {}, url)
        assert "CR" not in str(caught.value)


def test_a_truncated_journal_is_read_and_a_corrupt_one_is_refused(tmp_path: Path) -> None:
    request: dict[str, object] = {"space": list(SPACE)}
    _study(tmp_path, request)
    journal = tmp_path / "journal.log"
    content = journal.read_bytes()
    journal.write_bytes(content + b'{"op_code": 4, "wor')
    _study(tmp_path, request)
    assert journal.read_bytes().startswith(content)
    _study(tmp_path, request)  # nothing was appended to the truncated line
    journal.write_bytes(b"nonsense\n" + content)
    with pytest.raises(RequestError, match=r"journal.log: cannot be opened") as caught:
        _study(tmp_path, request)
    assert "\n" not in str(caught.value)


def test_a_database_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/missing/study.db", "nonsense://x", "postgresql://h/x"):
        with pytest.raises(RequestError, match="--storage ") as caught:
            _study(tmp_path / "search", {}, url)
        assert "\n" not in str(caught.value)
