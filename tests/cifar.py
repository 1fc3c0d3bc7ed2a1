"""The files of a CIFAR-100 with few images."""

import pickle

import numpy as np


def cifar_files() -> dict[str, bytes]:
    """The pickled files by name: 20 training and 10 test images of five classes."""
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("train", 20), ("test", 10)):
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": pixels, "fine_labels": [i % 5 for i in range(count)]})
    files["meta"] = pickle.dumps({"fine_label_names": [str(i) for i in range(100)]})
    return files
