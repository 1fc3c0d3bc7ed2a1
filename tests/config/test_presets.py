"""Every built-in preset resolves, has its published values, and trains a step."""

from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from lskd_cli.config import (
    list_networks,
    list_pairs,
    list_presets,
    load_preset,
    method_title,
    to_yaml,
)
from lskd_cli.config.requests import PresetOptions, requested_preset
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.dry_run import dry_run
from lskd_cli.errors import RequestError
from lskd_cli.models import create_model
from tests.golden_inputs import GOLDEN

PUBLISHED = yaml.safe_load((GOLDEN / "published.yaml").read_text())
RECIPES = yaml.safe_load((GOLDEN / "recipes.yaml").read_text())
SHORT = {
    "resnet32x4": "r32x4", "resnet8x4": "r8x4", "resnet56": "r56", "resnet20": "r20",
    "resnet110": "r110", "resnet32": "r32", "ResNet50": "r50", "vgg13": "v13", "vgg8": "v8",
    "wrn_40_2": "w40-2", "wrn_40_1": "w40-1", "wrn_16_2": "w16-2", "MobileNetV2": "mv2",
    "ShuffleV1": "shv1", "ShuffleV2": "shv2",
}  # fmt: skip
# methods.md's baseline of dkd; every pair that is not here has 8
DKD_BETA = {
    "r56-r20": 2, "r110-r32": 2, "r110-r20": 2, "v13-v8": 6, "w40-2-w40-1": 6, "w40-2-w16-2": 6,
    "v13-mv2": 6,
}  # fmt: skip
SLOW_STUDENTS = ("MobileNetV2", "ShuffleV1", "ShuffleV2")

DATA_DIR = Path("data")


def _name(row: dict) -> str:
    return f"{row['method']}-{SHORT[row['teacher']]}-{SHORT[row['student']]}"


def test_there_are_56_published_rows() -> None:
    names = {_name(row) for row in PUBLISHED["cifar100"]}
    assert len(names) == 56
    assert {name.partition("-")[2] for name in names} < set(RECIPES)


@pytest.mark.parametrize("row", PUBLISHED["cifar100"], ids=_name)
def test_a_published_row_resolves_with_its_own_settings(row: dict) -> None:
    preset = load_preset(_name(row), ["stand.enabled=true"])
    assert (preset.teacher, preset.student) == (row["teacher"], row["student"])
    published = (preset.published.top1, preset.published.top1_stand, preset.published.log)
    assert published == (row["top1"], row["top1_stand"], row["log"])
    # the two rows without a released log use the defaults of the method
    stand = row["stand"] or {"temperature": 2, "kd_weight": 9}
    applied = preset.effective_method()
    assert applied.temperature == stand["temperature"]
    assert applied.kd_weight == stand["kd_weight"]
    if row["method"] == "dkd":
        pair = _name(row).partition("-")[2]
        assert preset.method.beta == DKD_BETA.get(pair, 8)
        assert applied.beta == stand.get("dkd_beta", preset.method.beta)


@pytest.mark.parametrize("pair", RECIPES)
@pytest.mark.parametrize("method", ["kd", "dkd", "ctkd", "mlkd"])
def test_a_published_row_has_the_recipe_of_its_method_and_student(method: str, pair: str) -> None:
    preset = load_preset(f"{method}-{pair}")
    epochs, lr = RECIPES[pair]["mlkd" if method == "mlkd" else "others"]
    assert (preset.schedule.epochs, preset.optimizer.lr) == (epochs, lr)
    assert preset.schedule.milestones == [150, 180, 210]
    assert (preset.data.batch_size, preset.optimizer.weight_decay) == (64, 5e-4)


def test_the_baselines_have_their_papers_settings() -> None:
    pair = "r32x4-r8x4"
    settings = {
        name: load_preset(f"{name}-{pair}").method for name in ("kd", "dkd", "mlkd", "ctkd")
    }
    for name in ("kd", "mlkd"):
        method = settings[name]
        assert (method.temperature, method.ce_weight, method.kd_weight) == (4, 0.1, 0.9)
    dkd, ctkd = settings["dkd"], settings["ctkd"]
    assert (dkd.ce_weight, dkd.alpha, dkd.temperature, dkd.warmup) == (1, 1, 4, 20)
    assert (ctkd.temperature, ctkd.temperature_range, ctkd.ramp_epochs) == (1, 20, 10)
    stand = load_preset(f"ctkd-{pair}", ["stand.enabled=true"]).effective_method()
    assert (stand.temperature, stand.temperature_range, stand.kd_weight) == (2, 40, 9)


