"""Using a student: ``lskd predict`` and ``lskd export``."""

import csv
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from lskd_cli import load_student
from lskd_cli.checkpoints import load_checkpoint, save_checkpoint
from lskd_cli.cli import main
from lskd_cli.engine.inference import export as export_module
from lskd_cli.engine.inference import network_cost
from lskd_cli.errors import RequestError
from lskd_cli.preprocessing import Preprocessing
from tests.cli.helpers import Result, lskd

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_cost, "_MIN_SECONDS", 0.01)


@pytest.fixture
def run(trained: Path, small_digits: None) -> Path:
    """A finished run whose teacher is a file."""
    return trained / "runs" / "kd-digits" / "seed0"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("a.png", "inner/b.jpeg", "c.PNG"):
        pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def _predict(capsys: Capture, run: Path, *arguments: object) -> Result:
    return lskd(capsys, "predict", run, *arguments)


def test_predictions_are_those_of_the_python_interface(
    run: Path, photos: Path, capsys: Capture
) -> None:
    result = _predict(capsys, run, photos, "--format=json", "--top-k=3")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    names = ["a.png", "c.PNG", "inner/b.jpeg"]
    assert [entry["image"] for entry in found] == [str(photos / name) for name in names]
    images = [Image.open(photos / name) for name in names]
    for entry, expected in zip(found, load_student(run).predict(images, 3), strict=True):
        assert [item["class"] for item in entry["predictions"]] == [p.class_name for p in expected]
        assert entry["predictions"][0]["probability"] == pytest.approx(expected[0].probability)


def test_the_formats_have_the_same_content(run: Path, photos: Path, capsys: Capture) -> None:
    found = json.loads(_predict(capsys, run, photos, "--format=json", "--top-k=2").out)
    rows = list(csv.DictReader(io.StringIO(_predict(capsys, run, photos, "--format=csv",
                                                    "--top-k=2").out)))  # fmt: skip
    assert len(rows) == 6
    assert rows[0]["class"] == found[0]["predictions"][0]["class"]
    assert rows[1]["rank"] == "2"
    table = _predict(capsys, run, photos, "--top-k=2").out.splitlines()
    assert len(table) == 3
    best = found[0]["predictions"][0]
    assert f"{best['class']} {100 * best['probability']:.1f} %" in table[0]


def test_more_images_than_a_batch_are_predicted_in_order(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(130):
        Image.new("RGB", (8, 8), (number, 255 - number, 0)).save(folder / f"{number:03}.png")
    rows = _predict(capsys, run, folder, "--format=csv", "--top-k=1").out.splitlines()[1:]
    assert [Path(row.split(",")[0]).stem for row in rows] == [f"{n:03}" for n in range(130)]
    student = load_student(run)
    images = [Image.open(folder / f"{number:03}.png") for number in range(130)]
    expected = [predictions[0].probability for predictions in student.predict(images, top_k=1)]
    found = [float(row.split(",")[-1]) for row in rows]
    assert found == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 4) for value in expected}) > 10


