"""The learning rate follows its formula."""

import math

import pytest
import torch

from pointseg.config import OptimizerConfig
from pointseg.engine.optimizer import Update, build_optimizer, build_schedule


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


@pytest.mark.parametrize("num_steps", [2, 10, 19])
def test_one_cycle_of_few_steps_begins_with_its_rise_too(num_steps: int) -> None:
    """A twentieth of 19 steps is less than one; they began at the peak."""
    rates, _ = _rates(OptimizerConfig(schedule="one_cycle", lr=0.05, warmup_share=0.05), num_steps)
    assert rates[0] == pytest.approx(0.005)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert _rates(OptimizerConfig(schedule="one_cycle", lr=0.05), 1)[0] == [0.05]


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


@pytest.mark.parametrize(("share", "num_steps"), [(0.05, 20), (0.1, 10), (0.2, 5), (0.01, 100)])
def test_a_warm_up_of_exactly_one_step_has_a_finite_rate(share: float, num_steps: int) -> None:
    """PyTorch's schedule divides by the length of the rise less one."""
    rates, _ = _rates(OptimizerConfig(schedule="one_cycle", lr=0.05, warmup_share=share), num_steps)
    assert rates[0] == pytest.approx(0.005)
    assert all(0 < rate <= 0.05 for rate in rates)


def test_the_state_of_another_device_keeps_the_kernels_of_this_one() -> None:
    """An fp16 run that goes from a CPU, where its scaler does nothing, to a GPU, and back."""
    module = torch.nn.Linear(2, 2)
    config = OptimizerConfig(name="adamw")
    update = Update(module, config, "none", torch.device("cpu"))
    update(module(torch.ones(3, 2)).sum())
    state = update.optimizer.state_dict()
    for group in state["param_groups"]:
        group["fused"] = True
    other = Update(torch.nn.Linear(2, 2), config, "none", torch.device("cpu"))
    other.scaler = torch.amp.GradScaler("cpu", enabled=True)
    other.load_state_dict(state, update.scaler.state_dict())
    assert [group["fused"] for group in other.optimizer.param_groups] == [None]
    assert other.optimizer.state_dict()["state"].keys() == state["state"].keys()


def test_a_first_update_that_is_left_out_leaves_no_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused kernel as fp16 uses it, on the CPU, in memory as bad as can be: the first gradients are not finite."""
    module = torch.nn.Linear(4, 3)
    optimizer = build_optimizer(module, OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.0))
    for group in optimizer.param_groups:
        group |= {"fused": True, "foreach": False}
    before = module.weight.detach().clone()
    nan = float("nan")
    monkeypatch.setattr(torch, "empty_like", lambda tensor, **_: torch.full_like(tensor, nan))
    for gradient, is_left_out in ((float("inf"), 1.0), (1.0, 0.0)):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(is_left_out)
        optimizer.step()
    # Nesterov: the gradient and 0.9 of the momentum, which is the gradient.
    torch.testing.assert_close(module.weight.detach(), before - 0.1 * 1.9)
