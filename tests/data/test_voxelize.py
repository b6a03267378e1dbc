"""Voxels: unique, sorted, and with a way back for every point."""

import math
from collections import Counter

import pytest
import torch

from pointseg.data.points import Points
from pointseg.data.voxel_means import majority_label, voxelize_by_mean
from pointseg.data.voxelize import TooWideError, build_grid, draw_points, stack_features
from pointseg.errors import DataError


def _points(num_points: int = 2000, seed: int = 0) -> Points:
    generator = torch.Generator().manual_seed(seed)
    return Points(
        xyz=torch.rand(num_points, 3, generator=generator) * torch.tensor([1.0, 0.7, 0.3]) - 5.0,
        rgb=torch.rand(num_points, 3, generator=generator),
        normal=None,
        label=torch.randint(-1, 4, (num_points,), generator=generator),
    )


def test_coords_are_unique_sorted_from_zero_and_hold_their_points() -> None:
    points = _points()
    grid = build_grid(points.xyz, 0.1)
    rows = [tuple(row) for row in grid.coords.tolist()]
    assert rows == sorted(set(rows))
    assert grid.coords.amin(0).tolist() == [0, 0, 0]
    cell = ((points.xyz - points.xyz.amin(0)) / 0.1).floor().int()
    assert torch.equal(grid.coords[grid.voxel_of_point], cell)
    assert torch.equal(grid.count_points(), torch.bincount(grid.voxel_of_point))


def test_training_takes_one_point_of_each_voxel_with_equal_chance() -> None:
    points = Points(
        xyz=torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [0.02, 0, 0], [1.0, 0, 0]]),
        rgb=None,
        normal=None,
        label=torch.tensor([0, 1, 2, 3]),
    )
    generator = torch.Generator().manual_seed(0)
    drawn: Counter[int] = Counter()
    for _ in range(3000):
        _, kept = draw_points(points, 0.1, generator)
        assert kept.label[1] == 3
        drawn[int(kept.label[0])] += 1
    for label in range(3):
        assert abs(drawn[label] - 1000) < 5 * 26  # five standard deviations of a fair draw


def test_all_of_a_drawn_voxel_is_of_one_point_that_lies_in_it() -> None:
    points = _points()
    grid, kept = draw_points(points, 0.1, torch.Generator().manual_seed(1))
    rows = {tuple(row) for row in torch.cat([points.xyz, points.rgb, points.label[:, None]], 1).tolist()}
    drawn = torch.cat([kept.xyz, kept.rgb, kept.label[:, None]], 1).tolist()
    assert all(tuple(row) in rows for row in drawn)
    assert torch.equal(((kept.xyz - points.xyz.amin(0)) / 0.1).floor().int(), grid.coords)


def test_evaluation_takes_mean_features_and_majority_label() -> None:
    points = _points(500)
    voxels = voxelize_by_mean(points, 0.1, ("xyz", "rgb"))
    for v in range(len(voxels.coords)):
        members = voxels.voxel_of_point == v
        expected = torch.cat([points.xyz, points.rgb], 1)[members].mean(0)
        torch.testing.assert_close(voxels.features[v], expected)
        votes = Counter(label for label in points.label[members].tolist() if label >= 0)
        expected_label = min(votes, key=lambda k: (-votes[k], k)) if votes else -1
        assert voxels.label[v] == expected_label


@pytest.mark.parametrize("features", [("rgb",), ("xyz",), ("rgb", "xyz")])
def test_a_voxel_has_the_inputs_that_were_asked_for_in_their_order(features: tuple[str, ...]) -> None:
    """Coordinates, too, only where they are asked for: every voxel is somewhere, but not every network is told."""
    points = _points(500)
    expected = torch.cat([getattr(points, name) for name in features], 1)
    assert torch.equal(stack_features(points, features), expected)
    mean = voxelize_by_mean(points, 1e-4, features)
    torch.testing.assert_close(mean.features[mean.voxel_of_point], expected)


def test_a_scene_without_labels_has_ignored_voxels() -> None:
    points = _points(50)
    grid = build_grid(points.xyz, 0.1)
    assert (majority_label(torch.full((50,), -1), grid) == -1).all()


def test_a_scene_of_one_point_is_one_voxel() -> None:
    voxels = voxelize_by_mean(_points(1), 0.02, ("xyz",))
    assert voxels.coords.tolist() == [[0, 0, 0]]
    assert voxels.voxel_of_point.tolist() == [0]


def test_a_scene_too_large_to_index_is_refused_with_its_extent() -> None:
    with pytest.raises(DataError, match=r"a scene of 5e\+10 x 1 x 1 voxels .* in metres"):
        build_grid(torch.tensor([[0.0, 0, 0], [1e9, 0, 0]]), 0.02)


@pytest.mark.parametrize("far", [1e9, 1e18, 1e30])
def test_a_point_too_far_away_is_refused(far: float) -> None:
    """However far: the largest floats, as integers, would be small ones."""
    for origin in (None, torch.zeros(3)):
        with pytest.raises(TooWideError, match="is no point far from the others"):
            build_grid(torch.tensor([[0.0, 0, 0], [far, far, far]]), 0.02, origin=origin)


@pytest.mark.parametrize("far_m", [4990.0, 1e5, 1e7])
def test_a_far_stray_leaves_the_other_points_in_their_voxels(far_m: float) -> None:
    """In float32 the place of a point in its voxel is lost from there on, and two points of one voxel part."""
    xyz = (_points().xyz * 8).double().round(decimals=4).float()
    stray = torch.tensor([[-far_m, 0.0, 0.0]])
    alone = build_grid(xyz, 0.02)
    # The grid of both begins at a corner of the same voxels.
    origin = (xyz.amin(dim=0).double() - torch.tensor([math.ceil(far_m / 0.02) * 0.02, 0, 0])).clone()
    both = build_grid(torch.cat([xyz, stray]), 0.02, origin=origin)
    moved = both.coords[both.voxel_of_point[:-1]] - alone.coords[alone.voxel_of_point]
    assert ((moved - moved[0]).abs().sum(dim=1) == 0).float().mean() > 0.998
    own_origin = build_grid(torch.cat([xyz, stray]), 0.02)
    assert abs(own_origin.num_voxels - alone.num_voxels) < 0.02 * alone.num_voxels