@pytest.mark.parametrize(("network", "top1"), PUBLISHED["cifar100_teachers"].items())
def test_a_teacher_has_a_preset_with_its_published_accuracy(network: str, top1: float) -> None:
    preset = load_preset(f"teacher-{network}")
    assert (preset.student, preset.teacher, preset.method.name) == (network, None, "none")
    assert preset.published.top1 == top1


@pytest.mark.parametrize(("network", "top1"), PUBLISHED["cifar100_students_alone"].items())
def test_a_student_baseline_has_a_preset_with_its_published_accuracy(
    network: str, top1: float
) -> None:
    preset = load_preset(f"alone-{SHORT[network]}")
    assert (preset.student, preset.published.top1) == (network, top1)
    assert preset.optimizer.lr == (0.01 if network in SLOW_STUDENTS else 0.05)


def test_the_shuffle_v1_pairs_and_the_digits_are_there() -> None:
    assert {"r32x4-shv1", "w40-2-shv1", "digits"} <= set(list_pairs())
    assert {"teacher-digits", "alone-digits", "alone-shv1"} <= set(list_networks())


def _survives(name: str, path: Path) -> bool:
    preset = load_preset(name)
    path.write_text(to_yaml(preset))
    return load_preset(path) == preset


def test_a_preset_survives_the_way_through_its_yaml(tmp_path: Path) -> None:
    """Every network alone, every pair with kd, and every method with one pair."""
    names = [name for name in list_presets() if name.startswith("kd-") or "-r56-r20" in name]
    names += list_networks()
    assert len(names) > 80
    assert [name for name in names if not _survives(name, tmp_path / "copy.yaml")] == []


@pytest.mark.slow
def test_every_preset_survives_the_way_through_its_yaml(tmp_path: Path) -> None:
    names = list_presets()
    assert [name for name in names if not _survives(name, tmp_path / "copy.yaml")] == []


VITS = ["deit_tiny", "t2t_vit_7", "pit_tiny", "pvt_tiny", "t2t_vit_14", "pvt_v2_b0"]
VITS += ["convit_tiny", "cvt_13"]


@pytest.mark.parametrize("row", PUBLISHED["cifar100_vit"], ids=lambda row: row["student"])
def test_a_published_transformer_resolves_in_all_its_arms(row: dict) -> None:
    short = row["student"].replace("_", "-")
    alone, guidance, kd = (
        load_preset(name)
        for name in (f"alone-{short}", f"guidance-r56g-{short}", f"kd-r56g-{short}")
    )
    assert (alone.published.top1, guidance.published.top1) == (row["base"], row["locality"])
    assert (kd.published.top1_stand, kd.published.log) == (row["top1_stand"], row["log"])
    assert (guidance.method.ce_weight, guidance.method.guidance_weight) == (1.0, 2.5)
    assert guidance.method.student_layers == row["layers"]
    stand = row["stand"] or {"temperature": 2, "kd_weight": 9}
    applied = kd.with_stand(True).effective_method()
    assert (applied.temperature, applied.kd_weight) == (stand["temperature"], stand["kd_weight"])
    assert applied.ce_weight == 0.5
    assert (kd.method.temperature, kd.method.kd_weight, kd.method.ce_weight) == (1, 1, 0.5)
    for preset in (alone, guidance, kd):
        assert preset.student == row["student"]


