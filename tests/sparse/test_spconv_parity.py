"""Our layers against spconv's, with the same weights, on the same voxels."""

from typing import Any

import pytest
import torch

from pointseg.sparse import Backend, SparseConvTensor, backend
from tests.sparse.dense_reference import random_voxels

pytestmark = [pytest.mark.needs("spconv"), pytest.mark.usefixtures("spconv_on_cpu")]


@pytest.fixture
def spconv(spconv_on_cpu: None) -> Backend:
    """The spconv backend with its Native algorithm."""
    return backend("spconv")


def _run(library: Backend, make_layers: Any, state: dict | None, spatial_shape: tuple[int, int, int]) -> tuple:
    """Output by voxel, gradients, and the layers' state, of a chain of layers on fixed voxels."""
    layers = library.SparseSequential(*make_layers(library))
    if state is not None:
        layers.load_state_dict(state)
    indices = random_voxels(300, spatial_shape, batch_size=2, order="random")
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(300, 6, generator=generator).requires_grad_()
    output = layers(library.SparseConvTensor(features, indices, spatial_shape, 2))
    # spconv lists the voxels of a strided layer in another order; a dense grid has none.
    shape = tuple(output.spatial_shape)
    dense = SparseConvTensor(output.features, output.indices, shape, 2).dense()
    grads = torch.autograd.grad((dense * dense.detach().sin()).sum(), [features, *layers.parameters()])
    return dense, grads, layers.state_dict(), shape


def _submanifold(kernel_size: int) -> Any:
    return lambda library: [library.SubMConv3d(6, 5, kernel_size, padding=1, indice_key="a")]


def _strided(kernel_size: int, stride: int, padding: int) -> Any:
    return lambda library: [library.SparseConv3d(6, 5, kernel_size, stride=stride, padding=padding, indice_key="a")]


def _down_and_up(kernel_size: int, stride: int, padding: int) -> Any:
    return lambda library: [
        *_strided(kernel_size, stride, padding)(library),
        library.SparseInverseConv3d(5, 4, kernel_size, indice_key="a"),
    ]


@pytest.mark.parametrize(
    "make_layers",
    [
        _submanifold(1),
        _submanifold(3),
        _submanifold(5),
        _strided(2, 2, 0),
        _strided(3, 2, 1),
        _strided(1, 1, 0),
        _down_and_up(2, 2, 0),
        _down_and_up(3, 2, 1),
    ],
)
@pytest.mark.parametrize("spatial_shape", [(8, 10, 12), (9, 11, 7)])
def test_outputs_and_gradients_are_those_of_spconv(
    spconv: Backend, make_layers: Any, spatial_shape: tuple[int, int, int]
) -> None:
    """On even grids, and on odd ones that clip: the same state_dict gives the same grid and the same gradients."""
    expected, expected_grads, state, expected_shape = _run(spconv, make_layers, None, spatial_shape)
    output, grads, _, shape = _run(backend("torch"), make_layers, state, spatial_shape)
    assert shape == expected_shape
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
