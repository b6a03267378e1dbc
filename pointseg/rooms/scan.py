"""One demo scan: a furnished room as a depth camera and an annotator would have left it."""

from dataclasses import dataclass

import numpy as np

from pointseg.rooms.law_layout import sample_law_layout
from pointseg.rooms.laws import SCANNET200, load_law
from pointseg.rooms.layout import REFERENCE_VERTICES, Layout, sample_layout
from pointseg.rooms.mesh import RoomMesh, build_mesh
from pointseg.rooms.paint import paint_mesh
from pointseg.rooms.room_kinds import choose_room_kind
from pointseg.rooms.segments import connected_components, face_edges, segment_mesh
from pointseg.rooms.smooth_noise import smooth_noise
from pointseg.rooms.visibility import choose_cameras, visible_faces
from pointseg.scans.tree import SPLITS

MAX_SPACING_M = 0.045
"""Of vertices on walls, in a scan of ``REFERENCE_VERTICES`` or more."""
MIN_SPACING_M = 0.01
COUNT_TOLERANCE = 0.12
HOLE_LEVEL = 2.1
"""Standard deviations of the smooth noise above which a surface has a hole."""
MIN_COMPONENT_VERTICES = 6
"""Loose scraps below this are cleaned away, as in the benchmark's meshes."""
UNANNOTATED_SEGMENT_SHARE = 0.04
WHITE_NOISE_M = 0.0015
SMOOTH_NOISE_M = 0.004


@dataclass
class DemoAnnotation:
    """One object as the annotator named it."""

    class_name: str
    segment_ids: np.ndarray


@dataclass
class DemoScan:
    """A scan in its raw frame."""

    xyz: np.ndarray
    """(N, 3) float32, metres; turned about z and shifted."""
    rgb: np.ndarray
    """(N, 3) uint8."""
    faces: np.ndarray
    """(M, 3) int32."""
    segment_id: np.ndarray
    """(N,) int64."""
    annotations: list[DemoAnnotation]
    axis_alignment: np.ndarray
    """(4, 4) float64, six decimals: from the raw frame to walls parallel to the axes and the floor at z = 0."""
    room_kind: str


def make_scan(seed: int, split: str, scene_index: int, num_vertices: int, law: str = SCANNET200) -> DemoScan:
    """Make scene ``scene_index`` of ``split``; depends on these arguments and on nothing else.

    The number of vertices comes within a quarter of ``num_vertices``. ``law`` is one of ``laws.FREQUENCY_LAWS``.
    """
    split_index = SPLITS.index(split)
    streams = np.random.SeedSequence([seed, split_index, scene_index]).spawn(5)
    layout_rng, camera_rng, paint_rng, segment_rng, frame_rng = (np.random.default_rng(s) for s in streams)
    offset = np.random.default_rng([seed, split_index]).random()
    kind = choose_room_kind(scene_index, offset)
    if law == SCANNET200:
        layout = sample_layout(kind, num_vertices, layout_rng)
    else:
        scene = (seed, split_index, scene_index)
        layout = sample_law_layout(load_law(law), kind, num_vertices, scene, layout_rng)
    cameras = choose_cameras(layout, camera_rng)
    mesh = _scan_with_count(layout, cameras, num_vertices, int(camera_rng.integers(2**32)))
    mesh = _sort_vertices_in_space(mesh)
    rgb = paint_mesh(mesh, paint_rng)
    segment_id = segment_mesh(mesh, segment_rng)
    annotations = _annotate(mesh, segment_id, segment_rng)
    alignment = _sample_alignment(frame_rng)
    noisy = _add_depth_noise(mesh, frame_rng)
    # The rotation has six decimals, as in the files; its transpose undoes it to a micrometre.
    raw = (noisy - alignment[:3, 3]) @ alignment[:3, :3]
    return DemoScan(
        xyz=np.round(raw, 5).astype(np.float32),
        rgb=rgb,
        faces=mesh.faces.astype(np.int32),
        segment_id=segment_id,
        annotations=annotations,
        axis_alignment=alignment,
        room_kind=layout.kind.name,
    )


def _scan_with_count(layout: Layout, cameras: np.ndarray, num_vertices: int, seed: int) -> RoomMesh:
    """Choose the spacing so that about ``num_vertices`` are left of the mesh after hiding what was not seen.

    Where that would be coarser than ``MAX_SPACING_M``, objects at the front of the room are left out instead.
    """
    coarsest = MAX_SPACING_M * max(1.0, np.sqrt(REFERENCE_VERTICES / num_vertices))
    spacing = 2 * coarsest  # a cheap first try
    for _ in range(8):
        mesh = _scan_surfaces(build_mesh(layout, spacing), layout, cameras, np.random.default_rng(seed))
        ratio = len(mesh.xyz) / num_vertices
        if abs(ratio - 1) <= COUNT_TOLERANCE:
            break
        if spacing == coarsest and ratio > 1:
            layout = _leave_out_front(layout, mesh, num_vertices)
        else:
            spacing = float(np.clip(spacing * ratio**0.52, MIN_SPACING_M, coarsest))
    return mesh