@pytest.mark.parametrize("student", VITS)
def test_a_transformer_has_the_recipe_of_the_published_rows(student: str) -> None:
    preset = load_preset(f"kd-r56g-{student.replace('_', '-')}")
    assert (preset.student, preset.teacher) == (student, "resnet56_guide")
    optimizer, schedule, data = preset.optimizer, preset.schedule, preset.data
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 5e-4, 0.05)
    assert (schedule.name, schedule.epochs, schedule.min_lr) == ("cosine", 300, 5e-6)
    assert (schedule.warmup_epochs, schedule.warmup_start) == (20, 0.001)
    assert (data.image_size, data.batch_size, data.drop_last) == (224, 128, True)
    assert (data.mean, data.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert data.augmentation.policy == "rand-m9-mstd0.5-inc1"
    assert (data.augmentation.interpolation, data.augmentation.erasing) == ("bicubic", 0.25)
    assert preset.drop_path == 0.1


def test_the_guide_is_trained_at_its_own_size() -> None:
    preset = load_preset("teacher-resnet56-guide")
    optimizer, schedule = preset.optimizer, preset.schedule
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov) == (0.1, 0.9, True)
    assert (optimizer.weight_decay, schedule.epochs, schedule.min_lr) == (5e-4, 300, 0)
    assert (preset.data.image_size, preset.data.batch_size) == (32, 128)


NEWER = ("normkd", "ttm", "wttm", "rld", "luminet", "dist")
FRONTIER = (
    "nkd", "skd", "crld", "abkd", "ldrld", "sdd_kd", "sdd_dkd", "wkd", "wkd_f", "simkd",
)  # fmt: skip
LOGIT = ("kd", "dkd", "mlkd", "ctkd")
OF_FEATURES = (
    "fitnet", "at", "nst", "pkt", "kdsvd", "ofd", "rkd", "vid", "sp", "crd", "reviewkd",
)  # fmt: skip
VIT_PAIRS = [f"r56g-{student.replace('_', '-')}" for student in VITS]
# One preset for each method, recipe, family of networks, and combination that has its own code.
REPRESENTATIVES = [
    *(
        f"{method}-digits"
        for method in (*OF_FEATURES, *NEWER, *FRONTIER, "kd", "dkd", "mlkd", "ctkd")
    ),
    *("alone-digits", "teacher-digits", "guidance-digits"),
    *(f"kd-{pair}" for pair in ("r32x4-r8x4", "w40-2-w16-2", "v13-v8", "r50-mv2", "r32x4-shv1")),
    *(f"kd-{pair}" for pair in ("r32x4-shv2", "imagenet-r34-r18", "imagenet-r50-mv1", "own")),
    *(f"kd-{pair}" for pair in VIT_PAIRS),
    *("mlkd-r56g-deit-tiny", "mlkd-imagenet-r34-r18"),  # strong views of both loaders
    *("crd-imagenet-r34-r18", "guidance-r56g-deit-tiny", "guidance-imagenet-r34-r18"),
    *("teacher-resnet56-guide", "alone-digits100", "alone-own", "alone-deit-tiny"),
    *("finetune-resnet18", "finetune-vit-tiny", "kd-digits-strong"),
]


def _losses(name: str) -> list[float]:
    """Losses of one step, plain and standardized."""
    settings = ["data.batch_size=16", *(["init=null"] if name.startswith("finetune") else [])]
    # Networks for 224 pixels take any size; their own is slow here. Nothing is downloaded.
    is_large = any(part in name for part in ("imagenet", "-own", "finetune-resnet", "r56g"))
    if is_large or name.startswith("alone-deit"):
        settings.append("data.image_size=64")
    elif "digits" in name and not name.endswith("strong"):
        settings.append("data.image_size=16")
    preset = load_preset(name, settings)
    runtime = Runtime(torch.device("cpu"), "fp32")
    # Logits of other networks are standardized in the same way.
    is_standardized = preset.can_standardize and "digits" in name
    variants = [preset, preset.with_stand(True)] if is_standardized else [preset]
    return [dry_run(variant, runtime)["train_loss"] for variant in variants]


def test_the_representatives_have_all_methods_recipes_and_networks() -> None:
    presets = [load_preset(name) for name in REPRESENTATIVES]
    every = [load_preset(f"kd-{pair}") for pair in list_pairs()]
    every += [load_preset(name) for name in list_networks()]
    every += [load_preset(name) for name in list_presets() if name.endswith("-r56-r20")]
    assert {preset.method.name for preset in presets} == {preset.method.name for preset in every}
    families = [
        {
            type(create_meta(name)).__module__
            for name in {n for p in group for n in (p.student, p.teacher) if n}
        }
        for group in (presets, every)
    ]
    assert families[0] == families[1]
    augmentations = [
        {(p.data.name, p.data.augmentation is not None, p.optimizer.name) for p in group}
        for group in (presets, every)
    ]
    assert augmentations[0] >= augmentations[1]


