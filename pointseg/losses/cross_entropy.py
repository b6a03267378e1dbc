"""Cross-entropy over labelled points."""

import torch
import torch.nn.functional as F

from pointseg.taxonomy import IGNORE


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the points that have a label.

    Args:
        logits: (M, K) floating point; computed in at least float32 under any autocast.
        labels: (M,) int64; IGNORE = -1 has no part in the mean.

    Returns:
        A scalar. Where no point has a label it is zero, and so is its gradient (PyTorch's own mean is NaN).
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float() if logits.dtype != torch.float64 else logits
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp_min(1)
