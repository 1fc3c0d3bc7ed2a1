"""The process that the kill tests kill; it trains two students in a joint run."""

import sys
from pathlib import Path

from lskd_cli.config import Data
from lskd_cli.data import InMemoryImages, datasets
from lskd_cli.download import Progress
from lskd_cli.engine.runtime import resolve_runtime
from tests.engine.helpers import digits_preset, train

EPOCHS = 4


def main(root: Path) -> None:
    load_all = datasets._LOADERS["digits"]

    def smaller(
        data: Data, folder: Path, progress: Progress
    ) -> tuple[InMemoryImages, InMemoryImages]:
        train_set, test_set = load_all(data, folder, progress)
        return InMemoryImages(train_set.images[:600], train_set.targets[:600]), test_set

    datasets._LOADERS["digits"] = smaller
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    presets = [digits_preset(epochs=EPOCHS), digits_preset(stand=True, epochs=EPOCHS)]
    # Saved often, so that kills fall on saves within an epoch too.
    train(presets, root, runtime=resolve_runtime("cpu"), checkpoint_interval=0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
