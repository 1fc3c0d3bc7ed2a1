"""User-provided networks: the worked example of docs/own-network.md, packages and refusals."""

import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lskd_cli.config import load_preset, to_yaml
from lskd_cli.errors import RequestError
from lskd_cli.models import create_model, custom, feature_shapes, is_model, load_model_file
from lskd_cli.models.custom import CustomModel
from lskd_cli.models.entries import MODELS
from tests.cli.helpers import lskd

TEXT = (Path(__file__).parents[2] / "docs" / "own-network.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
COMMANDS = [
    line.removeprefix("$ lskd ").split()
    for line in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)[0].splitlines()
]
FEW = ("--limit-train=200", "--epochs=1")


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forgets the networks of files; it is called before every test."""

    def forget() -> None:
        for name in [name for name, entry in MODELS.items() if entry.file is not None]:
            monkeypatch.delitem(MODELS, name)
        feature_shapes.cache_clear()

    forget()
    return forget


def _file(folder: Path, text: str = CODE) -> Path:
    path = folder / "tiny_net.py"
    path.write_text(text)
    return path


def test_the_example_trains_with_logits_and_features(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    forget: Callable[[], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _file(tmp_path)
    for command in COMMANDS:
        result = lskd(capsys, *command, *(FEW if command[0] != "eval" else ()))
        assert result.code == 0, result.err
    assert "fitnet-digits" in result.out
    forget()
    result = lskd(capsys, "eval", "runs/kd-digits/seed0")
    assert result.code == 2
    assert "its network tiny_net needs --model-file runs/kd-digits/seed0/model.py" in result.err
    run = tmp_path / "runs" / "fitnet-digits" / "seed0"
    assert (run / "model.py").read_text() == CODE
    info = run / "run.json"
    info.write_text(info.read_text().replace('"state": "done"', '"state": "interrupted"'))
    path.write_text(CODE.replace("nn.Linear(64", "nn.Linear(8 * 8"))
    result = lskd(capsys, *COMMANDS[2], *FEW)
    assert result.code == 2
    assert "the model file differs from" in result.err


def test_a_network_returns_logits_and_its_features(tmp_path: Path) -> None:
    load_model_file(_file(tmp_path))
    assert is_model("tiny_net")
    network = create_model("tiny_net", 7, 24)
    assert "fc.weight" in network.state_dict()
    logits = network(torch.zeros(2, 3, 24, 24))
    assert logits.shape == (2, 7)
    assert network.enable_features()
    assert feature_shapes("tiny_net", 24).feats == [(16, 24, 24), (32, 12, 12), (64, 6, 6)]


PLAIN = """
from torch import Tensor, nn
from lskd_cli.models import register_model

@register_model
class Plain(nn.Module):
    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))
