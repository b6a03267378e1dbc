"""Lovász-Softmax: the convex closure of 1 - IoU of a class, on softmax probabilities."""

import torch

from pointseg.losses.cross_entropy import at_least_float32, check_labels
from pointseg.taxonomy import IGNORE

_CHUNK_NUMBERS = 2**21
"""Probabilities sorted at a time; each takes some 50 bytes meanwhile, 100 MB together."""


def lovasz_softmax(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the classes c with a labelled point of the Lovász extension of their Jaccard loss

        Σ_i m_{π(i)} g_i,   g_i = Δ({π(1), …, π(i)}) - Δ({π(1), …, π(i-1)}),   m_{π(1)} >= m_{π(2)} >= …

    where m_i = 1 - p_i(c) for a point of class c and p_i(c) for any other, and Δ(S) = |S| / |{y = c} ∪ S| is 1 - IoU
    of class c if just the points of S are mistaken. Berman, Rannen Triki, Blaschko, "The Lovász-Softmax loss" (CVPR
    2018), eqs. 6, 8, 9, 11 and 12, over the classes present in the batch. It is piecewise linear in m, with gradient g.
    It is of the points that are given, as a whole: it is no mean over points, so shares of them that processes have
    do not add up to it. What is averaged over processes is a mean of Jaccard losses of smaller batches.

    Args:
        logits: (M, K) floating point; computed in at least float32 under any autocast.
        labels: (M,) int64; IGNORE = -1 has no part in any set.

    Returns:
        A scalar in [0, 1]. Where no point has a label it is zero, and so is its gradient.

    Raises:
        ValueError: the shapes do not fit.
    """
    check_labels(logits, labels)
    with torch.autocast(logits.device.type, enabled=False):
        # What a network says of points without a label may be anything, NaN as well.
        known = at_least_float32(logits).masked_fill((labels == IGNORE).unsqueeze(1), 0)
        error = _errors(known.softmax(dim=1), labels)
        counts = torch.zeros(error.shape[1], dtype=torch.int32, device=labels.device)
        counts.index_add_(0, labels.clamp_min(0), (labels != IGNORE).int())
        classes = _classes_to_sort(counts)
        if len(classes) < len(counts):
            error, counts = error.index_select(1, classes), counts.index_select(0, classes)
        error = error.T
        with torch.no_grad():
            rows = max(1, _CHUNK_NUMBERS // max(1, len(labels)))
            chunks = zip(error.split(rows), classes.split(rows), counts.split(rows), strict=True)
            gradient = torch.cat([_jaccard_gradient(*chunk, labels) for chunk in chunks])
        return (gradient * error).sum() / (counts > 0).sum().clamp_min(1)


def _errors(probability: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(M, K): m, the probability of each class, and its complement at the label; any value where there is none."""
    label = labels.clamp_min(0).unsqueeze(1)
    return probability.scatter(1, label, 1 - probability.gather(1, label))


def _classes_to_sort(counts: torch.Tensor) -> torch.Tensor:
    """(C,) int64: the classes whose errors are sorted, all that are present among them.

    Sorting is nearly all of the cost: for 80,000 points and 200 classes on one core, 2.1 s for all and 0.7 s for 60
    present; the result is the same. On the CPU, a look at the counts is free, and just the classes present are
    sorted. To look at a device's counts, the host would have to wait until the device has caught up; there all K are
    sorted, in chunks, and those absent have gradient zero.
    """
    if counts.device.type == "cpu":
        return counts.nonzero().squeeze(1)
    return torch.arange(len(counts), device=counts.device)


def _jaccard_gradient(
    error: torch.Tensor, classes: torch.Tensor, counts: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """(C, M): g, back in the order of the points; zero for points without a label and classes without a point.

    With n points of the class, and a of them and b others up to and with place i, Δ = (a + b) / (n + b). Its step is

        1 / (n + b)                        at a point of the class,
        (n - a) / ((n + b)(n + b - 1))     at another,

    which needs no difference of nearly equal numbers, and is zero at all others where n = 0. Points without a label
    count in neither a nor b, so they may stand anywhere. Counts are integers: exact, whatever the order of summation.

    Args:
        error: (C, M) float32 or float64, m of some classes.
        classes: (C,) int64, which they are.
        counts: (C,) int32, n.
        labels: (M,) int64.
    """
    order = error.sort(dim=1, descending=True, stable=True).indices
    label = labels[order]
    own = label == classes.unsqueeze(1)
    other = ~own & (label != IGNORE)
    n = counts.unsqueeze(1)
    a = own.cumsum(dim=1, dtype=torch.int32)
    b = other.cumsum(dim=1, dtype=torch.int32)
    union = (n + b).to(error.dtype)
    step = torch.where(own, 1.0, (n - a) / (union - 1).clamp_min(1)) / union.clamp_min(1)
    step = step * (own | other)
    return torch.empty_like(step).scatter_(1, order, step)
