"""A small room: floor, ceiling, four walls and a box on the floor, as a mesh whose faces look inwards."""

from dataclasses import dataclass

import numpy as np
import pytest

from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy, load_taxonomy

WIDTH, DEPTH, HEIGHT = 4.0, 3.0, 2.5
SPACING = 0.1


@dataclass
class Room:
    scene: Scene
    """Labels: 0 wall, 2 floor, 1 on top of the box; 34 ceiling, which no view from above shows."""
    faces: np.ndarray
    part: np.ndarray
    """(N,) name of the part that each point belongs to."""


def _patch(origin: tuple, u: tuple, v: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Points and triangles of a rectangle that is seen from the side of u x v."""
    columns, rows = (round(float(np.linalg.norm(side)) / SPACING) + 1 for side in (u, v))
    a, b = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows), indexing="ij")
    xyz = np.array(origin) + a[..., None] * np.array(u) + b[..., None] * np.array(v)
    i, j = (index.ravel() for index in np.meshgrid(np.arange(columns - 1), np.arange(rows - 1), indexing="ij"))
    corner = i * rows + j
    lower = np.stack([corner, corner + rows, corner + rows + 1], axis=1)
    upper = np.stack([corner, corner + rows + 1, corner + 1], axis=1)
    return xyz.reshape(-1, 3), np.concatenate([lower, upper])


@pytest.fixture(scope="session")
def room() -> Room:
    w, d, h = WIDTH, DEPTH, HEIGHT
    patches = {
        "floor": (2, (0, 0, 0), (w, 0, 0), (0, d, 0)),
        "ceiling": (34, (0, 0, h), (0, d, 0), (w, 0, 0)),
        "wall y0": (0, (0, 0, 0), (0, 0, h), (w, 0, 0)),
        "wall x1": (0, (w, 0, 0), (0, 0, h), (0, d, 0)),
        "wall y1": (0, (w, d, 0), (0, 0, h), (-w, 0, 0)),
        "wall x0": (0, (0, d, 0), (0, 0, h), (0, -d, 0)),
        "top": (1, (1.5, 1.0, 0.5), (1, 0, 0), (0, 1, 0)),
    }
    xyz, faces, label, part, num_points = [], [], [], [], 0
    for name, (k, origin, u, v) in patches.items():
        points, triangles = _patch(origin, u, v)
        xyz.append(points)
        faces.append(triangles + num_points)
        label += [k] * len(points)
        part += [name] * len(points)
        num_points += len(points)
    positions = np.concatenate(xyz).astype(np.float32)
    rgb = np.random.default_rng(0).integers(0, 255, positions.shape).astype(np.uint8)
    scene = Scene("scene0011_00", positions, rgb, None, np.array(label))
    return Room(scene, np.concatenate(faces).astype(np.int32), np.array(part))


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy("scannet200")