def test_unreadable_images_are_reported_and_left_out(
    run: Path, photos: Path, capsys: Capture
) -> None:
    (photos / "b.png").write_bytes(b"nothing")
    result = _predict(capsys, run, photos, photos / "notes.txt", "--format=csv", "--top-k=1")
    assert result.code == 0
    assert len(result.out.splitlines()) == 4
    assert "left out: " in result.err
    assert "cannot identify image file" in result.err
    assert "2 of 5 images could not be read" in result.err
    assert "files that are left out because they are no images: 1 with .txt" in result.err
    result = _predict(capsys, run, photos / "b.png", "--format=json")
    assert result.code == 1
    assert json.loads(result.out) == []
    assert "no image could be read" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.png",), "none.png: no such image or folder"),
        (("n" * 300,), "...nnn"),
        (("{empty}",), "contains no images"),
        (("{empty}", "--class-names={two}"), "has 10 classes, but there are 2 class names"),
        (("{empty}", "--class-names=none.txt"), "--class-names none.txt: cannot be read"),
        (("{empty}", "--weights=ema"), "was trained without optimizer.ema_decay"),
        (("{empty}", "--top-k=0"), "Invalid value for '--top-k'"),
    ],
)
def test_a_wrong_request_is_refused(
    run: Path, tmp_path: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    empty, two = tmp_path / "empty", tmp_path / "two.txt"
    empty.mkdir()
    two.write_text("a\nb\n")
    filled = [text.format(empty=empty, two=two) for text in arguments]
    result = _predict(capsys, run, *filled)
    assert result.code == 2
    assert message in " ".join(result.err.split())


def test_class_names_can_be_given(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {number}\n" for number in range(10)))
    result = _predict(capsys, run, photos / "a.png", "--class-names", names, "--format=csv")
    assert ",digit " in result.out


def _images(run: Path) -> torch.Tensor:
    size = load_student(run).preprocessing.image_size
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def _expected(run: Path, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return load_student(run).network(images)


@pytest.mark.parametrize("format_", ["onnx", "torch-export", "safetensors", "hub"])
def test_what_was_exported_predicts_the_same(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture, format_: str
) -> None:
    suffix = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors", "hub": ""}
    path = tmp_path / f"exported{suffix[format_]}"
    result = lskd(capsys, "export", run, "--format", format_, "--out", path)
    assert result.code == 0, result.err
    expected = json.loads(_predict(capsys, run, photos, "--format=json").out)
    found = json.loads(_predict(capsys, path, photos, "--format=json").out)
    for one, other in zip(expected, found, strict=True):
        assert one["image"] == other["image"]
        for before, after in zip(one["predictions"], other["predictions"], strict=True):
            assert before["class"] == after["class"]
            assert before["probability"] == pytest.approx(after["probability"], abs=1e-5)
    if format_ in ("onnx", "torch-export"):
        again = lskd(capsys, "export", path, "--format=safetensors", "--out", tmp_path / "b")
        assert again.code == 2
        assert "is already exported; give the run folder or its weights" in again.err


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_a_corrupt_exported_file_is_one_line(
    suffix: str, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / f"corrupt.{suffix}"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("corrupt/version", "1")
    result = _predict(capsys, file, photos)
    assert result.code == 2
    assert result.err.startswith(f"error {file}: cannot be read: ")
    assert result.err.count("\n") == 1


def test_a_file_of_another_exporter_is_refused(tmp_path: Path) -> None:
    images, logits = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])
        for name in ("images", "logits")
    )
    node = onnx.helper.make_node("Identity", ["images"], ["logits"])
    graph = onnx.helper.make_graph([node], "identity", [images], [logits])
    opset = onnx.helper.make_operatorsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(RequestError, match=r"other\.onnx: was not written by 'lskd export'"):
        load_student(tmp_path / "other.onnx")
    (tmp_path / "corrupt.onnx").write_bytes(b"nothing")
    with pytest.raises(RequestError, match=r"corrupt\.onnx: cannot be read: "):
        load_student(tmp_path / "corrupt.onnx")
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    no_text = (
        '{"architecture": "resnet8", "num_classes": 10, "label_names": [], "dataset": null, '
        '"pretrained_cfg": {"input_size": [3, 8, 8], "mean": [0, 0, 0], "std": [1, 1, 1], '
        '"interpolation": "bilinear", "crop_pct": 1}}'
    )
    for content in ("{}", '{"pretrained_cfg": {"input_size": [3]}}', no_text):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(RequestError, match=r"config\.json: was not written by 'lskd export'"):
            load_student(tmp_path)


def test_an_onnx_file_has_metadata_and_a_dynamic_batch(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "a.onnx"
    command = ("export", run, "--format=onnx", "--out", path, "--license=mit", "--json")
    result = lskd(capsys, *command)
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["check"]["images"] == 50
    assert report["check"]["difference"] < 1e-3
    assert report["check"]["top1"] == report["check"]["network_top1"]
    student, teacher = report["networks"].values()
    assert student["parameters"] == 78_042
    assert teacher["multiply_adds"] > student["multiply_adds"] > 1e6
    assert student["latency"] > 0
    images = _images(run)
    session = onnxruntime.InferenceSession(str(path))
    fixed = onnx.load(path)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, tmp_path / "fixed.onnx")
    with pytest.raises(RequestError, match=r"fixed\.onnx: does not run on float32 images of shape"):
        load_student(tmp_path / "fixed.onnx")
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(logits), _expected(run, images), rtol=1e-4, atol=1e-4
    )
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert metadata["license"] == "mit"
    assert json.loads(metadata["classes"]) == [str(number) for number in range(10)]
    assert Preprocessing.from_json(metadata["preprocessing"]).image_size == 16


