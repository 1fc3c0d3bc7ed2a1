"""Weight files: safetensors, and pickled files of other programs."""

import argparse
import collections
import datetime
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.config import load_preset
from lskd_cli.errors import RequestError, RunError
from lskd_cli.models import create_model
from lskd_cli.pickled_weights import read_pickled_weights
from lskd_cli.preprocessing import Preprocessing
from tests.malicious_files import Evil

METADATA = {"model": "resnet8", "num_classes": "100", "dataset": "cifar100", "top1": "60.00"}


def _weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return create_model("resnet8").state_dict()


def test_weights_and_metadata_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "resnet8.safetensors"
    save_checkpoint(path, _weights(), METADATA)
    checkpoint = load_checkpoint(path)
    assert checkpoint.metadata == METADATA
    network = checkpoint.load_network("resnet8", 100)
    assert all(torch.equal(t, _weights()[n]) for n, t in network.state_dict().items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_loaded_weights_do_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "resnet8.safetensors"
    save_checkpoint(path, _weights(), METADATA)
    checkpoint = load_checkpoint(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(t, _weights()[name]) for name, t in checkpoint.weights.items())


def test_equal_weights_give_equal_files(tmp_path: Path) -> None:
    for number in range(5):
        save_checkpoint(tmp_path / f"{number}", _weights(), METADATA)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_half_precision_weights_load_into_a_float32_network(tmp_path: Path) -> None:
    half = {n: t.half() if t.is_floating_point() else t for n, t in _weights().items()}
    save_checkpoint(tmp_path / "half.safetensors", half, METADATA)
    network = load_checkpoint(tmp_path / "half.safetensors").load_network("resnet8", 100)
    assert network.fc.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("model", "classes", "message"),
    [
        ("resnet14", 100, "of resnet8 do not fit resnet14: layer1.1.conv1.weight is missing"),
        ("resnet8", 10, r"fc.weight is \(100, 64\), expected \(10, 64\)"),
        ("resnet8x4", 100, r"conv1.weight is \(16, 3, 3, 3\), expected \(32, 3, 3, 3\)"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, model: str, classes: int, message: str
) -> None:
    path = tmp_path / "resnet8.safetensors"
    save_checkpoint(path, _weights(), METADATA)
    with pytest.raises(RequestError, match=message):
        load_checkpoint(path).load_network(model, classes)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"PK\x03\x04", b"words words words"])
def test_a_corrupt_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=name):
        load_checkpoint(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name, save in (("a.safetensors", lambda p: save_checkpoint(p, _weights(), METADATA)),
                       ("a.pth", lambda p: torch.save(_weights(), p))):  # fmt: skip
        path = tmp_path / name
        save(path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(RequestError, match=name):
            load_checkpoint(path)


@pytest.mark.parametrize("position", [40, 600, 5_000, -1])
def test_a_flipped_bit_in_a_stored_file_is_found(tmp_path: Path, position: int) -> None:
    path = tmp_path / "resnet8.safetensors"
    save_checkpoint(path, _weights(), METADATA)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"corrupt|not a readable safetensors file"):
        load_checkpoint(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet8.safetensors"
    weights = _weights()
    weights["bn1.running_var"][3] = torch.inf
    save_checkpoint(path, weights, METADATA)
    with pytest.raises(RequestError, match=r"bn1\.running_var contains values that are not finite"):
        load_checkpoint(path).load_network("resnet8", 100)


@pytest.mark.parametrize("top1", ["x", "nan", "-1", "1e400", ""])
def test_an_accuracy_that_is_no_percentage_is_ignored(tmp_path: Path, top1: str) -> None:
    save_checkpoint(tmp_path / "a.safetensors", _weights(), METADATA | {"top1": top1})
    assert load_checkpoint(tmp_path / "a.safetensors").top1 is None


@pytest.mark.parametrize(
    ("compression", "message"),
    [(zipfile.ZIP_STORED, "wrong checksum"), (zipfile.ZIP_DEFLATED, "is compressed")],
)
def test_a_corrupt_or_compressed_pickle_is_refused(
    tmp_path: Path, compression: int, message: str
) -> None:
    saved, path = tmp_path / "saved.pth", tmp_path / "resnet8.pth"
    torch.save(_weights(), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", compression) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    if compression == zipfile.ZIP_STORED:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(RequestError, match=message):
        read_pickled_weights(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such run or weight file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_the_company_of_published_weights_is_accepted(tmp_path: Path) -> None:
    content = {
        "epoch": 240,
        "model": _weights(),
        "accuracy": torch.tensor(79.42),
        "best_acc": np.float64(79.42),
        "float": np.float32(1.5),
        "count": np.int64(3),
        "opt": argparse.Namespace(lr=0.05),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{}]},
    }
    torch.save(content, tmp_path / "a.pth")
    assert set(read_pickled_weights(tmp_path / "a.pth")) == set(_weights())
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert set(read_pickled_weights(tmp_path / "old.pth")) == set(_weights())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda c, p: p.write_bytes(pickle.dumps(c))])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, save: object) -> None:
    proof = tmp_path / "pwned"
    save({"model": _weights(), "extra": Evil(proof)}, tmp_path / "a.pth")
    with pytest.raises(RequestError, match=r"a\.pth"):
        read_pickled_weights(tmp_path / "a.pth")
    assert not proof.exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"a": 3}}, {"epoch": 3}])
