"""L_CR is the paper's equation, and the release's variant of it."""

import math

import pytest
import torch
import torch.nn.functional as F

from pointseg.collapse import CenterCollapse


def _literal_paper_loss(features: torch.Tensor, labels: torch.Tensor, etf: torch.Tensor) -> torch.Tensor:
    """- Σ_k log( exp(z̄_kᵀ w*_k) / Σ_k' exp(z̄_kᵀ w*_k') ), class by class."""
    loss = torch.zeros((), dtype=features.dtype)
    for k in range(len(etf)):
        members = features[labels == k]
        if len(members):
            products = [torch.dot(members.mean(0), w) for w in etf.to(features.dtype)]
            loss = loss - (products[k] - torch.logsumexp(torch.stack(products), 0))
    return loss


def test_paper_is_the_paper_equation_where_no_lift_is_needed() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(300, 12, dtype=torch.float64), torch.randint(-1, 6, (300,))
    branch = CenterCollapse.paper(12, 8)
    torch.testing.assert_close(branch(features, labels), _literal_paper_loss(features, labels, branch.etf))


def test_the_gradient_is_the_papers_closed_form() -> None:
    """∂L_CR/∂z_i = (1/n_k) [(p_k - 1) w*_k + Σ_{k'≠k} p_k' w*_k']."""
    torch.manual_seed(1)
    features = torch.randn(60, 12, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 6, (60,))
    branch = CenterCollapse.paper(12, 8)
    (gradient,) = torch.autograd.grad(branch(features, labels), features)
    etf = branch.etf.double()
    for i in range(60):
        k = int(labels[i])
        if k < 0:
            assert not gradient[i].any()
            continue
        members = labels == k
        probability = torch.softmax(features[members].mean(0) @ etf.T, dim=0)
        expected = (probability @ etf - etf[k]) / members.sum()
        torch.testing.assert_close(gradient[i], expected.detach())


def test_release_is_what_the_authors_code_does() -> None:
    torch.manual_seed(2)
    features, labels = torch.randn(300, 12), torch.randint(-1, 6, (300,))
    log_prior = torch.rand(8).log()
    branch = CenterCollapse.release(12, 8, log_prior=log_prior)
    branch.dropout.p = 0.0
    assert not any(p.requires_grad for p in branch.parameters())
    projected = F.batch_norm(features @ branch.point_projection.linear.weight.T, None, None, training=True)
    losses = []
    for k in range(6):
        lifted = F.normalize(branch.lift(projected[labels == k].mean(0)), dim=0)
        logits = 5.0 * branch.etf @ lifted + log_prior
        losses.append(F.cross_entropy(logits, torch.tensor(k)))
    torch.testing.assert_close(branch(features, labels), torch.stack(losses).mean())
    assert branch.etf.shape == (8, 512)


@pytest.mark.parametrize("preset", ["paper", "release"])
@pytest.mark.parametrize("num_points", [0, 1, 5])
def test_without_a_label_the_loss_and_its_gradient_are_zero(preset: str, num_points: int) -> None:
    branch = getattr(CenterCollapse, preset)(96, 200, trainable=True)
    features = torch.randn(num_points, 96, requires_grad=True)
    loss = branch(features, torch.full((num_points,), -1))
    loss.backward()
    assert loss.item() == 0.0
    assert not features.grad.any()
    for parameter in branch.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_features_of_an_absent_class_do_not_matter(preset: str) -> None:
    """A row labelled IGNORE moves nothing but the batch norm of the release."""
    branch = getattr(CenterCollapse, preset)(96, 200).eval()
    features, labels = torch.randn(50, 96), torch.randint(0, 20, (50,))
    more = torch.cat([features, 1e3 * torch.randn(9, 96)])
    torch.testing.assert_close(branch(features, labels), branch(more, F.pad(labels, (0, 9), value=-1)))


def test_the_simplex_is_never_trained() -> None:
    branch = CenterCollapse.paper(96, 200)
    assert "etf" in dict(branch.named_buffers())
    assert [name for name, _ in branch.named_parameters()] == ["lift.weight"]


def test_centers_on_their_vertices_have_the_least_loss() -> None:
    """Along its own vertex, a center's loss falls with its length towards zero; at zero it is log K."""
    branch = CenterCollapse.paper(7, 8)
    labels = torch.arange(8)
    losses = [branch(length * branch.etf, labels).item() / 8 for length in (0.0, 1.0, 10.0, 40.0)]
    assert losses[0] == pytest.approx(math.log(8))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-3


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_autocast_does_not_change_the_loss(preset: str) -> None:
    branch = getattr(CenterCollapse, preset)(32, 20).eval()
    features, labels = torch.randn(100, 32), torch.randint(0, 20, (100,))
    expected = branch(features, labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(branch(features, labels), expected)
