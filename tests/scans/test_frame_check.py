"""A scan in another unit or on its side is noticed; an ordinary one never is."""

import numpy as np
import pytest

from pointseg.scans.frame import METRES_OF_UNIT, UP_AXES, find_frame
from pointseg.scans.frame_check import describe_doubts, guess_frame
from tests.scans.rooms import furnished_room


def lay(xyz: np.ndarray, up: str) -> np.ndarray:
    """A room's coordinates in a file in which ``up`` is up: the inverse of what the reader does."""
    return xyz @ find_frame(np.zeros((1, 3)), up=up).rotation


@pytest.mark.parametrize("up", UP_AXES)
@pytest.mark.parametrize("sides", [1.0, -1.0])
def test_each_axis_is_found(up: str, sides: float) -> None:
    """Whichever other one was assumed, also where normals point outwards. Without normals it may stay unnoticed."""
    xyz, normal = furnished_room()
    for assumed in UP_AXES:
        wanted = up if assumed != up else None
        assert guess_frame(lay(xyz, up), lay(normal, up) * sides, assumed_up=assumed).up == wanted
        assert guess_frame(lay(xyz, up), assumed_up=assumed).up in (wanted, None)


@pytest.mark.parametrize("unit", METRES_OF_UNIT)
@pytest.mark.parametrize("up", ["z", "y"])
def test_each_unit_is_found(unit: str, up: str) -> None:
    xyz, normal = furnished_room()
    guess = guess_frame(lay(xyz, up) / METRES_OF_UNIT[unit], lay(normal, up))
    assert guess.in_metres == (unit == "m")
    # A room of 5 m in inches might be one of 2 m in centimetres, cut below the ceiling.
    assert guess.units == {"m": (), "cm": ("cm",), "mm": ("mm",), "in": ("cm", "in")}[unit]


CUTS = {
    "whole": lambda xyz: xyz[:, 2] > -9,
    "without floor": lambda xyz: xyz[:, 2] > 0.1,
    "lower part": lambda xyz: xyz[:, 2] < 1.2,
    "upper part": lambda xyz: xyz[:, 2] > 0.6,
    "half": lambda xyz: xyz[:, 0] < np.median(xyz[:, 0]),
    "table": lambda xyz: np.linalg.norm(xyz - xyz.mean(axis=0), axis=1) < 1.2,
    "few": lambda xyz: np.arange(len(xyz)) % 40 == 0,
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_ordinary_scan_causes_no_doubt(cut: str, turn_deg: float, seed: int) -> None:
    xyz, normal = furnished_room(seed, turn_deg=turn_deg)
    kept = CUTS[cut](xyz)
    for normals in (normal[kept], None):
        assert describe_doubts(guess_frame(xyz[kept], normals)) is None


def test_the_warning_names_the_options() -> None:
    xyz, normal = furnished_room()
    line = describe_doubts(guess_frame(lay(xyz, "y") * 1000, lay(normal, "y")))
    assert line is not None
    assert "\n" not in line
    assert "no room in metres, but in mm one of" in line
    assert "looks as if y were up, not z" in line
    assert line.endswith("give --unit mm --up=y, or --unit m --up=z if it is right as it is")


def test_what_the_user_says_is_not_doubted() -> None:
    xyz, normal = furnished_room()
    scan, normals = lay(xyz, "y") * 1000, lay(normal, "y")
    assert describe_doubts(guess_frame(scan, normals, unit="m", up="z")) is None
    line = describe_doubts(guess_frame(scan, normals, unit="mm"))
    assert line == "looks as if y were up, not z; give --up=y, or --up=z if it is right as it is"


def test_a_format_s_own_axis_is_doubted_where_the_scan_lies_otherwise() -> None:
    xyz, normal = furnished_room()
    line = describe_doubts(guess_frame(xyz, normal, assumed_up="y"), assumed_up="y")
    assert line == "looks as if z were up, not y; give --up=z, or --up=y if it is right as it is"
    laid = guess_frame(lay(xyz, "y"), lay(normal, "y"), assumed_up="y")
    assert describe_doubts(laid, assumed_up="y") is None
