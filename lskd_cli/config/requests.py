"""The presets that a command line requests: what its options change in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lskd_cli.config.datasets import check_dataset, find_dataset
from lskd_cli.config.loading import load_preset
from lskd_cli.config.methods.registry import is_feature_method
from lskd_cli.config.overrides import Override
from lskd_cli.config.schema import Preset, no_logits_message
from lskd_cli.errors import RequestError


@dataclass(frozen=True)
class PresetOptions:
    """Options that change presets.

    Attributes:
        settings: new values of single keys, KEY=VALUE.
        epochs: number of epochs; rate drops and warm-ups are rescaled.
        val_split: fraction of the training images that are held out.
        limit_train: size of a stratified subset of the training images.
        batch_size: images of a step, over all processes.
        lr: initial learning rate.
        weight_decay: weight decay of the optimizer.
        teacher: network that replaces the teacher.
        student: network that replaces the student.
        init: weights from which the student starts.
        dataset: custom data set.
        stand: standardize the logits.
        base_temp: base temperature of standardized logits, or temperature of plain ones.
        kd_weight: weight of the distillation loss.
    """

    settings: Sequence[str] | None = None
    epochs: int | None = None
    val_split: float | None = None
    limit_train: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    teacher: Sequence[str] | None = None
    student: str | None = None
    init: str | None = None
    dataset: str | None = None
    stand: bool = False
    base_temp: float | None = None
    kd_weight: float | None = None


def requested_preset(
    name: str, options: PresetOptions, data_dir: Path, seed: int | None = None
) -> Preset:
    """The preset that a command line requests.

    Args:
        name: name or YAML file of the preset.
        options: what to change.
        data_dir: folder of custom images.
        seed: random seed of weight initialization; None for that of the preset.

    Raises:
        RequestError: a key or value is wrong, the method has no standardized form, or the custom
            images do not exist.
    """
    overrides: list[str | Override] = []
    if options.dataset is not None:
        _check_dataset(options.dataset)
        overrides += _custom_data_overrides(load_preset(name), options.dataset, data_dir)
    for key, values in (
        ("teacher", options.teacher or ()),
        ("student", [] if options.student is None else [options.student]),
        ("init", [] if options.init is None else [options.init]),
    ):
        if values:
            for value in values if key != "init" else ():
                check_model(f"--{key}", value)
            new = values[0] if len(values) == 1 else list(values)
            overrides += [Override(key, new, f"--{key}"), _NOTHING_PUBLISHED]
    overrides += options.settings or ()
    for key, number, option in (
        ("seed", seed, "--seed"),
        ("data.val_split", options.val_split, "--val-split"),
        ("data.limit_train", options.limit_train, "--limit-train"),
        ("data.batch_size", options.batch_size, "--batch-size"),
        ("optimizer.lr", options.lr, "--lr"),
        ("optimizer.weight_decay", options.weight_decay, "--weight-decay"),
    ):
        if number is not None:
            overrides.append(Override(key, number, option))
    preset = load_preset(name, overrides)
    if options.stand:
        check_standardizable("--stand", preset)
        overrides.append(Override("stand.enabled", True, "--stand"))
    group = "stand" if options.stand or preset.standardized else "method"
    if options.base_temp is not None:
        if not preset.method.uses_logits:
            raise RequestError(f"--base-temp: {no_logits_message(preset.method)}")
        overrides.append(Override(f"{group}.temperature", options.base_temp, "--base-temp"))
    if options.kd_weight is not None:
        overrides.append(Override(f"{group}.kd_weight", options.kd_weight, "--kd-weight"))
    preset = load_preset(name, overrides)
    has_kd_term = is_feature_method(preset.method) and preset.method.uses_logits
    if has_kd_term or preset.optimizer.name == "dot":
        # The published accuracy is that of the method alone.
        preset = load_preset(name, [*overrides, _NOTHING_PUBLISHED])
    if options.epochs is not None:
        preset = preset.with_epochs(options.epochs)
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
    if preset.logits_problem is not None:
        raise RequestError(f"{option}: {preset.logits_problem}")


def _check_dataset(name: str) -> None:
    check_dataset("--dataset", name)
    if not find_dataset(name).is_custom:
        raise RequestError(f"--dataset {name}: only for custom images; choose a preset of it")


def check_model(option: str, name: str) -> None:
    """Check the name of a network.

    Raises:
        RequestError: there is no such network; the message suggests similar names.
    """
    from lskd_cli.models import is_model, suggest_models

    if not is_model(name):
        raise RequestError(f"{option} {name}: unknown model; {suggest_models(name)}")


def _custom_data_overrides(preset: Preset, name: str, data_dir: Path) -> list[str | Override]:
    """What turns any preset into one for custom images."""
    from lskd_cli.data import identify_images_once

    images = identify_images_once(name, data_dir)
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
