"""System information for a bug report: hardware, versions, a self-test, and existing files."""

import os
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.collect_env import get_env_info
from torchvision.datasets import CIFAR100

from lskd_cli import __version__
from lskd_cli.checkpoints import load_checkpoint
from lskd_cli.config import load_preset
from lskd_cli.engine.devices.runtime import Runtime, has_native_bf16
from lskd_cli.engine.training.dry_run import dry_run, graphs_self_test
from lskd_cli.errors import RequestError, RunError

_PACKAGES = ("torch", "torchvision", "timm", "typer", "rich", "pydantic", "safetensors")
_PASSED = "passed"


def diagnose(runtime: Runtime, data_dir: Path, checkpoints_dir: Path) -> dict[str, Any]:
    """Describe the machine and the installation, and train a few steps on random images.

    Args:
        runtime: device and precision of the self-test.
        data_dir: folder of the data sets.
        checkpoints_dir: folder of the teachers.

    Returns:
        Nested mappings of texts and numbers; ``self_test`` contains "passed", or why a step failed
        or was not tried.
    """
    return {
        "versions": {"lskd": __version__} | {name: version(name) for name in _PACKAGES},
        "system": _system(),
        "device": {
            "name": str(runtime.device),
            "precision": runtime.precision,
            "native_bf16": has_native_bf16(runtime.device),
            "graphs": runtime.graphs,
        },
        "self_test": _self_test(runtime),
        "data": _data(data_dir),
        "teachers": _teachers(checkpoints_dir),
    }


def passed(diagnosis: dict[str, Any]) -> bool:
    """Whether no part of the self-test failed."""
    return not any(str(text).startswith("failed") for text in diagnosis["self_test"].values())


def _system() -> dict[str, Any]:
    """What ``python -m torch.utils.collect_env`` finds, without the installed packages."""
    found = get_env_info()._asdict()  # type: ignore[no-untyped-call]
    left_out = ("pip_packages", "conda_packages")
    return {name: value for name, value in found.items() if value and name not in left_out}


def _self_test(runtime: Runtime) -> dict[str, str]:
    def eager_step() -> str:
        start = time.monotonic()
        loss = dry_run(load_preset("kd-digits"), runtime)["train_loss"]
        return f"{_PASSED} (loss {loss:.4f}, {time.monotonic() - start:.1f} s)"

    def captured_step() -> str:
        warnings = graphs_self_test(runtime)
        return f"failed: {warnings[0]}" if warnings else _PASSED

    results = {"training_step": _try(eager_step)}
    results["graphs"] = _try(captured_step) if runtime.graphs else "not tried: requires CUDA"
    return results


def _try(test: Callable[[], str]) -> str:
    torch.manual_seed(0)  # of the untrained teacher
    try:
        return test()
    # A broken driver or library can raise any exception, which is what the user wants to see.
    except Exception as error:
        return f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _data(folder: Path) -> dict[str, str]:
    names = {"cifar100": CIFAR100.base_folder, "imagenet": "imagenet", "train": "train"}
    found = {name: str(folder / path) for name, path in names.items() if (folder / path).exists()}
    real = Path(os.path.realpath(folder))  # resolve() raises RuntimeError for a loop of links
    existing = next(path for path in [real, *real.parents] if path.exists())
    return {**found, "free": f"{shutil.disk_usage(existing).free / (1 << 30):.1f} GiB"}


def _teachers(folder: Path) -> dict[str, str]:
    described = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            checkpoint = load_checkpoint(path)
        except (RequestError, RunError) as error:
            described[path.name] = str(error)
            continue
        top1 = "" if checkpoint.top1 is None else f", {checkpoint.top1:.2f} % top-1"
        described[path.name] = f"{checkpoint.metadata.get('model', 'unknown network')}{top1}"
    return described
