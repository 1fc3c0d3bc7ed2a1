"""The overview of a report."""

from lskd_cli.results.grouping import group_runs, name_sort_key
from lskd_cli.results.report.overview import forest_rows, progress_lines
from tests.results.helpers import made_run


def test_unfinished_runs_with_equal_progress_are_one_line() -> None:
    runs = [
        made_run("kd-r56-r20", stand, seed, [1.0], "running")
        for stand in (False, True)
        for seed in (0, 1)
    ]
    runs.append(made_run("dkd-r56-r20", False, 0, [1.0, 2.0], "interrupted"))
    runs[-1].history[-1]["seconds"] = 100.0
    assert progress_lines(runs) == [
        ("kd-r56-r20 (2 seeds), kd-r56-r20+stand (2 seeds)", "epoch 1 of 240 (running)"),
        ("dkd-r56-r20", "epoch 2 of 240, 6:36:40 of training left (interrupted)"),
    ]


def test_many_names_are_shortened() -> None:
    runs = [
        made_run("kd-r56-r20", False, 0, [1.0], "running", f"name=run{number}")
        for number in range(11)
    ]
    ((names, _),) = progress_lines(runs)
    assert names.startswith("run0, run1, ")
    assert names.endswith("run7, 3 others")
    ((names, _),) = progress_lines(runs[:9])
    assert names.endswith("run7, 1 other")


def test_finished_runs_without_a_common_seed_have_no_difference() -> None:
    runs = [made_run("kd-r56-r20", False, 0, [1.0]), made_run("kd-r56-r20", True, 1, [2.0])]
    (group,) = group_runs(runs)
    (row,) = forest_rows([(group, "section")], "best")
    assert (row.result, row.difference, row.state) == ("no common seed", None, "finished")


def _labels(*settings: str) -> list[str]:
    runs = [made_run("kd-r56-r20", False, 0, [1.0])]
    for index, setting in enumerate(settings):
        runs.append(made_run("kd-r56-r20", True, 0, [2.0], "done", setting, f"name=run{index}"))
    (group,) = group_runs(runs)
    rows = forest_rows([(group, "section")], "best")
    return [row.label.replace(" · resnet56 → resnet20, cifar100, 240 epochs", "") for row in rows]


def test_a_row_names_the_settings_in_which_it_differs_from_others() -> None:
    assert _labels("stand.temperature=3") == ["KD, n = 1"]
    assert _labels("stand.temperature=3", "stand.temperature=1") == [
        "KD (temperature=3), n = 1", "KD (temperature=1), n = 1",
    ]  # fmt: skip
    assert _labels("stand.temperature=3", "stand.kd_weight=5") == [
        "KD (temperature=3, kd_weight=9), n = 1", "KD (temperature=2, kd_weight=5), n = 1",
    ]  # fmt: skip


def test_a_published_difference_is_for_these_settings_only_if_both_runs_have_them() -> None:
    plain = made_run("kd-r56-r20", False, 0, [1.0])
    for settings, expected in (
        ((), "these settings"),
        (("stand.temperature=3",), "other settings"),
    ):
        stand = made_run("kd-r56-r20", True, 0, [2.0], "done", *settings)
        (group,) = group_runs([plain, stand])
        (row,) = forest_rows([(group, "section")], "best")
        assert (row.published, row.published_for) == (0.77, expected)


def test_numbers_in_names_are_sorted_by_value() -> None:
    names = ["kd-x", "kd-t10-w1", "kd-t1.25-w1", "kd-t0.5-w27", "kd-t0.5-w3"]
    assert sorted(names, key=name_sort_key) == [
        "kd-t0.5-w3", "kd-t0.5-w27", "kd-t1.25-w1", "kd-t10-w1", "kd-x",
    ]  # fmt: skip
