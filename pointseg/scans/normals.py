"""Vertex normals of a triangle mesh."""

import numpy as np

_UP = (0.0, 0.0, 1.0)


def vertex_normals(xyz: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted normals: for each vertex the sum of (b - a) x (c - a) of its faces, at unit length.

    The cross product is twice the area of the face, so larger faces count more. Corners in
    counter-clockwise order seen from outside give normals that point outside.

    Args:
        xyz: (N, 3) float, metres.
        faces: (F, 3) integer, vertex indices.

    Returns:
        (N, 3) float32, unit length; (0, 0, 1) for a vertex without a face, or whose faces cancel out.

    Raises:
        ValueError: a shape is wrong or a face names a vertex that is not there.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"xyz {xyz.shape} and faces {faces.shape}, expected (N, 3) and (F, 3)")
    num_vertices = len(xyz)
    if faces.size and (faces.min() < 0 or faces.max() >= num_vertices):
        raise ValueError(f"faces name vertices {faces.min()}..{faces.max()}, expected 0..{num_vertices - 1}")
    # Axis by axis: gathers and sums (bincount) of single columns are several times faster than of rows.
    corners = np.ascontiguousarray(faces.T, dtype=np.intp)
    axes = np.ascontiguousarray(xyz.T, dtype=np.float64)
    a = [axis[corners[0]] for axis in axes]
    ab = [axis[corners[1]] - start for axis, start in zip(axes, a, strict=True)]
    ac = [axis[corners[2]] - start for axis, start in zip(axes, a, strict=True)]
    cross = [ab[i] * ac[j] - ab[j] * ac[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    normal = np.zeros((3, num_vertices))
    for axis, area in zip(normal, cross, strict=True):
        for corner in corners:
            axis += np.bincount(corner, area, num_vertices)
    length = np.sqrt((normal**2).sum(axis=0))
    no_direction = length == 0
    normal[:, no_direction] = np.array(_UP)[:, None]
    length[no_direction] = 1
    return np.ascontiguousarray((normal / length).T, dtype=np.float32)
