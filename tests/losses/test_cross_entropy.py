"""Cross-entropy over labelled points, finite whatever the batch holds."""

import math

import pytest
import torch
import torch.nn.functional as F

from pointseg.losses import cross_entropy


def test_the_mean_is_over_labelled_points() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 7, dtype=torch.float64), torch.randint(-1, 7, (50,))
    literal = [-torch.log_softmax(logits[i], 0)[labels[i]] for i in range(50) if labels[i] >= 0]
    torch.testing.assert_close(cross_entropy(logits, labels), torch.stack(literal).mean())


def test_with_weights_it_is_the_weighted_mean_of_pytorch() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 7, dtype=torch.float64), torch.randint(-1, 7, (50,))
    weight = torch.rand(7, dtype=torch.float64)
    numerator = denominator = 0.0
    for logit, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label != -1:
            loss = math.log(sum(map(math.exp, logit))) - logit[label]
            numerator += weight[label].item() * loss
            denominator += weight[label].item()
    value = cross_entropy(logits, labels, weight)
    assert value.item() == pytest.approx(numerator / denominator, rel=1e-12)
    torch.testing.assert_close(value, F.cross_entropy(logits, labels, weight, ignore_index=-1))


def test_a_common_factor_of_the_weights_cancels_however_small() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 7), torch.randint(-1, 7, (50,))
    weight = torch.rand(7)
    torch.testing.assert_close(cross_entropy(logits, labels, 1e-6 * weight), cross_entropy(logits, labels, weight))
    torch.testing.assert_close(cross_entropy(logits, labels, torch.ones(7)), cross_entropy(logits, labels))


def test_a_batch_of_classes_of_weight_zero_gives_zero_and_a_zero_gradient() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 0, 2, -1, 0]), torch.tensor([0.0, 1.0, 0.0]))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def test_a_smoothed_target_gives_each_class_its_part() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 7, dtype=torch.float64), torch.randint(-1, 7, (50,))
    weight = torch.rand(7, dtype=torch.float64)
    numerator = denominator = 0.0
    for logit, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label == -1:
            continue
        log_sum = math.log(sum(map(math.exp, logit)))
        target = [0.3 / 7 + 0.7 * (k == label) for k in range(7)]
        numerator += weight[label].item() * sum(q * (log_sum - logit[k]) for k, q in enumerate(target))
        denominator += weight[label].item()
    value = cross_entropy(logits, labels, weight, label_smoothing=0.3)
    assert value.item() == pytest.approx(numerator / denominator, rel=1e-12)
    assert cross_entropy(logits, labels, label_smoothing=0.0) == cross_entropy(logits, labels)


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 1), ()])
def test_weights_that_are_not_one_a_class_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="class_weight"):
        cross_entropy(torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64), torch.ones(shape))
