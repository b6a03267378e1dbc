"""Primitive surfaces as triangle meshes in the unit cube.

Every primitive but the ring is the surface of a cube, cut into cells and bent: a cylinder is a
cube whose squares became discs, a curtain is a thin cube with folds. So all of them have about
even spacing, no poles, and faces that look outward.
"""

from functools import lru_cache

import numpy as np

RING_TUBE_SHARE = 0.12
"""Thickness of a ring's tube as a share of its width."""

_SIDE_RADIUS = {
    # Radius at a share of the height 0, 0.25, 0.5, 0.75, 1; the widest is 1.
    "cyl": (1.0, 1.0, 1.0, 1.0, 1.0),
    "shade": (1.0, 0.9, 0.8, 0.7, 0.6),
    "cup": (0.76, 0.82, 0.88, 0.94, 1.0),
    "bowl": (0.5, 0.78, 0.92, 0.98, 1.0),
    "bottle": (0.95, 1.0, 1.0, 0.55, 0.4),
}
_HOLLOW_DEPTH = {"cup": 0.7, "bowl": 0.75}
"""How far the opening at the top goes down, as a share of the height."""


@lru_cache(maxsize=4096)
def unit_surface(kind: str, cells: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The surface ``kind`` with about ``cells`` cells along x, y, z.

    ``kind`` is box, pad, ball, cyl, shade, cup, bowl, bottle, wave, drape, foliage or ring; a suffix
    ``-x`` or ``-y`` turns its axis from z to x or y.

    Returns:
        points (N, 3) float64 in the unit cube and faces (M, 3) int64, counter-clockwise from outside. Both are
        shared by all callers and read-only.

    Raises:
        ValueError: there is no such kind.
    """
    shape, _, axis = kind.partition("-")
    order = {"": (0, 1, 2), "x": (1, 2, 0), "y": (2, 0, 1)}[axis]  # cyclic, so that faces keep looking outward
    # The primitive is made with its axis along z, then its axes are renamed: new[order[i]] = old[i].
    turned = (cells[order[0]], cells[order[1]], cells[order[2]])
    if shape == "ring":
        old, faces = _ring(max(8, 2 * (turned[0] + turned[1])), 6)
    else:
        old, faces = _cube_surface(turned)
        old = _bend(shape, old)
    points = np.empty_like(old)
    points[:, order] = old
    points.flags.writeable = False
    faces.flags.writeable = False
    return points, faces


@lru_cache(maxsize=256)
def unit_sheet(cells: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A flat grid in z = 0: points ((a+1)(b+1), 3) in the unit square and faces (2ab, 3) that look to +z."""
    grid, faces = _grid(cells)
    points = np.zeros((len(grid), 3))
    points[:, :2] = grid / np.array(cells)
    points.flags.writeable = False
    faces.flags.writeable = False
    return points, faces


def _grid(cells: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Integer grid points (N, 2) and two triangles a cell, counter-clockwise; the diagonals alternate."""
    a, b = cells
    points = np.stack(np.meshgrid(np.arange(a + 1), np.arange(b + 1), indexing="ij"), axis=-1).reshape(-1, 2)
    i, j = np.meshgrid(np.arange(a), np.arange(b), indexing="ij")
    corner = (i * (b + 1) + j).ravel()
    p00, p01, p10, p11 = corner, corner + 1, corner + b + 1, corner + b + 2
    even = ((i + j) % 2 == 0).ravel()[:, None]
    first = np.where(even, np.stack([p00, p10, p11], axis=1), np.stack([p00, p10, p01], axis=1))
    second = np.where(even, np.stack([p00, p11, p01], axis=1), np.stack([p10, p11, p01], axis=1))
    return points, np.concatenate([first, second])


def _cube_surface(cells: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The surface of the unit cube on an integer lattice, its edges welded."""
    lattice, faces, offset = [], [], 0
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        grid, triangles = _grid((cells[u], cells[v]))
        for level in (0, cells[axis]):
            side = np.empty((len(grid), 3), dtype=np.int64)
            side[:, axis] = level
            side[:, [u, v]] = grid
            lattice.append(side)
            faces.append((triangles if level else triangles[:, ::-1]) + offset)
            offset += len(grid)
    unique, index = np.unique(np.concatenate(lattice), axis=0, return_inverse=True)
    return unique / np.array(cells, dtype=np.float64), index.reshape(-1)[np.concatenate(faces)]


def _bend(shape: str, unit: np.ndarray) -> np.ndarray:
    """Bend the surface of the unit cube (N, 3) into ``shape``, which again fits the unit cube."""
    if shape == "box":
        return unit
    if shape == "pad":
        return 0.5 + 0.5 * _round(2 * unit - 1, exponent=5.0)
    if shape == "ball":
        return 0.5 + 0.5 * _round(2 * unit - 1, exponent=2.0)
    if shape == "foliage":
        ball = _round(2 * unit - 1, exponent=2.0)
        bumps = np.sin(9 * ball[:, 0] + 2) * np.sin(8 * ball[:, 1] + 1) * np.sin(7 * ball[:, 2])
        return 0.5 + 0.5 * ball * (0.78 + 0.22 * bumps)[:, None]
    if shape == "wave":
        bent = unit.copy()
        bent[:, 1] = 0.25 + 0.5 * unit[:, 1] * 0.3 + 0.3 * (1 + np.sin(unit[:, 0] * 31.0)) * (0.6 + 0.4 * unit[:, 2])
        return bent
    if shape == "drape":
        bent = unit.copy()
        x, y = unit[:, 0], unit[:, 1]
        bumps = 0.5 + 0.5 * np.sin(7 * x + 5 * y) * np.cos(6 * y - 4 * x + 1)
        edge = np.clip(8 * np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)), 0, 1)
        bent[:, 2] *= (0.45 + 0.55 * bumps) * (0.35 + 0.65 * edge)
        return bent
    if shape in _SIDE_RADIUS:
        return _turn_on_lathe(unit, _SIDE_RADIUS[shape], _HOLLOW_DEPTH.get(shape, 0.0))
    raise ValueError(f"there is no primitive {shape!r}")


