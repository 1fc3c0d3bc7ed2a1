"""Students that start from weights, and teachers whose images are prepared differently."""

import json
from pathlib import Path

import pytest
import torch

from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.engine.inference.network_evaluation import evaluate_networks
from lskd_cli.engine.inference.trained_network import load_trained_network
from lskd_cli.engine.planning.prepare import prepare
from lskd_cli.engine.training.initial_weights import load_initial_weights
from lskd_cli.engine.training.optimizer import create_optimizer
from lskd_cli.engine.training.student_trainer import StudentTrainer
from lskd_cli.errors import Interrupted, RequestError
from lskd_cli.models import classifier_parameters, create_model
from lskd_cli.preprocessing import Preprocessing
from tests.engine.helpers import (
    CPU,
    after,
    digits_preset,
    metrics,
    run_path,
    silent,
    train,
    training_options,
)

pytestmark = pytest.mark.usefixtures("small_digits")

OTHER = Preprocessing(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic")


def _weights(path: Path, classes: int = 1000, **more: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    weights = create_model("resnet8", classes).state_dict()
    metadata = {"model": "resnet8", "license": "apache-2.0", "preprocessing": OTHER.to_json()}
    save_checkpoint(path, weights, metadata | more)
    return weights


def test_weights_are_loaded_and_the_classifier_of_other_classes_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights = _weights(path)
    preset = digits_preset("kd", False, 2, f"init={path}")
    initial = load_initial_weights(preset)
    assert initial is not None
    assert set(initial.replaced) == {"fc.weight", "fc.bias"} == classifier_parameters("resnet8", 32)
    assert "new: fc.weight, fc.bias" in initial.describe()
    assert "left out" not in initial.describe()
    loaded = StudentTrainer(preset, CPU, initial=initial).student.state_dict()
    random = StudentTrainer(preset, CPU).student.state_dict()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, random[name] if name.startswith("fc") else weights[name])


def test_a_classifier_of_the_same_classes_is_kept_and_the_rest_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights = _weights(path, 10)
    save_checkpoint(path, weights | {"extra.weight": torch.ones(2)}, {})
    initial = load_initial_weights(digits_preset("kd", False, 2, f"init={path}"))
    assert initial is not None
    assert torch.equal(initial.weights["fc.weight"], weights["fc.weight"])
    assert initial.describe().endswith("; left out: extra.weight")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv1.weight": torch.ones(3)}, r"layer1.0.conv1.weight is \(3,\), expected"),
        ({"layer1.0.conv1.weight": None}, r"is missing, expected .* \(1 of \d+ tensors differ\)"),
        (
            {"bn1.bias": torch.full((16,), torch.nan)},
            "bn1.bias contains values that are not finite",
        ),
    ],
)
def test_weights_that_fit_loosely_are_refused(
    tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    path = tmp_path / "a.safetensors"
    weights = _weights(path) | change
    save_checkpoint(path, {key: value for key, value in weights.items() if value is not None}, {})
    with pytest.raises(RequestError, match=message):
        load_initial_weights(digits_preset("kd", False, 2, f"init={path}"))


def test_a_run_keeps_the_preparation_and_the_licence_of_its_initial_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    _weights(path)
    preset = digits_preset("kd", False, 1, f"init={path}")
    train([preset], tmp_path)
    folder = run_path(tmp_path, preset)
    info = json.loads((folder / "run.json").read_text())
    assert info["init"] == str(path)
    assert info["init_sha256"] == load_checkpoint(path).sha256
    metadata = load_checkpoint(folder / "student.safetensors").metadata
    assert metadata["license"] == "apache-2.0"
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    assert Preprocessing.from_json(metadata["preprocessing"]) == OTHER
    # The accuracy of the run is that of the images with the means of the weights.
    model = load_trained_network(folder, None, None, "last", tmp_path)
    (result,) = evaluate_networks([model], None, tmp_path, CPU, silent)
    assert result["top1"] == pytest.approx(metrics(folder)[-1]["test_top1"])
    assert result["loss"] == pytest.approx(metrics(folder)[-1]["test_loss"], rel=1e-5)
    model.preprocessing = Preprocessing.of_data(preset.data)
    (other,) = evaluate_networks([model], None, tmp_path, CPU, silent)
    assert other["loss"] != pytest.approx(result["loss"], rel=1e-2)


def test_a_run_is_not_resumed_with_other_initial_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    _weights(path)
    preset = digits_preset("kd", False, 2, f"init={path}")
    with pytest.raises(Interrupted):
        train([preset], tmp_path, should_stop=after(2))
    _weights(path, 7)
    with pytest.raises(RequestError, match=r"the weights of .* have changed"):
        train([preset], tmp_path)


def test_a_teacher_sees_images_with_its_own_means(tmp_path: Path) -> None:
    preset = digits_preset("kd", False, 1)
    train([preset], tmp_path)
    teacher = tmp_path / "checkpoints" / "resnet20.safetensors"
    plain = load_checkpoint(teacher)
    expected = metrics(run_path(tmp_path, preset))[-1]
    save_checkpoint(teacher, plain.weights, plain.metadata | {"preprocessing": OTHER.to_json()})
    other = digits_preset("kd", False, 1, "name=kd-other")
    train([other], tmp_path)
    found = metrics(run_path(tmp_path, other))[-1]
    assert found["train_kd"] != pytest.approx(expected["train_kd"], rel=1e-3)


def test_layers_have_their_fraction_of_the_rate() -> None:
    config = digits_preset("kd", False, 2, "optimizer.backbone_lr_scale=0.1").optimizer
    network = create_model("resnet8", 10)
    names = classifier_parameters("resnet8", 32)
    adapter = torch.nn.Linear(3, 3)
    module = torch.nn.ModuleList([network, adapter])
    optimizer, rates = create_optimizer(module, network, config, torch.device("cpu"), names)
    rates.set(0.5)
    by_id = {id(p): g["lr"].item() for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in network.named_parameters():
        assert by_id[id(parameter)] == pytest.approx(0.5 if name.startswith("fc") else 0.05)
    assert by_id[id(adapter.weight)] == pytest.approx(0.5)
    assert len(by_id) == len(list(module.parameters()))


def test_layer_decay_is_that_of_timm() -> None:
    settings = ("optimizer.name=adamw", "optimizer.momentum=0", "optimizer.layer_decay=0.5")
    preset = digits_preset("kd", False, 2, *settings, "student=timm/vit_tiny_patch16_224",
                           "data.image_size=224", "data.augmentation={interpolation: bilinear}",
                           "data.padding=0")  # fmt: skip
    network = create_model("timm/vit_tiny_patch16_224", 10, 224)
    optimizer, rates = create_optimizer(network, network, preset.optimizer, torch.device("cpu"))
    rates.set(1.0)
    by_id = {id(p): g["lr"].item() for g in optimizer.param_groups for p in g["params"]}
    parameters = dict(network.named_parameters())
    assert by_id[id(parameters["network.head.weight"])] == 1
    assert by_id[id(parameters["network.blocks.11.attn.qkv.weight"])] == 0.5
    assert by_id[id(parameters["network.blocks.10.attn.qkv.weight"])] == 0.25
    assert by_id[id(parameters["network.patch_embed.proj.weight"])] == 0.5**13
    built_in = create_model("resnet8", 10)
    with pytest.raises(RequestError, match="only networks of timm have it"):
        create_optimizer(built_in, built_in, preset.optimizer, torch.device("cpu"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    _weights(path, model="resnet20")
    with pytest.raises(RequestError, match="contains weights of resnet20, not resnet8"):
        load_initial_weights(digits_preset("kd", False, 2, f"init={path}"))


def test_the_classifier_of_other_classes_of_the_same_number_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights = _weights(path, 10)
    save_checkpoint(path, weights, {"classes": json.dumps(list("abcdefghij"))})
    initial = load_initial_weights(digits_preset("kd", False, 2, f"init={path}"))
    assert initial is not None
    assert initial.for_classes(list("abcdefghij")) is initial
    assert initial.for_classes(list("bacdefghij")).replaced  # the same names in another order
    other = initial.for_classes([str(digit) for digit in range(10)])
    assert other.replaced == ["fc.bias", "fc.weight"]
    assert "fc.weight" not in other.weights


def test_the_preparation_of_a_teacher_does_not_depend_on_other_presets(tmp_path: Path) -> None:
    first = digits_preset("kd", False, 1)
    second = digits_preset("kd", False, 1, "name=kd-other", "data.mean=[0.5, 0.5, 0.5]")
    options = training_options(tmp_path)
    path = options.checkpoints_dir / "resnet20.safetensors"
    stored = load_checkpoint(path)  # without its data set, whose preprocessing it would have
    save_checkpoint(path, stored.weights, {"model": "resnet20", "num_classes": "10"})
    with prepare([first, second], options, CPU, silent) as plan:
        found = [run.teacher.preprocessing.mean for run in plan.joint_runs if run.teacher]
    assert found == [tuple(first.data.mean), (0.5, 0.5, 0.5)]
