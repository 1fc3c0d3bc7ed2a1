"""Pretrained weights come from the cache of their library, or are refused in one line."""

import urllib.error
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision._internally_replaced_utils import load_state_dict_from_url

from lskd_cli.checkpoints import load_weights
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import create_model, load_pretrained
from lskd_cli.preprocessing import Preprocessing

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and empty caches of both libraries."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", refuse)


def test_weights_of_torchvision_come_from_its_cache(tmp_path: Path) -> None:
    weights = torchvision.models.get_model_weights(SMALL).DEFAULT
    file = tmp_path / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    network = torchvision.models.get_model(SMALL)
    torch.save(network.state_dict(), file)
    found, metadata = load_pretrained(f"torchvision/{SMALL}")
    assert metadata["num_classes"] == "1000"
    assert Preprocessing.from_json(metadata["preprocessing"]).mean == (0.485, 0.456, 0.406)
    create_model(f"torchvision/{SMALL}", 1000).load_state_dict(found)
    for name, tensor in network.state_dict().items():
        assert torch.equal(found[name], tensor)


def test_weights_of_timm_come_from_the_cache_of_the_hub(tmp_path: Path) -> None:
    name = "resnet10t.c3_in1k"
    network = timm.create_model(name)
    repository = tmp_path / "hub" / f"models--timm--{name}"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    found, metadata = load_pretrained(f"timm/{name}")
    assert metadata["license"] == "apache-2.0"
    assert metadata["num_classes"] == "1000"
    assert torch.equal(found["fc.weight"], network.state_dict()["fc.weight"])


@pytest.mark.parametrize("model", [f"torchvision/{SMALL}", "timm/resnet10t.c3_in1k"])
def test_weights_that_are_not_cached_are_refused_without_a_network(model: str) -> None:
    with pytest.raises(
        RunError, match=r"neither in the cache of .* nor can they be downloaded"
    ) as e:
        load_pretrained(model)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("model", ["resnet20", "timm/resnet34d_none"])
def test_networks_without_pretrained_weights_are_refused(model: str) -> None:
    with pytest.raises(RequestError, match="has no pretrained weights"):
        load_pretrained(model)


def test_the_download_that_is_replaced_here_is_that_of_torchvision() -> None:
    with pytest.raises(urllib.error.URLError, match="no network"):
        load_state_dict_from_url("https://example.org/a-00000000.pth")


def test_the_weights_of_the_demo_are_part_of_lskd_and_not_those_of_a_file() -> None:
    weights = load_weights(Path("pretrained"), "resnet56")
    assert weights.metadata["dataset"] == "cifar100"
    assert weights.path.name == "resnet56.safetensors"
    floating = [value for value in weights.weights.values() if value.is_floating_point()]
    assert {value.dtype for value in floating} == {torch.float16}
    network = create_model("resnet56")
    network.load_state_dict(weights.weights)
    assert next(network.parameters()).dtype == torch.float32
    with torch.no_grad():
        logits = network.eval()(torch.zeros(2, 3, 32, 32))
    assert logits.isfinite().all()
    assert logits.std() > 0.5
