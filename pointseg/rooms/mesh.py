"""From a layout to one triangle mesh of all its surfaces, seen or not."""

from dataclasses import dataclass

import numpy as np

from pointseg.rooms.layout import Layout, RoomObject
from pointseg.rooms.primitives import unit_sheet, unit_surface
from pointseg.rooms.shapes import Part

ROD_THICKNESS_M = 0.03
SHELL = ("floor", "wall", "ceiling")


@dataclass
class Thing:
    """What a person would annotate as one object."""

    name: str
    is_annotated: bool


@dataclass
class Piece:
    """One primitive, or one side of the room, before it joins the mesh."""

    xyz: np.ndarray
    faces: np.ndarray
    unit: np.ndarray
    """(N, 3) where in the piece a vertex is, 0..1: the coordinates of pictures and stripes."""
    size_m: np.ndarray
    """(3,)"""
    thing: int
    material: str


@dataclass
class RoomMesh:
    """All surfaces of a room. ``piece`` rows describe pieces, the others vertices or faces."""

    xyz: np.ndarray
    """(N, 3) float64, metres; the walls are parallel to the axes, the floor is at z = 0."""
    faces: np.ndarray
    """(M, 3) int64."""
    unit: np.ndarray
    """(N, 3)"""
    piece_of_vertex: np.ndarray
    size_of_piece_m: np.ndarray
    thing_of_piece: np.ndarray
    material_of_piece: list[str]
    things: list[Thing]

    @property
    def thing_of_vertex(self) -> np.ndarray:
        """(N,) index into ``things``."""
        return self.thing_of_piece[self.piece_of_vertex]

    def face_centers(self) -> np.ndarray:
        """(M, 3)"""
        return (self.xyz[self.faces[:, 0]] + self.xyz[self.faces[:, 1]] + self.xyz[self.faces[:, 2]]) / 3

    def face_normals(self) -> np.ndarray:
        """(M, 3), twice the area long."""
        a, b, c = (self.xyz[self.faces[:, i]] for i in range(3))
        return np.cross(b - a, c - a)

    def vertex_normals(self) -> np.ndarray:
        """(N, 3) unit, area-weighted."""
        per_face = self.face_normals()
        total = np.empty_like(self.xyz)
        for axis in range(3):
            weights = np.repeat(per_face[:, axis], 3)
            total[:, axis] = np.bincount(self.faces.ravel(), weights=weights, minlength=len(self.xyz))
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)

    def keep_faces(self, keep: np.ndarray) -> "RoomMesh":
        """The mesh with these faces (M,) bool and the vertices they use."""
        faces = self.faces[keep]
        used = np.zeros(len(self.xyz), dtype=bool)
        used[faces] = True
        new_index = np.cumsum(used) - 1
        return RoomMesh(
            self.xyz[used],
            new_index[faces],
            self.unit[used],
            self.piece_of_vertex[used],
            self.size_of_piece_m,
            self.thing_of_piece,
            self.material_of_piece,
            self.things,
        )


def build_mesh(layout: Layout, spacing_m: float) -> RoomMesh:
    """Cut every surface of the room into triangles, ``spacing_m`` apart on the walls, finer on small objects."""
    things = [Thing(o.recipe.name, o.is_annotated) for o in layout.objects]
    pieces = [piece for i, o in enumerate(layout.objects) for piece in _object_pieces(o, i, spacing_m)]
    for name, origin, along, up, material in _shell_sides(layout):
        pieces.append(_sheet(origin, along, up, spacing_m, len(things), material))
        things.append(Thing(name, True))
    num_vertices = np.array([len(piece.xyz) for piece in pieces])
    first_vertex = np.cumsum(num_vertices) - num_vertices
    return RoomMesh(
        xyz=np.concatenate([piece.xyz for piece in pieces]),
        faces=np.concatenate([piece.faces + first for piece, first in zip(pieces, first_vertex, strict=True)]),
        unit=np.concatenate([piece.unit for piece in pieces]),
        piece_of_vertex=np.repeat(np.arange(len(pieces)), num_vertices),
        size_of_piece_m=np.stack([piece.size_m for piece in pieces]),
        thing_of_piece=np.array([piece.thing for piece in pieces]),
        material_of_piece=[piece.material for piece in pieces],
        things=things,
    )


