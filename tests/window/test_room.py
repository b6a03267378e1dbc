"""From every side one looks into the room, and no part of it that faces the viewer is missing."""

import numpy as np
import pytest

from pointseg.output.view import view_from_corner
from pointseg.scans.normals import vertex_normals
from pointseg.scans.scene import Scene
from pointseg.window.room import Room, lay_out_room

INWARDS = {
    "floor": (0, 0, 1),
    "ceiling": (0, 0, -1),
    "wall y0": (0, 1, 0),
    "wall x1": (-1, 0, 0),
    "wall y1": (0, -1, 0),
    "wall x0": (1, 0, 0),
    "top": (0, 0, 1),
}


def _shown(shown: Room, towards: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """Share of each part's points that belong to a side that is seen."""
    corners = np.unique(np.concatenate([s.triangles.ravel() for s in shown.sides if s.is_seen(towards)]))
    is_shown = np.zeros(len(part), dtype=bool)
    is_shown[shown.point_of_corner[corners]] = True
    return {name: float(is_shown[part == name].mean()) for name in INWARDS}


def _turn(room, angle: float):
    """The scene turned around z, as rooms are rarely parallel to the axes."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Scene("turned", (room.scene.xyz @ turn.T).astype(np.float32), None, None, room.scene.label), turn


@pytest.mark.parametrize("kind", ["mesh", "points with normals", "bare points"])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_walls_between_viewer_and_room_are_left_out_and_no_others(room, angle: float, kind: str) -> None:
    """From twelve directions, also from below; each wall by the plane it is in."""
    scene, turn = _turn(room, angle)
    if kind == "points with normals":
        scene.normal = vertex_normals(scene.xyz, room.faces)
    shown, _ = lay_out_room(scene, room.faces if kind == "mesh" else None)
    is_exact = kind == "mesh"
    for azimuth in np.linspace(0.13, 0.13 + 2 * np.pi, 6, endpoint=False):
        for elevation in (0.8, -0.4):
            towards = view_from_corner(azimuth, elevation).towards_viewer
            share = _shown(shown, towards, room.part)
            for name, inwards in INWARDS.items():
                if kind == "bare points" and name == "top":
                    continue  # which side of a plane inside the room is the outer one, nobody knows
                faces_viewer = (turn @ np.array(inwards)) @ towards > 0
                if faces_viewer:
                    assert share[name] > (0.999 if is_exact else 0.8), (name, azimuth, elevation, share)
                else:
                    assert share[name] < (0.001 if is_exact else 0.25), (name, azimuth, elevation, share)


def test_of_bare_points_what_stands_in_the_room_is_seen_from_both_sides(room) -> None:
    shown, _ = lay_out_room(Scene("bare", room.scene.xyz, None, None, None), None)
    for elevation in (0.8, -0.4):
        towards = view_from_corner(0.5, elevation).towards_viewer
        assert _shown(shown, towards, room.part)["top"] > 0.9


def test_every_triangle_is_on_one_side(room) -> None:
    shown, _ = lay_out_room(room.scene, room.faces)
    together = np.concatenate([side.triangles for side in shown.sides])
    assert len(together) == len(room.faces)
    assert (np.unique(together, axis=0) == np.unique(room.faces, axis=0)).all()
    assert shown.shade.min() >= 0.7
    assert shown.shade.max() <= 1


@pytest.mark.parametrize("with_faces", [True, False])
def test_a_click_picks_what_is_seen_there(room, with_faces: bool) -> None:
    scene = Scene("room", room.scene.xyz, None, vertex_normals(room.scene.xyz, room.faces), room.scene.label)
    shown, camera = lay_out_room(scene, room.faces if with_faces else None)
    size = (640, 480)
    top = scene.xyz[room.part == "top"].mean(axis=0)
    corner = shown.pick(camera, *camera.pixel_of(top, *size), *size)
    assert corner is not None
    assert room.part[shown.point_of_corner[corner]] == "top"
    assert np.linalg.norm(scene.xyz[shown.point_of_corner[corner]] - top) < 0.15
    # The floor under it is hidden, and what hides the floor is picked.
    under = shown.pick(camera, *camera.pixel_of(top - (0, 0, 0.5), *size), *size)
    assert under is not None
    assert room.part[shown.point_of_corner[under]] in ("top", "floor")
    assert shown.pick(camera, 1, 1, *size) is None
    # From below, through the floor, which is left out.
    below = camera.turned(0, -1e4).turned(0, 100)
    corner = shown.pick(below, *below.pixel_of(np.array([2.0, 0.5, 1.0]), *size), *size)
    assert corner is not None
    assert room.part[shown.point_of_corner[corner]] != "floor"


def test_the_first_view_holds_all_that_is_shown(room) -> None:
    shown, camera = lay_out_room(room.scene, room.faces)
    size = (700, 700)
    towards = camera.view.towards_viewer
    corners = np.unique(np.concatenate([s.triangles.ravel() for s in shown.sides if s.is_seen(towards)]))
    pixels = np.array([camera.pixel_of(point, *size) for point in shown.corners[corners]])
    assert pixels.min() > 0
    assert pixels.max() < 700
    assert np.ptp(pixels, axis=0).max() > 0.9 * 700
