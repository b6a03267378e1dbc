"""Arrays of a caller as a scene: what does not fit is named, whatever it is."""

import numpy as np
import pytest

from pointseg.errors import DataError, UsageError
from pointseg.scans.arrays import scene_of_arrays
from pointseg.scans.own_scan import ScanOptions

XYZ = np.arange(12.0).reshape(4, 3)
RGB = np.arange(12, dtype=np.uint8).reshape(4, 3)
UP = np.tile([0.0, 0.0, 1.0], (4, 1))
WRONG = {
    "colours of a list": (XYZ, RGB.tolist(), "rgb is int64 (4, 3), expected uint8 0..255 (4, 3); convert the array"),
    "turned": (XYZ.T, RGB, "xyz is float64 (3, 4), expected numbers (N, 3)"),
    "complex": (XYZ + 1j, RGB, "xyz is complex128 (4, 3), expected numbers (N, 3)"),
    "objects": (XYZ.astype(object), RGB, "xyz is object (4, 3), expected numbers (N, 3)"),
    "nothing": (None, RGB, "xyz is object (), expected numbers (N, 3)"),
    "fewer colours": (XYZ, RGB[1:], "rgb is uint8 (3, 3), expected uint8 0..255 (4, 3)"),
    "beyond float32": (XYZ * 1e300, RGB, "coordinates reach 1.1e+301 m, which no scan does; check the unit"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit(case: str) -> None:
    xyz, rgb, message = WRONG[case]
    with pytest.raises(DataError) as caught:
        scene_of_arrays(xyz, rgb, UP)
    assert message in str(caught.value)


def test_lists_and_views() -> None:
    scene = scene_of_arrays(XYZ.tolist(), RGB[:, ::-1], UP.tolist())
    assert (scene.xyz.tolist(), scene.rgb.tolist()) == (XYZ.tolist(), RGB[:, ::-1].tolist())
    assert (scene.xyz.dtype, scene.normal.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("color", [(1, 2, 300), (-1, 0, 0), (1, 2), "red"])
def test_a_colour_that_is_none(color: tuple) -> None:
    with pytest.raises(UsageError, match="give three whole numbers from 0 to 255"):
        ScanOptions(fill_color=color)