@cache
def create_meta(name: str) -> torch.nn.Module:
    """A network without memory."""
    with torch.device("meta"):
        return create_model(name)


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_preset_trains_a_step_plain_and_standardized(name: str) -> None:
    assert all(loss > 0 for loss in _losses(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*list_presets()} - {*REPRESENTATIVES}))
def test_every_other_preset_trains_a_step(name: str) -> None:
    if name.startswith(("sdd_", "simkd-")) and "-r56g-" in name:
        with pytest.raises(RequestError, match="feature map before the pooling"):
            _losses(name)
    else:
        assert all(loss > 0 for loss in _losses(name))


@pytest.mark.parametrize("row", PUBLISHED["cifar100_other_methods"], ids=_name)
def test_another_method_has_its_published_value(row: dict) -> None:
    preset = load_preset(_name(row))
    assert (preset.teacher, preset.student) == (row["teacher"], row["student"])
    assert (preset.method.name, preset.published.top1) == (row["method"], row["top1"])
    assert preset.published.top1_stand is None


def test_newer_methods_have_the_constants_of_their_publications() -> None:
    pair = "r32x4-r8x4"
    normkd, ttm, wttm, rld, luminet, dist = (load_preset(f"{m}-{pair}").method for m in NEWER)
    assert (normkd.t_norm, normkd.ce_weight, normkd.kd_weight) == (2, 0.1, 0.9)
    assert (ttm.gamma, wttm.gamma) == (0.1, 0.2)
    assert (rld.alpha, rld.beta, rld.temperature, rld.alpha_temperature) == (1, 8, 4, 1)
    assert (rld.warmup, rld.ce_weight) == (20, 1)
    assert (luminet.alpha, luminet.temperature, luminet.ce_weight) == (33, 4, 2)
    assert (dist.beta, dist.gamma, dist.ce_weight) == (2, 2, 1)


def test_recent_methods_have_the_constants_of_their_publications() -> None:
    presets = {name: load_preset(f"{name}-r32x4-r8x4") for name in FRONTIER}
    expected: dict[str, dict[str, object]] = {
        "nkd": {"gamma": 1.5, "temperature": 1, "ce_weight": 1, "kd_weight": 1},
        "skd": {"temperature": 4, "ridge": 0.1, "ce_weight": 0.5, "kd_weight": 0.5},
        "crld": {
            "temperature": 4, "within_weight": 2, "cross_weight": 0.5, "tau_weak": 0.9,
            "tau_strong": 0.2, "ce_weight": 1, "kd_weight": 1,
        },
        "abkd": {"alpha": 0.8, "beta": 0.3, "temperature": 4, "ce_weight": 1, "kd_weight": 2},
        "ldrld": {"alpha": 10.5, "beta": 7, "k": 7, "temperature": 4, "ce_weight": 1},
        "sdd_kd": {"temperature": 4, "ce_weight": 0.1, "kd_weight": 0.9, "warmup": 20},
        "sdd_dkd": {"temperature": 4, "ce_weight": 1, "alpha": 1, "beta": 8, "warmup": 20},
        "wkd": {
            "temperature": 8, "kd_weight": 600, "regularization": 0.05, "iterations": 10,
            "sharpness": 1, "ce_weight": 1, "decay_start": 150, "cost": "cka",
        },
        "wkd_f": {"feature_weight": 0.08, "mean_weight": 4, "grid": 1, "decay_start": 150},
        "simkd": {"factor": 2, "feature_weight": 1, "ce_weight": 0, "kd_weight": 0},
    }  # fmt: skip
    for name, values in expected.items():
        found = presets[name].method.model_dump()
        assert {key: found[key] for key in values} == values, name
    others = load_preset("skd-r56-r20").method
    assert (others.ce_weight, others.kd_weight) == (0.1, 0.9)
    published = {name: preset.published.top1 for name, preset in presets.items()}
    assert {name: value for name, value in published.items() if value is not None} == {
        "skd": 78.33, "wkd": 76.53, "wkd_f": 76.77, "simkd": 78.08,
    }  # fmt: skip
    assert load_preset("sdd_dkd-r32x4-shv2").published.top1 == 78.05
    assert all(load_preset(f"{n}-r32x4-shv2").published.top1_stand is None for n in FRONTIER)
    dkd_betas = {pair: load_preset(f"dkd-{pair}").method.beta for pair in list_pairs()}
    assert {p: load_preset(f"sdd_dkd-{p}").method.beta for p in dkd_betas} == dkd_betas
    stand = load_preset("abkd-r56-r20").with_stand(True).effective_method()
    assert (stand.alpha, stand.beta, stand.temperature) == (0.9, 0.3, 2)
    assert (stand.ce_weight, stand.kd_weight) == (0.1, 9)


