"""A folder with a network as the Hugging Face Hub expects it."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import EvalResult, ModelCardData
from safetensors.torch import save_file
from timm.models import save_for_hf

from lskd_cli.checkpoints import load_safetensors
from lskd_cli.config import Preset, method_title
from lskd_cli.data import Images
from lskd_cli.engine.inference.export import ExportCheck, check_export, locked_output
from lskd_cli.engine.inference.exported import CONFIG, WEIGHTS, Run
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.printable import escape_markdown
from lskd_cli.models import split_external
from lskd_cli.run_info import RunInfo

CARD = "README.md"


def export_folder(
    student: TrainedNetwork,
    folder: Path,
    license_: str,
    images: Images,
    preset: Preset | None,
    info: RunInfo | None,
) -> ExportCheck:
    """Write weights, configuration and model card of a network, and compare the weights.

    A network of timm is written in timm's layout, so that ``timm.create_model`` loads the folder.

    Args:
        student: the network on the CPU.
        folder: a folder that does not exist yet.
        license_: SPDX identifier of the licence of the weights.
        images: test images for the comparison.
        preset: preset of its run, for the card.
        info: run.json of its run, for the card.

    Raises:
        RequestError: the folder exists.
        RunError: the folder cannot be written, or gives other logits.
    """
    try:
        with locked_output(folder):
            temporary = folder.with_name(f".{folder.name}.tmp")
            if folder.exists():
                raise RequestError(
                    f"{folder}: exists; remove it, or choose another folder with --out"
                )
            shutil.rmtree(temporary, ignore_errors=True)  # of a killed export
            try:
                temporary.mkdir(parents=True)
                _write_network(student, license_, temporary)
                check = check_export(student, load_hub_folder(temporary, student), images)
                card = model_card(student, license_, check, preset, info)
                (temporary / CARD).write_text(card, encoding="utf-8")
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return check


def load_hub_folder(folder: Path, student: TrainedNetwork) -> Run:
    """The network of an exported folder, loaded by timm if it is timm's."""
    if split_external(student.model)[0] == "timm":
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
        run: Run = network.eval()
        return run
    weights = load_safetensors(folder / WEIGHTS)
    size = student.preprocessing.image_size
    return weights.load_network(student.model, len(student.class_names), size)


def _write_network(student: TrainedNetwork, license_: str, folder: Path) -> None:
    """Write weights and config.json, in timm's layout for networks of timm."""
    view, names = student.preprocessing, student.class_names
    student.network.to(memory_format=torch.contiguous_format)
    if split_external(student.model)[0] == "timm":
        network: Any = student.network.network
        known = {key: value for key, value in network.pretrained_cfg.items() if value is not None}
        own = {
            "input_size": [3, view.image_size, view.image_size],
            "interpolation": view.interpolation,
            "crop_pct": view.crop,
            "crop_mode": "squash" if view.squash else "center",
            "mean": view.mean,
            "std": view.std,
            "num_classes": len(names),
            "license": license_,
        }
        config: dict[str, Any] = {"label_names": names, "pretrained_cfg": {**known, **own}}
        save_for_hf(network, str(folder), config, safe_serialization=True)
        return
    save_file(student.network.state_dict(), folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "architecture": student.model,
        "num_classes": len(names),
        "label_names": names,
        "preprocessing": json.loads(view.to_json()),
        "dataset": student.data.name,
        "license": license_,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def model_card(
    student: TrainedNetwork,
    license_: str,
    check: ExportCheck,
    preset: Preset | None,
    info: RunInfo | None,
) -> str:
    """README.md: how the network was trained, its accuracy, and how to use it."""
    dataset = student.metadata.get("dataset", "unknown")
    is_timm = split_external(student.model)[0] == "timm"
    accuracy = EvalResult(
        task_type="image-classification",
        dataset_type=dataset,
        dataset_name=dataset,
        metric_type="accuracy",
        metric_value=round(check.top1 / 100, 4),
        metric_name=f"top-1 on {check.images} test images",
    )
    title = _cell(student.metadata.get("preset", student.model))
    data = ModelCardData(
        license=license_,
        library_name="timm" if is_timm else "lskd",
        tags=["image-classification", "knowledge-distillation"],
        model_name=title,
        eval_results=[accuracy],
    )
    size = student.preprocessing.image_size
    parameters = sum(parameter.numel() for parameter in student.network.parameters())
    rows = {
        "Network": student.model,
        "Classes": str(len(student.class_names)),
        "Input": f"{size} x {size} pixels",
        "Parameters": f"{parameters:,}",
        "Data set": dataset,
        "Top-1 accuracy": f"{check.top1:.2f} % of {check.images} test images",
    }
    if preset is not None:
        rows |= _training_rows(preset)
    if info is not None:
        rows["Versions"] = ", ".join(f"{name} {version}" for name, version in info.versions.items())
        rows["Device"] = info.device
    table = "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows.items())
    command = ""
    if info is not None:
        text = info.command.replace("\n", " ")
        fence = "`" * (3 + max(map(len, re.findall("`+", text)), default=0))
        command = f"\n## Command\n\n{fence}console\n{text}\n{fence}\n"
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n"
        f"An image classifier that was trained with lskd.\n\n| | |\n| --- | --- |\n{table}\n"
        f"{command}\n## Use\n\n{_USE_TIMM if is_timm else _USE_LSKD}"
    )


def _training_rows(preset: Preset) -> Mapping[str, str]:
    method = preset.effective_method()
    settings = ", ".join(
        f"{key} {value}" for key, value in method.model_dump(exclude={"name"}).items()
    )
    standardized = " with logit standardization" if preset.standardized else ""
    return {
        "Method": f"{method_title(method)}{standardized}" if preset.teacher else "cross entropy",
        "Settings": settings,
        "Teacher": preset.teacher or "none",
        "Epochs": str(preset.schedule.epochs),
        "Seed": str(preset.seed),
    }


def _cell(text: str) -> str:
    return escape_markdown(text.replace("\n", " "))


_USE_TIMM = """```python
import timm

model = timm.create_model("hf-hub:USER/NAME", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```
"""
_USE_LSKD = """```python
import json
from pathlib import Path

from lskd_cli.models import create_model
from safetensors.torch import load_file

config = json.loads(Path("config.json").read_text())
size = config["preprocessing"]["image_size"]
model = create_model(config["architecture"], config["num_classes"], size).eval()
model.load_state_dict(load_file("model.safetensors"))
```

The entry `preprocessing` of config.json describes the preprocessing of images.
"""
