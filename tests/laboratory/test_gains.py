"""Gains are paired by seed, and their intervals are Student's t."""

from statistics import stdev

import pytest

from pointseg.laboratory.gains import paired_gain
from pointseg.laboratory.table import format_gain


def figures(*values: float | None) -> list[dict]:
    return [{"seed": seed, "tail": value} for seed, value in enumerate(values)]


def test_three_seeds_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.303, so 2 ± 4.303 / √3."""
    gain = paired_gain(figures(11, 22, 33), figures(10, 20, 30), "tail")
    assert gain is not None
    assert (gain.mean, gain.num_seeds) == (2, 3)
    assert gain.low == pytest.approx(2 - 4.303 / 3**0.5)
    assert gain.high == pytest.approx(2 + 4.303 / 3**0.5)


def test_what_all_runs_of_a_seed_share_is_no_noise() -> None:
    """Seeds that differ by 50 and gains that differ by 0.1: unpaired, nothing could be seen."""
    gain = paired_gain(figures(1.0, 51.1, 101.0), figures(0, 50, 100), "tail")
    assert gain is not None
    assert gain.low == pytest.approx(1.033 - 0.143, abs=0.002)


def test_only_seeds_that_both_have_count() -> None:
    others = [{"seed": 2, "tail": 30}, {"seed": 0, "tail": None}, {"seed": 7, "tail": 1}]
    gain = paired_gain(figures(1, 2, 33), others, "tail")
    assert gain is not None
    assert (gain.mean, gain.low, gain.high, gain.num_seeds) == (3, None, None, 1)
    assert paired_gain(figures(1, 2), [], "tail") is None


@pytest.mark.parametrize(("number", "quantile"), [(31, 2.042), (32, 2.040), (100, 1.984)])
def test_with_many_seeds_the_interval_tends_to_that_of_the_normal_distribution(number: int, quantile: float) -> None:
    values = [float(i % 2) for i in range(number)]
    gain = paired_gain(figures(*values), figures(*[0.0] * number), "tail")
    assert gain is not None and gain.high is not None
    assert (gain.high - gain.mean) / (stdev(values) / number**0.5) == pytest.approx(quantile, abs=0.004)


def test_a_gain_is_shown_in_points_with_its_sign() -> None:
    assert format_gain({"mean": 0.014, "low": 0.002, "high": 0.026}) == "+1.4 [0.2, 2.6]"
    assert format_gain({"mean": -0.014, "low": None, "high": None}) == "-1.4"
    assert format_gain(None) == "-"
