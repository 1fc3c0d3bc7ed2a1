"""The search space of ``lskd tune``, and the presets with the best settings."""

import pytest

from lskd_cli.config import Preset, load_preset, to_yaml
from lskd_cli.config.search_space import FormSpace, search_spaces
from lskd_cli.config.tuned_presets import tuned_presets
from lskd_cli.errors import RequestError

KD = {"kd": load_preset("kd-r56-r20")}
METHODS = {name: load_preset(f"{name}-r56-r20") for name in ("kd", "dkd", "crd")}


def _described(spaces: list[FormSpace]) -> dict[str, list[str]]:
    return {space.form: [item.describe() for item in space.all_dimensions()] for space in spaces}


def test_both_forms_have_default_ranges_around_the_preset() -> None:
    assert _described(search_spaces(KD, [])) == {
        "plain": ["method.temperature=1:16:log", "method.kd_weight=0.225:3.6:log"],
        "standardized": ["stand.temperature=0.5:8:log", "stand.kd_weight=2.25:36:log"],
    }


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        ("normkd", ["method.t_norm", "method.kd_weight"]),
        ("ttm", ["method.gamma", "method.kd_weight"]),
        ("crd", ["method.feature_weight"]),
        ("dist", ["method.kd_weight"]),
        ("simkd", ["method.feature_weight"]),
    ],
)
def test_a_method_without_standardized_form_has_the_plain_one(
    method: str, labels: list[str]
) -> None:
    (space,) = search_spaces({method: load_preset(f"{method}-r56-r20")}, [])
    assert space.form == "plain"
    assert [item.label for item in space.all_dimensions()] == labels


def test_an_added_kd_loss_is_searched_too() -> None:
    preset = load_preset("at-r56-r20", ["method.kd_weight=0.9"])
    plain, standardized = search_spaces({"at": preset}, [])
    fields = ["feature_weight", "temperature", "kd_weight"]
    assert [item.key for item in plain.all_dimensions()] == [f"method.{f}" for f in fields]
    keys = [item.key for item in standardized.all_dimensions()]
    assert keys == ["method.feature_weight", "stand.temperature", "stand.kd_weight"]


def test_every_method_has_a_default_space() -> None:
    from lskd_cli.config import method_names

    for method in method_names():
        if method != "guidance":
            assert search_spaces({method: load_preset(f"{method}-r32x4-r8x4")}, [])


def test_keys_of_one_form_search_this_form_only() -> None:
    assert list(_described(search_spaces(KD, ["stand.kd_weight=1:30:log"]))) == ["standardized"]
    assert list(_described(search_spaces(KD, ["method.kd_weight=1:30"]))) == ["plain"]
    texts = ["stand.kd_weight=1:30", "method.temperature=1:8", "optimizer.lr=0.01:0.1:log"]
    assert _described(search_spaces(KD, texts)) == {
        "plain": ["method.temperature=1:8", "optimizer.lr=0.01:0.1:log"],
        "standardized": ["stand.kd_weight=1:30", "optimizer.lr=0.01:0.1:log"],
    }
    assert list(_described(search_spaces(KD, ["optimizer.lr=0.01:0.1"]))) == [
        "plain",
        "standardized",
    ]


def test_several_methods_have_ranges_of_their_own() -> None:
    plain, standardized = search_spaces(METHODS, [])
    assert [item.label for item in plain.all_dimensions()] == [
        "method",
        "method.temperature (kd)",
        "method.kd_weight (kd)",
        "method.temperature (dkd)",
        "method.kd_weight (dkd)",
        "method.feature_weight (crd)",
    ]
    assert standardized.methods == ["kd", "dkd"]
    settings = {
        "method": "dkd",
        "stand.temperature (dkd)": 3.0,
        "stand.kd_weight (dkd)": 5.0,
    }
    preset = standardized.trial_preset(settings, "trial3", 7)
    assert preset.run_path == "trial3+stand/seed7"
    assert preset.method.name == "dkd"
    assert preset.stand is not None
    assert (preset.stand.temperature, preset.stand.kd_weight) == (3.0, 5.0)


