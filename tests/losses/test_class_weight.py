"""Class weights from counts: the formulas in exact arithmetic, for counts and β as extreme as they come."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
import torch

from pointseg.losses import effective_number_weight, inverse_frequency_weight

COUNTS = [1_000_000_000, 12_345_678, 40_000, 999, 17, 1]
BETAS = [0.0, 1e-300, 0.1, 0.5, 0.9, 0.9999, 1 - 1e-9, 1 - 1e-15, math.nextafter(1, 0)]
Weigh = Callable[[torch.Tensor], torch.Tensor]
both = pytest.mark.parametrize(
    "weigh",
    [inverse_frequency_weight, lambda counts: effective_number_weight(counts, 0.999)],
    ids=["inverse", "number"],
)


def _with_mean_one(weights: list[Decimal]) -> list[float]:
    return [float(weight * len(weights) / sum(weights)) for weight in weights]


def test_inverse_frequency_is_its_formula() -> None:
    weight = inverse_frequency_weight(torch.tensor(COUNTS, dtype=torch.float64))
    assert weight.tolist() == pytest.approx(_with_mean_one([1 / Decimal(n) for n in COUNTS]), rel=1e-14)


@pytest.mark.parametrize("beta", BETAS)
def test_the_effective_number_is_its_formula(beta: float) -> None:
    weight = effective_number_weight(torch.tensor(COUNTS, dtype=torch.float64), beta)
    with localcontext() as context:
        context.prec, context.Emin = 80, -999_999_999_999_999_999
        literal = _with_mean_one([(1 - Decimal(beta)) / (1 - Decimal(beta) ** n) for n in COUNTS])
    assert weight.tolist() == pytest.approx(literal, rel=1e-12)


def test_the_effective_number_goes_from_no_weights_to_inverse_frequency() -> None:
    counts = torch.tensor([10**4, 300, 2, 1])
    torch.testing.assert_close(effective_number_weight(counts, 0.0), torch.ones(4))
    torch.testing.assert_close(effective_number_weight(counts, 1 - 1e-12), inverse_frequency_weight(counts))


@both
def test_a_class_without_a_point_gets_the_largest_weight_and_does_not_move_the_others(weigh: Weigh) -> None:
    weight = weigh(torch.tensor([0, 500, 20, 0, 3]))
    torch.testing.assert_close(weight[[1, 2, 4]], weigh(torch.tensor([500, 20, 3])))
    assert weight[[1, 2, 4]].mean().item() == pytest.approx(1)
    assert weight[0] == weight[3] == weight[4]
    assert weight[1] < weight[2] < weight[4]


@both
def test_weights_are_float32_save_for_float64_counts(weigh: Weigh) -> None:
    for dtype in (torch.int32, torch.int64, torch.float32):
        assert weigh(torch.tensor([3, 1], dtype=dtype)).dtype == torch.float32
    assert weigh(torch.tensor([3.0, 1.0], dtype=torch.float64)).dtype == torch.float64
    assert weigh(torch.tensor([5])).tolist() == [1.0]


@both
@pytest.mark.parametrize("counts", [[0, 0], [], [3, -1], [3.0, math.nan], [3.0, math.inf], [[1, 2]]])
def test_counts_that_are_none_are_refused(weigh: Weigh, counts: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        weigh(torch.tensor(counts))


@pytest.mark.parametrize("beta", [-0.1, 1.0, 1.5, math.nan])
def test_beta_is_at_least_zero_and_below_one(beta: float) -> None:
    with pytest.raises(ValueError, match="beta"):
        effective_number_weight(torch.tensor([3, 1]), beta)
