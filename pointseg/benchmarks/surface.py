"""Voxels as indoor scans have them: the surfaces of a furnished room, made from a seed."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pointseg.data.augment import rotation_about
from pointseg.data.batch import Batch, collate
from pointseg.data.voxelize import Voxels, build_grid
from pointseg.errors import UsageError
from pointseg.preparation.prepared_source import write_scene
from pointseg.scans.prepared import read_scene
from pointseg.taxonomy import NAMES, load_taxonomy

VOXEL_SIZE_M = 0.02
NOISE_M = 0.002
"""Standard deviation of the depth noise of the scan."""
TURN_DEG = (1.5, -1.0, 20.0)
"""About x, y and z: no scan stands square to its voxels. A plane that does has 9 neighbours of 27, not 12."""
_FURNITURE_PER_M2 = 0.8
_SAMPLES_PER_VOXEL_EDGE = 2.0


@dataclass(frozen=True)
class VoxelSurface:
    """M vertices, one in each occupied voxel of 2 cm: real scans have about as many."""

    coords: torch.Tensor
    """(M, 3) int32, unique, from 0, sorted by x, then y, then z."""
    xyz: torch.Tensor
    """(M, 3) float32, metres."""
    normal: torch.Tensor
    """(M, 3) float32, unit."""
    instance: torch.Tensor
    """(M,) int64: 0 on floor and walls, 1 and more on a piece of furniture each."""


def make_surface(num_voxels: int, seed: int = 0) -> VoxelSurface:
    """Scan a room of the size that gives ``num_voxels`` voxels, about 12 occupied neighbours (with itself) for each.

    Raises:
        ValueError: there is no voxel to make.
    """
    if num_voxels < 1:
        raise ValueError(f"a surface has at least one voxel, got {num_voxels}")
    # Floor, walls and furniture have some 4.5 m² for each m² of floor; the loop finds the right size.
    floor_m2 = num_voxels * VOXEL_SIZE_M**2 / 4.5
    while True:
        xyz, normal, instance = _sample_room(floor_m2, np.random.default_rng(seed))
        points = torch.from_numpy(xyz)
        grid = build_grid(points, VOXEL_SIZE_M)
        if grid.num_voxels >= num_voxels:
            break
        floor_m2 *= 1.02 * num_voxels / grid.num_voxels
    # The voxels are sorted by x first, so that the cut through the room is a plane.
    kept = grid.point_order[grid.first][:num_voxels]
    parts = (torch.from_numpy(array)[kept] for array in (normal, instance))
    return VoxelSurface(grid.coords[:num_voxels], points[kept], *parts)


def write_surface_scene(folder: Path, num_vertices: int, seed: int = 0) -> Path:
    """Write the surface as a prepared scene with random colours and labels; return ``folder``."""
    surface = make_surface(num_vertices, seed)
    rng = np.random.default_rng([seed, 1])
    arrays = {
        "coord": surface.xyz.numpy(),
        "color": rng.integers(0, 256, (num_vertices, 3), dtype=np.uint8),
        "normal": surface.normal.numpy(),
        "instance": surface.instance.numpy(),
    }
    for name in NAMES:
        arrays[load_taxonomy(name).segment] = rng.integers(0, load_taxonomy(name).num_classes, num_vertices)
    write_scene(folder, arrays, source={})
    return folder


def make_batch(num_voxels: int, in_channels: int, num_classes: int, seed: int = 0, num_scenes: int = 1) -> Batch:
    """Surfaces as a batch of scenes of ``num_voxels`` each: random features, and random labels of all classes."""
    scenes = [make_surface(num_voxels, seed + i).coords for i in range(num_scenes)]
    return fill_batch(scenes, in_channels, num_classes, seed)


def fill_batch(scenes: list[torch.Tensor], in_channels: int, num_classes: int, seed: int = 0) -> Batch:
    """Voxels (M, 3) of scenes with random features, and random labels of all classes."""
    generator = torch.Generator().manual_seed(seed)
    return collate(
        [
            (
                f"scene {index}",
                Voxels(
                    coords=coords,
                    features=torch.randn(len(coords), in_channels, generator=generator),
                    label=torch.randint(num_classes, (len(coords),), generator=generator),
                    voxel_of_point=torch.arange(len(coords)),
                ),
            )
            for index, coords in enumerate(scenes)
        ]
    )


def find_coords(num_voxels: int, scene: Path | None, seed: int = 0, occupied: float = 1.0) -> torch.Tensor:
    """Voxels (M, 3) of 2 cm: of the prepared ``scene``, or where it is None of a surface of ``num_voxels``.

    Args:
        num_voxels: M, of a surface that is made.
        scene: folder of a prepared scene.
        seed: of the surface.
        occupied: share of the surface's voxels that hold a vertex. A mesh of large triangles has few: a real scan of
            80,020 voxels of 2 cm is spread over 18,037 cubes of 10 cm, which a closed surface would fill with 450,000.

    Raises:
        UsageError: ``scene`` is no folder.
        DataError: it is no prepared scene.
    """
    if scene is None:
        coords = make_surface(round(num_voxels / occupied), seed).coords
        if len(coords) == num_voxels:
            return coords
        chosen = torch.randperm(len(coords), generator=torch.Generator().manual_seed(seed))[:num_voxels]
        return coords[chosen.sort().values]
    check_scene_folder(scene)
    return build_grid(
        torch.from_numpy(np.array(read_scene(scene, load_taxonomy("scannet200")).xyz)), VOXEL_SIZE_M
    ).coords


def check_scene_folder(scene: Path) -> None:
    """Raise a UsageError where ``scene`` is no folder."""
    if not scene.is_dir():
        raise UsageError(f"{scene}: there is no such folder; give a scene of a prepared tree, ROOT/train/<scene>")


def count_pairs(coords: torch.Tensor) -> int:
    """Products of a row and a weight matrix in a 3x3x3 submanifold convolution: each voxel, its neighbours and itself.

    Args:
        coords: (M, 3) integer, unique, not negative.
    """
    shifted = coords.long() + 1
    _, width, height = (shifted.amax(dim=0) + 2).tolist()
    key = ((shifted[:, 0] * width + shifted[:, 1]) * height + shifted[:, 2]).sort().values
    num_pairs = 0
    for step in itertools.product((-1, 0, 1), repeat=3):
        neighbour = key + (step[0] * width + step[1]) * height + step[2]
        position = torch.searchsorted(key, neighbour).clamp_max(len(key) - 1)
        num_pairs += int((key[position] == neighbour).sum())
    return num_pairs


def _sample_room(floor_m2: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, normals (N, 3) float32 and objects (N,) of floor, walls and furniture, denser than the voxels."""
    # A tiny room for a test keeps its proportions: everything shrinks with the floor.
    size_m = np.sqrt(floor_m2 * np.array([1.25, 0.8])).tolist()
    height_m = min(2.5, min(size_m))
    parts = [_sample_box(np.zeros(3), np.array([*size_m, height_m]), rng, inside=True)]
    for _ in range(max(2, round(_FURNITURE_PER_M2 * floor_m2))):
        furniture_m = rng.uniform((0.3, 0.3, 0.2), (1.2, 0.8, 1.6)) * min(1.0, min(size_m) / 2)
        corner = rng.uniform(0.0, 1.0, 3) * (np.array([*size_m, 0.0]) - furniture_m * (1, 1, 0))
        parts.append(_sample_box(corner, furniture_m, rng, inside=False))
    points, normals = (np.concatenate(part) for part in zip(*parts, strict=True))
    x, y, z = np.deg2rad(TURN_DEG)
    turn = (rotation_about("x", x) @ rotation_about("y", y) @ rotation_about("z", z)).numpy()
    instance = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return (points @ turn.T).astype(np.float32), (normals @ turn.T).astype(np.float32), instance


def _sample_box(
    corner: np.ndarray, size_m: np.ndarray, rng: np.random.Generator, inside: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The four upright faces of a box and its floor (seen from inside) or its top (from outside)."""
    faces = [(axis, end) for axis in (0, 1) for end in (0, 1)] + [(2, 0 if inside else 1)]
    points, normals = [], []
    for axis, end in faces:
        u, v = (other for other in range(3) if other != axis)
        num_u, num_v = (int(np.ceil(size_m[a] / VOXEL_SIZE_M * _SAMPLES_PER_VOXEL_EDGE)) + 1 for a in (u, v))
        face = np.empty((num_u * num_v, 3))
        face[:, u] = np.repeat(np.linspace(0, size_m[u], num_u), num_v)
        face[:, v] = np.tile(np.linspace(0, size_m[v], num_v), num_u)
        face[:, axis] = end * size_m[axis] + rng.normal(0, NOISE_M, len(face))
        normal = np.zeros_like(face)
        normal[:, axis] = (1 if end else -1) * (-1 if inside else 1)
        points.append(face + corner)
        normals.append(normal)
    return np.concatenate(points), np.concatenate(normals)