def test_methods_of_features_have_the_constants_of_the_benchmark() -> None:
    at, fitnet, nst, pkt, kdsvd, ofd, rkd, vid, sp, crd, reviewkd = (
        load_preset(f"{name}-r56-r20").method
        for name in (
            "at", "fitnet", "nst", "pkt", "kdsvd", "ofd", "rkd", "vid", "sp", "crd", "reviewkd",
        )
    )  # fmt: skip
    weights = [method.feature_weight for method in (at, fitnet, nst, pkt, kdsvd, ofd)]
    assert weights == [1000, 100, 50, 30000, 1, 0.001]
    assert [method.feature_weight for method in (rkd, vid, sp, crd)] == [1, 1, 3000, 0.8]
    assert (at.p, fitnet.hint_stage, kdsvd.k) == (2, 2, 1)
    assert (rkd.distance_weight, rkd.angle_weight) == (25, 50)
    assert (vid.initial_variance, vid.eps) == (5, 1e-5)
    assert (crd.embedding, crd.negatives, crd.momentum) == (128, 16384, 0.5)
    assert crd.contrast_temperature == 0.07
    assert (reviewkd.feature_weight, reviewkd.warmup) == (1, 20)
    assert load_preset("reviewkd-r32x4-r8x4").method.feature_weight == 5
    assert all(load_preset(f"{name}-r56-r20").method.ce_weight == 1 for name in OF_FEATURES)
    assert all(load_preset(f"{name}-r56-r20").method.kd_weight == 0 for name in OF_FEATURES)


def test_a_method_that_has_no_kd_term_is_not_said_to_take_one() -> None:
    with pytest.raises(RequestError, match=r"--base-temp: method guidance uses no logits$"):
        requested_preset("guidance-r56g-deit-tiny", PresetOptions(base_temp=3.0), DATA_DIR)


@pytest.mark.parametrize("method", OF_FEATURES)
def test_a_method_of_features_is_standardized_with_a_kl_term_alone(method: str) -> None:
    with pytest.raises(
        RequestError, match=r"--stand: .* uses no logits; add a KD term with --set method\.kd_w"
    ):
        requested_preset(f"{method}-r56-r20", PresetOptions(stand=True), DATA_DIR)
    with pytest.raises(RequestError, match=r"--base-temp: .* uses no logits; add a KD term"):
        requested_preset(f"{method}-r56-r20", PresetOptions(base_temp=3.0), DATA_DIR)
    settings = ["method.kd_weight=1"]
    preset = requested_preset(f"{method}-r56-r20", PresetOptions(settings, stand=True), DATA_DIR)
    applied = preset.effective_method()
    assert (applied.temperature, applied.kd_weight) == (2, 9)
    assert preset.run_name == f"{method}-r56-r20+stand"
    assert method_title(preset.method).endswith("+KD")
    assert (
        requested_preset(preset.name, PresetOptions(kd_weight=1.0), DATA_DIR).published.top1 is None
    )
    assert preset.published.top1 is None
    assert not method_title(load_preset(f"{method}-r56-r20").method).endswith("+KD")


def test_methods_that_compare_images_see_full_batches() -> None:
    for method in ("mlkd", "dist", "luminet", "rkd", "pkt", "sp"):
        with pytest.raises(RequestError, match=f"grad_accum_steps: must be 1 with method {method}"):
            load_preset(f"{method}-r56-r20", ["optimizer.grad_accum_steps=2"])


