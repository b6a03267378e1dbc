"""Over-segments of a mesh: pieces of smooth surface, which seldom cross the border of an object.

The graph-based segmentation of Felzenszwalb and Huttenlocher (IJCV 2004) on the vertices of a mesh, with the weights
that ScanNet's ``*.segs.json`` was made with: annotators gave one label to each of those segments.
"""

from collections.abc import Iterator

import numpy as np

THRESHOLD = 0.01
"""k: the larger, the larger the segments."""
MIN_VERTICES = 20
_EDGES_AT_ONCE = 131_072
"""After so many, what has become one component is looked up anew, and its edges are left out."""


def segment_mesh(
    xyz: np.ndarray, faces: np.ndarray, threshold: float = THRESHOLD, min_vertices: int = MIN_VERTICES
) -> np.ndarray:
    """Cut a mesh into pieces of smooth surface.

    Edges join two components, the flattest first, while their weight is at most the largest weight within either of
    them plus ``threshold`` over its number of vertices; after that, edges in the same order join components that are
    still too small. The result depends on the mesh alone.

    Args:
        xyz: (N, 3) floating point, metres.
        faces: (F, 3) integers, rows of ``xyz``.
        threshold: k.
        min_vertices: components of fewer are joined to a neighbour; one without a neighbour stays.

    Returns:
        (N,) int64: the segment of each vertex, 0 to the number of segments - 1, in the order of their first vertices.
    """
    start, end, weight = mesh_edges(xyz, faces)
    order = np.argsort(weight, kind="stable")
    start, end, weight = start[order], end[order], weight[order]
    forest = _Forest(len(xyz), threshold)
    for rows in _unjoined(forest, start, end):
        forest.join_similar(start[rows].tolist(), end[rows].tolist(), weight[rows].tolist())
    for rows in _unjoined(forest, start, end):
        forest.join_small(start[rows].tolist(), end[rows].tolist(), min_vertices)
    _, first, component = np.unique(forest.roots(), return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[component]


def mesh_edges(xyz: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends and the weight of each side of each face.

    The weight of an edge from a to b is 1 - n_a · n_b, squared where (b - a) · n_b > 0: across a convex edge, as of a
    box, surfaces belong together sooner than in a corner of a room. A vertex's normal is the mean of the unit normals
    of its faces.

    Returns:
        (3 F,) int64, (3 F,) int64 and (3 F,) float64.
    """
    xyz = xyz.astype(np.float64)
    corners = xyz[faces]
    normal_of_face = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    normal = np.stack(
        [np.bincount(faces.ravel(), np.repeat(normal_of_face[:, axis], 3), minlength=len(xyz)) for axis in range(3)],
        axis=1,
    )
    normal = _unit(normal)
    start, end = faces.astype(np.int64).ravel(), np.roll(faces, -1, axis=1).astype(np.int64).ravel()
    weight = 1 - np.einsum("ij,ij->i", normal[start], normal[end])
    is_convex = np.einsum("ij,ij->i", xyz[end] - xyz[start], normal[end]) > 0
    return start, end, np.where(is_convex, weight * weight, weight)


class _Forest:
    """Components of vertices, each a tree; plain lists, since all is done one vertex at a time."""

    def __init__(self, num_vertices: int, threshold: float) -> None:
        self._threshold = threshold
        self.parent = list(range(num_vertices))
        self._rank = [0] * num_vertices
        self._size = [1] * num_vertices
        self._limit = [threshold] * num_vertices
        """Of a root: the largest weight that may join its component to another."""

    def roots(self) -> np.ndarray:
        """(N,) int64: the root of each vertex."""
        root = np.array(self.parent, dtype=np.int64)
        while not np.array_equal(above := root[root], root):
            root = above
        self.parent = root.tolist()
        return root

    def join_similar(self, starts: list[int], ends: list[int], weights: list[float]) -> None:
        """Join along these edges, in their order, where neither component's limit is passed."""
        limit, size = self._limit, self._size
        for start, end, weight in zip(starts, ends, weights, strict=True):
            a, b = self._find(start), self._find(end)
            if a != b and weight <= limit[a] and weight <= limit[b]:
                root = self._join(a, b)
                limit[root] = weight + self._threshold / size[root]

    def join_small(self, starts: list[int], ends: list[int], min_vertices: int) -> None:
        """Join along these edges, in their order, where either component is too small."""
        size = self._size
        for start, end in zip(starts, ends, strict=True):
            a, b = self._find(start), self._find(end)
            if a != b and (size[a] < min_vertices or size[b] < min_vertices):
                self._join(a, b)

    def _find(self, vertex: int) -> int:
        parent = self.parent
        while (above := parent[vertex]) != vertex:
            parent[vertex] = parent[above]
            vertex = above
        return vertex

    def _join(self, a: int, b: int) -> int:
        if self._rank[a] > self._rank[b]:
            a, b = b, a
        self.parent[a] = b
        self._size[b] += self._size[a]
        self._rank[b] += self._rank[a] == self._rank[b]
        return b


def _unjoined(forest: _Forest, start: np.ndarray, end: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of the edges, in their order and some at a time, without those whose ends are one component already.

    They change nothing, and are most of all.
    """
    for first in range(0, len(start), _EDGES_AT_ONCE):
        rows = np.arange(first, min(first + _EDGES_AT_ONCE, len(start)))
        root = forest.roots()
        yield rows[root[start[rows]] != root[end[rows]]]


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros(vectors.shape), where=length > 0)
