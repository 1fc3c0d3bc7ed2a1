"""What an installed lskd carries with it."""

import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]


def test_the_wheel_carries_presets_curves_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    wheel = build_wheel(str(tmp_path))
    names = set(zipfile.ZipFile(tmp_path / wheel).namelist())
    shipped = {f"lskd_cli/{path.relative_to(ROOT)}" for path in (ROOT / "presets").rglob("*.yaml")}
    assert len(shipped) > 20
    assert shipped <= names
    assert {
        "lskd_cli/results/figures/published_curves.json",
        "lskd_cli/results/figures/published_losses.json",
        "lskd_cli/pretrained/resnet56.safetensors",
        "lskd_cli/results/report/page.html.j2",
        "lskd_cli/results/report/page.css",
        "lskd_cli/results/report/page.js",
        "lskd_cli/results/report/page_charts.js",
        "lskd_cli/results/report/page_watch.js",
        "lskd_cli/cli/app.py",
    } <= names
    assert not any(name.startswith("tests/") for name in names)
