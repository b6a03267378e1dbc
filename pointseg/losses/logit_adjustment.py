"""Logit adjustment: the class prior put into the loss, or taken out of the prediction. One of the two, not both."""

import torch

from pointseg.losses.cross_entropy import at_least_float32, check_per_class, cross_entropy


def logit_adjusted_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    log_prior: torch.Tensor,
    tau: float = 1.0,
    counts: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of logits + τ log π, so that the logits themselves learn to do without the prior.

    Menon, Jayasumana, Rawat, Jain, Veit, Kumar, "Long-tail learning via logit adjustment" (ICLR 2021), eq. 10.
    τ = 1 is the balanced softmax of Ren et al., "Balanced meta-softmax for long-tailed visual recognition" (NeurIPS
    2020), which adds log n_k: a number added to all of log π cancels, so log counts serve as well as log shares.

    Args:
        logits: (M, K) floating point; computed in at least float32 under any autocast. Predict with these as they are.
        labels: (M,) int64; IGNORE = -1 has no part in the mean.
        log_prior: (K,) floating point, log π, on the device of the logits. Finite: a class without a point needs a
            floor, such as a count of one, since -inf makes its own loss infinite.
        tau: τ.
        counts: (K,) floating point: as in :func:`cross_entropy`.

    Returns:
        A scalar. Where no point has a label it is zero, and so is its gradient.

    Raises:
        ValueError: the shapes do not fit.
    """
    return cross_entropy(_shift_logits(logits, log_prior, tau), labels, counts=counts)


def adjust_logits(logits: torch.Tensor, log_prior: torch.Tensor, tau: float) -> torch.Tensor:
    """Take the prior out of the prediction of a network trained without adjustment: logits - τ log π.

    Menon et al. (ICLR 2021), eq. 9, after training: τ needs none of it, and can be chosen on held-out scenes.

    Args:
        logits: (..., K) floating point.
        log_prior: (K,) floating point, log π, on the device of the logits. Finite: -inf for a class without a point
            makes it the prediction everywhere.
        tau: τ; 0 leaves the logits as they are.

    Returns:
        (..., K) in at least float32.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _shift_logits(logits, log_prior, -tau)


def _shift_logits(logits: torch.Tensor, log_prior: torch.Tensor, tau: float) -> torch.Tensor:
    check_per_class(logits, log_prior, "log_prior")
    logits = at_least_float32(logits)
    return logits + tau * log_prior.to(logits.dtype)
