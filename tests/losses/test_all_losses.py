"""What holds for each of the losses: labelled points alone count, in at least float32, and no host waits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pointseg.losses import (
    cross_entropy,
    focal_loss,
    inverse_frequency_weight,
    logit_adjusted_cross_entropy,
    lovasz,
    lovasz_softmax,
)

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
COUNTS = torch.tensor([900, 90, 9, 1, 30, 0, 7])
WEIGHT = inverse_frequency_weight(COUNTS.double())
LOG_PRIOR = COUNTS.double().clamp_min(1).log()


def _counts(logits: torch.Tensor) -> torch.Tensor:
    """As if other processes had labelled points."""
    return torch.full(logits.shape[-1:], 30.0, dtype=torch.float64, device=logits.device)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "weighted_cross_entropy": lambda x, y: cross_entropy(x, y, WEIGHT[: x.shape[-1]]),
    "focal": lambda x, y: focal_loss(x, y, 2.0),
    "weighted_focal": lambda x, y: focal_loss(x, y, 0.5, WEIGHT[: x.shape[-1]]),
    "logit_adjusted": lambda x, y: logit_adjusted_cross_entropy(x, y, LOG_PRIOR[: x.shape[-1]], 1.5),
    "counted": lambda x, y: focal_loss(x, y, 2.0, WEIGHT[: x.shape[-1]], _counts(x)),
    "lovasz": lovasz_softmax,
}
pytestmark = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def _batch(num_points: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_points)
    logits = 2 * torch.randn(num_points, 7, dtype=torch.float64, generator=generator)
    return logits, torch.randint(-1, 5, (num_points,), generator=generator)


def test_the_gradient_is_that_of_the_value(loss: Loss) -> None:
    logits, labels = _batch(12)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_())


@pytest.mark.parametrize("num_points", [0, 5])
def test_a_batch_without_a_label_gives_zero_and_a_zero_gradient(loss: Loss, num_points: int) -> None:
    logits = torch.randn(num_points, 7, requires_grad=True)
    value = loss(logits, torch.full((num_points,), -1))
    value.backward()
    assert value.shape == ()
    assert value.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def test_points_without_a_label_change_nothing_and_get_no_gradient(loss: Loss) -> None:
    logits, labels = _batch()
    logits.requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[labels == -1].any()
    assert logits.grad[labels != -1].any(dim=1).all()
    torch.testing.assert_close(value, loss(logits[labels != -1], labels[labels != -1]))


def test_the_order_of_the_points_does_not_matter(loss: Loss) -> None:
    logits, labels = _batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(logits[order], labels[order]), loss(logits, labels))


def test_one_class_leaves_nothing_to_learn(loss: Loss) -> None:
    logits = torch.randn(6, 1, requires_grad=True)
    value = loss(logits, torch.tensor([0, 0, -1, 0, -1, 0]))
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def test_certain_and_right_is_zero_certain_and_wrong_is_finite(loss: Loss) -> None:
    """At probabilities of exactly 0 and 1 in float32, neither the value nor the gradient is NaN."""
    labels = torch.tensor([0, 1, 2, -1, 2])
    right = torch.nn.functional.one_hot(labels.clamp_min(0), 7).float() * 200
    for logits in (right, -right):
        logits.requires_grad_()
        value = loss(logits, labels)
        value.backward()
        assert value.isfinite()
        assert logits.grad is not None and logits.grad.isfinite().all()
    assert loss(right, labels).item() == 0.0


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_taken_in_float32(loss: Loss, half: torch.dtype) -> None:
    logits, labels = _batch(1000)
    logits = logits.to(half)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), labels), rtol=0, atol=0)
    assert loss(logits.double(), labels).dtype == torch.float64


def test_shapes_that_do_not_fit_are_refused(loss: Loss) -> None:
    for logits_shape, labels_shape in (((4, 7), (5,)), ((4, 7), (4, 1)), ((7,), (7,)), ((2, 4, 7), (2, 4))):
        with pytest.raises(ValueError, match="expected"):
            loss(torch.zeros(logits_shape), torch.zeros(labels_shape, dtype=torch.int64))


class _NoWait(TorchDispatchMode):
    """Refuses the operations whose result, or its shape, the host reads: on a device it would wait for them."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split("::")[1].split(".")[0]
        assert name not in self.WAITING, f"{name} waits for the device"
        if name in ("index", "index_put", "index_put_"):
            assert all(index is None or index.dtype != torch.bool for index in args[1]), f"{name} by a mask waits"
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all classes sorted, as on a device, the Lovász loss has the value of the classes present."""
    logits, labels = _batch()
    expected = loss(logits, labels)
    monkeypatch.setattr(lovasz, "_classes_to_sort", lambda counts: torch.arange(len(counts)))
    with _NoWait():
        value = loss(logits.requires_grad_(), labels)
        value.backward()
        empty = loss(logits, torch.full_like(labels, -1))
    torch.testing.assert_close(value, expected)
    assert empty == 0.0


@pytest.mark.gpu
def test_a_gpu_gives_the_value_and_gradient_of_the_cpu_without_a_wait(
    loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels = _batch(3000)
    on_gpu, labels_on_gpu = logits.cuda().requires_grad_(), labels.cuda()
    monkeypatch.setitem(globals(), "WEIGHT", WEIGHT.cuda())
    monkeypatch.setitem(globals(), "LOG_PRIOR", LOG_PRIOR.cuda())
    loss(on_gpu, labels_on_gpu)  # the first call loads kernels, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = loss(on_gpu, labels_on_gpu)
        value.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    monkeypatch.undo()
    expected = loss(logits.requires_grad_(), labels)
    expected.backward()
    torch.testing.assert_close(value.cpu(), expected)
    assert on_gpu.grad is not None
    torch.testing.assert_close(on_gpu.grad.cpu(), logits.grad)
