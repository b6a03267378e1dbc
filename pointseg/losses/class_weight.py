"""Class weights: from the points a class has to its weight in a loss."""

import math

import torch


def inverse_frequency_weight(counts: torch.Tensor) -> torch.Tensor:
    """Weights w_k ∝ 1/n_k, with mean 1 over the classes that have a point.

    Weighting by the inverse of the prevalence is older than deep learning and has no single source; King and Zeng,
    "Logistic regression in rare events data" (Political Analysis 2001), is the one often named. In segmentation it
    is close to the median frequency balancing of Eigen and Fergus (ICCV 2015), whose frequency is taken among the
    images that hold the class; here it is taken among all points.

    Args:
        counts: (K,) integer or floating point, n_k >= 0: points of each class in the training scenes.

    Returns:
        (K,) float32 (float64 for float64 counts), on the device of the counts. A class without a point gets the
        largest weight of a class with one, so that all are finite.

    Raises:
        ValueError: counts that are not (K,), negative or not finite, or no class with a point.
    """
    seen = _checked(counts)
    return _normalised(1.0 / seen.clamp_min(1e-300), seen > 0).to(_result_type(counts))


def effective_number_weight(counts: torch.Tensor, beta: float) -> torch.Tensor:
    """Weights w_k ∝ 1/E_k = (1-β)/(1-β^n_k), with mean 1 over the classes that have a point.

    E_n is the effective number of n samples: Cui, Jia, Lin, Song, Belongie, "Class-balanced loss based on effective
    number of samples" (CVPR 2019), Proposition 1; the weight, with the same mean, is in their section 4. β = 0
    weighs all classes alike, β -> 1 by inverse frequency. The paper's β of 0.9 to 0.9999 are for thousands of images
    a class; a class of a scan has up to 10⁹ points, and where n_k ≫ 1/(1-β) for all classes, all weights are 1.

    Args:
        counts: (K,) integer or floating point, n_k >= 0: points of each class in the training scenes.
        beta: β, 0 <= β < 1.

    Returns:
        (K,) float32 (float64 for float64 counts), on the device of the counts. A class without a point gets the
        largest weight of a class with one, so that all are finite.

    Raises:
        ValueError: β out of range, counts that are not (K,), negative or not finite, or no class with a point.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"expected beta in [0, 1), got {beta}")
    seen = _checked(counts)
    # 1-β^n = -expm1(n log β): near β = 1, β^n is close to 1 and the plain difference would lose all its digits.
    log_beta = math.log1p(beta - 1) if beta >= 0.5 else math.log(beta) if beta > 0 else -math.inf
    present = seen > 0
    effective = -torch.expm1(torch.where(present, seen, 1.0) * log_beta) / (1 - beta)
    return _normalised(1.0 / effective, present).to(_result_type(counts))


def _checked(counts: torch.Tensor) -> torch.Tensor:
    """The counts in float64. Waits for the device, which is fine for what is called once, before training."""
    if counts.ndim != 1:
        raise ValueError(f"expected counts (K,), got {tuple(counts.shape)}")
    counts = counts.double()
    if not bool((counts.isfinite() & (counts >= 0)).all()):
        raise ValueError("expected counts that are finite and not negative")
    if not bool((counts > 0).any()):
        raise ValueError("expected at least one class with a point, all counts are 0")
    return counts


def _normalised(weight: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Mean 1 over the classes present; the largest of theirs for the others."""
    weight = weight.masked_fill(~present, 0.0)
    weight = weight / (weight.sum() / present.sum())
    return torch.where(present, weight, weight.max())


def _result_type(counts: torch.Tensor) -> torch.dtype:
    return torch.float64 if counts.dtype == torch.float64 else torch.float32