def _round(cube: np.ndarray, exponent: float) -> np.ndarray:
    """Pull the surface of the cube [-1, 1]^3 onto that of a superellipsoid: |x|^p + |y|^p + |z|^p = 1."""
    return cube / (np.abs(cube) ** exponent).sum(axis=1, keepdims=True) ** (1 / exponent)


def _turn_on_lathe(unit: np.ndarray, radii: tuple[float, ...], hollow_depth: float) -> np.ndarray:
    square = 2 * unit[:, :2] - 1
    length = np.linalg.norm(square, axis=1)
    share = np.abs(square).max(axis=1)  # of the radius: squares around the axis become circles
    disc = square * np.divide(share, length, out=np.zeros_like(length), where=length > 0)[:, None]
    z = unit[:, 2]
    radius = np.interp(z, np.linspace(0, 1, len(radii)), radii)
    inside = (z == 1) & (share < 0.92)
    sunk = hollow_depth * np.clip((0.92 - share) / 0.35, 0, 1)
    return np.column_stack([0.5 + 0.5 * disc * radius[:, None], np.where(inside, 1 - sunk, z)])


def _ring(around: int, across: int) -> tuple[np.ndarray, np.ndarray]:
    """A torus that lies in the unit cube, its axis along z."""
    grid, faces = _grid((around, across))
    wrapped = (grid[:, 0] % around) * across + grid[:, 1] % across
    turn = 2 * np.pi * np.arange(around)[:, None] / around
    tilt = 2 * np.pi * np.arange(across)[None, :] / across
    tube = RING_TUBE_SHARE / 2
    radius = 0.5 - tube + tube * np.cos(tilt)
    x, y = 0.5 + radius * np.cos(turn), 0.5 + radius * np.sin(turn)
    z = np.broadcast_to(0.5 + 0.5 * np.sin(tilt), x.shape)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), wrapped[faces]