def test_a_range_contains_integers_only_if_the_key_does() -> None:
    (space, _) = search_spaces(KD, ["data.batch_size=32:64", "optimizer.lr=1:2"])
    assert [item.is_integer for item in space.all_dimensions()] == [True, False]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["optimizer.lr"], "--space optimizer.lr: expected KEY=LOW:HIGH, KEY=LOW:HIGH:log or"),
        (["optimizer.lr="], "--space optimizer.lr=: expected KEY=LOW:HIGH"),
        (["=1:2"], "--space =1:2: expected"),
        (["optimizer.lr=1:2:3"], "--space optimizer.lr=1:2:3: expected"),
        (["optimizer.lr=1:2:lin"], "--space optimizer.lr=1:2:lin: expected"),
        (["optimizer.lr=1"], "expected .* with at least two different values"),
        (["optimizer.lr=1,1"], "expected .* with at least two different values"),
        (["optimizer.lr=2:1"], "the range is empty; LOW must be below HIGH"),
        (["optimizer.lr=.nan:1"], "numbers must be between -1e[+]15 and 1e[+]15"),
        (["optimizer.lr=1:.inf"], "numbers must be between"),
        (["method.temperature=.inf,4"], "numbers must be between"),
        ([f"method.temperature=1:{'9' * 400}"], "numbers must be between"),
        (["optimizer.lr=0:1:log"], "LOW must be above 0 in a logarithmic range"),
        (["optimizer.lr=[1],[2]"], "values must be numbers, words, true or false"),
        (["optimizer.lr=-1:1"], "--space optimizer.lr=-1:1: should be greater than 0, not -1"),
        (["optimizer.momentum=0:1"], "should be less than 1, not 1"),
        (["stand.temprature=1:2"], "--space stand.temprature: .* nearest: stand.temperature"),
        (["optimizer.lrr=1:2"], "--space optimizer.lrr=1:2: unknown key; nearest: optimizer.lr"),
        (["method.beta=1:2"], "--space method.beta: unknown key"),
        (["optimizer.lr=1:2", "optimizer.lr=1:2"], "--space optimizer.lr: given twice"),
        (["schedule.epochs=1:2"], "cannot be searched; use --epochs"),
        (["data.val_split=0.1:0.2"], "cannot be searched; use --val-split"),
        (["stand.enabled=true,false"], "cannot be searched; both forms are searched"),
        (["data=1,2"], "--space data=1,2: should be a valid dictionary"),
    ],
)
def test_a_wrong_space_is_refused_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        search_spaces(KD, texts)
    assert "\n" not in str(caught.value)


def test_a_preset_without_standardized_form_has_no_such_keys() -> None:
    with pytest.raises(RequestError, match="preset crd-r56-r20 has no standardized form"):
        search_spaces({"crd": METHODS["crd"]}, ["stand.temperature=1:2"])


def _file(preset: Preset) -> Preset:
    """The preset after it was written to a file and read again."""
    assert "published: {}" in to_yaml(preset)
    return preset


def test_one_preset_has_the_best_settings_of_both_forms() -> None:
    spaces = search_spaces(KD, ["stand.kd_weight=1:30", "method.ce_weight=0.1:1"])
    (preset,) = tuned_presets(
        [*spaces, *search_spaces(KD, ["method.kd_weight=1:3"])],
        KD,
        {"standardized": {"stand.kd_weight": 20, "method.ce_weight": 0.5}},
    )
    assert (preset.name, preset.published.top1) == ("kd-r56-r20-tuned", None)
    assert not preset.standardized
    assert preset.method.model_dump()["ce_weight"] == KD["kd"].method.model_dump()["ce_weight"]
    assert _file(preset).with_stand(True).effective_method().model_dump() == {
        "name": "kd",
        "temperature": 2,
        "ce_weight": 0.5,
        "kd_weight": 20,
    }


def test_settings_that_both_forms_share_make_two_presets() -> None:
    spaces = search_spaces(KD, ["optimizer.lr=0.01:0.1"])
    plain, standardized = tuned_presets(
        spaces, KD, {"plain": {"optimizer.lr": 0.02}, "standardized": {"optimizer.lr": 0.03}}
    )
    assert [plain.run_name, standardized.run_name] == [
        "kd-r56-r20-tuned",
        "kd-r56-r20-tuned+stand",
    ]
    assert [plain.optimizer.lr, standardized.optimizer.lr] == [0.02, 0.03]
