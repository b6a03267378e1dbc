"""From what a file holds to a scene that a network can take: its frame, and the parts that it lacks."""

from dataclasses import dataclass, field

import numpy as np

from pointseg.errors import UsageError
from pointseg.formats.scan_file import ScanFile
from pointseg.scans.frame import FARTHEST_M, SceneFrame, find_frame
from pointseg.scans.frame_check import describe_doubts, guess_frame
from pointseg.scans.normals import vertex_normals
from pointseg.scans.scene import Scene

# Half a voxel of the main recipe.
_COARSE_M = 0.01
NORMALS_ESTIMATED = (
    "there are neither normals nor faces, so normals were estimated from neighbouring points; "
    "about one in eight faces the wrong way, and predictions are less accurate than with measured ones"
)


@dataclass(frozen=True)
class ScanOptions:
    """What the user says of a file that the file does not say itself. None: not said."""

    unit: str | None = None
    """Of length: a key of ``METRES_OF_UNIT``; None: metres."""
    up: str | None = None
    """The file's axis that points up: one of ``UP_AXES``; None: what its format says, or z."""
    fill_color: tuple[int, int, int] | None = None
    """Colour 0..255 of all points of a scan without colours."""

    def __post_init__(self) -> None:
        """Raises: UsageError where the colour is none."""
        color = self.fill_color
        if color is not None and (len(color) != 3 or any(value not in range(256) for value in color)):
            raise UsageError(f"fill colour {color!r} is none; give three whole numbers from 0 to 255")


@dataclass(frozen=True)
class OwnScan:
    """A scan from a file as a scene."""

    scene: Scene
    frame: SceneFrame
    """Where it lies in the file's coordinates."""
    remarks: list[str] = field(default_factory=list)
    """What the user should know, a line each, without the name of the file."""


def _coarsest_step_m(xyz: np.ndarray, frame: SceneFrame) -> float:
    """The distance of neighbouring float32 numbers where the middle of the scan lies, metres: a stray says nothing."""
    return float(np.spacing(np.abs(np.median(xyz, axis=0)).max().astype(np.float32))) * frame.metres


def make_scene(name: str, file: ScanFile, options: ScanOptions, needs_normal: bool) -> OwnScan:
    """Make a scene of what a file holds.

    Where unit or axis are not said, and the scan does not look like a room in metres, or another axis looks like the
    upward one, a remark says so; nothing is changed by that.

    Args:
        name: of the scene.
        file: whose points all have a place.
        options: what the user says of it.
        needs_normal: whether normals that are not there have to be made: from faces, or else from neighbours.

    Raises:
        UsageError: the unit or the axis is not known, or normals have to be estimated and Open3D is not installed.
    """
    remarks = []
    xyz, rgb, normal = file.xyz, file.rgb, file.normal
    if normal is None and file.faces is not None:
        normal = vertex_normals(xyz, file.faces)
    up = options.up or file.up_axis_hint or "z"
    doubts = describe_doubts(guess_frame(xyz, normal, options.unit, options.up, assumed_up=up), assumed_up=up)
    if doubts is not None:
        remarks.append(doubts)
    frame = find_frame(xyz, options.unit or "m", up)
    scene_xyz, scene_normal = frame.to_scene(xyz), None if normal is None else frame.turn(normal)
    if num_too_far := int((np.abs(scene_xyz) >= FARTHEST_M).any(axis=1).sum()):
        remarks.append(
            f"{num_too_far:,} of {len(xyz):,} points are more than {FARTHEST_M / 1000:.0f} km away from the scan, and "
            "count as so far"
        )
    if xyz.dtype == np.float32 and (step := _coarsest_step_m(xyz, frame)) > _COARSE_M:
        remarks.append(
            f"its coordinates are in single precision and so large that they keep no more than {step:.2g} m; export it "
            "in double precision, or shifted to the origin"
        )
    if scene_normal is None and needs_normal:
        from pointseg.scans.normal_estimation import estimate_normals

        scene_normal = estimate_normals(scene_xyz)
        remarks.append(NORMALS_ESTIMATED)
    if rgb is None and options.fill_color is not None:
        rgb = np.tile(np.array(options.fill_color, dtype=np.uint8), (len(xyz), 1))
    return OwnScan(Scene(name, scene_xyz, rgb, scene_normal), frame, remarks)
