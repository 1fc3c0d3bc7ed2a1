"""What only a CUDA device can show; run with make test-gpu."""

from pathlib import Path

import pytest

from lskd_cli.engine.device import resolve_compute
from tests.engine.helpers import digits_preset, metrics, run_path, train

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("small_digits")]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 3e-2)])
@pytest.mark.parametrize("method", ["kd", "dkd", "mlkd", "ctkd"])
def test_the_first_epoch_on_a_gpu_is_that_of_the_cpu(
    tmp_path: Path, method: str, precision: str, tolerance: float
) -> None:
    preset = digits_preset(method, epochs=1)
    train([preset], tmp_path / "cpu")
    train([preset], tmp_path / "cuda", compute=resolve_compute("cuda", precision))
    (on_cpu,), (on_gpu,) = (metrics(run_path(tmp_path / d, preset)) for d in ("cpu", "cuda"))
    assert on_gpu["train_loss"] == pytest.approx(on_cpu["train_loss"], rel=tolerance)
