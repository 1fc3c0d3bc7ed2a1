"""The first lines of a report."""

from lskd_cli.results.report.headline import Headline, make_headline
from lskd_cli.results.runs import Run
from tests.results.helpers import comparison_of, made_run


def _headline(runs: list[Run]) -> Headline:
    return make_headline([run.preset for run in runs], list(comparison_of(runs).rows))


def _pair(seeds: range, gain: float, spread: float = 0.0) -> list[Run]:
    return [
        made_run("kd-r56-r20", stand, seed, [70.0 + stand * (gain + spread * seed) + seed / 10])
        for stand in (False, True)
        for seed in seeds
    ]


def test_the_headline_names_the_best_student_the_gain_and_the_distance_to_the_teacher() -> None:
    headline = _headline([*_pair(range(3), 2.0), made_run("alone-r20", False, 0, [60.0])])
    assert headline.title == "resnet56 → resnet20 on cifar100"
    assert headline.sentence == (
        "The best student is resnet20 with KD+Ours. Standardization improves KD."
    )
    assert headline.numbers[0] == ("72.10 %", "best top-1 accuracy (KD+Ours, n = 3)")
    assert headline.numbers[1] == (
        "+2.00 [+2.00, +2.00]",
        "points by standardization of KD (n = 3)",
    )


def test_the_headline_claims_no_more_than_the_interval() -> None:
    assert "A single seed does not show" in _headline(_pair(range(1), 2.0)).sentence
    assert "the interval contains 0" in _headline(_pair(range(3), 1.0, -1.0)).sentence
    assert "does not improve KD" in _headline(_pair(range(3), -2.0)).sentence


def test_without_finished_runs_there_is_a_title_only() -> None:
    run = made_run("kd-r56-r20", False, 0, [50.0], "running")
    headline = make_headline([run.preset], [])
    assert headline == Headline("resnet56 → resnet20 on cifar100", "", [])


def test_accuracies_on_several_data_sets_are_not_compared() -> None:
    runs = [*_pair(range(3), 2.0), made_run("kd-digits", False, 0, [98.0])]
    headline = _headline(runs)
    assert headline.title == "2 pairs of teacher and student on cifar100, digits"
    assert (headline.sentence, headline.numbers) == ("", [])


def test_networks_without_a_teacher_are_no_pairs() -> None:
    runs = [made_run(name, False, 0, [60.0]) for name in ("alone-r20", "alone-r8x4")]
    assert _headline(runs).title == "2 networks on cifar100"