@pytest.mark.parametrize("method", [method for method in NEWER if method != "rld"])
def test_a_method_without_a_temperature_of_its_own_is_not_standardized(method: str) -> None:
    with pytest.raises(RequestError, match="stand"):
        requested_preset(f"{method}-r56-r20", PresetOptions(stand=True), DATA_DIR)


def test_the_published_imagenet_row_resolves_with_its_settings() -> None:
    (row,) = PUBLISHED["imagenet"]
    preset = load_preset("kd-imagenet-r34-r18", ["stand.enabled=true"])
    assert (preset.teacher, preset.student) == (row["teacher"], row["student"])
    published = (preset.published.top1, preset.published.top1_stand, preset.published.log)
    assert published == (row["top1"], row["top1_stand"], row["log"])
    applied = preset.effective_method()
    assert (applied.temperature, applied.ce_weight, applied.kd_weight) == (2, 1, 9)


# Batch size, learning rate and epochs of the released configurations.
IMAGENET = {
    "kd": (512, 0.2, 100),
    "dkd": (512, 0.2, 100),
    "mlkd": (512, 0.2, 100),
    "ofd": (512, 0.2, 100),
    "crd": (256, 0.1, 100),
    "reviewkd": (256, 0.1, 100),
    "ctkd": (256, 0.1, 120),
    "mlkd-imagenet-r34-r18": (512, 0.1, 100),
    "ofd-imagenet-r50-mv1": (128, 0.05, 100),
}


@pytest.mark.parametrize("pair", ["imagenet-r34-r18", "imagenet-r50-mv1"])
@pytest.mark.parametrize("method", [name for name in IMAGENET if "-" not in name])
def test_imagenet_has_its_recipe_with_every_method(method: str, pair: str) -> None:
    preset = load_preset(f"{method}-{pair}")
    data, schedule, optimizer = preset.data, preset.schedule, preset.optimizer
    expected = IMAGENET.get(f"{method}-{pair}", IMAGENET[method])
    assert (data.batch_size, optimizer.lr, schedule.epochs) == expected
    assert (data.image_size, data.test_crop, schedule.milestones) == (224, 0.875, [30, 60, 90])
    assert optimizer.weight_decay == 1e-4


def test_methods_on_imagenet_have_their_published_weights() -> None:
    kd, other_kd = (load_preset(f"kd-imagenet-{pair}").method for pair in ("r34-r18", "r50-mv1"))
    assert (kd.temperature, kd.ce_weight, kd.kd_weight) == (1, 1, 0.5)
    assert (other_kd.temperature, other_kd.ce_weight, other_kd.kd_weight) == (1, 0.5, 0.5)
    dkd, other_dkd = (load_preset(f"dkd-imagenet-{pair}").method for pair in ("r34-r18", "r50-mv1"))
    assert (dkd.temperature, dkd.alpha, dkd.beta, dkd.warmup) == (1, 1, 0.5, 1)
    assert other_dkd.beta == 2
    mlkd = load_preset("mlkd-imagenet-r34-r18").method
    assert (mlkd.temperature, mlkd.ce_weight, mlkd.kd_weight) == (1, 0.5, 0.5)
    assert load_preset("reviewkd-imagenet-r50-mv1").method.feature_weight == 8
    assert load_preset("ofd-imagenet-r50-mv1").method.feature_weight == 1e-4
    ctkd = load_preset("ctkd-imagenet-r34-r18", ["stand.enabled=true"])
    assert (ctkd.method.ce_weight, ctkd.method.kd_weight, ctkd.method.ramp_epochs) == (1, 1, 5)
    assert ctkd.effective_method().kd_weight == 2


@pytest.mark.parametrize("name", [name for name in list_presets() if name.startswith("finetune")])
def test_fine_tuning_starts_from_pretrained_weights_at_lower_rates(name: str) -> None:
    preset = load_preset(name)
    assert preset.init == "pretrained"
    optimizer = preset.optimizer
    assert optimizer.layer_decay is not None or optimizer.backbone_lr_scale < 1
    assert preset.schedule.warmup_epochs > 0
    assert preset.label_smoothing == 0.1
