"""Over-segmentation: every object in several connected patches, as the benchmark's segmenter leaves them."""

import numpy as np

from pointseg.rooms.mesh import SHELL, RoomMesh
from pointseg.rooms.smooth_noise import smooth_noise

SHELL_PATCH_M = 0.9
OBJECT_PATCH_M = 0.55
SMALL_PIECE_M = 0.25
"""Parts below this size stay whole."""


def connected_components(num_vertices: int, edges: np.ndarray) -> np.ndarray:
    """(num_vertices,) int64: the smallest vertex index of each vertex's component, by ``edges`` (E, 2).

    Every root hooks onto the smallest root it has an edge to, then paths are halved until flat; the
    number of rounds grows with the logarithm of a component's size.
    """
    root = np.arange(num_vertices)
    while len(edges):
        ends = root[edges]
        ends = ends[ends[:, 0] != ends[:, 1]]
        if not len(ends):
            break
        np.minimum.at(root, ends.max(axis=1), ends.min(axis=1))
        while True:
            above = root[root]
            if np.array_equal(above, root):
                break
            root = above
        edges = ends
    return root


def face_edges(faces: np.ndarray) -> np.ndarray:
    """(3M, 2) the sides of the triangles; a side of two triangles stands twice."""
    return faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def segment_mesh(mesh: RoomMesh, rng: np.random.Generator) -> np.ndarray:
    """(N,) int64: a segment id a vertex, arbitrary but unique; a segment is connected and of one object.

    Patches differ by object part, by the side that a surface looks to, and by place; their borders are wavy.
    """
    is_shell = np.array([thing.name in SHELL for thing in mesh.things])[mesh.thing_of_vertex]
    patch = np.where(is_shell, SHELL_PATCH_M, OBJECT_PATCH_M)[:, None]
    wavy = mesh.xyz + 0.12 * patch * np.stack([smooth_noise(mesh.xyz, 0.5, rng) for _ in range(3)], axis=1)
    cell = np.floor(wavy / patch + rng.random(3)).astype(np.int64)
    small = (mesh.size_of_piece_m.max(axis=1) < SMALL_PIECE_M)[mesh.piece_of_vertex]
    own_patch = np.where(small[:, None], 0, np.column_stack([_side(mesh.vertex_normals()), cell]))
    _, key = np.unique(np.column_stack([mesh.piece_of_vertex, own_patch]), axis=0, return_inverse=True)
    key = key.reshape(-1)
    edges = face_edges(mesh.faces)
    root = connected_components(len(mesh.xyz), edges[key[edges[:, 0]] == key[edges[:, 1]]])
    # As in the real files: an id is the index of some vertex in the segment.
    shuffled = rng.permutation(len(root))
    representative = np.empty(len(root), dtype=np.int64)
    representative[root[shuffled]] = shuffled
    return representative[root]


def _side(normals: np.ndarray) -> np.ndarray:
    """(N,) which of the six sides of a cube a normal looks to, 0..5."""
    axis = np.abs(normals).argmax(axis=1)
    return 2 * axis + (np.take_along_axis(normals, axis[:, None], axis=1)[:, 0] > 0)
