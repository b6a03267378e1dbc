"""Over-segments of a mesh: against a literal version, on shapes whose pieces are known, and on rooms."""

import numpy as np
import pytest

from pointseg.rooms.scan import make_scan
from pointseg.scans import over_segments
from pointseg.scans.over_segments import mesh_edges, segment_mesh


def bumpy_surface(side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a square sheet with steps, ridges and noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(side) * 0.02, np.arange(side) * 0.02, indexing="ij")
    z = np.floor(x / 0.2) % 2 * 0.1 + np.where(y % 0.3 < 0.1, 0.05, 0) + rng.normal(0, 0.002, x.shape)
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32), faces


def segment_literally(xyz: np.ndarray, faces: np.ndarray, k: float = 0.01, least: int = 20) -> list[frozenset[int]]:
    """The pieces, with sets of vertices for components, one edge after the other."""
    points = xyz.astype(np.float64)
    normal = np.zeros_like(points)
    for face in faces:
        cross = np.cross(points[face[1]] - points[face[0]], points[face[2]] - points[face[0]])
        normal[face] += cross / np.linalg.norm(cross)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    edges = []
    for face in faces:
        for a, b in ((face[0], face[1]), (face[1], face[2]), (face[2], face[0])):
            weight = 1 - float(normal[a] @ normal[b])
            edges.append((weight**2 if (points[b] - points[a]) @ normal[b] > 0 else weight, int(a), int(b)))
    edges.sort(key=lambda edge: edge[0])
    piece_of = {vertex: {vertex} for vertex in range(len(xyz))}
    largest = dict.fromkeys(range(len(xyz)), 0.0)  # weight within the piece of a vertex

    def join(a: int, b: int, weight: float) -> None:
        both = piece_of[a] | piece_of[b]
        for vertex in both:
            piece_of[vertex], largest[vertex] = both, weight

    for weight, a, b in edges:
        if b not in piece_of[a] and all(weight <= largest[end] + k / len(piece_of[end]) for end in (a, b)):
            join(a, b, weight)
    for _, a, b in edges:
        if b not in piece_of[a] and min(len(piece_of[a]), len(piece_of[b])) < least:
            join(a, b, 0.0)
    return sorted({frozenset(piece) for piece in piece_of.values()}, key=min)


@pytest.mark.parametrize("edges_at_once", [100, 131_072])
@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_those_of_the_literal_version(
    seed: int, edges_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_segments, "_EDGES_AT_ONCE", edges_at_once)
    xyz, faces = bumpy_surface(30, seed)
    expected = segment_literally(xyz, faces)
    segment = segment_mesh(xyz, faces)
    assert len(expected) > 10
    assert [frozenset(np.flatnonzero(segment == index).tolist()) for index in range(segment.max() + 1)] == expected


def test_a_box_is_kept_whole_sooner_than_a_corner_of_a_room() -> None:
    """The same right angle, seen from outside and from inside: the weight across it is squared from outside."""
    xyz = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, -1], [1, 2, -1]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]])
    _, _, convex = mesh_edges(xyz, faces)
    _, _, concave = mesh_edges(xyz * (1, 1, -1), faces)
    changed = convex != concave
    assert changed.any()
    weight = np.maximum(convex, concave)
    np.testing.assert_allclose(np.minimum(convex, concave)[changed], weight[changed] ** 2)


def test_the_result_is_numbers_from_0_in_the_order_of_vertices_and_always_the_same() -> None:
    xyz, faces = bumpy_surface(40)
    segment = segment_mesh(xyz, faces)
    _, first = np.unique(segment, return_index=True)
    assert segment.dtype == np.int64
    assert np.array_equal(first, np.sort(first))
    assert np.array_equal(segment_mesh(xyz, faces), segment)


def test_no_piece_is_small_but_one_without_a_neighbour() -> None:
    xyz, faces = bumpy_surface(40)
    far = np.array([[9, 9, 9], [9, 9, 9.1], [9, 9.1, 9], [5, 5, 5]], dtype=np.float32)
    segment = segment_mesh(np.concatenate([xyz, far]), np.concatenate([faces, [[1600, 1601, 1602]]]))
    sizes = np.bincount(segment)
    assert sizes[-2:].tolist() == [3, 1]
    assert sizes[:-2].min() >= 20


def test_faces_without_area_do_no_harm() -> None:
    xyz, faces = bumpy_surface(20)
    damaged = np.concatenate([faces, [[0, 0, 1], [5, 5, 5]]])
    assert np.isfinite(mesh_edges(xyz, damaged)[2]).all()
    assert len(segment_mesh(xyz, damaged)) == 400
    assert segment_mesh(xyz[:0], faces[:0]).shape == (0,)


def test_in_a_room_pieces_are_few_and_each_is_of_one_object() -> None:
    scan = make_scan(0, "val", 0, 6_000)
    segment = segment_mesh(scan.xyz, scan.faces)
    object_of_vertex = np.full(len(scan.xyz), -1)
    for index, annotation in enumerate(scan.annotations):
        object_of_vertex[np.isin(scan.segment_id, annotation.segment_ids)] = index
    known = object_of_vertex >= 0
    votes = np.zeros((segment.max() + 1, len(scan.annotations)), dtype=np.int64)
    np.add.at(votes, (segment[known], object_of_vertex[known]), 1)
    assert 20 < segment.max() + 1 < len(scan.xyz) / 20
    assert votes.max(axis=1).sum() > 0.95 * known.sum()
