"""Details tables: which runs are grouped, and what the tables contain."""

from pathlib import Path

import pytest

from lskd_cli.config import load_preset
from lskd_cli.errors import RequestError
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import Run
from lskd_cli.results.tables.details import make_details
from lskd_cli.results.tables.table_format import Table
from tests.results.helpers import change_info, made_run


def _runs() -> list[Run]:
    return [
        made_run("dkd-r56-r20", True, 0, [72.0, 71.5]),
        made_run("kd-r56-r20", False, 0, [70.0, 69.0]),
        made_run("kd-r56-r20", False, 1, [71.0, 71.0]),
        made_run("kd-r56-r20", True, 0, [71.0, 72.0]),
        made_run("kd-r56-r20", True, 1, [73.0, 71.0]),
        made_run("alone-r20", False, 0, [69.5, 69.0]),
    ]


def _cells(table: Table) -> list[list[str]]:
    return [[column.heading for column in table.columns], *table.cells()]


def test_a_group_has_a_row_for_each_method_with_both_epochs_and_the_time() -> None:
    (table,) = make_details(group_runs(_runs()))
    assert _cells(table) == [
        ["Method", "n", "Best epoch", "Δ", "Last epoch", "Δ", "Published", "Time"],
        ["baseline", "1", "69.50", "", "69.00", "", "69.06", "1:02:03"],
        ["KD", "2", "70.50 ± 0.71", "", "70.00 ± 1.41", "", "70.66", "1:02:03"],
        [
            "KD+Ours", "2", "72.50 ± 0.71", "+2.00 [+2.00, +2.00]", "71.50 ± 0.71",
            "+1.50 [-17.56, +20.56]", "71.43", "1:02:03",
        ],
        ["DKD+Ours", "1", "72.00", "", "71.50", "", "72.32", "1:02:03"],
    ]  # fmt: skip


def test_the_caption_says_what_all_rows_share() -> None:
    (table,) = make_details(group_runs(_runs()))
    assert table.title.startswith("resnet20 from resnet56 (79.42 %) on cifar100, 240 epochs:")
    assert "selected on test images" in table.caption
    assert table.caption.endswith("together, here 2, on cpu, fp32.")


def test_what_rows_do_not_share_has_a_column() -> None:
    runs = _runs()
    change_info(runs[1], device="NVIDIA H200", joint_runs=["one"])
    (table,) = make_details(group_runs(runs))
    rows = [dict(zip(_cells(table)[0], row, strict=True)) for row in table.cells()]
    assert [row["Hardware"] for row in rows[1:3]] == [
        "NVIDIA H200, fp32 / cpu, fp32", "cpu, fp32",
    ]  # fmt: skip
    assert rows[1]["Students"] == "1 / 2"
    assert "all students of a joint run together." in table.caption


def test_other_epochs_and_teachers_have_other_tables_with_the_same_baseline() -> None:
    other = made_run("kd-r56-r20", True, 2, [70.0])
    change_info(other, teacher_sha256="bb")
    short = load_preset("kd-r56-r20").with_epochs(24)
    shorter = Run(Path("short"), short, other.history, other.info)
    alone = made_run("alone-r32", False, 0, [70.0])
    tables = make_details(group_runs([*_runs(), other, shorter, alone]))
    methods = [[row[0] for row in table.cells()] for table in tables]
    assert methods == [
        ["baseline", "KD", "KD+Ours", "DKD+Ours"],
        ["baseline", "KD+Ours"],
        ["KD"],
        ["baseline"],
    ]
    assert tables[-1].title.startswith("resnet32 on cifar100")


def test_rows_of_one_method_are_distinguished_by_their_presets() -> None:
    warmer = made_run("kd-r56-r20", True, 0, [74.0], "done", "stand.temperature=3", "name=warmer")
    (table,) = make_details(group_runs([*_runs(), warmer]))
    rows = {tuple(row[:2]): row for row in table.cells()}
    assert rows["warmer", "KD+Ours"][4] == "+4.00"
    assert ("kd-r56-r20", "KD+Ours") in rows


def test_settings_of_the_standardization_do_not_separate_plain_runs() -> None:
    warmer = made_run("kd-r56-r20", False, 1, [71.0], "done", "stand.temperature=3")
    standardized = made_run("kd-r56-r20", True, 1, [72.5])
    (table,) = make_details(
        group_runs([made_run("kd-r56-r20", False, 0, [70.0]), warmer, standardized])
    )
    assert [row[:4] for row in table.cells()] == [
        ["KD", "2", "70.50 ± 0.71", ""], ["KD+Ours", "1", "72.50", "+1.50"],
    ]  # fmt: skip


def test_students_of_other_images_have_other_tables() -> None:
    runs = [made_run("alone-r20", False, 0, [60.0]), made_run("kd-r56-r20", False, 0, [70.0])]
    change_info(runs[0], images_sha256="other")
    assert len(make_details(group_runs(runs))) == 2


def test_times_are_hours_minutes_seconds_beyond_a_day() -> None:
    run = made_run("kd-r56-r20", False, 0, [70.0])
    change_info(run, seconds=26 * 3600 + 184.4)
    (table,) = make_details(group_runs([run]))
    assert table.cells()[0][-1] == "26:03:04"


def test_a_selection_on_held_out_images_is_mentioned() -> None:
    runs = [made_run("kd-r56-r20", False, 0, [70.0], "done", "data.val_split=0.1")]
    runs[0].history[0]["val_top1"] = 60.0
    (table,) = make_details(group_runs(runs))
    assert "selected on val images" in table.caption


def test_records_hold_every_number() -> None:
    record = make_details(group_runs(_runs()))[0].records[2]
    assert (record["method"], record["teacher"], record["epochs"]) == ("KD+Ours", "resnet56", 240)
    assert (record["best_mean"], record["last_gain_mean"]) == (72.5, 1.5)


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(RequestError, match="the same run as"):
        make_details(group_runs([*_runs(), _runs()[1]]))


def test_unfinished_runs_do_not_count() -> None:
    run = _runs()[1]
    change_info(run, state="interrupted")
    assert make_details(group_runs([run])) == []
