"""What is said of the place of a scan, where it is one that no scene can have."""

from pathlib import Path

import numpy as np
import pytest

from pointseg.formats.scan_file import ScanFile
from pointseg.scans.own_scan import ScanOptions, make_scene

UP = np.tile(np.array([0, 0, 1], dtype=np.float32), (500, 1))
MAP = np.array([689_123.0, 5_335_765.0, 520.0])


def remarks_of(xyz: np.ndarray) -> list[str]:
    file = ScanFile(Path("room.ply"), xyz, normal=UP)
    return make_scene("room", file, ScanOptions("m", "z"), needs_normal=True).remarks


@pytest.fixture
def xyz() -> np.ndarray:
    return np.random.default_rng(0).random((500, 3)) * (5, 4, 2.5)


def test_nothing_is_said_of_a_room_wherever_it_is(xyz: np.ndarray) -> None:
    for place in (xyz, xyz + MAP, xyz.astype(np.float32)):
        assert remarks_of(place) == []


def test_points_that_are_put_nearer_are_counted(xyz: np.ndarray) -> None:
    xyz[:2] = [[5e6, 0, 0], [0, 0, -1e9]]
    (remark,) = remarks_of(xyz)
    assert remark == "2 of 500 points are more than 5 km away from the scan, and count as so far"


def test_coordinates_that_have_lost_their_centimetres_are_told_of(xyz: np.ndarray) -> None:
    (remark,) = remarks_of((xyz + MAP).astype(np.float32))
    assert remark.startswith("its coordinates are in single precision and so large that they keep no more than 0.5 m;")
