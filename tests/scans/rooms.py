"""A furnished room as points with normals, for tests of what a scan looks like."""

import numpy as np


def furnished_room(seed: int = 0, per_square_metre: int = 150, turn_deg: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) float64 metres, z up, and inward or outward normals as a scanner sees them: 5 x 4 x 2.6 m."""
    rng = np.random.default_rng(seed)
    parts: list[tuple[np.ndarray, np.ndarray]] = []

    def rectangle(
        corner: tuple[float, ...], u: tuple[float, ...], v: tuple[float, ...], normal: tuple[float, ...]
    ) -> None:
        area = float(np.linalg.norm(u) * np.linalg.norm(v))
        share = rng.random((int(area * per_square_metre), 2, 1))
        points = np.array(corner) + share[:, 0] * np.array(u) + share[:, 1] * np.array(v)
        parts.append((points, np.tile(np.array(normal, dtype=np.float64), (len(points), 1))))

    def box(x: float, y: float, z: float, width: float, depth: float, height: float) -> None:
        rectangle((x, y, z + height), (width, 0, 0), (0, depth, 0), (0, 0, 1))
        rectangle((x, y, z), (width, 0, 0), (0, 0, height), (0, -1, 0))
        rectangle((x, y + depth, z), (width, 0, 0), (0, 0, height), (0, 1, 0))
        rectangle((x, y, z), (0, depth, 0), (0, 0, height), (-1, 0, 0))
        rectangle((x + width, y, z), (0, depth, 0), (0, 0, height), (1, 0, 0))

    rectangle((0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 1))
    rectangle((0, 0, 0), (5, 0, 0), (0, 0, 2.6), (0, 1, 0))
    rectangle((0, 4, 0), (5, 0, 0), (0, 0, 2.6), (0, -1, 0))
    rectangle((0, 0, 0), (0, 4, 0), (0, 0, 2.6), (1, 0, 0))
    rectangle((5, 0, 0), (0, 4, 0), (0, 0, 2.6), (-1, 0, 0))
    for place in ((0.5, 0.6, 0, 1.6, 0.9, 0.75), (3.0, 0.3, 0, 1.8, 0.8, 0.45), (0.3, 2.9, 0, 0.9, 0.8, 0.5)):
        box(*place)
    box(3.9, 2.6, 0, 0.9, 1.1, 0.72)
    xyz, normal = (np.concatenate(column) for column in zip(*parts, strict=True))
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return (xyz + rng.normal(0, 0.004, xyz.shape)) @ turn, normal @ turn
