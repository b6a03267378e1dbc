"""From a file's coordinates to a scene: nothing is lost on the way, and left stays left."""

import numpy as np
import pytest
import torch

from pointseg.data.voxelize import build_grid
from pointseg.errors import UsageError
from pointseg.scans.frame import FARTHEST_M, METRES_OF_UNIT, UP_AXES, find_frame, near_origin

UTM = np.array([689123.4567, 5335765.4321, 520.125])


@pytest.fixture
def room() -> np.ndarray:
    return np.random.default_rng(0).random((1000, 3)) * (5.0, 4.0, 2.5)


@pytest.mark.parametrize("up", UP_AXES)
@pytest.mark.parametrize("unit", METRES_OF_UNIT)
def test_the_named_axis_becomes_z_and_the_way_back_is_exact(room: np.ndarray, unit: str, up: str) -> None:
    """A point one metre up the named axis is at z = 1; a right-handed triple of normals stays right-handed."""
    axis = np.zeros(3)
    axis["xyz".index(up[-1])] = -1.0 if up[0] == "-" else 1.0
    xyz = room / METRES_OF_UNIT[unit] + (UTM if unit == "m" else 0)
    frame = find_frame(xyz, unit, up)
    scene = frame.to_scene(xyz)
    assert scene.dtype == np.float32
    back = scene.astype(np.float64) @ frame.rotation + frame.offset_m
    np.testing.assert_allclose(back, xyz * METRES_OF_UNIT[unit], atol=1e-6)
    lifted = frame.to_scene(xyz + axis / METRES_OF_UNIT[unit])
    np.testing.assert_allclose(lifted - scene, np.tile([0.0, 0.0, 1.0], (len(xyz), 1)), atol=2e-6)
    x, y, z = frame.turn(np.eye(3))
    np.testing.assert_array_equal(np.cross(x, y), z)


def test_normals_turn_with_the_points(room: np.ndarray) -> None:
    """The normal of a triangle is the same, whether it is computed before or after."""
    a, b, c = room[:3]
    normal = np.cross(b - a, c - a)[None]
    frame = find_frame(room, up="-x")
    scene, turned = frame.to_scene(room), frame.turn(normal)
    a, b, c = scene[:3].astype(np.float64)
    np.testing.assert_allclose(np.cross(b - a, c - a), turned[0], atol=1e-5)


def test_map_coordinates_keep_their_millimetres(room: np.ndarray) -> None:
    """In float32 they move in steps of half a metre; one point without depth must not bring that back."""
    assert np.unique((room + UTM).astype(np.float32)[:, 1]).size < 20
    scan = np.vstack([room + UTM, np.zeros((1, 3))])
    scene = near_origin(scan)[:-1]
    np.testing.assert_allclose(scene - scene[0], room - room[0], atol=2e-6)


def test_a_scan_near_the_origin_stays_where_it_is(room: np.ndarray) -> None:
    xyz = (room - (900, 0, 0)).astype(np.float32)
    np.testing.assert_array_equal(near_origin(xyz), xyz)


@pytest.mark.parametrize("stray", [(0, 0, 0), (5e6, 0, 0), (-1e11, 1e11, 1e11)])
def test_one_stray_leaves_a_grid_that_has_indices(room: np.ndarray, stray: tuple[float, float, float]) -> None:
    """At the main recipe's 2 cm, and the others lie to the bit where they lay without it."""
    map_xyz = room.astype(np.float64) + np.array([689_123, 5_335_765, 520])
    without = find_frame(map_xyz).to_scene(map_xyz)
    xyz = np.concatenate([map_xyz, [stray]])
    frame = find_frame(xyz)
    scene = frame.to_scene(xyz)
    np.testing.assert_array_equal(scene[:-1], without)
    assert np.abs(scene[-1]).max() == FARTHEST_M
    build_grid(torch.from_numpy(scene), 0.02)


def test_a_wrong_word_is_a_wrong_call(room: np.ndarray) -> None:
    with pytest.raises(UsageError, match="unit 'km' is not known; choose one of m, cm, mm, in"):
        find_frame(room, unit="km")
    with pytest.raises(UsageError, match="up axis 'w' is not known; choose one of x, y, z, -x, -y, -z"):
        find_frame(room, up="w")
