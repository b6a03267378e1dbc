"""Strided convolution and its inverse against dense conv3d and conv_transpose3d."""

import pytest
import torch
from torch.nn import functional as F

from pointseg.sparse import SparseConv3d, SparseConvTensor, SparseInverseConv3d, SubMConv3d
from pointseg.sparse.keys import VoxelSet
from pointseg.sparse.neighbours import ConvGeometry
from tests.sparse.dense_reference import dense_weight, occupied, random_tensor, random_voxels, read_at

GEOMETRIES = [
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 3, "padding": 2},
    {"kernel_size": 5, "stride": 2, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (2, 3, 1), "stride": (2, 1, 3), "padding": (0, 1, 0)},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "stride": 3, "padding": 3, "dilation": 2},
    {"kernel_size": 2, "stride": 6, "padding": 1, "dilation": 4},
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("order", ["sorted", "random"])
def test_outputs_and_gradients_are_those_of_dense_conv3d(geometry: dict, order: str) -> None:
    """Outputs stand, sorted, exactly where the kernel meets a voxel inside conv3d's output, with its values."""
    tensor = random_tensor(60, (9, 8, 7), channels=3, batch_size=2, order=order)
    layer = SparseConv3d(3, 5, **geometry, bias=False).double()
    conv_arguments = {name: value for name, value in geometry.items() if name != "kernel_size"}
    weight = layer.weight.permute(0, 4, 1, 2, 3)

    output = layer(tensor)
    dense = F.conv3d(tensor.dense(), weight, **conv_arguments)
    reached = F.conv3d(occupied(tensor), torch.ones_like(weight[:1, :1]), **conv_arguments)[:, 0]

    assert output.spatial_shape == tuple(dense.shape[2:])
    assert torch.equal(output.indices.long(), (reached > 0.5).nonzero())
    torch.testing.assert_close(output.features, read_at(dense, output.indices))
    direction = torch.randn_like(output.features)
    inputs = [tensor.features, layer.weight]
    for got, want in zip(
        torch.autograd.grad(output.features, inputs, direction),
        torch.autograd.grad(read_at(dense, output.indices), inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def _cut_off(tensor: SparseConvTensor, geometry: ConvGeometry) -> tuple[int, ...]:
    """How many planes of the fine grid the strided convolution does not reach, on each axis."""
    axes = zip(
        tensor.spatial_shape,
        geometry.kernel_size,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        strict=True,
    )
    return tuple((s + 2 * p - d * (k - 1) - 1) % t for s, k, t, p, d in axes)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("spatial_shape", [(9, 8, 7), None])
def test_where_outputs_can_be_is_known_without_reading_them(
    geometry: dict, spatial_shape: tuple[int, ...] | None
) -> None:
    """The box of the outputs holds them all; where a full box of voxels meets no border, it is the smallest."""
    indices = random_voxels(9 * 8 * 7, (9, 8, 7), order="random") - torch.tensor(
        [0, 3, 3, 3] if spatial_shape is None else 0
    )
    tensor = SparseConvTensor(torch.ones(len(indices), 1), indices.int(), spatial_shape, 1)
    outputs = SparseConv3d(1, 1, **geometry)(tensor).voxels
    read = VoxelSet.read(outputs.indices)
    assert read.ascending
    assert outputs.ascending
    assert all(known <= found for known, found in zip(outputs.low, read.low, strict=True))
    assert all(known >= found for known, found in zip(outputs.high, read.high, strict=True))
    if spatial_shape is None:
        assert (outputs.low, outputs.high) == (read.low, read.high)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_inverse_is_dense_conv_transpose3d_at_the_input_voxels(geometry: dict) -> None:
    """The inverse layer gives conv_transpose3d of the coarse grid, read at the fine voxels, and its gradients."""
    tensor = random_tensor(60, (9, 8, 7), channels=3, batch_size=2, order="random")
    down = SparseConv3d(3, 4, **geometry, indice_key="down").double()
    up = SparseInverseConv3d(4, 2, geometry["kernel_size"], indice_key="down").double()
    coarse = down(tensor)
    coarse = coarse.replace_feature(coarse.features.detach().requires_grad_())

    output = up(coarse)
    assert output.indices is tensor.indices
    assert output.spatial_shape == tensor.spatial_shape

    conv_arguments = {name: value for name, value in geometry.items() if name != "kernel_size"}
    weight = up.weight.permute(4, 0, 1, 2, 3)
    dense = F.conv_transpose3d(coarse.dense(), weight, **conv_arguments, output_padding=_cut_off(tensor, down.geometry))
    expected = read_at(dense, tensor.indices) + up.bias
    torch.testing.assert_close(output.features, expected)
    direction = torch.randn_like(expected)
    inputs = [coarse.features, up.weight]
    for got, want in zip(
        torch.autograd.grad(output.features, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def test_gradcheck_down_and_up() -> None:
    """Numerical and analytical gradients of a strided layer and its inverse agree in double precision."""
    tensor = random_tensor(25, (5, 6, 4), channels=2, batch_size=2)
    down = SparseConv3d(2, 3, 3, stride=2, padding=1, bias=False, indice_key="down").double()
    up = SparseInverseConv3d(3, 2, 3, indice_key="down", bias=False).double()

    def run(features: torch.Tensor, down_weight: torch.Tensor, up_weight: torch.Tensor) -> torch.Tensor:
        fresh = SparseConvTensor(features, tensor.indices, tensor.spatial_shape, 2)
        coarse = torch.func.functional_call(down, {"weight": down_weight}, (fresh,))
        return torch.func.functional_call(up, {"weight": up_weight}, (coarse,)).features

    assert torch.autograd.gradcheck(run, (tensor.features, down.weight, up.weight))


def test_an_odd_grid_drops_its_last_plane_as_spconv_does() -> None:
    """Halving a grid of 5 leaves 2: a voxel in the last plane has no output, and gets zero on the way back."""
    indices = torch.tensor([[0, 0, 0, 0], [0, 4, 1, 1]]).int()
    tensor = SparseConvTensor(torch.ones(2, 1), indices, (5, 4, 4), 1)
    coarse = SparseConv3d(1, 1, 2, stride=2, bias=False, indice_key="down")(tensor)
    assert coarse.spatial_shape == (2, 2, 2)
    assert coarse.indices.tolist() == [[0, 0, 0, 0]]
    back = SparseInverseConv3d(1, 1, 2, indice_key="down", bias=False)(coarse)
    assert back.features[1].item() == 0
    assert back.features[0].item() != 0


@pytest.mark.parametrize("shift", [-2, -(10**6), 10**6])
def test_without_a_shape_coordinates_divide_rounding_down(shift: int) -> None:
    """On an unbounded grid a move by 2 n moves the halved voxels by n and changes no value, below zero as well."""
    tensor = random_tensor(80, (8, 8, 8), channels=2)
    unbounded = SparseConvTensor(tensor.features, tensor.indices, None, 1)
    moved = SparseConvTensor(tensor.features, tensor.indices + torch.tensor([0, 2, 2, 2]).int() * shift, None, 1)
    layer = SparseConv3d(2, 3, 2, stride=2).double()
    here, there = layer(unbounded), layer(moved)
    expected = here.indices + torch.tensor([0, 1, 1, 1]).int() * shift
    assert torch.equal(there.indices, expected)
    assert torch.equal(there.features, here.features)
    assert there.spatial_shape is None
    assert torch.equal(layer(tensor).features, here.features)


def test_without_a_shape_nothing_is_dropped() -> None:
    """A kernel of 3 with padding 1 reaches one voxel beyond the occupied ones on each side of an unbounded grid."""
    tensor = SparseConvTensor(torch.ones(1, 1), torch.zeros(1, 4, dtype=torch.int32), None, 1)
    output = SparseConv3d(1, 1, 3, padding=1)(tensor)
    assert output.indices[:, 1:].amin(0).tolist() == [-1, -1, -1]
    assert output.indices[:, 1:].amax(0).tolist() == [1, 1, 1]
    assert output.num_voxels == 27


def test_no_voxel_and_one_voxel() -> None:
    down = SparseConv3d(2, 3, 2, stride=2, indice_key="down")
    up = SparseInverseConv3d(3, 2, 2, indice_key="down")
    empty = SparseConvTensor(torch.zeros(0, 2), torch.zeros(0, 4, dtype=torch.int32), (4, 4, 4), 1)
    assert down(empty).features.shape == (0, 3)
    back = up(down(SparseConvTensor(empty.features, empty.indices, (4, 4, 4), 1)))
    assert back.features.shape == (0, 2)
    back.features.sum().backward()
    assert torch.equal(down.weight.grad, torch.zeros_like(down.weight))

    one = SparseConvTensor(torch.ones(1, 2), torch.tensor([[0, 3, 2, 1]]).int(), (4, 4, 4), 1)
    coarse = down(one)
    assert coarse.indices.tolist() == [[0, 1, 1, 0]]
    torch.testing.assert_close(coarse.features, one.features @ down.weight[:, 1, 0, 1].t() + down.bias)


def test_a_voxel_twice_is_refused() -> None:
    tensor = SparseConvTensor(torch.zeros(2, 1), torch.tensor([[0, 1, 1, 1]] * 2).int(), (4, 4, 4), 1)
    with pytest.raises(ValueError, match="voxels 0 and 1 are both"):
        SparseConv3d(1, 1, 2, stride=2)(tensor)


def test_keys_that_do_not_fit_are_refused() -> None:
    """A key names one strided layer; the inverse needs that layer, its kernel size and its output."""
    tensor = random_tensor(20, (4, 4, 4), channels=2, dtype=torch.float32)
    coarse = SparseConv3d(2, 2, 2, stride=2, indice_key="down")(tensor)
    SubMConv3d(2, 2, 3, indice_key="same")(tensor)
    with pytest.raises(ValueError, match="'down' is taken"):
        SparseConv3d(2, 2, 2, stride=2, indice_key="down")(coarse)
    with pytest.raises(ValueError, match="no SparseConv3d with this key"):
        SparseInverseConv3d(2, 2, 2, indice_key="other")(coarse)
    with pytest.raises(ValueError, match="no SparseConv3d with this key"):
        SparseInverseConv3d(2, 2, 3, indice_key="same")(tensor)
    with pytest.raises(ValueError, match=r"has kernel size \(2, 2, 2\), this layer \(3, 3, 3\)"):
        SparseInverseConv3d(2, 2, 3, indice_key="down")(coarse)
    with pytest.raises(ValueError, match="led to 8 voxels, got 20"):
        SparseInverseConv3d(2, 2, 2, indice_key="down")(tensor)
    with pytest.raises(ValueError, match="belongs to a strided convolution"):
        SubMConv3d(2, 2, 3, indice_key="down")(tensor)
    with pytest.raises(ValueError, match="indice_key: expected the key"):
        SparseInverseConv3d(2, 2, 2, indice_key="")


def test_a_grid_smaller_than_the_kernel_is_refused() -> None:
    tensor = SparseConvTensor(torch.zeros(1, 1), torch.zeros(1, 4, dtype=torch.int32), (1, 4, 4), 1)
    with pytest.raises(ValueError, match=r"leaves nothing of the spatial shape \(1, 4, 4\)"):
        SparseConv3d(1, 1, 2, stride=2)(tensor)


def test_one_by_one_weights_are_read_as_in_by_out() -> None:
    """The memory of a 1x1x1 weight (out, 1, 1, 1, in) is an (in, out) matrix, which published weights rely on."""
    tensor = random_tensor(10, (4, 4, 4), channels=2)
    layer = SparseConv3d(2, 3, 1, bias=False).double()
    torch.testing.assert_close(layer(tensor).features, tensor.features @ layer.weight.reshape(2, 3))
    dense = F.conv3d(tensor.dense(), dense_weight(layer.weight))
    torch.testing.assert_close(layer(tensor).features, read_at(dense, tensor.indices))


def test_a_key_is_of_voxels_and_not_of_their_number() -> None:
    """Each voxel alone in its coarse one: as many before as after, at other places."""
    indices = torch.tensor([[0, 0, 0, 0], [0, 2, 0, 1], [0, 5, 4, 0]]).int()
    tensor = SparseConvTensor(torch.randn(3, 2), indices, (6, 6, 6), 1)
    SubMConv3d(2, 2, 3, indice_key="k")(tensor)
    coarse = SparseConv3d(2, 2, 2, stride=2, indice_key="down")(tensor)
    assert coarse.num_voxels == 3
    with pytest.raises(ValueError, match=r"'k' belongs to .* on 3 voxels, this layer has .* on 3 others"):
        SubMConv3d(2, 2, 3, indice_key="k")(coarse)
    with pytest.raises(ValueError, match="'down' led to 3 voxels, got 3 others"):
        SparseInverseConv3d(2, 2, 2, indice_key="down")(tensor)
    # Equal voxels of another tensor, with the maps of the first, are the same voxels, as in spconv.
    again = SparseConvTensor(torch.randn(3, 2), indices.clone(), (6, 6, 6), 1, indice_dict=tensor.indice_dict)
    SubMConv3d(2, 2, 3, indice_key="k")(again)