def test_a_pickle_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(RequestError, match="contains"):
        read_pickled_weights(tmp_path / "a.pth")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, _weights(), METADATA)
    before = path.read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(RunError, match=r"a\.safetensors: cannot be written: No space left"):
        save_checkpoint(path, {"x": torch.zeros(1)}, METADATA)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def _network_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(create_model("resnet8", 10).state_dict())


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "student.", "backbone."]
)
@pytest.mark.parametrize(
    "key", [None, "state_dict", "net", "model_state_dict", "model", "model_state"]
)
def test_checkpoints_of_other_tools_are_loaded(
    tmp_path: Path, prefix: str, key: str | None
) -> None:
    weights = _network_weights()
    content: dict[str, object] = {f"{prefix}{name}": value for name, value in weights.items()}
    if key is not None:
        content = {
            key: content,
            "history": collections.defaultdict(list, {"loss": [0.3]}),
            "options": argparse.Namespace(folder=Path("out"), rate=np.float32(0.1)),
            "started": datetime.datetime(2026, 1, 1),
            "curve": np.arange(3.0),
        }
    path = tmp_path / "x.pth"
    torch.save(content, path)
    loaded = load_checkpoint(path).load_network("resnet8", 10)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_student_is_taken_from_a_lightning_module_with_its_teacher(tmp_path: Path) -> None:
    weights = _network_weights()
    both = {f"student.{name}": value for name, value in weights.items()}
    both |= {f"teacher.{name}": value + 1 for name, value in weights.items()}
    torch.save({"state_dict": both}, tmp_path / "x.ckpt")
    loaded = load_checkpoint(tmp_path / "x.ckpt").load_network("resnet8", 10).state_dict()
    assert torch.equal(loaded["fc.weight"], weights["fc.weight"])


def test_batch_norms_without_counts_are_loaded(tmp_path: Path) -> None:
    weights = {k: v for k, v in _network_weights().items() if not k.endswith("batches_tracked")}
    torch.save(weights, tmp_path / "x.pth")
    assert load_checkpoint(tmp_path / "x.pth").load_network("resnet8", 10)


def test_the_content_of_a_file_decides_not_its_name(tmp_path: Path) -> None:
    save_file(_network_weights(), tmp_path / "x.pth")
    assert "fc.weight" in load_checkpoint(tmp_path / "x.pth").weights


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "is an HTML page"),
        (b"\x1f\x8b\x08" + bytes(40), "is compressed with gzip"),
        (bytes(257) + b"ustar" + bytes(100), "is a tar archive"),
    ],
)
def test_files_that_are_no_weights_are_called_what_they_are(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(RequestError, match=message):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(3, 3).to_sparse(), "is a sparse tensor"),
        (torch.ones(1).expand(10**6, 10**6), "is an expanded tensor"),
        (torch.ones(2, dtype=torch.complex64), "is a complex tensor"),
    ],
)
def test_tensors_that_no_network_has_are_named(
    tmp_path: Path, tensor: torch.Tensor, message: str
) -> None:
    torch.save({"fc.weight": tensor}, tmp_path / "x.pth")
    with pytest.raises(RequestError, match=f"fc.weight {message}"):
        load_checkpoint(tmp_path / "x.pth")


def test_a_url_is_not_printed_with_its_secrets() -> None:
    with pytest.raises(RequestError, match="not a file; download it first") as caught:
        load_checkpoint(Path("https://user:PASS@example.invalid/w.pth?sig=TOKEN"))
    assert "PASS" not in str(caught.value)
    assert "TOKEN" not in str(caught.value)


@pytest.mark.parametrize("value", ["x", "-3", "0", "1000000000", "²", "9" * 5000])
def test_an_impossible_number_of_classes_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, _network_weights(), {"num_classes": value})
    with pytest.raises(RequestError, match="metadata: num_classes: must be 1 to"):
        load_checkpoint(path).num_classes()


def test_class_names_of_many_brackets_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, _network_weights(), {"classes": "[" * 100_000})
    with pytest.raises(RequestError, match="metadata: classes: not a list of names"):
        load_checkpoint(path).class_names()


def test_preprocessing_with_an_enormous_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    data = load_preset("kd-digits").data
    stored = Preprocessing.of_data(data).to_json().replace('"crop": 1.0', f'"crop": {"9" * 400}')
    save_checkpoint(path, _network_weights(), {"preprocessing": stored})
    with pytest.raises(RequestError, match="metadata: preprocessing: a number is missing, not fin"):
        load_checkpoint(path).preprocessing("resnet8", data, 32)


def test_a_file_whose_metadata_are_null_has_none(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = b'{"__metadata__":null,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert load_checkpoint(path).metadata == {}


def test_an_empty_tensor_of_impossible_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = (
        b'{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(RequestError, match="not a readable safetensors file: "):
        load_checkpoint(path)


def test_bytes_of_a_path_that_are_no_text_are_stored_escaped(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, _network_weights(), {"source": "t\udce9l.tar"})
    assert load_checkpoint(path).metadata["source"] == r"t\udce9l.tar"


def test_weights_without_preprocessing_have_that_of_their_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, _network_weights(), {"dataset": "cifar100"})
    of_student = load_preset("kd-r56g-deit-tiny").data
    found = load_checkpoint(path).preprocessing("resnet56", of_student, 32)
    expected = load_preset("teacher-resnet56").data
    assert of_student.mean != expected.mean
    assert (found.image_size, list(found.mean)) == (32, expected.mean)
