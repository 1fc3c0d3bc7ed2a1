"""Where the files of runs are: ``RUNS/NAME/seedN/FILE``."""

from pathlib import Path

from lskd_cli.errors import RequestError

PRESET, RUN, METRICS = "preset.yaml", "run.json", "metrics.jsonl"
METHOD = "method.py"  # of a method that is not shipped
STUDENT, BEST, RESUME = "student.safetensors", "best.safetensors", "resume.pt"


def list_seeds(folder: Path) -> list[Path]:
    """Runs of one preset, ``folder/seedN``; those moved aside (seedN.oldM) are not among them."""
    found = (path.parent for path in folder.glob(f"seed*/{RUN}"))
    return sorted(path for path in found if path.name.removeprefix("seed").isdigit())


def list_runs(runs: Path, names: str = "*") -> list[Path]:
    """Runs of all presets whose names match a pattern."""
    return [run for folder in sorted(runs.glob(names)) for run in list_seeds(folder)]


def weights_file(path: Path, best: bool = False) -> Path:
    """The file of weights that a path means: itself, or that of a run's folder.

    Raises:
        RequestError: the folder has none.
    """
    if not path.is_dir():
        return path
    file = path / (BEST if best else STUDENT)
    if not file.exists():
        raise RequestError(
            f"{path}: holds no {file.name}; a run's folder is NAME/seedN, with weights in it after "
            "the first epoch"
        )
    return file