def test_the_other_formats_give_the_same_logits(run: Path, tmp_path: Path, capsys: Capture) -> None:
    images = _images(run)
    expected = _expected(run, images)
    path = tmp_path / "a.pt2"
    result = lskd(capsys, "export", run, "--format=torch-export", "--out", path)
    assert result.code == 0, result.err
    assert "the licence of the weights is not known" in result.err
    files = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=files)
    torch.testing.assert_close(program.module()(images), expected)
    assert json.loads(files["metadata.json"])["model"] == "resnet8"
    evaluated, of_run = (lskd(capsys, "eval", one, "--json") for one in (path, run))
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["top1"] == json.loads(of_run.out)["top1"]
    best = lskd(capsys, "eval", path, "--weights", "best")
    assert best.code == 2
    assert f"{path}: contains one set of weights; omit --weights best" in best.err
    path = tmp_path / "a.safetensors"
    assert lskd(capsys, "export", run, "--format=safetensors", "--out", path).code == 0
    torch.testing.assert_close(_expected(path, images), expected)
    assert load_checkpoint(path).metadata["license"] == "unknown"


def test_a_hub_folder_has_a_card_and_weights(run: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "hub"
    command = ("export", run, "--format=hub", "--out", folder, "--license=apache-2.0")
    result = lskd(capsys, *command)
    assert result.code == 0, result.err
    assert f"hf upload USER/NAME {folder}" in result.err
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n")
    for text in ("license: apache-2.0", "| Teacher | resnet20 |", "| Method | KD |", "lskd 0.1.0"):
        assert text in card
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "resnet8"
    assert sorted(path.name for path in tmp_path.glob("*")) == ["hub"]
    again = lskd(capsys, *command)
    assert again.code == 2
    assert "exists; remove it, or choose another folder with --out" in again.err


def test_timm_loads_the_hub_folder_of_its_network(tmp_path: Path, capsys: Capture) -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=10)
    view = Preprocessing(32, (0.3, 0.3, 0.3), (0.3, 0.3, 0.3), "bicubic", 0.9)
    weights = tmp_path / "weights.safetensors"
    metadata = {"model": "timm/resnet10t", "num_classes": "10", "dataset": "digits"}
    save_checkpoint(weights, network.state_dict(), metadata | {"preprocessing": view.to_json()})
    folder = tmp_path / "hub"
    result = lskd(capsys, "export", weights, "--format=hub", "--out", folder)
    assert result.code == 0, result.err
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network.eval()(images))
    torch.testing.assert_close(load_student(folder).network(images), loaded(images))
    assert load_student(folder).preprocessing == view
    config = timm.data.resolve_model_data_config(loaded)
    assert list(config["mean"]) == [0.3, 0.3, 0.3]
    assert config["crop_pct"] == 0.9
    assert list(config["input_size"]) == [3, 32, 32]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format=tflite",), "Invalid value for '--format'"),
        (("--format=safetensors", "--opset=18"), "--opset: only valid with --format onnx"),
        (("--format=safetensors", "--license=\udce4"), "--license: contains characters that"),
        (("--format=hub", "--out=."), "--out .: must be the path of a file or folder"),
        pytest.param(  # exports with the nearest opset first
            ("--format=onnx", "--opset=9"),
            "--opset 9: does not have all operations of resnet8",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_wrong_export_leaves_no_file(
    run: Path, tmp_path: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out" / "a.onnx"
    out.parent.mkdir()
    result = lskd(capsys, "export", run, "--out", out, *arguments)
    assert result.code == 2
    assert message in " ".join(result.err.split())
    assert list(out.parent.iterdir()) == []


def test_onnx_without_its_packages_is_one_line(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = lskd(capsys, "export", run, "--out", tmp_path / "a.onnx")
    assert result.code == 2
    assert "onnx is not installed; run pip install onnx onnxscript onnxruntime" in result.err


@pytest.mark.parametrize(("error", "code"), [(1e-5, 0), (0.01, 1), (1.0, 1)])
def test_an_export_that_gives_other_logits_is_not_kept(
    run: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    error: float,
    code: int,
) -> None:
    network = load_checkpoint(run / "student.safetensors").load_network("resnet8", 10, 16)

    @torch.no_grad()
    def logits(images: torch.Tensor) -> torch.Tensor:
        return network(images) * (1 - error)

    monkeypatch.setattr(export_module, "load_exported", lambda *_: logits)
    path = tmp_path / "a.safetensors"
    result = lskd(capsys, "export", run, "--format=safetensors", "--out", path)
    assert result.code == code
    assert ("the exported network gives other logits" in result.err) == (code == 1)
    assert path.exists() == (code == 0)


def test_an_export_that_is_not_finite_is_not_kept(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        export_module,
        "load_exported",
        lambda *_: lambda images: torch.full((len(images), 10), torch.nan),
    )
    path = tmp_path / "a.safetensors"
    result = lskd(capsys, "export", run, "--format=safetensors", "--out", path)
    assert result.code == 1
    assert "gives logits that are not finite" in result.err
    assert list(tmp_path.glob("*")) == []


@pytest.mark.parametrize("names", ["{not json", "5", "[1]", r'["\ud800"]'])
def test_corrupt_class_names_are_refused(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture, names: str
) -> None:
    stored = load_checkpoint(run / "student.safetensors")
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, stored.weights, stored.metadata | {"classes": names})
    result = _predict(capsys, path, photos)
    assert result.code == 2
    assert "metadata: classes: not a list of names" in result.err


def test_a_weight_file_has_no_other_weights(run: Path, photos: Path, capsys: Capture) -> None:
    result = _predict(capsys, run / "student.safetensors", photos, "--weights=ema")
    assert result.code == 2
    assert "only run folders have ema weights" in result.err


def test_a_name_with_a_line_break_stays_on_its_line(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a\nb.png")
    (tmp_path / "c\nd.png").write_text("no image")
    result = _predict(capsys, run, tmp_path)
    assert len(result.out.splitlines()) == 1
    assert r"a\nb.png" in result.out
    assert r"c\nd.png" in result.err


def test_wrong_arguments_of_predict_are_named(run: Path) -> None:
    student = load_student(run)
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="images: must be Pillow images, not nothing"):
        student.predict([])
    names: Any = ["a.png"]
    with pytest.raises(TypeError, match="images: must be Pillow images, not str"):
        student.predict(names)
    with pytest.raises(ValueError, match="top_k: must be at least 1, not 0"):
        student.predict([image], 0)


@pytest.mark.parametrize(("format_", "name"), [("table", "gr??e"), ("csv", "größe")])
def test_an_encoding_without_a_character_is_no_error(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, name: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "größe.png")
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, "ascii"))
    with pytest.raises(SystemExit) as exit_:
        main(["predict", str(run), str(tmp_path / "größe.png"), "--format", format_])
    sys.stdout.flush()
    assert not exit_.value.code
    assert f"{name}.png".encode() in output.getvalue()
