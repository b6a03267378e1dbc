"""The layers of every backend against ours on the CPU, with the same weights, on the same voxels."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from pointseg.sparse import SparseConvTensor
from pointseg.sparse import backend as find_backend
from tests.parity_cases import EXACT, ON_GPU, ROUNDED, assert_near, half_types
from tests.sparse.dense_reference import random_voxels

pytestmark = pytest.mark.usefixtures("exact_backend")


def _run(
    name: str,
    device: str,
    make_layers: Any,
    spatial_shape: tuple[int, int, int],
    half: torch.dtype | None = None,
) -> tuple[list[torch.Tensor], tuple[int, ...]]:
    """Output by voxel and all gradients of a chain of layers on fixed voxels, and the output's grid."""
    torch.manual_seed(0)
    state = make_layers(find_backend("torch")).state_dict()
    library = find_backend(name)
    layers = make_layers(library).to(device)
    layers.load_state_dict(state)
    indices = random_voxels(300, spatial_shape, batch_size=2, order="random").to(device)
    features = torch.randn(300, 16, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    with nullcontext() if half is None else torch.autocast(device, half):
        output = layers(library.SparseConvTensor(features, indices, spatial_shape, 2))
    # spconv lists the voxels of a strided layer in another order; a dense grid has none.
    shape = tuple(output.spatial_shape)
    dense = SparseConvTensor(output.features.float(), output.indices, shape, 2).dense()
    direction = torch.randn(dense.shape, generator=torch.Generator().manual_seed(2)).to(device)
    grads = torch.autograd.grad((dense * direction).sum(), [features, *layers.parameters()])
    return [dense, *grads], shape


def _submanifold(kernel_size: int) -> Any:
    return lambda library: library.SparseSequential(
        library.SubMConv3d(16, 8, kernel_size, padding=1, bias=kernel_size == 1, indice_key="a")
    )


def _strided(kernel_size: int, stride: int, padding: int) -> Any:
    return lambda library: library.SparseSequential(
        library.SparseConv3d(16, 8, kernel_size, stride=stride, padding=padding, bias=False, indice_key="a")
    )


def _down_and_up(kernel_size: int, stride: int, padding: int) -> Any:
    return lambda library: library.SparseSequential(
        library.SparseConv3d(16, 8, kernel_size, stride=stride, padding=padding, bias=False, indice_key="a"),
        library.SparseInverseConv3d(8, 16, kernel_size, bias=False, indice_key="a"),
    )


LAYERS = [
    _submanifold(1),
    _submanifold(3),
    _submanifold(5),
    _strided(2, 2, 0),
    _strided(3, 2, 1),
    _strided(1, 1, 0),
    _down_and_up(2, 2, 0),
    _down_and_up(3, 2, 1),
]


@pytest.mark.parametrize("make_layers", LAYERS)
@pytest.mark.parametrize("spatial_shape", [(8, 10, 12), (9, 11, 7)])
@pytest.mark.parametrize(("backend", "device"), EXACT)
def test_outputs_and_gradients_are_the_same_in_float32(
    backend: str, device: str, make_layers: Any, spatial_shape: tuple[int, int, int]
) -> None:
    """On even grids, and on odd ones that clip: the same state_dict gives the same grid and the same gradients."""
    expected, expected_shape = _run("torch", "cpu", make_layers, spatial_shape)
    results, shape = _run(backend, device, make_layers, spatial_shape)
    assert shape == expected_shape
    for got, want in zip(results, expected, strict=True):
        assert_near(got, want, 1e-4)


@pytest.mark.parametrize("make_layers", LAYERS)
@pytest.mark.parametrize(("backend", "device"), ROUNDED)
def test_outputs_and_gradients_are_nearly_the_same_in_half_precision(
    backend: str, device: str, make_layers: Any
) -> None:
    expected, _ = _run("torch", "cpu", make_layers, (8, 10, 12))
    for half in half_types(backend, device):
        results, _ = _run(backend, device, make_layers, (8, 10, 12), half)
        for got, want in zip(results, expected, strict=True):
            assert_near(got, want, 2e-2)


def _one_of_each(library: Any) -> Any:
    return library.SparseSequential(
        library.SubMConv3d(16, 8, 5, bias=False, indice_key="stem"),
        torch.nn.BatchNorm1d(8),
        library.SparseConv3d(8, 8, 2, stride=2, bias=False, indice_key="down"),
        library.SubMConv3d(8, 8, 3, bias=False, indice_key="level"),
        library.SparseInverseConv3d(8, 8, 2, bias=False, indice_key="down"),
        library.SubMConv3d(8, 4, 1, bias=True),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("asked", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("backend", "device"), ON_GPU)
def test_layers_hand_one_half_type_on(backend: str, device: str, asked: torch.dtype, training: bool) -> None:
    """Whatever the size of their kernels, in training and when they predict: what one computes the next one takes."""
    torch.manual_seed(0)
    ours = _one_of_each(find_backend("torch")).train(training)
    library = find_backend(backend)
    layers = _one_of_each(library).to(device).train(training)
    layers.load_state_dict(ours.state_dict())
    indices = random_voxels(60, (8, 8, 8), batch_size=2)
    features = torch.randn(60, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = ours(SparseConvTensor(features, indices, (8, 8, 8), 2)).features
        with torch.autocast(device, asked):
            tensor = library.SparseConvTensor(features.to(device), indices.to(device), (8, 8, 8), 2)
            output = layers(tensor).features
    assert output.dtype == (asked if backend == "torch" else torch.float16)
    assert_near(output, expected, 5e-2 if output.dtype == torch.bfloat16 else 1e-2)
