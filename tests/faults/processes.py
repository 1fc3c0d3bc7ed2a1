"""Two processes under torchrun, of which one fails, is killed, or stops answering."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.engine.distributed_target import scenario_presets
from tests.engine.helpers import run_path, training_options
from tests.faults.outcome import Outcome

_CASES = {
    "failed": ("one of two processes fails", "its message in run.json and in both processes", 3),
    "stopped": ("one of two processes does not answer", "the run ends after the timeout", 3),
    "killed": ("one of two processes is killed", "torchrun restarts both, and the run ends", 3),
}


def run(root: Path) -> list[Outcome]:
    """Start two processes a few times for each fault."""
    outcomes = []
    for scenario, (fault, expectation, count) in _CASES.items():
        outcome = Outcome(fault, expectation)
        for number in range(count):
            folder = root / f"{scenario}{number}"
            training_options(folder)
            restarts = ["--max-restarts=1"] if scenario == "killed" else []
            launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
            target = ["-m", "tests.engine.distributed_target", scenario, str(folder)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [*launcher, *restarts, *target], capture_output=True, env=environment, check=False
            )
            (preset,) = scenario_presets(scenario)
            info = json.loads((run_path(folder, preset) / "run.json").read_text())
            is_right = {
                "failed": info.get("error") == "process 1: the disk of this machine is gone",
                "stopped": "did not answer in time" in str(info.get("error")),
                "killed": info["state"] == "done",
            }[scenario]
            outcome.check(f"{number}: {info}", is_right and done.returncode == 0)
        outcomes.append(outcome)
    return outcomes
