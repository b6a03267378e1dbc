"""How pure the neighbourhood of a class is: among how much of other classes it stands."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from pointseg.data.voxel_means import majority_label
from pointseg.data.voxelize import build_grid
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.sparse.keys import VoxelSet
from pointseg.sparse.neighbours import ConvGeometry, submanifold_table
from pointseg.taxonomy import IGNORE, load_taxonomy

_AROUND = ConvGeometry((3, 3, 3))


@lru_cache(maxsize=8)  # a table is written anew after each run, on the same rooms
def measure_purity(root: str, split: str, taxonomy_name: str, voxel_size_m: float) -> np.ndarray:
    """(K,) float64: of the labelled voxels beside those of a class, the share that has the class, too; NaN without any.

    Beside are those of the 3x3x3 voxels around, which the network's first convolution sees. A voxel has the label of
    most of its points.

    Args:
        root: of the prepared tree.
        split: whose scenes.
        taxonomy_name: of K classes.
        voxel_size_m: edge of a voxel, metres.
    """
    taxonomy = load_taxonomy(taxonomy_name)
    beside = np.zeros((2, taxonomy.num_classes), dtype=np.int64)
    for folder in list_scenes(Path(root), split):
        scene = read_scene(folder, taxonomy)
        assert scene.label is not None, "rooms of the laboratory have labels in every split"
        grid = build_grid(torch.from_numpy(scene.xyz), voxel_size_m)
        label = majority_label(torch.from_numpy(scene.label).long(), grid)
        beside += count_beside(grid.coords, label, taxonomy.num_classes)
    with np.errstate(invalid="ignore"):
        return beside[1] / beside[0]


def count_beside(coords: torch.Tensor, label: torch.Tensor, num_classes: int) -> np.ndarray:
    """For each class, the labelled voxels beside its own, and those of them that have its label.

    Args:
        coords: (M, 3) int32, each once.
        label: (M,) int64, or ``IGNORE``.
        num_classes: K.

    Returns:
        (2, K) int64; a voxel counts as often as it is beside one of the class.
    """
    voxels = VoxelSet.read(F.pad(coords, (1, 0)))  # all in scene 0
    row_beside = submanifold_table(voxels, _AROUND).long()
    row_beside[_AROUND.num_offsets // 2] = -1  # the voxel itself
    offset, row = ((row_beside >= 0) & (label != IGNORE)).nonzero(as_tuple=True)
    own, other = label[row], label[row_beside[offset, row]]
    counted = (own[other != IGNORE], own[other == own])
    return np.stack([torch.bincount(labels, minlength=num_classes).numpy() for labels in counted])
