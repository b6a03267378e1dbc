"""Logit adjustment: its formulas, in training and after it, and that the two agree on what is best."""

import math

import pytest
import torch

from pointseg.losses import adjust_logits, cross_entropy, logit_adjusted_cross_entropy


@pytest.mark.parametrize("tau", [-1.0, 0.0, 0.5, 1.0])
def test_the_loss_is_its_formula(tau: float) -> None:
    """Of Eq. 10 the form with ratios: log(1 + Σ_{k≠y} (π_k/π_y)^τ exp(f_k - f_y))."""
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(50, 7, dtype=torch.float64), torch.randint(-1, 7, (50,))
    prior = torch.rand(7, dtype=torch.float64).pow(4)
    literal = []
    for f, y in zip(logits.tolist(), labels.tolist(), strict=True):
        if y != -1:
            others = [(prior[k] / prior[y]).item() ** tau * math.exp(f[k] - f[y]) for k in range(7) if k != y]
            literal.append(math.log1p(sum(others)))
    value = logit_adjusted_cross_entropy(logits, labels, prior.log(), tau)
    assert value.item() == pytest.approx(sum(literal) / len(literal), rel=1e-12)


def test_log_counts_serve_as_well_as_log_shares() -> None:
    """With τ = 1 and counts it is the balanced softmax: -log(n_y e^{f_y} / Σ_k n_k e^{f_k})."""
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 4, dtype=torch.float64), torch.randint(0, 4, (50,))
    counts = torch.tensor([100_000.0, 50.0, 3.0, 1.0], dtype=torch.float64)
    scaled = counts * logits.exp()
    balanced = -(scaled.gather(1, labels.unsqueeze(1)).squeeze(1) / scaled.sum(dim=1)).log().mean()
    torch.testing.assert_close(logit_adjusted_cross_entropy(logits, labels, counts.log()), balanced)
    shares = (counts / counts.sum()).log()
    torch.testing.assert_close(logit_adjusted_cross_entropy(logits, labels, shares), balanced)


def test_after_training_tau_log_prior_is_subtracted() -> None:
    torch.manual_seed(0)
    logits, log_prior = torch.randn(2, 5, 3), torch.tensor([-0.1, -3.0, -9.0])
    adjusted = adjust_logits(logits, log_prior, 0.7)
    for i, j, k in [(0, 0, 0), (1, 4, 1), (0, 3, 2)]:
        assert adjusted[i, j, k].item() == pytest.approx(logits[i, j, k].item() - 0.7 * log_prior[k].item())
    torch.testing.assert_close(adjust_logits(logits, log_prior, 0.0), logits)


def test_logits_learnt_with_the_prior_are_those_learnt_without_it_and_adjusted() -> None:
    """The loss of adjusted logits is the cross-entropy of plain ones: what minimises one, adjusted, does the other."""
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 4, dtype=torch.float64), torch.randint(-1, 4, (50,))
    log_prior = torch.rand(4, dtype=torch.float64).log()
    adjusted = adjust_logits(logits, log_prior, 1.3)
    torch.testing.assert_close(
        logit_adjusted_cross_entropy(adjusted, labels, log_prior, 1.3), cross_entropy(logits, labels)
    )


def test_half_precision_logits_are_adjusted_in_float32() -> None:
    logits, log_prior = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16), torch.tensor([-0.001, -7.0])
    adjusted = adjust_logits(logits, log_prior.double(), 1.0)
    torch.testing.assert_close(adjusted, torch.tensor([[1.001, 9.0]]))
    assert adjust_logits(logits.double(), log_prior, 1.0).dtype == torch.float64


@pytest.mark.parametrize("shape", [(6,), (1,), (4, 7), ()])
def test_a_prior_that_is_not_one_number_a_class_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="log_prior"):
        adjust_logits(torch.zeros(4, 7), torch.zeros(shape), 1.0)
    with pytest.raises(ValueError, match="log_prior"):
        logit_adjusted_cross_entropy(torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64), torch.zeros(shape))
