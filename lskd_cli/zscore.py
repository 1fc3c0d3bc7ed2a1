"""Logit standardization: the idea of this package, on one page.

Knowledge distillation asks a student to match its teacher's softened probabilities,
softmax(z / T), with one temperature T for all samples and both networks. That
forces the small student to reproduce the *range* of the teacher's logits. Sun et al.,
"Logit Standardization in Knowledge Distillation" (CVPR 2024), divide each sample's
logits by a multiple of their own standard deviation instead, so that only the
*relations* between the logits are left to be learned:

    standardize(z) = (z - mean(z)) / (eps + std(z))
    softmax(standardize(z) / T) = softmax(z / (T * std(z)))       up to eps

The effective temperature of a sample is therefore T times the standard deviation of
its logits; T is called the base temperature.

* The softmax ignores shifts, so only the division changes a KL loss.
* The result is the same for z and a * z + b with any a > 0 (up to eps).
"""

import torch
from torch import Tensor


def standardize(logits: Tensor, eps: float = 1e-7) -> Tensor:
    """Z-score logits over their last dimension, the classes.

    Args:
        logits: (..., C) floating point.
        eps: added to the standard deviation, in units of the logits (1e-7 in the released code).

    Returns:
        (..., C) in the dtype of ``logits``, or float32 for float16 and bfloat16: mean 0 and
        standard deviation 1 in every row. A row of equal logits (also a single class) gives
        zeros, with zero gradient.

    Raises:
        TypeError: the logits are not floating point.

    The standard deviation is the unbiased one (divisor C - 1) of the released code; the paper's
    text writes the biased one, which is smaller by a factor sqrt((C - 1) / C).
    """
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, not {logits.dtype}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    centered = logits - logits.mean(dim=-1, keepdim=True)
    # Rows are scaled to the range -1..1 first, so that their squares neither overflow nor vanish.
    # The scale is a constant for the gradient, since the result does not depend on it.
    scale = centered.detach().abs().amax(dim=-1, keepdim=True)
    is_constant = scale <= _rounding_error(logits)
    scale = scale.masked_fill(is_constant, 1.0)
    normalized = centered / scale
    divisor = max(logits.shape[-1] - 1, 1)
    variance = normalized.square().sum(dim=-1, keepdim=True) / divisor
    # The square root of zero has an infinite slope, which would become NaN behind the mask.
    std = variance.masked_fill(is_constant, 1.0).sqrt()
    return (normalized / (std + eps / scale)).masked_fill(is_constant, 0.0)


def _rounding_error(logits: Tensor) -> Tensor:
    """Largest difference from the mean that rounding causes in a row of equal logits."""
    magnitude = logits.detach().abs().amax(dim=-1, keepdim=True)
    return 2 * torch.finfo(logits.dtype).eps * magnitude
