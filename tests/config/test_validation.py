"""Wrong keys and values: all are reported at once, each with a remedy."""

from pathlib import Path

import pytest

from lskd_cli.config import load_preset, to_yaml
from lskd_cli.config.requests import check_standardizable
from lskd_cli.distillers.ctkd import CTKDConfig
from lskd_cli.distillers.dkd import DKDConfig
from lskd_cli.errors import RequestError

NAME = "kd-r32x4-r8x4"


def _refusal(overrides: list[str], name: str | Path = NAME) -> str:
    with pytest.raises(RequestError) as caught:
        load_preset(name, overrides)
    return str(caught.value)


def test_all_wrong_keys_and_values_are_reported_at_once() -> None:
    message = _refusal(
        ["method.temperatur=3", "optimizer.lr=fast", "schedule.epoch=3", "method.kd_weight=-1"]
    )
    assert sorted(message.splitlines()) == [
        "--set method.kd_weight: should be greater than or equal to 0, not -1",
        "--set method.temperatur: unknown key; nearest: method.temperature",
        "--set optimizer.lr: should be a valid number, not 'fast'",
        "--set schedule.epoch: unknown key; nearest: schedule.epochs",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.temperature=-2", "should be greater than 0"),
        ("method.temperature=0", "should be greater than 0"),
        ("method.temperature=.inf", "should be a finite number"),
        ("method.temperature=true", "should be a valid number"),
        ("data.batch_size=1", "should be greater than or equal to 2"),
        ("data.batch_size=2.5", "should be a valid integer"),
        ("data.flip=1", "should be a valid boolean"),
        (
            "data.name=imagenette",
            "should be one of cifar100, digits, imagenet, imagefolder, csv, npz, tar, hfds/NAME",
        ),
        ("data.name=imagenet", "augmentation: required for images in files"),
        ("data.name=imagefolder", "num_classes: required; --dataset imagefolder"),
        ("data.num_classes=7", "num_classes: only valid with custom images"),
        ("data.test_crop=0.875", "test_crop: only valid for images in files"),
        ("data.std=[0.2, 0, 0.2]", "should be greater than 0"),
        ("data.val_split=1", "should be less than 1"),
        ("method.name=kdd", "not a method; choose one of none, fitnet, kd, at, "),
        ("temperature=3", "unknown key; nearest: method.temperature"),
        ("teacher=null", "method kd needs one"),
        ("stand.beta=2", "stand.beta: method kd has no such hyper-parameter"),
        ("schedule.milestones=[3, 2]", "schedule.milestones: must be sorted"),
        (
            "schedule.min_lr=0.1",
            "schedule.min_lr, warmup_epochs, warmup_start: only valid with cosine",
        ),
        ("schedule.name=linear", "should be 'multistep' or 'cosine'"),
        ("optimizer.name=adamw", "optimizer.momentum, nesterov: only valid with sgd"),
        ("data.image_size=4", "should be greater than or equal to 8"),
        ("data.augmentation.polcy=x", "unknown key; nearest: data.augmentation.policy"),
        ("data.limit_train=0", "should be greater than 0"),
        ("drop_path=1", "should be less than 1"),
        ("name=../elsewhere", "should match pattern"),
        ("method.temperature", "expected KEY=VALUE"),
        ("seed=[1", "not valid YAML"),
        ("student.depth=3", "student is not a mapping"),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str) -> None:
    assert message in _refusal([override])


@pytest.mark.parametrize(
    ("override", "value"), [("optimizer.lr=5e-4", 5e-4), ("optimizer.lr=1", 1.0)]
)
def test_numbers_are_typed(override: str, value: float) -> None:
    assert load_preset(NAME, [override]).optimizer.lr == value


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    changed = load_preset(NAME, ["method.temperature=3", "data.mean=[0.5,0.5,0.5]"])
    assert changed.method.temperature == 3
    assert changed.data.mean == [0.5, 0.5, 0.5]
    again = load_preset(NAME, ["method.temperature=4", f"data.mean={load_preset(NAME).data.mean}"])
    assert again == load_preset(NAME)


@pytest.mark.parametrize(
    ("name", "near"),
    [("kd-r32x4-r8", "kd-r32x4-r8x4"), ("teacher-resnet32", "teacher-resnet32x4")],
)
def test_an_unknown_preset_is_refused_with_the_nearest(name: str, near: str) -> None:
    assert near in _refusal([], name)


def test_a_name_like_no_other_is_pointed_to_the_list() -> None:
    assert "lskd presets list" in _refusal([], "zzz")


def test_problems_of_a_file_are_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(load_preset(NAME)).replace("kd_weight: 0.9", "kd_wieght: 0.9"))
    lines = _refusal([], path).splitlines()
    assert f"{path}: method.kd_wieght: unknown key; nearest: method.kd_weight" in lines
    assert f"{path}: method.kd_weight: missing" in lines