def object_spacing_m(spacing_m: float, size_m: np.ndarray) -> float:
    """Spacing on an object of this size: down to half of the walls' on the smallest."""
    return spacing_m * float(np.clip(0.5 + 0.35 * size_m.max(), 0.5, 1.0))


def _object_pieces(o: RoomObject, thing: int, spacing_m: float) -> list[Piece]:
    spacing = object_spacing_m(spacing_m, o.size_m)
    pieces = []
    for part in o.shape.parts:
        if part.primitive == "rod":
            local, faces, unit, size = _rod(part, o.size_m, spacing)
        else:
            low, high = part.box.T * o.size_m
            size = high - low
            unit, faces = unit_surface(part.primitive, _cells(part.primitive, size, spacing))
            local = low + unit * size
        material = o.material_of_tone[min(part.tone, len(o.material_of_tone)) - 1]
        pieces.append(Piece(o.pose.to_room(local, o.size_m), faces, unit, size, thing, material))
    return pieces


def _cells(primitive: str, size: np.ndarray, spacing: float) -> tuple[int, int, int]:
    least = 1 if primitive == "box" else 2
    x, y, z = np.maximum(np.rint(size / spacing), least).astype(int).tolist()
    return x, y, z


def _rod(part: Part, size: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A square rod between two points of the object's box: points, faces, unit coordinates, size."""
    margin = np.minimum(ROD_THICKNESS_M / 2, size / 2)[:, None]
    start, end = np.clip(part.box * size[:, None], margin, size[:, None] - margin).T
    length = max(float(np.linalg.norm(end - start)), spacing)
    forward = (end - start) / length
    side = np.cross(forward, (1.0, 0.0, 0.0) if abs(forward[0]) < 0.9 else (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    unit, faces = unit_surface("box", (1, 1, max(1, round(length / spacing))))
    across = (unit[:, :2] - 0.5) * ROD_THICKNESS_M
    points = start + unit[:, 2:] * (end - start) + across[:, :1] * side + across[:, 1:] * np.cross(forward, side)
    return points, faces, unit, np.array([ROD_THICKNESS_M, ROD_THICKNESS_M, length])


def _shell_sides(layout: Layout) -> list[tuple[str, tuple, tuple, tuple, str]]:
    """The room's own surfaces: name, corner, the two edges (their cross product looks inward), material."""
    width, depth, height = layout.size_m
    floor, paint = layout.floor_material, layout.wall_material
    walls = (
        ((0, depth, 0), (width, 0, 0), (0, 0, height)),
        ((0, 0, 0), (0, depth, 0), (0, 0, height)),
        ((width, depth, 0), (0, -depth, 0), (0, 0, height)),
        ((width, 0, 0), (-width, 0, 0), (0, 0, height)),
    )
    sides = [("floor", (0, 0, 0), (width, 0, 0), (0, depth, 0), floor)]
    sides += [("wall", *walls[i], paint) for i in layout.walls]
    if layout.has_ceiling:
        sides.append(("ceiling", (0, depth, height), (width, 0, 0), (0, -depth, 0), "white"))
    return sides


def _sheet(origin: tuple, along: tuple, up: tuple, spacing: float, thing: int, material: str) -> Piece:
    lengths = np.array([np.linalg.norm(along), np.linalg.norm(up)])
    columns, rows = np.maximum(np.rint(lengths / spacing), 1).astype(int).tolist()
    unit, faces = unit_sheet((columns, rows))
    xyz = np.array(origin, dtype=np.float64) + unit[:, :1] * np.array(along) + unit[:, 1:2] * np.array(up)
    # Pictures and tiles are drawn over x and z of an upright piece.
    return Piece(xyz, faces, unit[:, [0, 2, 1]], np.array([lengths[0], 0.0, lengths[1]]), thing, material)