def _leave_out_front(layout: Layout, mesh: RoomMesh, num_vertices: int) -> Layout:
    """The room without the objects nearest to its front, as many as bring the mesh to ``num_vertices``."""
    excess = len(mesh.xyz) - num_vertices
    vertices_of_thing = np.bincount(mesh.thing_of_vertex, minlength=len(mesh.things))
    left_out: set[int] = set()
    for i in sorted(range(len(layout.objects)), key=lambda i: layout.objects[i].pose.y):
        if excess <= 0:
            break
        new = layout.dependents_of(i) - left_out
        left_out |= new
        excess -= int(vertices_of_thing[sorted(new)].sum())
    return layout.without(left_out)


def _scan_surfaces(mesh: RoomMesh, layout: Layout, cameras: np.ndarray, rng: np.random.Generator) -> RoomMesh:
    """Leave out what no camera saw: hidden faces, high parts of walls, holes, scraps."""
    center = mesh.face_centers()
    name_of_thing = np.array([thing.name for thing in mesh.things])
    name = name_of_thing[mesh.thing_of_vertex[mesh.faces[:, 0]]]
    keep = smooth_noise(center, 0.55, rng) < HOLE_LEVEL
    of_walls, of_ceiling = np.flatnonzero(name == "wall"), np.flatnonzero(name == "ceiling")
    # A person holds the camera level: the upper edge of the scan is uneven, and little of the ceiling is in it.
    reach = rng.uniform(1.4, 1.8) + 0.16 * smooth_noise(center[of_walls] * [1, 1, 0.2], 1.5, rng)
    keep[of_walls] &= center[of_walls, 2] < reach
    keep[of_walls] &= ~_in_wall_openings(center[of_walls], layout)
    keep[of_ceiling] &= smooth_noise(center[of_ceiling], 2.5, rng) > 0.35
    mesh = mesh.keep_faces(keep)
    return _drop_scraps(mesh.keep_faces(visible_faces(mesh, cameras)))


def _drop_scraps(mesh: RoomMesh) -> RoomMesh:
    root = connected_components(len(mesh.xyz), face_edges(mesh.faces))
    size = np.bincount(root, minlength=len(root))[root]
    return mesh.keep_faces(size[mesh.faces[:, 0]] >= MIN_COMPONENT_VERTICES)


def _in_wall_openings(center: np.ndarray, layout: Layout) -> np.ndarray:
    """(n,) bool: which of these points of walls have a doorframe without a door around them."""
    inside = np.zeros(len(center), dtype=bool)
    doors = [o.pose for o in layout.objects if o.recipe.name == "door"]
    for o in layout.objects:
        if any(np.hypot(o.pose.x - door.x, o.pose.y - door.y) < 0.3 for door in doors):
            continue
        for hole in o.shape.holes:
            through_wall = hole * o.size_m[:, None] + [[0, 0], [-0.1, 0.1], [0, 0]]
            corners = o.pose.to_room(through_wall.T, o.size_m)
            inside |= ((center > corners.min(axis=0)) & (center < corners.max(axis=0))).all(axis=1)
    return inside


def _sort_vertices_in_space(mesh: RoomMesh) -> RoomMesh:
    """Order vertices and faces by 10 cm blocks: real meshes keep neighbours together, not objects."""
    block = np.floor(mesh.xyz / 0.1).astype(np.int64)
    order = np.lexsort((block[:, 2], block[:, 1], block[:, 0]))
    new_index = np.empty(len(order), dtype=np.int64)
    new_index[order] = np.arange(len(order))
    faces = new_index[mesh.faces]
    faces = faces[np.argsort(faces.min(axis=1), kind="stable")]
    return RoomMesh(
        mesh.xyz[order],
        faces,
        mesh.unit[order],
        mesh.piece_of_vertex[order],
        mesh.size_of_piece_m,
        mesh.thing_of_piece,
        mesh.material_of_piece,
        mesh.things,
    )


def _annotate(mesh: RoomMesh, segment_id: np.ndarray, rng: np.random.Generator) -> list[DemoAnnotation]:
    """Objects in random order; a few objects and a few segments are forgotten."""
    segments, first_vertex = np.unique(segment_id, return_index=True)
    thing_of_segment = mesh.thing_of_vertex[first_vertex]
    remembered = rng.random(len(segments)) >= UNANNOTATED_SEGMENT_SHARE
    annotations = []
    for i in rng.permutation(len(mesh.things)):
        of_thing = thing_of_segment == i
        # An object of which one segment is left keeps it.
        chosen = segments[of_thing & remembered] if (of_thing & remembered).any() else segments[of_thing]
        if len(chosen) and mesh.things[i].is_annotated:
            annotations.append(DemoAnnotation(mesh.things[i].name, rng.permutation(chosen)))
    return annotations


def _sample_alignment(rng: np.random.Generator) -> np.ndarray:
    turn = rng.choice([-1, 1]) * rng.uniform(np.deg2rad(4), np.deg2rad(86))
    alignment = np.eye(4)
    alignment[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    # The raw frame has its origin outside the room, as where a person started to walk.
    alignment[:3, 3] = [*(-rng.uniform(3.0, 5.0, size=2)), rng.uniform(-0.1, 0.1)]
    return np.round(alignment, 6)


def _add_depth_noise(mesh: RoomMesh, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) positions with millimetres of noise: wavy along the normal, white in all directions."""
    wavy = SMOOTH_NOISE_M * smooth_noise(mesh.xyz, 0.35, rng) + 0.004 * smooth_noise(mesh.xyz, 1.5, rng)
    return mesh.xyz + wavy[:, None] * mesh.vertex_normals() + rng.normal(0, WHITE_NOISE_M, size=mesh.xyz.shape)
