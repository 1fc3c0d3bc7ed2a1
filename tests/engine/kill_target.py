"""What the processes of the kill tests do; they train two students in a joint run."""

from pathlib import Path

from lskd_cli.data.sets import digits
from lskd_cli.engine.devices.runtime import resolve_runtime
from tests.digits import digits_loader
from tests.engine.helpers import digits_preset, train

EPOCHS = 4


def main(root: Path) -> None:
    digits.load = digits_loader(150, 50)
    presets = [digits_preset(epochs=EPOCHS), digits_preset(stand=True, epochs=EPOCHS)]
    # Saved often, so that kills fall on saves within an epoch too.
    train(presets, root, runtime=resolve_runtime("cpu", "fp32"), checkpoint_interval=0.2)
