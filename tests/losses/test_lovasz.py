"""Lovász-Softmax: the Lovász extension of 1 - IoU, set by set."""

import math

import pytest
import torch

from pointseg.losses import lovasz, lovasz_softmax


def _jaccard_loss(mistaken: set[int], own: set[int]) -> float:
    """1 - IoU of a class that consists of the points ``own``, if just the points ``mistaken`` are wrong."""
    return len(mistaken) / len(own | mistaken)


def _literal(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The loss from its definition: sets, one point at a time."""
    values = [[math.exp(value) for value in row] for row in logits.tolist()]
    labelled = [i for i, label in enumerate(labels.tolist()) if label != -1]
    losses = []
    for c in range(logits.shape[1]):
        own = {i for i in labelled if labels[i] == c}
        if not own:
            continue
        probability = {i: values[i][c] / sum(values[i]) for i in labelled}
        error = {i: 1 - probability[i] if i in own else probability[i] for i in labelled}
        mistaken: set[int] = set()
        loss = 0.0
        for i in sorted(labelled, key=lambda i: -error[i]):
            step = _jaccard_loss(mistaken | {i}, own) - _jaccard_loss(mistaken, own)
            loss += error[i] * step
            mistaken.add(i)
        losses.append(loss)
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("num_points", "num_classes", "num_present"), [(60, 7, 7), (60, 9, 4), (60, 5, 1), (1, 3, 3)])
def test_it_is_its_definition(num_points: int, num_classes: int, num_present: int) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    logits = 3 * torch.randn(num_points, num_classes, dtype=torch.float64, generator=generator)
    labels = torch.randint(-1, num_present, (num_points,), generator=generator)
    labels[0] = 0
    assert lovasz_softmax(logits, labels).item() == pytest.approx(_literal(logits, labels), rel=1e-12)


def test_of_certain_predictions_it_is_one_minus_the_mean_iou() -> None:
    """The extension agrees with the set function on sets, over the classes that have a point."""
    labels = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3, -1])
    predicted = torch.tensor([0, 0, 1, 1, 2, 3, 0, 3, 3, 3])
    logits = 1000.0 * torch.nn.functional.one_hot(predicted, 5)
    iou = [2 / 4, 1 / 3, 3 / 4]  # of classes 0, 1, 3; classes 2 and 4 have no point, and the last point no label
    assert lovasz_softmax(logits, labels).item() == pytest.approx(1 - sum(iou) / 3, rel=1e-6)


@pytest.mark.parametrize("every_class", [False, True])
def test_the_result_does_not_depend_on_what_is_sorted_together(
    every_class: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 11, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.randint(-1, 6, (50,), generator=generator)
    value = lovasz_softmax(logits, labels)
    (expected,) = torch.autograd.grad(value, logits)
    monkeypatch.setattr(lovasz, "_CHUNK_NUMBERS", 4 * 50)
    if every_class:
        monkeypatch.setattr(lovasz, "_classes_to_sort", lambda counts: torch.arange(len(counts)))
    chunked = lovasz_softmax(logits, labels)
    (gradient,) = torch.autograd.grad(chunked, logits)
    torch.testing.assert_close(chunked, value)
    torch.testing.assert_close(gradient, expected)


def test_float32_agrees_with_float64_on_many_points() -> None:
    """Each step is of the order of 1/n; as a difference of IoUs near 1 it would have few digits in float32."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50_000, 3, generator=generator)
    labels = torch.randint(-1, 3, (50_000,), generator=generator)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        own = logits.detach().to(dtype, copy=True).requires_grad_()
        lovasz_softmax(own, labels).backward()
        assert own.grad is not None
        gradients.append(own.grad.double())
    relative = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert relative.item() < 1e-5


def test_what_a_network_says_of_points_without_a_label_does_not_matter() -> None:
    """NaN times zero is NaN."""
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, -1, 2])
    logits = torch.randn(4, 3)
    expected = lovasz_softmax(logits, labels)
    logits[2] = float("nan")
    logits.requires_grad_()
    loss = lovasz_softmax(logits, labels)
    loss.backward()
    assert torch.equal(loss.detach(), expected)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[2].any()
