"""Runs and network outputs for tests, without files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lskd_cli.config import load_preset
from lskd_cli.network_outputs import Array, NetworkOutputs, OutputSet, Role
from lskd_cli.results.grouping import RunGroup, group_runs
from lskd_cli.results.runs import Run
from lskd_cli.results.tables.comparison import make_comparison
from lskd_cli.results.tables.table_format import Table
from lskd_cli.run_info import RunInfo

TARGETS = np.array([0, 0, 1, 2, 2, 1])


def made_run(
    name: str, stand: bool, seed: int, accuracies: list[float], state: str = "done", *more: str
) -> Run:
    preset = load_preset(name, [f"seed={seed}", *more])
    if stand:
        preset = preset.with_stand(True)
    history: list[dict[str, Any]] = [
        {"epoch": number, "test_top1": value, "train_loss": 2 / number}
        for number, value in enumerate(accuracies, 1)
    ]
    info = {
        "state": state,
        "best": max(history, key=lambda record: record["test_top1"]),
        "device": "cpu",
        "precision": "fp32",
        "seconds": 3723.4,
        "joint_runs": ["first", "second"],
    }
    if preset.teacher:
        info |= {"teacher_top1": 79.42, "teacher_sha256": "aa"}
    path = Path("runs") / preset.run_name / f"seed{seed}"
    return Run(path, preset, history, RunInfo.model_validate(info))


def change_info(run: Run, **changes: object) -> None:
    """Change entries of the run.json of a run."""
    run.info = run.info.model_copy(update=changes)


def _outputs(
    name: str, role: Role, logits: Array, top1: float = 50.0, kl: float = 0.0, kl_std: float = 0.0
) -> NetworkOutputs:
    centered = logits - logits.mean(axis=1, keepdims=True)
    standardized = centered / logits.std(axis=1, ddof=1, keepdims=True)
    pooled = np.repeat(logits, 2, axis=1).astype(np.float32)
    return NetworkOutputs(
        name, f"{name}/seed0", role, top1, logits, standardized, pooled, kl, kl_std
    )


def made_logits(seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(size=(6, 3)))


def made_outputs() -> OutputSet:
    teacher = _outputs("resnet56", "teacher", made_logits(0))
    students = [
        _outputs("baseline", "baseline", made_logits(1), 60.0, 0.3, 0.4),
        _outputs("KD", "plain", made_logits(2), 70.0, 0.1, 0.3),
        _outputs("KD+Ours", "standardized", made_logits(0) / 2 + 5, 72.0, 0.2, 0.0),
    ]
    return OutputSet(np.arange(6) * 10, TARGETS, [teacher, *students], 4.0, (2, 3, 3))


def made_group(*more: Run) -> RunGroup:
    (group,) = group_runs(
        [
            made_run("alone-r20", False, 0, [60.0]),
            made_run("kd-r56-r20", False, 0, [70.0]),
            made_run("kd-r56-r20", True, 0, [72.0]),
            *more,
        ]
    )
    return group


def comparison_of(runs: Sequence[Run], accuracy: str = "best") -> Table:
    table = make_comparison(group_runs(runs), accuracy)
    assert table is not None
    return table
