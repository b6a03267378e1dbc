"""Cross-entropy over labelled points, finite whatever the batch holds."""

import torch

from pointseg.losses import cross_entropy


def test_the_mean_is_over_labelled_points() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 7, dtype=torch.float64), torch.randint(-1, 7, (50,))
    literal = [-torch.log_softmax(logits[i], 0)[labels[i]] for i in range(50) if labels[i] >= 0]
    torch.testing.assert_close(cross_entropy(logits, labels), torch.stack(literal).mean())


def test_a_batch_without_a_label_gives_zero_and_a_zero_gradient() -> None:
    for num_points in (0, 5):
        logits = torch.randn(num_points, 7, requires_grad=True)
        loss = cross_entropy(logits, torch.full((num_points,), -1))
        loss.backward()
        assert loss.item() == 0.0
        assert not logits.grad.any()


def test_half_precision_logits_are_taken_in_float32() -> None:
    logits = torch.randn(1000, 200)
    labels = torch.randint(0, 200, (1000,))
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits.bfloat16().float(), labels))
