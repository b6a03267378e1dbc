"""The camera: what it shows fills the window, and the room follows the mouse."""

import numpy as np
import pytest

from pointseg.output.view import Frame, view_from_corner
from pointseg.window.turntable import Turntable

SIZE = (800, 500)
POINTS = np.random.default_rng(0).uniform((0, 0, 0), (5, 4, 2.5), (200, 3))


@pytest.fixture
def camera() -> Turntable:
    view = view_from_corner(0.7)
    projected = view.project(POINTS)
    (left, bottom), (right, top) = projected[:, :2].min(axis=0), projected[:, :2].max(axis=0)
    return Turntable.from_view(view, Frame(left, right, bottom, top), POINTS)


@pytest.mark.parametrize("size", [(800, 500), (300, 900), (64, 64)])
def test_all_is_in_the_window_and_fills_it_one_way(camera: Turntable, size: tuple[int, int]) -> None:
    pixels = np.array([camera.pixel_of(point, *size) for point in POINTS])
    assert pixels.min() > -1e-3
    assert (pixels <= np.array(size) + 1e-3).all()
    extent = np.ptp(pixels, axis=0) / size
    assert extent.max() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose((pixels.min(axis=0) + pixels.max(axis=0)) / 2, np.array(size) / 2, atol=1e-3)


def test_a_metre_is_as_many_pixels_across_as_down(camera: Turntable) -> None:
    right, up, _ = camera.view.axes
    middle = np.array(camera.pixel_of(camera.center, *SIZE))
    across = np.array(camera.pixel_of(camera.center + right, *SIZE)) - middle
    above = np.array(camera.pixel_of(camera.center + up, *SIZE)) - middle
    np.testing.assert_allclose(middle, (400, 250))
    assert across[0] == pytest.approx(-above[1])
    np.testing.assert_allclose((across[1], above[0]), 0, atol=1e-9)


def test_what_is_in_front_follows_the_mouse_when_the_room_is_turned(camera: Turntable) -> None:
    """A drag to the right takes what is before the middle to the right; a drag down shows more from above."""
    near = camera.center + np.append(camera.view.towards_viewer[:2], 0)
    before, after = (np.array(c.pixel_of(near, *SIZE)) for c in (camera, camera.turned(20, 0)))
    assert after[0] > before[0] + 1
    assert camera.turned(0, 20).view.towards_viewer[2] > camera.view.towards_viewer[2]
    for turned in (camera.turned(5000, 0), camera.turned(0, 5000), camera.turned(0, -5000)):
        np.testing.assert_allclose(turned.pixel_of(turned.center, *SIZE), (400, 250))
        assert turned.view.axes[1, 2] > 0  # up stays up


def test_a_moved_room_follows_the_mouse_exactly(camera: Turntable) -> None:
    moved = camera.turned(30, -20).moved(37, -12, *SIZE)
    for point in POINTS[:5]:
        before = camera.turned(30, -20).pixel_of(point, *SIZE)
        np.testing.assert_allclose(moved.pixel_of(point, *SIZE), np.add(before, (37, -12)))


def test_what_is_under_the_pointer_stays_there_when_zoomed(camera: Turntable) -> None:
    point = POINTS[3]
    x, y = camera.pixel_of(point, *SIZE)
    for steps in (1, -2, 6, 1000, -1000):
        zoomed = camera.zoomed(steps, x, y, *SIZE)
        np.testing.assert_allclose(zoomed.pixel_of(point, *SIZE), (x, y), atol=1e-2)
        assert (zoomed.zoom > camera.zoom) == (steps > 0)
    closer, farther = camera.zoomed(3, x, y, *SIZE), camera.zoomed(-3, x, y, *SIZE)
    spread = [np.ptp([c.pixel_of(p, *SIZE)[0] for p in POINTS]) for c in (farther, camera, closer)]
    assert spread[0] < spread[1] < spread[2]
