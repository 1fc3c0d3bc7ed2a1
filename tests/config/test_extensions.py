"""Methods that are not shipped: from a file, from an installed package."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from lskd_cli.config import list_presets, load_method_file, load_preset, to_yaml
from lskd_cli.config.extensions import _layers
from lskd_cli.config.method import METHODS
from lskd_cli.distillers import create_distiller, method_source, registry
from lskd_cli.engine.device import Compute
from lskd_cli.engine.rehearsal import rehearse
from lskd_cli.errors import RequestError

SOURCE = """
from typing import Literal
from torch import Tensor
from lskd_cli.config import MethodSettings, NonNegative
from lskd_cli.distillers import LogitDistiller, register

class Settings(MethodSettings):
    name: Literal["nearby"] = "nearby"
    ce_weight: NonNegative = 1.0
    kd_weight: NonNegative = 0.5

@register(Settings)
class Nearby(LogitDistiller):
    def distillation(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return (student - teacher).square().mean()
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Forget the methods of these tests."""
    with (
        patch.dict(METHODS),
        patch.dict(_layers),
        patch.dict(registry._DISTILLERS),
        patch.dict(registry._sources),
    ):
        yield


def _written(folder: Path, source: str, name: str = "own.py") -> Path:
    path = folder / name
    path.write_text(source)
    return path


def _lskd(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lskd_cli", *arguments],
        env=os.environ | {"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_method_of_a_file_stands_before_every_pair(tmp_path: Path) -> None:
    load_method_file(_written(tmp_path, SOURCE))
    preset = load_preset("nearby-r32x4-r8x4", ["method.kd_weight=2"])
    assert (preset.method.name, preset.teacher) == ("nearby", "resnet32x4")
    assert preset.stand is None
    assert "nearby-w40-2-shv1" in list_presets()
    assert method_source(preset) == SOURCE
    assert method_source(load_preset("kd-r32x4-r8x4")) is None
    distiller = create_distiller(preset)
    logits = torch.ones(2, 3)
    assert distiller.distillation(logits, 0 * logits, torch.tensor([0, 1])).item() == 1
    with pytest.raises(
        RequestError, match=r"method\.kd_weigth: unknown key; nearest: method\.kd_we"
    ):
        load_preset("nearby-r56-r20", ["method.kd_weigth=1"])


def test_a_file_that_is_loaded_again_replaces_its_method(tmp_path: Path) -> None:
    load_method_file(_written(tmp_path, SOURCE))
    load_method_file(_written(tmp_path, SOURCE.replace("= 0.5", "= 0.25")))
    assert load_preset("nearby-r56-r20").method.kd_weight == 0.25


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"nearby"', '"kd"', "method kd: this name is taken"),
        ('"nearby"', '"near-by"', "method 'near-by': a name has lower-case letters, digits and _"),
        ('"nearby"', '"ce"', "method ce: this name is taken"),
        ('Literal["nearby"] = "nearby"', 'str = "nearby"', "Settings: name is not a literal"),
        ("(Settings)", "(Settings, {'kd_weight': 9})", "it and stand need temperature"),
        (
            "    def dist",
            '    reads = ("maps",)\n    def dist',
            "Nearby: reads is a tuple of feats, ",
        ),
        ("import Literal", "import Literal; import sys; sys.exit(3)", "line 2: SystemExit: 3"),
        ("kd_weight: NonNegative = 0.5", "kd_weight: NonNegative", "kd_weight: without a default"),
        ("kd_weight: NonNegative = 0.5", "", "Settings: Nearby needs kd_weight among its keys"),
        ("@register(Settings)", "", "registers no method; decorate one with @register(SETTINGS)"),
        ("import Literal", "import Litteral", "line 2: ImportError: cannot import name 'Litteral'"),
        ("class Nearby", "class", "line 13: SyntaxError: "),
    ],
)
def test_a_file_that_brings_no_method_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    path = _written(tmp_path, SOURCE.replace(old, new))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError) as caught:
        load_method_file(Path(path.name))
    assert path.name in str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--method-file .*none.py: no Python file there"):
        load_method_file(tmp_path / "none.py")
    with pytest.raises(RequestError, match="--method-file FILE brings nearby"):
        load_preset("nearby-r56-r20")


def test_a_finished_run_of_a_method_that_is_not_here_can_be_read(tmp_path: Path) -> None:
    load_method_file(_written(tmp_path, SOURCE))
    path = _written(tmp_path, to_yaml(load_preset("nearby-r56-r20")), "preset.yaml")
    del METHODS["nearby"], _layers["nearby"]
    with pytest.raises(RequestError, match=r"method\.name: not a method; one of none, "):
        load_preset(path)
    preset = load_preset(path, foreign=True)
    assert preset.method.model_dump() == {"name": "nearby", "ce_weight": 1.0, "kd_weight": 0.5}


def test_an_installed_package_brings_its_method(tmp_path: Path) -> None:
    _written(tmp_path, SOURCE, "nearby_package.py")
    about = tmp_path / "nearby_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nearby-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[lskd.methods]\nnearby = nearby_package\nbroken = nearby_package\n"
        "kd = nearby_package\nmy-method = nearby_package\n"
    )

    done = _lskd(tmp_path, "presets", "list", "w40-1")
    assert done.returncode == 0
    assert "nearby-w40-2-w40-1" in done.stdout
    assert done.stderr.count("left out: method broken: ") == 1
    _written(tmp_path, SOURCE.replace("(student - teacher)", "(student - x)"), "nearby_package.py")
    done = _lskd(tmp_path, "train", "--preset", "nearby-digits", "--dry-run")
    assert "nearby_package.py: line 15: NameError" in done.stderr.replace("\n", "")


def test_a_method_of_features_may_look_at_its_pair(tmp_path: Path) -> None:
    source = """
from typing import Literal
from lskd_cli.config import FeatureMethod, NonNegative
from lskd_cli.distillers import FeatureDistiller, register

class Settings(FeatureMethod):
    name: Literal["nearby"]
    feature_weight: NonNegative = 1.0

@register(Settings)
class Nearby(FeatureDistiller):
    reads = ("pooled",)

    def __init__(self, method, standardized, pair):
        super().__init__(method, standardized, pair)
        self.classes = int(pair.targets.max()) + 1
        self.scale = pair.network.fc.weight.detach().norm().item()

    def distillation(self, student, teacher, step):
        return (student.pooled - teacher.pooled).square().mean() / self.scale
"""
    load_method_file(_written(tmp_path, source))
    losses = rehearse(load_preset("nearby-digits"), Compute(torch.device("cpu"), "fp32"))
    assert losses["train_nearby"] > 0
