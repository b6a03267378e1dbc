"""Cross-entropy over labelled points."""

import torch
import torch.nn.functional as F

from pointseg.losses.arguments import at_least_float32, check_labels, check_per_class
from pointseg.losses.class_weight import weighted_mean
from pointseg.taxonomy import IGNORE


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, class_weight: torch.Tensor | None = None) -> torch.Tensor:
    """Mean cross-entropy over the points that have a label: Σ w_y l / Σ w_y, the weighted mean of PyTorch.

    Args:
        logits: (M, K) floating point; computed in at least float32 under any autocast.
        labels: (M,) int64; IGNORE = -1 has no part in the mean.
        class_weight: (K,) floating point, >= 0, w; None weighs all points alike. A common factor cancels.

    Returns:
        A scalar. Where no point has a label it is zero, and so is its gradient (PyTorch's own mean is NaN).

    Raises:
        ValueError: the shapes do not fit.
    """
    check_labels(logits, labels)
    if class_weight is not None:
        check_per_class(logits, class_weight, "class_weight")
    with torch.autocast(logits.device.type, enabled=False):
        loss = F.cross_entropy(at_least_float32(logits), labels, ignore_index=IGNORE, reduction="none")
        return weighted_mean(loss, labels, class_weight)
