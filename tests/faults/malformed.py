"""Malformed inputs: mutated run folders, weights, states, presets and values of options."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import load_preset, to_yaml
from lskd_cli.engine.runs.run_folder import RunFolder
from lskd_cli.errors import Interrupted
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import find_runs
from lskd_cli.results.tables.comparison import make_comparison
from lskd_cli.results.tables.details import make_details
from tests.engine.helpers import after, digits_preset, run_path, train
from tests.faults.mutation import VALUES, check, mutations
from tests.faults.outcome import Outcome

_PER_FILE = 80
_REFUSED = "a table without the run, or one line that names the file, within 10 s"


def run(root: Path) -> list[Outcome]:
    """Read mutated inputs of every kind."""
    return [_run_folders(root), _states(root), _weights(root), _presets(root), _settings()]


def _run_folders(root: Path) -> Outcome:
    outcome = Outcome("a mutated file in a run folder", _REFUSED)
    runs = root / "runs"
    train([digits_preset(epochs=2)], root)
    source = run_path(root, digits_preset())
    good, bad = runs / "good" / "seed0", runs / "bad" / "seed0"
    shutil.copytree(source, good)
    shutil.rmtree(source.parent)

    def tables() -> None:
        found = find_runs(runs, [], lambda message: None)
        assert good in [run.path for run in found], "the good run is left out"
        make_comparison(group_runs(found), "best")
        make_details(group_runs(found))

    for name in ("run.json", "metrics.jsonl", "preset.yaml"):
        for index, content in enumerate(mutations((good / name).read_bytes(), _PER_FILE)):
            shutil.copytree(good, bad)
            (bad / name).write_bytes(content)
            check(outcome, f"{name} {index}", tables)
            shutil.rmtree(bad.parent)
    info = json.loads((good / "run.json").read_text())
    for key in info:
        for value in (None, "x", -1, 1e400, [], {}, [[[]]], "\ud800", "\x1b[31m", True):
            shutil.copytree(good, bad)
            (bad / "run.json").write_text(json.dumps(info | {key: value}))
            check(outcome, f"run.json {key} = {value!r}", tables)
            shutil.rmtree(bad.parent)
    return outcome


def _states(root: Path) -> Outcome:
    outcome = Outcome("a mutated resume.pt", "the saved values, or one line that names the file")
    preset = digits_preset("kd", True, 3)
    with suppress(Interrupted):
        train([preset], root, should_stop=after(30))
    folder = run_path(root, preset)
    content = (folder / "resume.pt").read_bytes()
    expected = _flat(RunFolder(folder).load_state())

    def load() -> None:
        assert _flat(RunFolder(folder).load_state()) == expected, "other values were taken"

    for index, changed in enumerate(mutations(content, 2 * _PER_FILE)):
        (folder / "resume.pt").write_bytes(changed)
        check(outcome, f"resume.pt {index}", load)
    return outcome


def _flat(value: object) -> object:
    """Nested values with tensors as lists, so that they can be compared."""
    if isinstance(value, dict):
        return {key: _flat(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flat(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _weights(root: Path) -> Outcome:
    outcome = Outcome("a mutated weight file", "the stored weights, or one line")
    file = root / "checkpoints" / "resnet20.safetensors"
    content = file.read_bytes()
    expected = _flat(load_checkpoint(file).weights)

    def load() -> None:
        checkpoint = load_checkpoint(file)
        assert _flat(checkpoint.weights) == expected, "other weights were taken"
        checkpoint.load_network("resnet20", 10)

    for index, changed in enumerate(mutations(content, 2 * _PER_FILE)):
        file.write_bytes(changed)
        check(outcome, f"weights {index}", load)
    return outcome


def _presets(root: Path) -> Outcome:
    outcome = Outcome("a mutated preset file", "a preset, or a line for each problem")
    file = root / "mutated.yaml"
    content = to_yaml(load_preset("mlkd-r32x4-r8x4")).encode()
    for index, changed in enumerate(mutations(content, 2 * _PER_FILE)):
        file.write_bytes(changed)
        check(outcome, f"preset {index}", lambda: load_preset(file))
    return outcome


def _settings() -> Outcome:
    outcome = Outcome("a hostile value of --set", "a preset, or one line, within 10 s")
    keys = (
        "name", "student", "seed", "data", "data.mean", "data.batch_size", "data.image_size",
        "optimizer.lr", "optimizer.grad_accum_steps", "schedule.epochs", "schedule.milestones",
        "method.temperature", "stand.kd_weight", "published.top1", "a.b.c", "method.name",
    )  # fmt: skip
    for key in keys:
        for value in VALUES:
            setting = f"{key}={value}"
            check(outcome, setting[:60], lambda s=setting: load_preset("kd-digits", [s]))  # type: ignore[misc]
    return outcome
