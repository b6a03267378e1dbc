"""Vertex normals."""

import numpy as np
import pytest

from pointseg.scans.normals import vertex_normals
from tests.scannet.raw_scans import grid_mesh


def literal_normals(xyz: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Face by face, vertex by vertex: sum of (area x unit normal) over the faces of each vertex."""
    total = np.zeros((len(xyz), 3))
    for face in faces:
        a, b, c = xyz[face].astype(np.float64)
        cross = np.cross(b - a, c - a)
        area = np.linalg.norm(cross) / 2
        for corner in face:
            total[corner] += area * cross / max(np.linalg.norm(cross), 1e-300)
    for i in range(len(total)):
        length = np.linalg.norm(total[i])
        total[i] = total[i] / length if length > 0 else (0, 0, 1)
    return total


def test_equals_the_literal_loop():
    """On a random triangle soup with repeated corners and lone vertices, as the slow loop; unit length."""
    rng = np.random.default_rng(0)
    xyz = rng.standard_normal((60, 3)).astype(np.float32)
    faces = rng.integers(0, 50, (90, 3)).astype(np.int32)
    normal = vertex_normals(xyz, faces)
    np.testing.assert_allclose(normal, literal_normals(xyz, faces), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-6)
    assert normal.dtype == np.float32
    assert normal[55].tolist() == [0, 0, 1]


def test_large_faces_count_more():
    """At a corner of an up-facing triangle of area 2 and a side-facing one of area 1/2, the normal leans up 4:1."""
    xyz = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    normal = vertex_normals(xyz, np.array([[0, 1, 2], [0, 3, 4]]))[0]
    np.testing.assert_allclose(normal, np.array([1, 0, 4]) / np.sqrt(17), atol=1e-6)


def test_turn_with_the_mesh():
    """Normals of a turned mesh are the turned normals; a shift changes nothing."""
    xyz, _, faces = grid_mesh(6, 6)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = (xyz @ turn.T + [1, 2, 3]).astype(np.float32)
    np.testing.assert_allclose(vertex_normals(moved, faces), vertex_normals(xyz, faces) @ turn.T, atol=1e-4)


def test_no_faces():
    assert vertex_normals(np.ones((2, 3)), np.zeros((0, 3), np.int32)).tolist() == [[0, 0, 1]] * 2


@pytest.mark.parametrize("face", [[0, 1, 2], [0, 1, -1]])
def test_refuses_vertices_that_are_not_there(face):
    with pytest.raises(ValueError, match=r"expected 0\.\.1"):
        vertex_normals(np.ones((2, 3)), np.array([face]))