"""


def test_a_network_without_features_has_logits_only(tmp_path: Path) -> None:
    load_model_file(_file(tmp_path, PLAIN))
    assert create_model("Plain", 3, 8)(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert feature_shapes("Plain", 8).feats == []


def test_an_error_of_a_network_names_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, CODE.replace("nn.Conv2d(3, 16", "nn.Conf2d(3, 16", 1))
    command = ("train", "--preset=kd-digits", "--dry-run", "--student=tiny_net")
    result = lskd(capsys, *command, "--model-file", path)
    assert result.code == 1
    assert "tiny_net.py: line 10: AttributeError: module 'torch.nn'" in result.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def tiny_net", "def resnet20", "model resnet20: this name is taken"),
        ("def tiny_net", "def _net", "model '_net': the name must start with a letter"),
        ("@register_model", "", "registers no model; decorate a function with @register_model"),
        ("num_classes: int) -> nn.Module", "classes: int) -> nn.Module", "with num_classes"),
        ("return Tiny(num_classes)", "return 3", "must create a torch.nn.Module, not 3"),
        ("from torch", "from torsch", "line 2: ModuleNotFoundError"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = _file(tmp_path, CODE.replace(old, new, 1))
    with pytest.raises(RequestError, match=re.escape(message)):
        _load_and_create(path)


def _load_and_create(path: Path) -> None:
    load_model_file(path)
    create_model("tiny_net", 3)


def test_features_of_another_type_are_refused(tmp_path: Path) -> None:
    changed = CODE.replace("return Output(self.fc(pooled), [stem", "return tuple([stem")
    load_model_file(_file(tmp_path, changed.replace(", pooled=pooled)", ")")))
    network = create_model("tiny_net", 3)
    network.enable_features()
    with pytest.raises(RequestError, match=r"Tiny\.forward_features: must return .* not tuple"):
        network.forward_features(torch.zeros(2, 3, 8, 8))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--model-file .*: no such Python file"):
        load_model_file(tmp_path / "none.py")


def test_networks_of_installed_packages_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _file(tmp_path).rename(tmp_path / "a_package_of_networks.py")
    about = tmp_path / "a_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[lskd.models]\ntiny_net = a_package_of_networks\nresnet20 = a_package_of_networks\n"
        "other = a_package_of_networks\nbroken = no_such_module\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    custom._entry_points.cache_clear()
    try:
        assert create_model("tiny_net", 4)(torch.zeros(1, 3, 8, 8)).shape == (1, 4)
        assert "resnet20" not in custom.custom_models()
        with pytest.raises(RequestError, match="registers no model of this name"):
            create_model("other", 4)
        with pytest.raises(RequestError, match="model broken, of no_such_module: ModuleNotFound"):
            create_model("broken", 4)
    finally:
        sys.modules.pop("a_package_of_networks", None)
        custom._entry_points.cache_clear()


def test_a_network_with_other_logits_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, CODE.replace("nn.Linear(64, num_classes)", "nn.Linear(64, 3)"))
    command = ("train", "--preset=kd-digits", "--dry-run", "--student=tiny_net")
    result = lskd(capsys, *command, "--model-file", path)
    assert result.code == 2
    assert "must return logits of shape (1, 10) for one image, not (1, 3)" in result.err


def test_two_files_with_the_same_network_are_refused(tmp_path: Path) -> None:
    load_model_file(_file(tmp_path))
    other = tmp_path / "other.py"
    other.write_text(CODE)
    with pytest.raises(RequestError, match="model tiny_net: also registered by"):
        load_model_file(other)


def test_a_network_may_read_values_when_it_is_created(tmp_path: Path) -> None:
    start = "        super().__init__()\n"
    read = "        self.rates = [x.item() for x in torch.linspace(0, 1, 3)]\n"
    load_model_file(_file(tmp_path, "import torch\n" + CODE.replace(start, start + read)))
    with torch.device("meta"):
        network = create_model("tiny_net", 3, 8)
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


TIED = """
        self.encode = nn.Linear(8, 8)
        self.decode = nn.Linear(8, 8)
        self.decode.weight = self.encode.weight
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nn.Linear(3 * image_size**2, num_classes)", "nn.LazyLinear(num_classes)", "lazy modules"),
        (
            "num_classes)\n\n",
            "num_classes).requires_grad_(False)\n\n",
            "model Plain: has no trainable parameters",
        ),
        (
            "num_classes)\n\n",
            f"num_classes)\n{TIED}\n",
            "model Plain: shares the parameter encode.weight between modules",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_or_saved_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    assert PLAIN.count(old) == 1
    path = _file(tmp_path, PLAIN.replace(old, new))
    command = ("train", "--preset=kd-digits", "--dry-run", "--student=Plain")
    result = lskd(capsys, *command, "--model-file", path)
    assert result.code == 2
    assert message in result.err


class _Nested(nn.Module):
    """Its parts have the names that the wrapper uses."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(OrderedDict(fc=nn.Linear(2, 3)))
        self.fc = nn.Linear(3, 4)


def test_no_parameter_is_lost_if_a_part_is_called_network() -> None:
    own = _Nested()
    wrapped, other = CustomModel(own, 32), CustomModel(_Nested(), 32)
    state = wrapped.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in own.state_dict().items()
    }
    other.load_state_dict(state)
    assert torch.equal(other.network.fc.weight, own.fc.weight)
    assert torch.equal(other.network.network.fc.weight, own.network.fc.weight)


def test_a_preset_with_a_network_of_a_file_is_validated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = load_preset("kd-digits").model_copy(update={"student": "tiny_net"})
    (tmp_path / "mine.yaml").write_text(to_yaml(preset))
    command = ("presets", "validate", tmp_path / "mine.yaml")
    assert lskd(capsys, *command).code == 2
    result = lskd(capsys, *command, "--model-file", _file(tmp_path))
    assert result.code == 0, result.err
