"""Seeds of all random numbers of a training, one independent stream for each purpose.

Every seed is derived from a preset's seeds and the position of the training, with NumPy's
``SeedSequence``. No generator state is saved: a training that is resumed at any step, alone or
together with other students, draws the same numbers.

The seed of the data (``data.seed``) determines what all students of a joint run share: the order
of the images and their views. The seed of the preset (``seed``) determines the initial weights and
stochastic depth. Epochs are counted from 1, steps from 0.
"""

import numpy as np

from lskd_cli.config import View

# The numbers are part of the results: another number gives other batches.
_ORDER, _STRONG, _IMAGE, _MIX = 0, 3, 4, 5
_VIEWS: dict[View, int] = {"weak": 1, "strong": 2}
_STUDENT = 2**31  # no key that starts with the seed of the data starts with this number


def derive_seed(*key: int) -> int:
    """A seed derived from several numbers; trailing zeros of the key have no effect."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def order_seed(data_seed: int, epoch: int) -> int:
    """Order of the images in an epoch."""
    return derive_seed(data_seed, epoch, _ORDER)


def crop_seed(data_seed: int, epoch: int, view: View) -> int:
    """Padded crops and flips of a view of all images of an epoch.

    The two views of an image have independent crops, as in the released code.
    """
    return derive_seed(data_seed, epoch, _VIEWS[view])


def strong_seed(data_seed: int, epoch: int, step: int = 0) -> int:
    """Operations and cutouts of strong views, of a step or, with step 0, of a whole epoch."""
    return derive_seed(data_seed, epoch, _STRONG, step)


def image_seed(data_seed: int, epoch: int, index: int, view: View, is_plain: bool) -> int:
    """A view of one image that a worker process makes.

    Args:
        data_seed: seed of the data.
        epoch: current epoch.
        index: index of the image in the training set.
        view: the view.
        is_plain: whether the view is only cropped and flipped.
    """
    stream = () if view == "weak" and not is_plain else (_VIEWS[view],)
    return derive_seed(data_seed, epoch, _IMAGE, index, *stream)


def mix_seed(data_seed: int, epoch: int, step: int) -> int:
    """Mixup and cutmix of a step."""
    return derive_seed(data_seed, epoch, _MIX, step)


def student_seed(epoch: int, step: int, *seeds: int) -> int:
    """What a student draws in a step: stochastic depth, and samples of its method.

    Args:
        epoch: current epoch.
        step: current step.
        seeds: seed of the preset and rank of the process. A captured CUDA graph draws the numbers
            of all its students from one stream: seed of the data, seeds of the presets, and rank.
    """
    return derive_seed(_STUDENT, epoch, step, *seeds)
