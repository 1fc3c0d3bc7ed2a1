"""What the kill test kills: ``python -m tests.engine.kill_target ROOT`` trains two arms."""

import sys
from pathlib import Path

from lskd_cli.data import ImageSet, datasets
from lskd_cli.download import Progress
from lskd_cli.engine.device import resolve_compute
from tests.engine.helpers import digits_preset, train

EPOCHS = 4


def main(root: Path) -> None:
    whole = datasets._LOADERS["digits"]

    def smaller(folder: Path, progress: Progress) -> tuple[ImageSet, ImageSet]:
        train_set, test_set = whole(folder, progress)
        return ImageSet(train_set.images[:600], train_set.targets[:600]), test_set

    datasets._LOADERS["digits"] = smaller
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    arms = [digits_preset(epochs=EPOCHS), digits_preset(stand=True, epochs=EPOCHS)]
    # Saved often, so that kills fall on saves within an epoch too.
    train(arms, root, compute=resolve_compute("cpu"), save_every=0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
