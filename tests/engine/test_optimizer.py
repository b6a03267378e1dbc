"""The learning rate follows its formula."""

import math

import pytest
import torch

from pointseg.config import OptimizerConfig
from pointseg.engine.optimizer import build_optimizer, build_schedule


def _rates(config: OptimizerConfig, num_steps: int) -> tuple[list[float], list[float]]:
    optimizer = build_optimizer(torch.nn.Linear(2, 2), config)
    schedule = build_schedule(optimizer, config, num_steps)
    rates, momenta = [], []
    for step in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0].get("momentum", 0.0))
        optimizer.step()
        if step + 1 < num_steps:
            schedule.step()
    return rates, momenta


def test_one_cycle_rises_from_a_tenth_and_falls_as_a_cosine_to_almost_nothing() -> None:
    config = OptimizerConfig(schedule="one_cycle", lr=0.05, warmup_share=0.1)
    rates, momenta = _rates(config, 101)
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.005)
    assert rates[peak] == pytest.approx(0.05, rel=1e-3)
    assert peak == pytest.approx(0.1 * 101 - 1, abs=1)
    assert rates[-1] == pytest.approx(0.005 / 1e4)
    assert set(momenta) == {0.9}


def test_one_cycle_can_cycle_momentum() -> None:
    _, momenta = _rates(OptimizerConfig(schedule="one_cycle", cycle_momentum=True), 101)
    assert (min(momenta), max(momenta)) == (pytest.approx(0.85, abs=1e-3), pytest.approx(0.95))


def test_poly_is_its_power_of_what_is_left() -> None:
    rates, _ = _rates(OptimizerConfig(schedule="poly", lr=0.1, poly_power=0.9), 50)
    for step, rate in enumerate(rates):
        assert rate == pytest.approx(0.1 * (1 - step / 50) ** 0.9)


def test_constant_stays() -> None:
    rates, _ = _rates(OptimizerConfig(schedule="constant", lr=0.1), 10)
    assert rates == [0.1] * 10


@pytest.mark.parametrize("schedule", ["one_cycle", "poly", "constant"])
@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_the_shortest_runs_have_a_finite_rate(schedule: str, num_steps: int) -> None:
    rates, _ = _rates(OptimizerConfig(schedule=schedule), num_steps)
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)


def test_frozen_parameters_are_not_in_the_optimizer() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4).requires_grad_(False))
    for name in ("sgd", "adamw"):
        held = build_optimizer(module, OptimizerConfig(name=name)).param_groups[0]["params"]
        assert {id(p) for p in held} == {id(p) for p in module[0].parameters()}
