"""The sparse tensor, its keys and its shapes."""

import pytest
import torch

from pointseg.sparse import SparseConvTensor, conv_output_shape, padded_spatial_shape
from pointseg.sparse.keys import KeyGrid, VoxelSet
from tests.sparse.dense_reference import random_tensor, random_voxels


def test_dense_puts_each_feature_at_its_voxel_and_nothing_elsewhere() -> None:
    tensor = random_tensor(20, (3, 4, 5), channels=2, batch_size=2)
    dense = tensor.dense()
    assert dense.shape == (2, 2, 3, 4, 5)
    for row, (b, x, y, z) in enumerate(tensor.indices.tolist()):
        assert torch.equal(dense[b, :, x, y, z], tensor.features[row])
    assert (dense != 0).sum() == 40
    assert torch.equal(tensor.dense(channels_first=False), dense.permute(0, 2, 3, 4, 1))


def test_replace_feature_keeps_voxels_and_maps() -> None:
    tensor = random_tensor(5, (3, 3, 3), channels=2)
    other = tensor.replace_feature(torch.zeros(5, 7))
    assert other.indices is tensor.indices
    assert other.indice_dict is tensor.indice_dict
    assert other.features.shape == (5, 7)
    with pytest.raises(ValueError, match=r"features: expected \(5, C\)"):
        tensor.replace_feature(torch.zeros(4, 2))


def _tensor(**changes: object) -> SparseConvTensor:
    arguments = {
        "features": torch.zeros(3, 2),
        "indices": torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [1, 2, 3, 4]]).int(),
        "spatial_shape": (3, 4, 5),
        "batch_size": 2,
    }
    return SparseConvTensor(**{**arguments, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": torch.zeros(4, 2)}, r"features: expected \(3, C\) floating point, got \(4, 2\)"),
        ({"features": torch.zeros(3)}, "features: expected"),
        ({"features": torch.zeros(3, 2).int()}, "floating point"),
        ({"indices": torch.zeros(3, 3).int()}, r"indices: expected \(M, 4\) int32, got \(3, 3\)"),
        ({"indices": torch.zeros(3, 4)}, r"indices: expected \(M, 4\) int32, got \(3, 4\) torch.float32"),
        ({"spatial_shape": (3, 4)}, "spatial_shape: expected three positive numbers"),
        ({"spatial_shape": (3, 0, 5)}, "spatial_shape: expected three positive numbers"),
        ({"spatial_shape": (3, 3, 5)}, r"voxel 2 is \(batch, x, y, z\) = \(1, 2, 3, 4\), outside"),
        ({"batch_size": 1}, "voxel 1 is .* outside the batch of 1"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"indices": torch.tensor([[0, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0]]).int()}, "voxel 1 is .* outside"),
        ({"indices": torch.tensor([[0, 0, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]).int()}, "voxel 1 is .* outside"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_first_offender(changes: dict, message: str) -> None:
    _tensor()
    with pytest.raises(ValueError, match=message):
        _tensor(**changes)


def test_without_a_shape_any_coordinate_is_inside_but_dense_is_refused() -> None:
    tensor = _tensor(spatial_shape=None, indices=torch.tensor([[0, -5, 0, 0], [0, 0, 0, 0], [1, 10**9, 0, 0]]).int())
    with pytest.raises(ValueError, match="spatial_shape"):
        tensor.dense()


def test_keys_decode_to_the_voxels_and_keep_their_order() -> None:
    """Keys beyond int32, of voxels above and below zero, come back as they were; sorting keys sorts voxels."""
    voxels = random_voxels(200, (20, 20, 20), batch_size=3)
    far = voxels.long() * torch.tensor([1, 10**6, 100, 10**4]) - torch.tensor([0, 10**7, 500, 5])
    far = far.int()
    grid = KeyGrid.around(far.amin(0).tolist(), far.amax(0).tolist(), margin=(1, 2, 3))
    keys = grid.encode(far.unbind(1))
    assert keys.dtype == torch.int64
    assert keys.max() > 2**31
    assert torch.equal(grid.decode(keys), far)
    assert bool((keys[1:] > keys[:-1]).all())
    assert keys.max() < grid.num_cells


@pytest.mark.parametrize("num_stages", [0, 1, 4])
@pytest.mark.parametrize("extent", [(1, 1, 1), (16, 17, 31), (160, 33, 95)])
def test_a_padded_shape_halves_without_losing_a_plane(extent: tuple[int, int, int], num_stages: int) -> None:
    shape = padded_spatial_shape(extent, num_stages)
    for size, padded in zip(extent, shape, strict=True):
        assert size <= padded < size + 2**num_stages
    for _ in range(num_stages):
        halved = conv_output_shape(shape, (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1))
        assert shape == tuple(2 * size for size in halved)
        shape = halved


@pytest.mark.parametrize(("extent", "num_stages"), [((0, 1, 1), 4), ((1, 1), 4), ((1, 1, 1), -1)])
def test_a_shape_that_can_not_be_padded_is_refused(extent: tuple[int, ...], num_stages: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        padded_spatial_shape(extent, num_stages)


@pytest.mark.parametrize("where", [0, -(2**31), 2**31 - 5])
def test_a_voxel_set_knows_its_box_and_whether_it_ascends(where: int) -> None:
    """At the ends of int32 as well; two voxels alike do not ascend."""
    steps = [[0, 0, 0, 0], [0, 0, 0, 4], [0, 0, 1, 0], [0, 3, 0, 0], [2, 0, 0, 0]]
    indices = (torch.tensor(steps) + torch.tensor([0, where, where, where])).int()
    voxels = VoxelSet.read(indices)
    assert voxels.low == (0, where, where, where)
    assert voxels.high == (2, where + 3, where + 1, where + 4)
    assert voxels.ascending
    assert voxels.order is None
    for first in range(4):
        swapped = torch.tensor([*range(first), first + 1, first, *range(first + 2, 5)])
        assert not VoxelSet.read(indices[swapped]).ascending
        assert torch.equal(VoxelSet.read(indices[swapped]).order, swapped)
        assert not VoxelSet.read(indices[[*range(first + 1), first, *range(first + 1, 5)]]).ascending
