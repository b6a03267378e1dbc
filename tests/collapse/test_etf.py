"""The simplex has every property that defines it, to 1e-6."""

import pytest
import torch

from pointseg.collapse import simplex_etf


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (3, 2), (20, 19), (20, 96), (200, 199), (200, 512)])
def test_rows_are_unit_equiangular_and_sum_to_zero(num_classes: int, dim: int) -> None:
    etf = simplex_etf(num_classes, dim, seed=3)
    assert etf.shape == (num_classes, dim)
    assert etf.dtype == torch.float32
    cosine = etf.double() @ etf.double().T
    expected = torch.full_like(cosine, -1 / (num_classes - 1)).fill_diagonal_(1.0)
    torch.testing.assert_close(cosine, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(etf.double().sum(0), torch.zeros(dim, dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_seed_decides_the_orientation() -> None:
    assert torch.equal(simplex_etf(10, 16, seed=1), simplex_etf(10, 16, seed=1))
    assert not torch.allclose(simplex_etf(10, 16, seed=1), simplex_etf(10, 16, seed=2))


def test_too_few_dimensions_are_refused_with_the_lift_that_is_needed() -> None:
    with pytest.raises(ValueError, match=r"200 classes needs at least 199 dimensions, got 96; lift .* 199"):
        simplex_etf(200, 96)
    with pytest.raises(ValueError, match="at least 2 classes"):
        simplex_etf(1, 4)
