"""Focal loss: cross-entropy that looks away from what is already right."""

import torch
import torch.nn.functional as F

from pointseg.losses.cross_entropy import at_least_float32, check_labels, check_per_class, weighted_mean
from pointseg.taxonomy import IGNORE


def focal_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    gamma: float,
    class_weight: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over the points that have a label of

        FL(p) = -w_y (1 - p)^γ log p,   p = softmax(logits)_y

    Lin, Goyal, Girshick, He, Dollár, "Focal loss for dense object detection" (ICCV 2017), eq. 4, and eq. 5 with
    weights. The paper's p is a sigmoid's and its sum is divided by the number of objects; here p is the softmax's and
    the mean is that of ``cross_entropy``, Σ w_y (1-p)^γ l / Σ w_y, which γ = 0 gives back.

    Args:
        logits: (M, K) floating point; computed in at least float32 under any autocast.
        labels: (M,) int64; IGNORE = -1 has no part in the mean.
        gamma: γ >= 0.
        class_weight: (K,) floating point, >= 0, w; None weighs all points alike.
        counts: (K,) floating point: as in ``cross_entropy``.

    Returns:
        A scalar. Where no point has a label it is zero, and so is its gradient.

    Raises:
        ValueError: γ < 0 or NaN or infinite, or shapes that do not fit.
    """
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"expected a finite gamma >= 0, got {gamma}")
    check_labels(logits, labels)
    if class_weight is not None:
        check_per_class(logits, class_weight, "class_weight")
    if counts is not None:
        check_per_class(logits, counts, "counts")
    with torch.autocast(logits.device.type, enabled=False):
        loss = F.cross_entropy(at_least_float32(logits), labels, ignore_index=IGNORE, reduction="none")
        # 1-p = -expm1(log p) keeps the digits of log p near p = 1. At p = 1 the slope of x^γ is infinite for γ < 1;
        # the clamp keeps it finite, and the product with log p = 0 is then zero, as it should be, and not NaN.
        wrong = (-torch.expm1(-loss)).clamp_min(torch.finfo(loss.dtype).tiny)
        return weighted_mean(wrong.pow(gamma) * loss, labels, class_weight, counts)
