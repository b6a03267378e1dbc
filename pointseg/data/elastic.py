"""Elastic distortion of a scene."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from pointseg.data.augment import draw_normal
from pointseg.data.points import Points

_MAX_NODES = 2**21
"""Of the noise grid of a distortion: 25 MB."""


def distort_elastically(points: Points, levels: Sequence[tuple[float, float]], generator: torch.Generator) -> Points:
    """Move neighbours alike: displacements are blurred noise, trilinear between the nodes of a grid.

    After Simard et al., "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis"
    (ICDAR 2003), as SparseConvNet brought it to scans: normal noise, averaged over three nodes along each axis, twice.
    Unlike there, the levels are added up before they move anything, the noise goes on beyond the scene, so that the
    margins move as far as the middle, and the grid of a scene of more than 2**21 nodes has larger cells. Normals stay
    as they are, as there.

    Args:
        points: the scene.
        levels: at least one, each (granularity, magnitude): cell of the grid, and factor on the blurred noise, both
            metres. A node's displacement along an axis has a standard deviation of (19/81)**1.5 = 0.11 magnitudes.
        generator: the source of the noise.
    """
    low, high = torch.aminmax(points.xyz, dim=0)
    extent_m = (high - low).tolist()
    cell_m = min(granularity for granularity, _ in levels)
    while math.prod(int(e / cell_m) + 2 for e in extent_m) > _MAX_NODES:
        cell_m *= 1.5
    num_nodes = [int(e / cell_m) + 2 for e in extent_m]
    field = torch.zeros(3, *num_nodes, device=generator.device)
    for granularity, magnitude in levels:
        ratio = min(1.0, cell_m / granularity)
        noise = _blurred_noise([int((n - 1) * ratio) + 2 for n in num_nodes], generator)
        for axis in range(3) if ratio < 1 else ():
            noise = _refine(noise, 1 + axis, num_nodes[axis], ratio)
        field += magnitude * noise[:, : num_nodes[0], : num_nodes[1], : num_nodes[2]]
    # grid_sample takes -1..1 from the first to the last node, and the axes in reverse order.
    last_node = torch.tensor(num_nodes).to(points.xyz) - 1
    position = ((points.xyz - low) * (2 / (cell_m * last_node)) - 1).flip(1)
    moved = torch.nn.functional.grid_sample(
        field.to(points.xyz)[None], position[None, None, None], padding_mode="border", align_corners=True
    )
    return replace(points, xyz=points.xyz + moved.view(3, -1).T)


def _blurred_noise(num_nodes: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """(3, X, Y, Z) normal noise of deviation 1, averaged over three nodes along each axis, twice."""
    noise = draw_normal((3, *(n + 4 for n in num_nodes)), generator)
    for axis in (1, 2, 3):
        for _ in range(2):
            n = noise.shape[axis] - 2
            noise = (noise.narrow(axis, 0, n) + noise.narrow(axis, 1, n) + noise.narrow(axis, 2, n)) / 3
    return noise


def _refine(field: torch.Tensor, axis: int, num_nodes: int, ratio: float) -> torch.Tensor:
    """Interpolate along one axis at ``num_nodes`` nodes that are ``ratio`` of a cell apart."""
    position = torch.arange(num_nodes, device=field.device) * ratio
    left = position.long().clamp_max(field.shape[axis] - 2)
    shape = [1] * field.dim()
    shape[axis] = num_nodes
    weight = (position - left).view(shape)
    return torch.lerp(field.index_select(axis, left), field.index_select(axis, left + 1), weight)
