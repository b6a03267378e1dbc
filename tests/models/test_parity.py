"""One state_dict under every backend: the U-Net gives the same numbers, forward and backward."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from pointseg.models import SparseUNet
from tests.conftest import HAS_GPU
from tests.parity_cases import EXACT_NETWORKS, ROUNDED_NETWORKS, assert_near, half_types, has_gradients
from tests.sparse.dense_reference import random_voxels

pytestmark = pytest.mark.usefixtures("exact_backend")

SIZES = {"stem_channels": 8, "channels": (8, 16, 16, 16, 8, 8), "layers": (1, 2, 1, 1, 1, 1)}
SHAPE = (24, 24, 24)


def _make(backend: str) -> SparseUNet:
    torch.manual_seed(0)
    ours = SparseUNet(6, 5, **SIZES)  # type: ignore[arg-type]
    network = SparseUNet(6, 5, **SIZES, backend=backend)  # type: ignore[arg-type]
    network.load_state_dict(ours.state_dict())
    return network


def _num_voxels(backend: str) -> int:
    """Few for Triton's interpreter."""
    return 200 if backend == "spconv_triton" and not HAS_GPU else 3000


def _run(
    backend: str, device: str, training: bool, num_voxels: int, half: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Output and all gradients that there are; in eval mode too, where batch norm uses its running statistics."""
    network = _make(backend).to(device).train(training)
    coords = random_voxels(num_voxels, SHAPE, batch_size=2).to(device)
    inputs = torch.randn(num_voxels, 6, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    with nullcontext() if half is None else torch.autocast(device, half):
        output = network(inputs, coords, 2, SHAPE)
    results = {"logits": output.logits, "features": output.features}
    if not has_gradients(backend, device, training):
        return results
    # What is small in float16 must not become zero: the loss is scaled, as in training.
    scale = 1.0 if half is None else 4096.0
    loss = F.cross_entropy(output.logits.float(), torch.arange(num_voxels, device=device) % 5)
    names = [name for name, _ in network.named_parameters()]
    grads = torch.autograd.grad(scale * loss, [inputs, *network.parameters()])
    return {**results, **{name: grad / scale for name, grad in zip(["input", *names], grads, strict=True)}}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("backend", "device"), EXACT_NETWORKS)
def test_outputs_and_gradients_are_the_same_in_float32(backend: str, device: str, training: bool) -> None:
    expected = _run("torch", "cpu", training, _num_voxels(backend))
    for name, got in _run(backend, device, training, _num_voxels(backend)).items():
        # The gradients of biases before a batch norm are zero but for rounding; all others are not that small.
        want = expected[name] if expected[name].abs().max() > 1e-3 else torch.full_like(expected[name], 1e-3)
        assert_near(got if want is expected[name] else got.cpu() - expected[name] + want, want, 1e-4, name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("backend", "device"), ROUNDED_NETWORKS)
def test_outputs_are_nearly_the_same_in_half_precision(backend: str, device: str, training: bool) -> None:
    """To 2e-2 of the largest. What twenty layers round in a gradient is more; it is finite and points the same way."""
    expected = _run("torch", "cpu", training, _num_voxels(backend))
    for half in half_types(backend, device):
        results = _run(backend, device, training, _num_voxels(backend), half)
        assert results["logits"].dtype == half
        assert_near(results["logits"], expected["logits"], 2e-2, "logits")
        assert_near(results["features"], expected["features"], 2e-2, "features")
        for name, got in results.items():
            assert bool(got.isfinite().all()), name
        for name in {"input", "conv_input.0.weight", "final.weight"} & results.keys():
            cosine = F.cosine_similarity(results[name].float().cpu().flatten(), expected[name].flatten(), dim=0)
            assert cosine > 0.9, name


@pytest.mark.parametrize(("backend", "device"), EXACT_NETWORKS)
def test_no_voxels_and_a_single_one_are_taken(backend: str, device: str) -> None:
    network = _make(backend).to(device)
    for num_voxels in (0, 1):
        coords = torch.zeros(num_voxels, 4, dtype=torch.int32, device=device)
        output = network(torch.ones(num_voxels, 6, device=device), coords, 1, (8, 8, 8))
        assert output.logits.shape == (num_voxels, 5)
        assert output.features.shape == (num_voxels, 8)
        output.logits.sum().backward()


@pytest.mark.parametrize(("backend", "device"), EXACT_NETWORKS)
def test_a_grid_of_more_cells_than_int32_can_number(backend: str, device: str) -> None:
    """Two clusters of voxels 3,000 apart on each axis, 2.7e10 cells: each is as it is alone."""
    network = _make(backend).to(device).eval()
    near = random_voxels(500, (16, 16, 16))
    far = near + torch.tensor([0, 3000, 3000, 3000]).int()
    features = torch.randn(500, 6, generator=torch.Generator().manual_seed(1))
    shape = (3024, 3024, 3024)
    with torch.no_grad():
        expected = _make("torch").eval()(features, near, 1, (16, 16, 16)).logits
        both = torch.cat([near, far]).to(device)
        output = network(features.repeat(2, 1).to(device), both, 1, shape).logits
    assert_near(output[:500], expected, 1e-4)
    assert_near(output[500:], expected, 1e-4)
