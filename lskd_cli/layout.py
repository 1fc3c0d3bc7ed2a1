"""Where the files of runs are: ``RUNS/NAME/seedN/FILE``."""

from pathlib import Path

PRESET, RUN, METRICS = "preset.yaml", "run.json", "metrics.jsonl"
STUDENT, BEST, RESUME = "student.safetensors", "best.safetensors", "resume.pt"


def list_runs(runs: Path, names: str = "*") -> list[Path]:
    """Folders of the runs whose names match a pattern; those moved aside are not among them."""
    folders = (path.parent for path in runs.glob(f"{names}/seed*/{RUN}"))
    return sorted(folder for folder in folders if folder.name.removeprefix("seed").isdigit())
