"""Voxels as evaluation has them: the mean of their points, and the label that most of these have."""

from collections.abc import Sequence

import torch

from pointseg.data.points import Points
from pointseg.data.voxelize import VoxelGrid, Voxels, build_grid, stack_features
from pointseg.taxonomy import IGNORE


def voxelize_by_mean(
    points: Points,
    voxel_size_m: float,
    features: Sequence[str],
    origin: torch.Tensor | None = None,
    color_range: tuple[int, int] = (0, 1),
) -> Voxels:
    """Mean features and majority label of each voxel's points: the form for evaluation."""
    grid = build_grid(points.xyz, voxel_size_m, origin=origin)
    stacked = stack_features(points, features, color_range)
    total = stacked.new_zeros(grid.num_voxels, stacked.shape[1]).index_add_(0, grid.voxel_of_point, stacked)
    mean = total / grid.count_points().unsqueeze(1)
    return Voxels(grid.coords, mean, majority_label(points.label, grid), grid.voxel_of_point)


def majority_label(label: torch.Tensor, grid: VoxelGrid) -> torch.Tensor:
    """(M,) int64: the most frequent label in each voxel, the smallest of equals.

    IGNORE has no vote; a voxel without any labelled point is IGNORE.
    """
    labelled = label != IGNORE
    majority = torch.full((grid.num_voxels,), IGNORE, dtype=torch.int64, device=label.device)
    if not bool(labelled.any()):
        return majority
    num_labels = int(label.max()) + 1
    pairs, votes = (grid.voxel_of_point[labelled] * num_labels + label[labelled]).unique(return_counts=True)
    # Ascending by votes, and among equals descending by label, so that the last of a voxel is the winner.
    ranked = pairs.flip(0)[votes.flip(0).sort(stable=True).indices]
    voxel, voted = ranked // num_labels, ranked % num_labels
    by_voxel = voxel.sort(stable=True).indices
    voxel, voted = voxel[by_voxel], voted[by_voxel]
    last = torch.ones_like(voxel, dtype=torch.bool)
    last[:-1] = voxel[1:] != voxel[:-1]
    majority[voxel[last]] = voted[last]
    return majority
