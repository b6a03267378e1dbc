"""Submanifold convolution against dense conv3d, on every kind of grid."""

import pytest
import torch

from pointseg.sparse import SparseConvTensor, SubMConv3d
from tests.sparse.dense_reference import random_tensor, random_voxels, submanifold_reference


@pytest.mark.parametrize("kernel_size", [1, 3, 5, (3, 1, 5)])
@pytest.mark.parametrize("order", ["sorted", "random"])
def test_output_and_gradients_are_those_of_dense_conv3d(kernel_size: int | tuple[int, ...], order: str) -> None:
    """At every voxel the output, the input gradient and the weight gradient equal conv3d's."""
    tensor = random_tensor(200, (9, 7, 8), channels=4, batch_size=2, order=order)
    layer = SubMConv3d(4, 6, kernel_size).double()
    parameters = [tensor.features, layer.weight, layer.bias]

    output = layer(tensor).features
    expected = submanifold_reference(tensor, layer.weight, layer.bias)

    torch.testing.assert_close(output, expected)
    direction = torch.randn_like(output)
    for got, want in zip(
        torch.autograd.grad(output, parameters, direction),
        torch.autograd.grad(expected, parameters, direction),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def test_dilation_is_that_of_dense_conv3d() -> None:
    tensor = random_tensor(150, (8, 9, 7), channels=3)
    layer = SubMConv3d(3, 2, 3, dilation=2, bias=False).double()
    torch.testing.assert_close(layer(tensor).features, submanifold_reference(tensor, layer.weight, dilation=2))


def test_many_blocks_of_rows_make_one_output() -> None:
    """A rulebook is cut into blocks of rows; a grid that needs several gives what conv3d gives."""
    tensor = random_tensor(9_000, (26, 26, 26), channels=60, dtype=torch.float32)
    layer = SubMConv3d(60, 8, 3, indice_key="a")
    output = layer(tensor).features
    assert len(tensor.indice_dict["a"].forward.blocks) > 2
    expected = submanifold_reference(tensor, layer.weight, layer.bias)
    torch.testing.assert_close(output, expected)
    inputs = [tensor.features, layer.weight]
    for got, want in zip(
        torch.autograd.grad(output.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)


def test_gradcheck() -> None:
    """Numerical and analytical gradients agree in double precision."""
    tensor = random_tensor(30, (5, 4, 5), channels=2, batch_size=2)
    layer = SubMConv3d(2, 3, 3).double()

    def run(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (tensor.replace_feature(features),)).features

    assert torch.autograd.gradcheck(run, (tensor.features, layer.weight, layer.bias))


@pytest.mark.parametrize("shift", [-3, -(10**6), 10**6, 2**31 - 20, -(2**31)])
def test_where_the_voxels_are_does_not_matter(shift: int) -> None:
    """On an unbounded grid, moving all voxels (below zero, far out, to the ends of int32) changes nothing."""
    tensor = random_tensor(100, (6, 7, 8), channels=3, batch_size=2)
    moved = tensor.indices.long() + torch.tensor([0, shift, shift, shift])
    layer = SubMConv3d(3, 3, 3).double()
    far = SparseConvTensor(tensor.features, moved.int(), None, 2)
    assert torch.equal(layer(far).features, layer(tensor).features)


def test_voxels_a_million_apart_are_no_neighbours() -> None:
    """Scattered groups whose bounding box has 10^18 cells, beyond int32 keys, each give what they give alone."""
    group = random_voxels(40, (4, 4, 4))
    corners = torch.tensor([[0, 0, 0, 0], [0, 10**6, 0, 10**6], [0, 10**6, 10**6, 0]])
    indices = torch.cat([group + corner for corner in corners]).int()
    features = torch.randn(40, 2, dtype=torch.float64)
    layer = SubMConv3d(2, 2, 3).double()
    alone = layer(SparseConvTensor(features, group, None, 1)).features
    together = layer(SparseConvTensor(features.repeat(3, 1), indices, (10**6 + 4,) * 3, 1)).features
    torch.testing.assert_close(together, alone.repeat(3, 1))


def test_scenes_of_a_batch_do_not_see_each_other() -> None:
    """Voxels at the same place in neighbouring scenes, and at the borders of the grid, stay apart."""
    layer = SubMConv3d(2, 4, 5).double()
    scenes = [random_tensor(60, (5, 5, 5), channels=2, seed=seed) for seed in range(3)]
    batch_column = torch.arange(3).repeat_interleave(60)[:, None]
    indices = torch.cat([batch_column, torch.cat([scene.indices[:, 1:] for scene in scenes])], dim=1).int()
    features = torch.cat([scene.features for scene in scenes])
    together = layer(SparseConvTensor(features, indices, (5, 5, 5), 3)).features
    torch.testing.assert_close(together, torch.cat([layer(scene).features for scene in scenes]))


def test_no_voxel_and_one_voxel() -> None:
    """An empty tensor gives an empty one, with gradients of zero; a lone voxel meets the centre of the kernel."""
    layer = SubMConv3d(3, 5, 3).double()
    empty = SparseConvTensor(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 4, dtype=torch.int32), (4, 4, 4), 2)
    output = layer(empty).features
    assert output.shape == (0, 5)
    output.sum().backward()
    assert torch.equal(layer.weight.grad, torch.zeros_like(layer.weight))

    one = SparseConvTensor(torch.randn(1, 3, dtype=torch.float64), torch.tensor([[1, 2, 3, 0]]).int(), (4, 4, 4), 2)
    expected = one.features @ layer.weight[:, 1, 1, 1].t() + layer.bias
    torch.testing.assert_close(layer(one).features, expected)


def test_a_voxel_twice_is_refused_with_the_pair() -> None:
    indices = torch.tensor([[0, 1, 1, 1], [0, 3, 2, 1], [0, 2, 2, 2], [0, 3, 2, 1], [0, 1, 1, 1]]).int()
    tensor = SparseConvTensor(torch.zeros(5, 2), indices, (4, 4, 4), 1)
    with pytest.raises(ValueError, match=r"voxels 1 and 3 are both \(batch, x, y, z\) = \(0, 3, 2, 1\)"):
        SubMConv3d(2, 2, 3)(tensor)


def test_voxels_that_no_key_can_number_are_refused_with_the_extent() -> None:
    indices = torch.tensor([[0, -(2**31), -(2**31), 0], [0, 2**31 - 1, 2**31 - 1, 9]]).int()
    tensor = SparseConvTensor(torch.zeros(2, 2), indices, None, 1)
    with pytest.raises(ValueError, match="1 scenes of 4294967297 x 4294967297 x 11 positions"):
        SubMConv3d(2, 2, 3)(tensor)


def test_layers_of_one_key_share_one_map_and_must_fit_it() -> None:
    tensor = random_tensor(50, (5, 5, 5), channels=2, dtype=torch.float32)
    first = SubMConv3d(2, 2, 3, indice_key="a")
    first(tensor)
    found = tensor.indice_dict["a"]
    SubMConv3d(2, 4, 3, indice_key="a")(tensor)
    assert tensor.indice_dict["a"] is found
    with pytest.raises(ValueError, match="indice_key 'a' belongs to"):
        SubMConv3d(2, 2, 5, indice_key="a")(tensor)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 2}, "kernel_size.* odd"),
        ({"kernel_size": 0}, "kernel_size: expected an int or three ints >= 1, got 0"),
        ({"kernel_size": (3, 3)}, "kernel_size: expected an int or three ints"),
        ({"stride": 2}, "stride"),
        ({"dilation": 0}, "dilation"),
        ({"padding": -1}, "padding"),
        ({"in_channels": 0}, "in_channels: expected an int >= 1, got 0"),
        ({"out_channels": 2.5}, "out_channels"),
    ],
)
def test_arguments_are_checked(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubMConv3d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3, **arguments})


def test_channels_are_checked() -> None:
    tensor = random_tensor(5, (3, 3, 3), channels=2)
    with pytest.raises(ValueError, match=r"SubMConv3d: expected features of 4 channels, got \(5, 2\)"):
        SubMConv3d(4, 4, 3).double()(tensor)