@pytest.mark.parametrize("text", ["", "- a list", "just words", "a: [1", "\x00"])
def test_a_file_that_is_no_preset_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert str(path) in _refusal([], path)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in _refusal([], tmp_path / "none.yaml")


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.system ['touch pwned']")
    assert "not valid YAML" in _refusal([], path)


def test_a_schedule_keeps_its_shape_over_fewer_epochs() -> None:
    schedule = load_preset(NAME).schedule
    assert schedule.with_epochs(24).milestones == [15, 18, 21]
    assert schedule.with_epochs(3).milestones == [2, 3, 3]
    assert schedule.with_epochs(240) == schedule


def test_warm_ups_of_methods_are_rescaled_with_the_epochs() -> None:
    dkd, ctkd = (load_preset(f"{name}-r56-r20").with_epochs(25) for name in ("dkd", "ctkd"))
    assert isinstance(dkd.method, DKDConfig)
    assert (dkd.schedule.epochs, dkd.method.warmup, dkd.method.beta) == (25, 3, 2)
    assert isinstance(ctkd.method, CTKDConfig)
    assert (ctkd.method.ramp_epochs, ctkd.method.temperature_range) == (2, 20)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.milestones=[3]", "schedule.milestones: only valid with multistep"),
        ("data.padding=4", "data.padding: supported only without data.augmentation"),
        ("data.augmentation.policy=original", "should match pattern"),
        ("data.augmentation.erasing=1.5", "less than or equal to 1"),
        (
            "schedule.epochs=10",
            "schedule.warmup_epochs: must be smaller than epochs (10), not 20; --epochs",
        ),
        ("optimizer.lr=1e-6", "schedule.min_lr: must not exceed optimizer.lr (1e-06)"),
        ("method.student_layers=[1]", "method.student_layers: 1 layers for 3 teacher_stages"),
        ("method.student_layers=[]", "at least 1 item"),
    ],
)
def test_a_wrong_override_of_a_transformer_is_refused(override: str, message: str) -> None:
    assert message in _refusal([override], "guidance-r56g-deit-tiny")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimizer.grad_accum_steps=2",
            "optimizer.grad_accum_steps: must be 1 with method mlkd, which compares",
        ),
    ],
)
def test_what_a_method_of_whole_batches_cannot_have_is_refused(override: str, message: str) -> None:
    assert message in _refusal([override], "mlkd-r56g-deit-tiny")


HOSTILE = {
    "optimizer.grad_accum_steps=1000000000": "must not exceed data.batch_size",
    "schedule.epochs=" + "9" * 400: "should be less than or equal to 100000, not 9999",
    "schedule.epochs=" + "9" * 5000: "not valid YAML",
    "method.temperature=1e300": "should be at most 2**31 in magnitude",
    "data.mean=[1e300, 0, 0]": "should be at most 2**31 in magnitude",
    "data={name: digits, name: cifar100}": "line 1: key 'name' is given twice",
    "data=&x [*x]": "aliases are not supported",
    "data=" + "[" * 900 + "]" * 900: "more than 20 levels of nesting",
    "data=" + "x" * 2_000_000: "longer than 1048576 characters",
    'student="\\e[31m"': "should match pattern",
    'published.log="\\ud800"': "not valid YAML",
    "data={[a]: 1}": "not valid YAML",
    "data.flip=!!bool maybe": "not valid YAML",
    'seed=!!int ""': "not valid YAML",
    "name=" + "a" * 200: "should have at most 100 characters",
}


@pytest.mark.parametrize("setting", HOSTILE, ids=lambda text: text[:40])
def test_a_hostile_value_is_refused_at_once(setting: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_preset("kd-digits", [setting])
    assert HOSTILE[setting] in str(caught.value)


def test_a_file_that_expands_to_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(RequestError, match="aliases are not supported"):
        load_preset(tmp_path / "bomb.yaml")


BINARY = [
    "data.name=csv",
    "data.num_classes=2",
    "data.padding=0",
    "data.augmentation={interpolation: bilinear}",
]


def test_two_classes_cannot_be_standardized() -> None:
    preset = load_preset("kd-r56-r20", BINARY)
    assert not preset.can_standardize
    with pytest.raises(ValueError, match="with two classes, standardized logits are always"):
        preset.with_stand(True)
    with pytest.raises(RequestError, match=r"--stand: with two classes, standardized logits"):
        check_standardizable("--stand", preset)
    message = r"stand\.enabled: with two classes, standardized logits are always -0\.71 and 0\.71"
    with pytest.raises(RequestError, match=message):
        load_preset("kd-r56-r20", [*BINARY, "stand.enabled=true"])


def test_a_number_of_many_parts_in_base_60_is_refused() -> None:
    assert "optimizer.lr" in _refusal([f"optimizer.lr=1{':0' * 200}.0"])
