"""Paths of the files of runs: ``RUNS/NAME/seedN/FILE``."""

import re
from pathlib import Path
from typing import Literal

from lskd_cli.errors import RequestError
from lskd_cli.io.download import is_url, public_url
from lskd_cli.io.folders import exists
from lskd_cli.io.printable import shorten

PRESET, RUN, METRICS = "preset.yaml", "run.json", "metrics.jsonl"
METHOD, MODEL = "method.py", "model.py"  # sources of a method and a user-provided network
STUDENT, BEST, EMA = "student.safetensors", "best.safetensors", "ema.safetensors"
RESUME = "resume.pt"
PRETRAINED = "pretrained"  # names the weights of timm or torchvision where a file is expected
WeightsName = Literal["last", "best", "ema"]
WEIGHT_FILES: dict[WeightsName, str] = {"last": STUDENT, "best": BEST, "ema": EMA}


def list_seeds(folder: Path) -> list[Path]:
    """Runs of one preset, ``folder/seedN``; archived runs (``seedN.oldM``) are excluded."""
    runs = (path.parent for path in folder.glob(f"seed*/{RUN}"))
    seeds = [path for path in runs if path.name.removeprefix("seed").isdecimal()]
    return sorted(seeds, key=lambda path: (int(path.name.removeprefix("seed")), path))


def list_runs(runs_dir: Path, pattern: str = "*") -> list[Path]:
    """Runs of all presets whose names match a glob pattern."""
    return [run for folder in sorted(runs_dir.glob(pattern)) for run in list_seeds(folder)]


def check_exists(path: Path) -> None:
    """Check a path of weights or of a run, before modules are imported that take seconds.

    Raises:
        RequestError: there is no such file or folder, or the path is a URL.
    """
    url = re.sub("^(https?|ftp):/+", r"\1://", str(path))  # as a path, it has lost a slash
    if is_url(url):
        raise RequestError(f"{public_url(url)}: not a file; download it first")
    if not exists(path) and str(path) != PRETRAINED:
        raise RequestError(f"{shorten(str(path))}: no such run or weight file")


def weights_file(path: Path, weights: WeightsName = "last") -> Path:
    """The weights file that a path denotes: the path itself, or a file in a run folder.

    Args:
        path: a weights file or a run folder.
        weights: which weights of a run folder: of the last or the best epoch, or their moving
            average.

    Raises:
        RequestError: the folder contains no weights.
    """
    try:
        is_folder = path.is_dir()
    except OSError:  # the path is too long
        is_folder = False
    if not is_folder:
        if weights != "last" and path.exists():
            raise RequestError(f"{path}: a weight file; only run folders have {weights} weights")
        return path
    file = path / WEIGHT_FILES[weights]
    if not file.exists() and weights == "ema" and (path / STUDENT).exists():
        raise RequestError(f"{path}: was trained without optimizer.ema_decay")
    if not file.exists():
        raise RequestError(
            f"{path}: contains no {file.name}; give a run folder (NAME/seedN) that has finished "
            "at least one epoch"
        )
    return file
