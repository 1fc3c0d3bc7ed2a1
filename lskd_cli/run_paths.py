"""Paths of the files of runs: ``RUNS/NAME/seedN/FILE``."""

from pathlib import Path

from lskd_cli.errors import RequestError

PRESET, RUN, METRICS = "preset.yaml", "run.json", "metrics.jsonl"
METHOD = "method.py"  # source of a method that is not built in
STUDENT, BEST, RESUME = "student.safetensors", "best.safetensors", "resume.pt"


def list_seeds(folder: Path) -> list[Path]:
    """Runs of one preset, ``folder/seedN``; archived runs (``seedN.oldM``) are excluded."""
    runs = (path.parent for path in folder.glob(f"seed*/{RUN}"))
    return sorted(path for path in runs if path.name.removeprefix("seed").isdigit())


def list_runs(runs_dir: Path, pattern: str = "*") -> list[Path]:
    """Runs of all presets whose names match a glob pattern."""
    return [run for folder in sorted(runs_dir.glob(pattern)) for run in list_seeds(folder)]


def weights_file(path: Path, best: bool = False) -> Path:
    """The weights file that a path denotes: the path itself, or a file in a run folder.

    Args:
        path: a weights file or a run folder.
        best: take the best epoch of a run folder instead of the last.

    Raises:
        RequestError: the folder contains no weights.
    """
    if not path.is_dir():
        return path
    file = path / (BEST if best else STUDENT)
    if not file.exists():
        raise RequestError(
            f"{path}: contains no {file.name}; give a run folder (NAME/seedN) that has finished "
            "at least one epoch"
        )
    return file
