"""Cross-entropy over labelled points, and what every other loss shares with it."""

import torch
import torch.nn.functional as F

from pointseg.taxonomy import IGNORE


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    class_weight: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean cross-entropy over the points that have a label: Σ w_y l / Σ w_y, without smoothing PyTorch's weighted mean.

    With smoothing ε, l = -Σ_k q_k log p_k and q = (1 - ε) · label + ε/K: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna,
    "Rethinking the Inception architecture for computer vision" (CVPR 2016), section 7. A point weighs
    what its label does; PyTorch gives each k in the smoothed sum a weight of its own.

    Args:
        logits: (M, K) floating point; computed in at least float32 under any autocast.
        labels: (M,) int64; IGNORE = -1 has no part in the mean.
        class_weight: (K,) floating point, >= 0, w; None weighs all points alike. A common factor cancels.
        counts: (K,) floating point, n: Σ w_k n_k is what the sum is divided by; None: of these points. Processes that
            share the points and average their losses and gradients each give the average of their counts. The
            average is then that of one process with all points, however they are shared.
        label_smoothing: ε, 0 <= ε <= 1.

    Returns:
        A scalar. Where no point has a label it is zero, and so is its gradient (PyTorch's own mean is NaN).

    Raises:
        ValueError: the shapes do not fit.
    """
    check_labels(logits, labels)
    if class_weight is not None:
        check_per_class(logits, class_weight, "class_weight")
    if counts is not None:
        check_per_class(logits, counts, "counts")
    with torch.autocast(logits.device.type, enabled=False):
        loss = F.cross_entropy(
            at_least_float32(logits),
            labels,
            ignore_index=IGNORE,
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return weighted_mean(loss, labels, class_weight, counts)


def weighted_mean(
    loss: torch.Tensor, labels: torch.Tensor, class_weight: torch.Tensor | None, counts: torch.Tensor | None
) -> torch.Tensor:
    """Σ w_{y_i} l_i / Σ w_{y_i} over the points that have a label, without a wait for the device.

    Args:
        loss: (M,) float32 or float64, finite, any value where the label is IGNORE.
        labels: (M,) int64; IGNORE = -1 has no part in either sum.
        class_weight: (K,) floating point, >= 0; None weighs all points alike.
        counts: (K,) floating point; None: of these points. See :func:`cross_entropy`.

    Returns:
        A scalar; zero with a zero gradient where all weights are zero, as in a batch without a label.
    """
    labelled = labels != IGNORE
    if class_weight is None:
        weight = labelled.to(loss.dtype)
    else:
        weight = class_weight.to(loss.dtype).index_select(0, labels.clamp_min(0)) * labelled
    if counts is None:
        total = weight.sum()
    else:
        counts = counts.to(loss.dtype)
        total = (counts if class_weight is None else counts * class_weight.to(loss.dtype)).sum()
    return (loss * weight).sum() / torch.where(total > 0, total, 1.0)


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where it is float32 or float64, a float32 copy of any other type."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def check_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Check that logits are (M, K) and labels (M,); looks at shapes alone, never at values.

    Raises:
        ValueError: they are not.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits (M, K) and labels (M,), got {tuple(logits.shape)} and {tuple(labels.shape)}")


def check_per_class(logits: torch.Tensor, vector: torch.Tensor, name: str) -> None:
    """Check that logits are (..., K) and the vector, called ``name`` in the error, holds one number a class.

    Raises:
        ValueError: it does not.
    """
    if logits.ndim == 0 or vector.shape != logits.shape[-1:]:
        raise ValueError(
            f"expected {name} (K,), one number a class of the logits {tuple(logits.shape)}, got {tuple(vector.shape)}"
        )
