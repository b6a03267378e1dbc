"""Number formats and repeatability of the convolutions."""

from collections.abc import Callable

import pytest
import torch

from pointseg.sparse import SparseConv3d, SparseModule, SubMConv3d
from tests.sparse.dense_reference import random_tensor


def test_autocast_runs_in_half_precision_near_the_single_precision_result() -> None:
    """Under autocast the output is bfloat16, within 2e-2 of float32, and gradients arrive in float32."""
    tensor = random_tensor(400, (10, 10, 10), channels=16, dtype=torch.float32)
    layer = SubMConv3d(16, 16, 3)
    expected = layer(tensor).features
    inputs = [tensor.features, layer.weight, layer.bias]
    direction = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, inputs, direction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(tensor).features
    assert output.dtype == torch.bfloat16
    assert (output - expected).abs().max() < 2e-2 * expected.abs().max()
    grads = torch.autograd.grad(output, inputs, direction.bfloat16())
    for got, want in zip(grads, expected_grads, strict=True):
        assert got.dtype == torch.float32
        assert (got - want).abs().max() < 2e-2 * want.abs().max()


@pytest.mark.parametrize("make", [lambda: SubMConv3d(4, 4, 3), lambda: SparseConv3d(4, 4, 3, stride=2, padding=1)])
def test_equal_inputs_give_equal_bits(make: Callable[[], SparseModule]) -> None:
    """Outputs and gradients on a CPU are the same to the last bit each time."""
    layer = make()
    results = []
    for _ in range(2):
        tensor = random_tensor(3000, (20, 20, 20), channels=4, dtype=torch.float32)
        output = layer(tensor).features
        results.append([output, *torch.autograd.grad(output.square().sum(), [tensor.features, layer.weight])])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


def test_a_tensor_may_be_used_twice() -> None:
    """Two layers on one input add their gradients, as for any torch function."""
    tensor = random_tensor(50, (5, 5, 5), channels=2)
    layer = SubMConv3d(2, 2, 3, indice_key="a").double()
    (once,) = torch.autograd.grad(layer(tensor).features.sum(), tensor.features)
    twice = layer(tensor).features.sum() + layer(tensor).features.sum()
    torch.testing.assert_close(torch.autograd.grad(twice, tensor.features)[0], 2 * once)


def test_inference_mode_and_its_neighbour_maps_serve_training() -> None:
    """A map made in inference mode is used by a later training pass over the same tensor."""
    tensor = random_tensor(50, (5, 5, 5), channels=2)
    layer = SubMConv3d(2, 2, 3, indice_key="a").double()
    with torch.inference_mode():
        inferred = layer(tensor).features
    output = layer(tensor).features
    assert torch.equal(output, inferred)
    output.sum().backward()
    assert layer.weight.grad is not None
