"""Focal loss: its formula, and cross-entropy at γ = 0."""

import math

import pytest
import torch

from pointseg.losses import cross_entropy, focal_loss


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_its_formula(gamma: float, weighted: bool) -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(50, 7, dtype=torch.float64), torch.randint(-1, 7, (50,))
    weight = torch.rand(7, dtype=torch.float64) if weighted else torch.ones(7, dtype=torch.float64)
    numerator = denominator = 0.0
    for logit, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label != -1:
            probability = math.exp(logit[label]) / sum(map(math.exp, logit))
            numerator -= weight[label].item() * (1 - probability) ** gamma * math.log(probability)
            denominator += weight[label].item()
    value = focal_loss(logits, labels, gamma, weight if weighted else None)
    assert value.item() == pytest.approx(numerator / denominator, rel=1e-10)


@pytest.mark.parametrize("class_weight", [None, torch.tensor([2.0, 0.1, 1.0, 0.5])])
def test_gamma_zero_is_cross_entropy_in_value_and_gradient(class_weight: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    labels = torch.randint(-1, 4, (50,))
    focal = torch.randn(50, 4, requires_grad=True)
    plain = focal.detach().clone().requires_grad_()
    value, expected = focal_loss(focal, labels, 0.0, class_weight), cross_entropy(plain, labels, class_weight)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    value.backward()
    expected.backward()
    torch.testing.assert_close(focal.grad, plain.grad, rtol=0, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0])
def test_what_is_right_beyond_float32_has_a_zero_gradient_not_nan(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [20.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0, 0]), gamma).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-8


def test_near_certainty_one_minus_p_has_the_digits_of_the_loss() -> None:
    """1-p = 3.4e-4, which 1 minus p rounded to float32 gives to three digits."""
    logits, label = torch.tensor([[8.0, 0.0]]), torch.tensor([0])
    loss = cross_entropy(logits, label).item()
    assert focal_loss(logits, label, 3.0).item() == pytest.approx((-math.expm1(-loss)) ** 3 * loss, rel=1e-5, abs=0)


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf])
def test_gamma_below_zero_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        focal_loss(torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64), gamma)


def test_weights_that_are_not_one_a_class_are_refused() -> None:
    with pytest.raises(ValueError, match="class_weight"):
        focal_loss(torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64), 2.0, torch.ones(6))
