"""Strays don't count, and where there are none, nothing changes."""

import numpy as np
import pytest

from pointseg.scans.extent import extent_without_strays, find_strays
from tests.scans.rooms import furnished_room


@pytest.fixture
def room() -> np.ndarray:
    return furnished_room()[0].astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_strays_the_extent_is_that_of_the_extremes(room: np.ndarray, dtype: type) -> None:
    for scan in (room, room[:1], room[::50], room[room[:, 2] > 1.0], np.vstack([room, room + np.float32([9, 0, 0])])):
        xyz = scan.astype(dtype)
        low, high = extent_without_strays(xyz)
        assert low.dtype == dtype
        np.testing.assert_array_equal(low, xyz.min(axis=0))
        np.testing.assert_array_equal(high, xyz.max(axis=0))


STRAYS = {
    "below the floor": [[2, 2, -3]],
    "20 m away": [[20, 1, 1]],
    "a chain": [[2, 2, -4], [2, 2, -7], [2, 2.1, -4.2], [-15, 2, 1]],
    "at the other end of the world": [[1e9, 0, 0], [0, -1e9, 0]],
    "a small cluster": [[3, 3, -5 + 0.01 * i] for i in range(6)],
}


@pytest.mark.parametrize("strays", STRAYS)
def test_strays_don_t_count(room: np.ndarray, strays: str) -> None:
    xyz = np.vstack([room, np.array(STRAYS[strays], dtype=np.float32)])
    order = np.random.default_rng(0).permutation(len(xyz))
    low, high = extent_without_strays(xyz[order])
    np.testing.assert_array_equal(low, room.min(axis=0))
    np.testing.assert_array_equal(high, room.max(axis=0))
    np.testing.assert_array_equal(np.flatnonzero(find_strays(xyz)), np.arange(len(room), len(xyz)))


def test_a_second_room_and_a_scattered_scan_have_no_strays(room: np.ndarray) -> None:
    """A part of more than 0.1 % is not astray, nor is any point where more than 1 % would be."""
    far = room[:: len(room) // 40] + np.float32([0, 0, 12])
    assert not find_strays(np.vstack([room, far])).any()
    scattered = np.random.default_rng(0).uniform(-500, 500, (2000, 3))
    assert not find_strays(scattered).any()
