"""Which epoch is the best one, and which weights and metrics each file contains.

All accuracies are prescribed, so that test and validation images, student and moving average, best
and last epoch disagree.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import Preset
from lskd_cli.data import load_splits
from lskd_cli.engine.devices.distributed import SINGLE_PROCESS
from lskd_cli.engine.inference.evaluation import evaluate as real_evaluate
from lskd_cli.errors import Interrupted
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import Run, read_run
from lskd_cli.results.tables.details import make_details
from tests.engine.helpers import after, digest, digits_preset, metrics, silent, train
from tests.engine.prescribed import Prescribed, train_prescribed
from tests.results.helpers import comparison_of

pytestmark = pytest.mark.usefixtures("small_digits")


def _preset(epochs: int, *settings: str) -> Preset:
    return digits_preset("kd", False, epochs, *settings)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        return dict(file.metadata())


def _info(run: Prescribed) -> dict[str, Any]:
    return dict(json.loads((run.folder / "run.json").read_text()))


class TestBestEpoch:
    def test_the_best_weights_are_kept_while_the_accuracy_falls(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        top1 = [40.0, 70.0, 60.0, 50.0]
        run = train_prescribed(monkeypatch, tmp_path, _preset(4), {"test": top1})
        assert len(set(run.student)) == 4
        assert run.best == [run.student[0], *[run.student[1]] * 3]
        best, student = (
            _metadata(run.folder / f"{name}.safetensors") for name in ("best", "student")
        )
        assert (best["epoch"], best["top1"]) == ("2", "70.00")
        assert (student["epoch"], student["top1"]) == ("4", "50.00")
        assert [record["test_top1"] for record in metrics(run.folder)] == top1
        info = _info(run)
        assert (info["best"]["epoch"], info["best"]["test_top1"]) == (2, 70.0)
        assert (info["last"]["epoch"], info["last"]["test_top1"]) == (4, 50.0)

    def test_the_earlier_one_of_equal_epochs_is_the_best(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        top1 = [40.0, 70.0, 70.0, 60.0]
        run = train_prescribed(monkeypatch, tmp_path, _preset(4), {"test": top1})
        assert run.best[-1] == run.student[1]
        assert _metadata(run.folder / "best.safetensors")["epoch"] == "2"
        assert _info(run)["best"]["epoch"] == 2
        (read,) = _read(run)
        assert read.top1("best") == 70.0

    def test_it_is_selected_on_validation_images_if_there_are_some(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = train_prescribed(
            monkeypatch,
            tmp_path,
            _preset(3, "data.val_split=0.2"),
            {"test": [80.0, 60.0, 40.0], "val": [10.0, 30.0, 20.0]},
        )
        assert run.best[-1] == run.student[1]
        best = _metadata(run.folder / "best.safetensors")
        assert (best["epoch"], best["top1"]) == ("2", "60.00")
        assert (_info(run)["best"]["epoch"], _info(run)["best"]["val_top1"]) == (2, 30.0)

    def test_the_moving_average_does_not_select_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = train_prescribed(
            monkeypatch,
            tmp_path,
            _preset(3, "optimizer.ema_decay=0.5"),
            {"test": [60.0, 80.0, 70.0], "ema_test": [15.0, 25.0, 35.0]},
        )
        assert run.best[-1] == run.student[1]
        ema, student = (_metadata(run.folder / f"{n}.safetensors") for n in ("ema", "student"))
        assert (ema["epoch"], ema["top1"]) == ("3", "35.00")
        assert (student["epoch"], student["top1"]) == ("3", "70.00")
        weights = [
            load_checkpoint(run.folder / f"{name}.safetensors").weights["conv1.weight"]
            for name in ("ema", "student")
        ]
        assert not weights[0].equal(weights[1])
        assert [record["ema_test_top1"] for record in metrics(run.folder)] == [15.0, 25.0, 35.0]


def _read(*runs: Prescribed) -> list[Run]:
    return [read_run(run.folder, pytest.fail) for run in runs]


class TestResults:
    """What tables show of runs on disk."""

    @pytest.fixture
    def pair(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
        """A plain and a standardized run whose best, last and validation accuracies disagree."""
        settings = "data.val_split=0.2"
        plain = train_prescribed(
            monkeypatch,
            tmp_path,
            _preset(3, settings),
            {"test": [90.0, 60.0, 41.0], "val": [10.0, 30.0, 20.0]},
        )
        stand = train_prescribed(
            monkeypatch,
            tmp_path,
            _preset(3, settings).with_stand(True),
            {"test": [52.0, 67.0, 49.0], "val": [40.0, 30.0, 20.0]},
        )
        return _read(plain, stand)

    def test_the_best_epoch_is_the_one_of_the_validation_images(self, pair: list[Run]) -> None:
        table = comparison_of(pair, "best")
        (row,) = table.rows
        assert (row.plain.mean, row.standardized.mean, row.difference.mean) == (60, 52, -8)
        assert (row.selection, row.epochs) == ("val", 3)

    def test_the_last_epoch_is_the_last(self, pair: list[Run]) -> None:
        table = comparison_of(pair, "last")
        (row,) = table.rows
        assert (row.plain.mean, row.standardized.mean, row.difference.mean) == (41, 49, 8)

    def test_the_details_show_both(self, pair: list[Run]) -> None:
        (table,) = make_details(group_runs(pair))
        plain, stand = table.rows
        assert (plain.best.mean, plain.last.mean) == (60, 41)
        assert (stand.best.mean, stand.last.mean) == (52, 49)
        assert (stand.best_gain.mean, stand.last_gain.mean) == (-8, 8)


class TestSplits:
    """Which images an accuracy is measured on; nothing is prescribed here."""

    def test_validation_and_test_accuracies_are_those_of_their_images(self, tmp_path: Path) -> None:
        preset = _preset(2, "data.val_split=0.2", "optimizer.lr=0.02")
        train([preset], tmp_path)
        folder = tmp_path / "runs" / preset.run_path
        splits = load_splits(preset.data, tmp_path / "data", silent)
        network = load_checkpoint(folder / "student.safetensors").load_network("resnet8", 10, 16)
        last = metrics(folder)[-1]
        sizes = len(splits.train), len(splits.val), len(splits.test)
        assert sizes == (120, 30, 50)
        for prefix, images in (("val", splits.val), ("test", splits.test)):
            values = real_evaluate(
                network, images, Preprocessing.of_data(preset.data), SINGLE_PROCESS
            )
            for key, value in values.items():
                assert last[f"{prefix}_{key}"] == pytest.approx(value, rel=1e-6)
        assert last["val_loss"] != pytest.approx(last["test_loss"], rel=1e-3)


class TestResumption:
    def test_the_best_epoch_before_an_interruption_is_still_the_best(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(Interrupted):
            train_prescribed(
                monkeypatch, tmp_path, _preset(3), {"test": [80.0]}, should_stop=after(4)
            )
        best = digest(tmp_path / "runs" / "kd-digits" / "seed0" / "best.safetensors")
        run = train_prescribed(monkeypatch, tmp_path, _preset(3), {"test": [50.0, 60.0]})
        assert run.best == [best, best]
        assert _info(run)["best"]["epoch"] == 1
