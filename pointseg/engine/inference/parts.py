"""A scene as what goes through the network at a time: itself, or tiles with context around what they predict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from pointseg.config import Config
from pointseg.data.points import Points
from pointseg.models import Network
from pointseg.scans.extent import extent_without_strays
from pointseg.taxonomy import IGNORE

_POINTS_PER_VOXEL = 4
"""Probabilities of so many points may be kept for each voxel that is in memory at a time."""


@dataclass(frozen=True)
class ScenePart:
    """A scene, or a tile of it with the context around its core."""

    points: Points
    """n points, centred as the scene. The margin of a tile has no labels: its voxels count in another tile."""
    is_core: torch.Tensor
    """(n,) bool: the points that are predicted here."""
    row: torch.Tensor | slice
    """The rows of those points in the scene."""
    grid_origins: Sequence[torch.Tensor | None]
    """For each view (3,) where the scene's grid begins in it; None: at the smallest coordinates of the part."""


def find_grid_origin(xyz: torch.Tensor, config: Config, network: Network) -> torch.Tensor | None:
    """Where a grid begins that holds all points, and in which all but strays have the voxels of a grid without those.

    A network that was trained with grids that begin at the floor has learned where in a voxel the floor is: with the
    grid shifted by one stray below it, a fifth of the labels of the demo's scenes changed.

    Args:
        xyz: (N, 3) float32, metres, of a scene in a view.
        config: of the run. With ``data.center: extremes`` strays count.
        network: its coarsest voxels have to lie as before, too.

    Returns:
        (3,) float64, as float32 has no millimetres at some kilometres; None where the grid begins at the smallest
        coordinates, as without strays.
    """
    if config.data.center == "extremes":
        return None
    low = torch.from_numpy(extent_without_strays(xyz.cpu().numpy())[0]).to(xyz.device)
    lowest = xyz.amin(dim=0)
    if torch.equal(low, lowest):
        return None
    low, lowest, edge_m = low.double(), lowest.double(), network.coarsest_voxel * config.data.voxel_size_m
    return low - ((low - lowest) / edge_m).ceil() * edge_m


def cut_scene(
    points: Points, views: Sequence[torch.Tensor], name: str, config: Config, network: Network
) -> Iterator[ScenePart]:
    """The scene, or its tiles one at a time; each point is in the core of one of them.

    Args:
        points: of the scene, centred.
        views: (3, 3) matrices. With several, probabilities are kept for each point of a core, which bounds it too.
        name: of the scene, for errors.
        config: of the run: its voxels, and how many may be in memory at a time.
        network: what it pools together is not cut, and it sees as far beyond a core as it wants.

    Raises:
        UsageError: the scene can't be cut into tiles of ``inference.max_voxels``.
    """
    max_voxels = config.inference.max_voxels
    found = [find_grid_origin(points.xyz @ matrix.T, config, network) for matrix in views]
    if max_voxels is None or len(points) <= max_voxels:
        is_core = torch.ones(len(points), dtype=torch.bool)
        yield ScenePart(points, is_core, slice(None), found)
        return
    from pointseg.data.tiles import TileLimits, cut_tiles  # most scenes, and training, need none

    limits = TileLimits(max_voxels, network.context, _POINTS_PER_VOXEL if len(views) > 1 else None)
    origins = [
        (points.xyz @ matrix.T).amin(dim=0) if origin is None else origin
        for matrix, origin in zip(views, found, strict=True)
    ]
    voxel_size_m = config.data.voxel_size_m
    for tile in cut_tiles(points.xyz, voxel_size_m, name, step=network.coarsest_voxel, limits=limits):
        part = points.select(tile.row)
        label = part.label.where(tile.is_core, IGNORE)
        yield ScenePart(replace(part, label=label), tile.is_core, tile.row[tile.is_core], origins)
