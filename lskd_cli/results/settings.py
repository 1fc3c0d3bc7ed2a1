"""Which runs belong side by side."""

from collections.abc import Iterable, Sequence

from lskd_cli.results.runs import Run

_Key = tuple[str | int, ...]


def by_setting(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of the same images, student, number of epochs and teacher's file.

    A student without a teacher stands first in the settings of all its teachers; with none of
    them, in one of its own. Longer runs come first.
    """
    alone = _grouped((_student(run), run) for run in runs if not run.preset.teacher)
    taught = _grouped(
        ((*_student(run), f"{run.preset.teacher} {run.info.get('teacher_sha256')}"), run)
        for run in runs
        if run.preset.teacher
    )
    settings = [[*alone.get(key[:-1], []), *group] for key, group in taught.items()]
    of_taught = {key[:-1] for key in taught}
    return settings + [group for key, group in alone.items() if key not in of_taught]


def _student(run: Run) -> _Key:
    preset = run.preset
    images = f"{preset.data.model_dump_json()} {run.info.get('images_sha256')}"
    return images, preset.student, -preset.schedule.epochs


def _grouped(pairs: Iterable[tuple[_Key, Run]]) -> dict[_Key, list[Run]]:
    groups: dict[_Key, list[Run]] = {}
    for key, run in pairs:
        groups.setdefault(key, []).append(run)
    return dict(sorted(groups.items()))
