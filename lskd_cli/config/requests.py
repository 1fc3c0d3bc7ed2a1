"""What the options of a command line change in the presets that it names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lskd_cli.cli.training_options import TrainingArguments
from lskd_cli.config import (
    BUILTIN_DATASETS,
    NO_LOGITS,
    Override,
    Preset,
    check_dataset,
    is_feature_method,
    load_preset,
)
from lskd_cli.errors import RequestError


@dataclass(frozen=True)
class PresetOverrides:
    """Values of the options that change presets.

    Attributes:
        training: the shared options; those that do not change presets are ignored.
    """

    training: TrainingArguments = field(default_factory=TrainingArguments)
    stand: bool = False
    base_temp: float | None = None
    kd_weight: float | None = None


def requested_preset(name: str, requested: PresetOverrides, seed: int | None) -> Preset:
    """The preset that a command line requests.

    Args:
        name: name or YAML file of the preset.
        requested: values of the options.
        seed: random seed of weight initialization; None for that of the preset.

    Raises:
        RequestError: a key or value is wrong, the method has no standardized form, or the image
            folder does not exist.
    """
    training = requested.training
    overrides: list[str | Override] = []
    if training.dataset is not None:
        _check_dataset(training.dataset)
        overrides += _own_data_overrides(load_preset(name), training.dataset, training.data_dir)
    for key, value in (
        ("teacher", training.teacher),
        ("student", training.student),
        ("init", training.init),
    ):
        if value is not None:
            if key != "init":
                _check_model(f"--{key}", value)
            overrides += [Override(key, value, f"--{key}"), _NOTHING_PUBLISHED]
    overrides += training.settings or ()
    if seed is not None:
        overrides.append(Override("seed", seed, "--seed"))
    if training.val_split is not None:
        overrides.append(Override("data.val_split", training.val_split, "--val-split"))
    if training.limit_train is not None:
        overrides.append(Override("data.limit_train", training.limit_train, "--limit-train"))
    preset = load_preset(name, overrides)
    if requested.stand:
        check_standardizable("--stand", preset)
        overrides.append(Override("stand.enabled", True, "--stand"))
    group = "stand" if requested.stand or preset.standardized else "method"
    if requested.base_temp is not None:
        if not preset.method.uses_logits:
            raise RequestError(f"--base-temp: {NO_LOGITS.format(preset.method.name)}")
        overrides.append(Override(f"{group}.temperature", requested.base_temp, "--base-temp"))
    if requested.kd_weight is not None:
        overrides.append(Override(f"{group}.kd_weight", requested.kd_weight, "--kd-weight"))
    preset = load_preset(name, overrides)
    if is_feature_method(preset.method) and preset.method.uses_logits:
        # The published accuracy is that of the method without the KD term.
        preset = load_preset(name, [*overrides, _NOTHING_PUBLISHED])
    if training.epochs is not None:
        preset = preset.with_epochs(training.epochs)
    return preset


_NOTHING_PUBLISHED = Override("published", {}, "--set published")


def check_standardizable(option: str, preset: Preset) -> None:
    """Check that a preset has logits to standardize, and the settings for it.

    Raises:
        RequestError: the preset cannot be standardized; the message says why.
    """
    if preset.teacher is None:
        raise RequestError(
            f"{option}: preset {preset.name} has no teacher, so there is nothing to standardize"
        )
    if preset.stand is None:
        raise RequestError(f"{option}: method {preset.method.name} has no standardized form")
    if not preset.can_standardize:
        raise RequestError(f"{option}: {NO_LOGITS.format(preset.method.name)}")


def _check_dataset(name: str) -> None:
    check_dataset("--dataset", name)
    if name in BUILTIN_DATASETS:
        raise RequestError(f"--dataset {name}: only for custom images; choose a preset of it")


def _check_model(option: str, name: str) -> None:
    from lskd_cli.models import is_model, suggest_models

    if not is_model(name):
        raise RequestError(f"{option} {name}: unknown model; {suggest_models(name)}")


def _own_data_overrides(preset: Preset, name: str, data_dir: Path) -> list[str | Override]:
    """What turns any preset into one for custom images."""
    from lskd_cli.data import identify_images

    images = identify_images(name, data_dir)
    option = "--dataset"
    overrides: list[str | Override] = [
        Override("data.name", name, option),
        Override("data.num_classes", len(images.classes), option),
        _NOTHING_PUBLISHED,
    ]
    is_augmented = preset.data.augmentation is not None
    if name == "npz":
        overrides.append(Override("data.test_crop", 1.0, option))
        if not is_augmented:  # padded crops have the size of the images
            overrides.append(Override("data.image_size", images.image_size, option))
    elif not is_augmented:
        overrides.append(Override("data.padding", 0, option))
        overrides.append(Override("data.augmentation", {"interpolation": "bilinear"}, option))
    return overrides


def select_shard(presets: Sequence[Preset], shard: str) -> list[Preset]:
    """Shard I of N of the presets: every N-th one, starting with the I-th.

    Raises:
        RequestError: the shard is not I/N, with I from 1 to N.
    """
    number, _, count = shard.partition("/")
    is_valid = number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)
    if not is_valid:
        raise RequestError(f"--shard {shard}: expected I/N with I from 1 to N, e.g. 1/4")
    return list(presets)[int(number) - 1 :: int(count)]
