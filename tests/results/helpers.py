"""Runs as their folders would tell them."""

from pathlib import Path
from typing import Any

from lskd_cli.config import load_preset
from lskd_cli.results.runs import Run


def made_run(
    name: str, stand: bool, seed: int, accuracies: list[float], state: str = "done", *more: str
) -> Run:
    preset = load_preset(name, [f"seed={seed}", *more])
    if stand:
        preset = preset.with_stand(True)
    history: list[dict[str, Any]] = [
        {"epoch": number, "test_top1": value} for number, value in enumerate(accuracies, 1)
    ]
    info = {
        "state": state,
        "best": max(history, key=lambda record: record["test_top1"]),
        "device": "cpu",
        "precision": "fp32",
        "seconds": 3723.4,
        "arms_in_pass": ["first", "second"],
    }
    if preset.teacher:
        info |= {"teacher_top1": 79.42, "teacher_sha256": "aa"}
    return Run(Path("runs") / preset.run_name / f"seed{seed}", preset, history, info)
