"""Every network sees images as its library, or the run that trained it, prepares them."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from lskd_cli.checkpoints import Checkpoint
from lskd_cli.config import load_preset
from lskd_cli.data import eval_batches
from lskd_cli.data.sets.file_images import FolderImages
from lskd_cli.engine.inference.evaluation import predict
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.errors import RequestError
from lskd_cli.models import create_model, library_preprocessing
from lskd_cli.preprocessing import Preprocessing

DATA = load_preset("kd-r56-r20").data
CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path: Path) -> FolderImages:
    """Three images of several sizes."""
    random = np.random.default_rng(0)
    names = []
    for index, size in enumerate([(300, 260), (230, 240), (500, 250)]):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture.save(tmp_path / f"{index}.png")
        names.append(f"{index}.png".encode())
    return FolderImages(tmp_path, np.array(names), torch.zeros(3).long(), ("a",), CPU)


def _of_library(model: str) -> object:
    library, _, name = model.partition("/")
    if library == "timm":
        config = timm.data.resolve_data_config(
            pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
        )
        return timm.data.create_transform(**config)
    return torchvision.models.get_model_weights(name).DEFAULT.transforms()


@pytest.mark.parametrize(
    "model",
    ["timm/vit_tiny_patch16_224", "torchvision/resnet50", "timm/tf_efficientnetv2_b0.in1k"],
)
def test_logits_equal_those_of_the_preprocessing_of_the_library(
    model: str, photos: FolderImages
) -> None:
    preprocessing = library_preprocessing(model)
    assert preprocessing is not None
    torch.manual_seed(0)
    network = create_model(model, 5, preprocessing.image_size).eval()
    transform = _of_library(model)
    images = torch.stack([transform(photos.open_image(i)) for i in range(3)])  # type: ignore[operator]
    with torch.no_grad():
        expected = network(images)
    found, _ = predict(network, photos, preprocessing)
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-5)
    assert (expected - expected[0]).abs().max() > 1e-3


def test_a_library_that_squashes_images_is_followed(photos: FolderImages) -> None:
    model = "timm/convnext_tiny.in12k_ft_in1k_384"
    preprocessing = library_preprocessing(model)
    assert preprocessing is not None
    assert preprocessing.squash
    transform = _of_library(model)
    expected = torch.stack([transform(photos.open_image(i)) for i in range(3)])  # type: ignore[operator]
    found = torch.cat([images for images, _ in eval_batches(photos, preprocessing)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_views_get_the_normalization_and_the_size_of_another_network() -> None:
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (DATA.mean, DATA.std))
    other = Preprocessing(32, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
    expected = (pixels - torch.tensor(other.mean).view(3, 1, 1)) / torch.tensor(other.std).view(
        3, 1, 1
    )
    found = ViewAdapter.between(DATA, other, CPU)((pixels - mean) / std)
    torch.testing.assert_close(found, expected)
    wider = Preprocessing(32, tuple(DATA.mean), tuple(2 * value for value in DATA.std))
    found = ViewAdapter.between(DATA, wider, CPU)((pixels - mean) / std)
    torch.testing.assert_close(found, (pixels - mean) / (2 * std))
    larger = Preprocessing(64, tuple(DATA.mean), tuple(DATA.std))
    assert ViewAdapter.between(DATA, larger, CPU)(pixels).shape == (2, 3, 64, 64)
    same = Preprocessing.of_data(DATA)
    assert ViewAdapter.between(DATA, same, CPU)(pixels) is pixels


def test_the_preparation_is_restored_from_json() -> None:
    preprocessing = Preprocessing(224, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7), "bicubic", 0.9, True)
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    assert preprocessing.resized_side == 248
    assert Preprocessing(224, (0,) * 3, (1,) * 3, crop=224 / 232).resized_side == 232


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("224", "0"),
        ("224", '"a"'),
        ("bicubic", "sinc"),
        ("[0.5, 0.4, 0.3]", "[0.5]"),
        ("0.9", "2.5"),
        ("squash", "other"),
        ("false", '"x"'),
        ("0.9", "1e-9"),
        ("224", "32.5"),
        ("0.7", "NaN"),
        ("0.7", "0"),
        ("{", "["),
    ],
)
def test_corrupt_metadata_is_refused(old: str, new: str) -> None:
    text = Preprocessing(224, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7), "bicubic", 0.9).to_json()
    checkpoint = Checkpoint(Path("a.safetensors"), {}, {"preprocessing": text.replace(old, new, 1)})
    with pytest.raises(RequestError, match=r"a\.safetensors: metadata: preprocessing: "):
        checkpoint.preprocessing("resnet20", DATA, 32)


def test_weights_of_a_library_have_its_preparation_and_others_that_of_the_data() -> None:
    timm_name = "timm/vit_tiny_patch16_224"
    bare = Checkpoint(Path("a"), {}, {})
    assert bare.preprocessing(timm_name, DATA, 224).mean == (0.5, 0.5, 0.5)
    assert bare.preprocessing("resnet20", DATA, 32) == Preprocessing.of_data(DATA)
    # A run of lskd 0.1.0 normalized with the means of its data.
    old = Checkpoint(Path("a"), {}, {"preset": "alone-r20"})
    assert old.preprocessing(timm_name, DATA, 224) == Preprocessing.of_data(DATA, 224)
