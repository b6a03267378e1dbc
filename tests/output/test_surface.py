"""What is drawn: one looks into the room, over or through what is in the way."""

import numpy as np
import pytest

from pointseg.output.bare_points import mean_spacing_m, plane_normals
from pointseg.output.surface import Surface, make_surface
from pointseg.output.view import View, choose_view, fit_frame, view_from_corner, wall_direction
from pointseg.scans.normals import vertex_normals


@pytest.fixture
def view() -> View:
    return view_from_corner(np.deg2rad(-57))  # from small y and large x


def test_the_axes_of_a_view_are_right_handed_and_upright() -> None:
    for azimuth in np.linspace(-3, 3, 13):
        axes = view_from_corner(azimuth).axes
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)
        assert axes[0, 2] == 0  # the picture's horizontal is horizontal
        assert axes[1, 2] > 0  # up is up
        assert axes[2, 2] > 0  # from above


def share_drawn(surface: Surface, part: np.ndarray) -> dict[str, float]:
    """Part of the room -> share of its points that are a corner of a triangle."""
    drawn = np.zeros(len(part), dtype=bool)
    drawn[surface.point_of_corner[surface.triangles]] = True
    return {str(name): drawn[part == name].mean() for name in np.unique(part)}


@pytest.mark.parametrize("with_faces", [True, False])
def test_ceiling_and_near_walls_are_left_out(room, view: View, with_faces: bool) -> None:
    xyz = room.scene.xyz
    normal = vertex_normals(xyz, room.faces)
    surface = make_surface(xyz, room.faces if with_faces else None, normal, view)
    share = share_drawn(surface, room.part)
    assert {name for name in share if share[name] > 0.5} == {"floor", "wall x0", "wall y1", "top"}


def test_bare_points_show_the_room_too(room, view: View) -> None:
    normal = plane_normals(room.scene.xyz, np.eye(3), view.towards_viewer)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, rtol=1e-5)
    surface = make_surface(room.scene.xyz, None, normal, view)
    share = share_drawn(surface, room.part)
    assert min(share[name] for name in ("floor", "wall x0", "wall y1", "top")) > 0.75, share
    assert max(share[name] for name in ("ceiling", "wall x1", "wall y0")) < 0.25, share


def test_corners_carry_the_colour_of_their_point_darkened_at_most_to_the_ambient_light(room, view: View) -> None:
    normal = vertex_normals(room.scene.xyz, room.faces)
    surface = make_surface(room.scene.xyz, None, normal, view)
    white = surface.corner_colors(np.full_like(room.scene.rgb, 255))
    assert white.min() >= 0.7 * 255
    colors = surface.corner_colors(room.scene.rgb).astype(float)
    given = room.scene.rgb[surface.point_of_corner].astype(float)
    np.testing.assert_allclose(colors, given * surface.shade[:, None], atol=0.5001)


def test_discs_lie_on_the_surface_and_are_as_large_as_the_points_are_apart(room, view: View) -> None:
    xyz = room.scene.xyz
    surface = make_surface(xyz, None, vertex_normals(xyz, room.faces), view)
    away = surface.projected - view.project(xyz)[surface.point_of_corner]
    radius = np.linalg.norm(away, axis=1)
    assert radius.max() == pytest.approx(radius.min(), rel=1e-3)
    assert 0.7 * 0.1 < radius.mean() < 1.5 * 0.1
    assert mean_spacing_m(xyz) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("degrees", [0, 17, 45, 73])
def test_the_walls_are_found_whatever_way_the_room_is_turned(room, degrees: int) -> None:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = np.rad2deg(wall_direction(room.scene.xyz[:, :2] @ turn.T))
    assert min(abs(found - degrees) % 90, 90 - abs(found - degrees) % 90) <= 2


def test_the_view_is_the_one_that_shows_the_front_of_what_stands_in_the_room() -> None:
    """A board of points whose normals all look along +x is seen from +x."""
    generator = np.random.default_rng(0)
    board = generator.random((2000, 3)) * (0.05, 3.0, 1.5)
    floor = generator.random((2000, 3)) * (3.0, 3.0, 0.0)
    normal = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 2000, axis=0)
    assert choose_view(np.concatenate([board, floor]), normal).towards_viewer[0] > 0.3


def test_the_frame_holds_every_point() -> None:
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    frame = fit_frame(points)
    assert frame.left < points[:, 0].min() < points[:, 0].max() < frame.right
    assert frame.bottom < points[:, 1].min() < points[:, 1].max() < frame.top
    assert fit_frame(points[:1]).aspect == pytest.approx(1)  # one point: no division by zero
