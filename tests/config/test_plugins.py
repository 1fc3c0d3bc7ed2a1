"""Plug-in methods: from a file, and from an installed package."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lskd_cli.config import list_presets, load_method_file, load_preset, to_yaml
from lskd_cli.config.methods import registry as method_registry
from lskd_cli.distillers import create_distiller, method_source
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.training.dry_run import dry_run
from lskd_cli.errors import RequestError
from tests.cli.helpers import lskd
from tests.registries import own_registries

SOURCE = """
from typing import Literal
from torch import Tensor
from pydantic import NonNegativeFloat
from lskd_cli.config import MethodConfig
from lskd_cli.distillers import LogitDistiller, register

class Settings(MethodConfig):
    name: Literal["nearby"] = "nearby"
    ce_weight: NonNegativeFloat = 1.0
    kd_weight: NonNegativeFloat = 0.5

@register(Settings)
class Nearby(LogitDistiller):
    def distillation_loss(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return (student - teacher).square().mean()
"""


@pytest.fixture(autouse=True)
def _restore_registries() -> Iterator[None]:
    """Restore the registries after each test."""
    with own_registries():
        yield


def _written(folder: Path, source: str, name: str = "own.py") -> Path:
    path = folder / name
    path.write_text(source)
    return path


def test_a_method_of_a_file_combines_with_every_pair(tmp_path: Path) -> None:
    load_method_file(_written(tmp_path, SOURCE))
    preset = load_preset("nearby-r32x4-r8x4", ["method.kd_weight=2"])
    assert (preset.method.name, preset.teacher) == ("nearby", "resnet32x4")
    assert preset.stand is None
    assert "nearby-w40-2-shv1" in list_presets()
    assert method_source(preset) == SOURCE
    assert method_source(load_preset("kd-r32x4-r8x4")) is None
    distiller = create_distiller(preset)
    logits = torch.ones(2, 3)
    assert distiller.distillation_loss(logits, 0 * logits, torch.tensor([0, 1])).item() == 1
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
        ('"nearby"', '"near-by"', "method 'near-by': a name consists of lower-case letters"),
        ('"nearby"', '"ce"', "method ce: this name is taken"),
        ('Literal["nearby"] = "nearby"', 'str = "nearby"', "Settings: name must be a literal"),
        ("(Settings)", "(Settings, {'kd_weight': 9})", "a standardized form needs temperature"),
        (
            "    def dist",
            '    required_features = ("maps",)\n    def dist',
            "Nearby: required_features must name some of feats, ",
        ),
        ("import Literal", "import Literal; import sys; sys.exit(3)", "line 2: SystemExit: 3"),
        (
            "kd_weight: NonNegativeFloat = 0.5",
            "kd_weight: NonNegativeFloat",
            "kd_weight: a default value is missing",
        ),
        ("kd_weight: NonNegativeFloat = 0.5", "", "Settings: Nearby requires the fields kd_weight"),
        ("@register(Settings)", "", "registers no method; decorate its distiller with @register"),
        ("import Literal", "import Litteral", "line 2: ImportError: cannot import name 'Litteral'"),
        ("class Nearby", "class", "line 14: SyntaxError: "),
    ],
)
def test_a_file_without_a_method_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    path = _written(tmp_path, SOURCE.replace(old, new))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError) as caught:
        load_method_file(Path(path.name))
    assert path.name in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--method-file .*none.py: no such Python file"):
        load_method_file(tmp_path / "none.py")
    with pytest.raises(RequestError, match="nearby of your own needs --method-file FILE"):
        load_preset("nearby-r56-r20")


def test_a_finished_run_of_an_unknown_method_can_be_read(tmp_path: Path) -> None:
    load_method_file(_written(tmp_path, SOURCE))
    path = _written(tmp_path, to_yaml(load_preset("nearby-r56-r20")), "preset.yaml")
    del method_registry._configs["nearby"], method_registry._plugin_defaults["nearby"]
    with pytest.raises(RequestError, match=r"method\.name: not a method; choose one of none, "):
        load_preset(path)
    preset = load_preset(path, allow_unknown_method=True)
    assert preset.method.model_dump() == {"name": "nearby", "ce_weight": 1.0, "kd_weight": 0.5}


def test_an_installed_package_provides_its_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, SOURCE, "nearby_package.py")
    about = tmp_path / "nearby_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nearby-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[lskd.methods]\nnearby = nearby_package\nbroken = nearby_package\n"
        "kd = nearby_package\nmy-method = nearby_package\n"
    )

    monkeypatch.syspath_prepend(tmp_path)
    with own_registries():
        done = lskd(capsys, "presets", "list", "w40-1")
    assert done.code == 0
    assert "nearby-w40-2-w40-1" in done.out
    assert done.err.count("left out: method broken: ") == 1
    broken = SOURCE.replace("(student - teacher)", "(student - x)")
    _written(tmp_path, broken, "nearby_package.py")
    monkeypatch.delitem(sys.modules, "nearby_package")
    with own_registries():
        done = lskd(capsys, "train", "--preset", "nearby-digits", "--dry-run")
    assert "nearby_package.py: line 16: NameError" in done.err.replace("\n", "")


def test_a_feature_method_may_use_its_networks_and_targets(tmp_path: Path) -> None:
    source = """
from typing import Literal
from pydantic import NonNegativeFloat
from lskd_cli.config import FeatureMethodConfig
from lskd_cli.distillers import FeatureDistiller, register

class Settings(FeatureMethodConfig):
    name: Literal["nearby"]
    feature_weight: NonNegativeFloat = 1.0

@register(Settings)
class Nearby(FeatureDistiller):
    required_features = ("pooled",)

    def __init__(self, config, standardized, spec):
        super().__init__(config, standardized, spec)
        self.classes = int(spec.targets.max()) + 1
        self.scale = spec.teacher_network.fc.weight.detach().norm().item()

    def distillation_loss(self, student, teacher, inputs):
        return (student.pooled - teacher.pooled).square().mean() / self.scale
"""
    load_method_file(_written(tmp_path, source))
    losses = dry_run(load_preset("nearby-digits"), Runtime(torch.device("cpu"), "fp32"))
    assert losses["train_nearby"] > 0


WITH_MARGIN = SOURCE.replace(
    "    kd_weight: NonNegativeFloat = 0.5\n",
    "    kd_weight: NonNegativeFloat = 0.5\n"
    "    temperature: NonNegativeFloat = 4.0\n"
    "    margin: NonNegativeFloat = 1.0\n",
).replace(
    "@register(Settings)",
    '@register(Settings, stand={"temperature": 2, "kd_weight": 9, "margin": 0.5})',
)


def test_standardization_changes_further_hyper_parameters_of_a_plugin(tmp_path: Path) -> None:
    load_method_file(_written(tmp_path, WITH_MARGIN))
    preset = load_preset("nearby-digits")
    assert preset.effective_method().margin == 1.0
    assert preset.with_stand(True).effective_method().margin == 0.5
    changed = load_preset("nearby-digits", ["stand.enabled=true", "stand.margin=0.25"])
    assert changed.effective_method().margin == 0.25
    reloaded = tmp_path / "preset.yaml"
    reloaded.write_text(to_yaml(changed))
    assert load_preset(reloaded) == changed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stand.margin=-1", "stand.margin: should be greater than or equal to 0"),
        (
            "stand.margn=1",
            "method nearby has no such hyper-parameter; nearest: stand.margin",
        ),
    ],
)
def test_a_wrong_key_of_standardization_is_refused(
    tmp_path: Path, override: str, message: str
) -> None:
    load_method_file(_written(tmp_path, WITH_MARGIN))
    with pytest.raises(RequestError, match=message):
        load_preset("nearby-digits", ["stand.enabled=true", override])
