"""Does a scan lie as a room does? What its unit and its upward axis look like, or that nothing can be said.

Nothing is changed by what is found here: it becomes a warning that names the option to give. So a wrong answer is worse
than none, and either question may be answered by silence.
"""

from dataclasses import dataclass

import numpy as np

from pointseg.scans.frame import METRES_OF_UNIT, UP_AXES

_MAX_POINTS = 20_000  # that the shape of a scan is judged by
_MIN_POINTS = 500
_SMALLEST_M, _LARGEST_M = 0.3, 300.0  # of the widest side of what may be in metres
_THICKEST_M = 30.0  # of its shortest side
_ROOM_WIDTH_M = (1.0, 60.0)  # of the widest side of a room, or a part of one
_HIGHEST_ROOM_M = 6.5
_HIGH_ROOM_CM = 190.0  # a room as high as that in cm would be 4.8 m high in inches
_FLAT, _UPRIGHT = 0.9, 0.2  # cosines between a normal and an axis: of level surfaces at least, of upright ones at most
_SHELL = 0.08  # share of the height in which floor and ceiling lie
_CELLS_ALONG = 40  # of the widest side, where planes have to be fitted
_MIN_CELL_POINTS = 4

# Log-odds that an axis points up, for each quantity of `_describe_axis`. Fitted (conditional logit) on 120 synthetic
# rooms, whole and in ten kinds of parts (halves, a quarter, without floor, ceiling or walls, ...).
_WEIGHTS = np.array([-13.6, 9.6, 16.9, 18.5, -17.3, 4.6, 13.3, -41.0])
_MARGIN = 5.0  # log-odds by which another axis must be ahead of the assumed one
_MARGIN_OF_PLANES = 10.0  # where the sides of the surfaces are not known


@dataclass(frozen=True)
class FrameGuess:
    """What a scan looks like."""

    size: tuple[float, float, float]
    """Extent along the file's axes, in the file's unit, without the outermost per cent on either side."""
    in_metres: bool = True
    """Whether it may be in metres."""
    units: tuple[str, ...] = ()
    """If it is not: the units in which it has the size of a room; two where it may be either."""
    up: str | None = None
    """The axis that looks like the upward one; None: nothing speaks clearly against the assumed one."""


def guess_frame(
    xyz: np.ndarray,
    normal: np.ndarray | None = None,
    unit: str | None = None,
    up: str | None = None,
    assumed_up: str = "z",
) -> FrameGuess:
    """What a scan looks like, from its size and from where its level and upright surfaces lie.

    Args:
        xyz: (N, 3) float, the file's coordinates, finite, N > 0.
        normal: (N, 3) float, unit length, to the inside or the outside; None: planes are fitted to the points.
        unit: of the file, where it is known; it is not guessed then.
        up: of the file, where it is known; it is not guessed then.
        assumed_up: the axis that is taken to point up where that is not known.
    """
    rows = np.arange(0, len(xyz), -(-len(xyz) // _MAX_POINTS))
    points = np.asarray(xyz[rows], dtype=np.float64)
    low, high = np.quantile(points, (0.01, 0.99), axis=0)
    x, y, z = (float(side) for side in high - low)
    size = (x, y, z)
    if up is None and len(points) >= _MIN_POINTS and min(size) > 0:
        up = _guess_up(points, None if normal is None else np.asarray(normal[rows]), low, high, assumed_up)
    if unit is not None or _may_be_metres(size):
        return FrameGuess(size, up=up)
    height = min(size) if up is None else size["xyz".index(up[-1])]
    return FrameGuess(size, in_metres=False, units=_guess_units(max(size), height), up=up)


def describe_doubts(guess: FrameGuess, assumed_up: str = "z") -> str | None:
    """One line for people: what the scan looks like and which options to give; None where nothing looks wrong.

    Args:
        guess: of the scan, whose unit is taken to be the metre, with the same assumed axis.
        assumed_up: the axis that is taken to point up.

    Returns:
        the line, without the name of the scan.
    """
    doubts: list[str] = []
    options: list[str] = []
    as_it_is: list[str] = []
    if (size := describe_size(guess)) is not None:
        doubts.append(size)
        options.append(f"--unit {'|'.join(guess.units or tuple(METRES_OF_UNIT))}")
        as_it_is.append("--unit m")
    if guess.up not in (None, assumed_up):
        doubts.append(f"looks as if {guess.up} were up, not {assumed_up}")
        options.append(f"--up={guess.up}")
        as_it_is.append(f"--up={assumed_up}")
    if not doubts:
        return None
    return f"{'; it '.join(doubts)}; give {' '.join(options)}, or {' '.join(as_it_is)} if it is right as it is"


def describe_size(guess: FrameGuess) -> str | None:
    """The extent of a scan that is no room in metres, and in which units it is one; None where it may be in metres."""
    if guess.in_metres:
        return None
    in_units = " or in ".join(f"{unit} one of {_sides(guess.size, METRES_OF_UNIT[unit])} m" for unit in guess.units)
    what = f"is {_sides(guess.size, 1)} wide, deep and high, which is no room in metres"
    return what + (f", but in {in_units}" if in_units else "")


def _sides(size: tuple[float, float, float], factor: float) -> str:
    return " x ".join(f"{side * factor:.3g}" if side * factor < 1000 else f"{side * factor:.0f}" for side in size)


def _may_be_metres(size: tuple[float, float, float]) -> bool:
    return _SMALLEST_M <= max(size) <= _LARGEST_M and min(size) <= _THICKEST_M


def _guess_units(widest: float, height: float) -> tuple[str, ...]:
    """Units in which a scan has the size of a room. Of centimetres and inches both, if the height does not decide."""
    units = tuple(
        unit
        for unit, metres in METRES_OF_UNIT.items()
        if unit != "m"
        and _ROOM_WIDTH_M[0] <= widest * metres <= _ROOM_WIDTH_M[1]
        and height * metres <= _HIGHEST_ROOM_M
    )
    return tuple(unit for unit in units if unit != "in") if "cm" in units and height >= _HIGH_ROOM_CM else units


def _guess_up(
    xyz: np.ndarray, normal: np.ndarray | None, low: np.ndarray, high: np.ndarray, assumed_up: str
) -> str | None:
    """The axis that looks most like the upward one, if it is another than the assumed one and clearly ahead of it.

    Walls look like floor and ceiling in all but what stands on them: which of two wrong axes is the right one can be
    hard to tell where it is easy to see that the assumed one is wrong.
    """
    has_sides = normal is not None
    if normal is None:
        xyz, normal = _fit_planes(xyz, float((high - low).max()) / _CELLS_ALONG)
        if len(xyz) < _MIN_POINTS // 2:
            return None
    share = (xyz - low) / (high - low)
    # Normals may point to the outside, as where a file lists corners clockwise: what is outermost shows it.
    inwards = (np.sign(normal) * ((np.abs(normal) > _FLAT) * ((share < _SHELL) * 1.0 - (share > 1 - _SHELL)))).sum()
    if inwards < 0:
        normal = -normal
    quantities = []
    for axis in UP_AXES:
        column, sign = "xyz".index(axis[-1]), -1 if axis[0] == "-" else 1
        height = share[:, column] if sign > 0 else 1 - share[:, column]
        quantities.append(_describe_axis(height, sign * normal[:, column], has_sides))
    log_odds = np.array(quantities) @ _WEIGHTS
    best = int(log_odds.argmax())
    lead = log_odds[best] - log_odds[UP_AXES.index(assumed_up)]
    return UP_AXES[best] if lead > (_MARGIN if has_sides else _MARGIN_OF_PLANES) else None


def _describe_axis(height: np.ndarray, cosine: np.ndarray, has_sides: bool) -> list[float]:
    """What speaks for an axis as the upward one.

    Furniture stands on the floor, so that most of a room is in its lower half; seats and table tops face up, and
    hardly anything but the ceiling faces down; and what is not level is upright.

    Args:
        height: (N,) share of the scan's extent along the axis.
        cosine: (N,) between normals and the axis.
        has_sides: whether the normals tell one side of a surface from the other. If not, what is level counts as
            facing up in the lower half, and as facing down in the upper half.
    """
    level = np.abs(cosine) > _FLAT
    at_bottom, at_top = height < _SHELL, height > 1 - _SHELL
    between = level & ~at_bottom & ~at_top
    faces_up = cosine > 0 if has_sides else height < 0.5
    upright = np.abs(cosine) < _UPRIGHT
    parts = [level & at_bottom, level & at_top, between & faces_up, between & ~faces_up]
    parts += [between & faces_up & (height < 0.5), upright, ~level & ~upright]
    return [float(np.clip(height, 0, 1).mean()) - 0.5, *(float(part.mean()) for part in parts)]


def _fit_planes(xyz: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Points that have enough others near them, and (n, 3) normals, of either side, of the planes that fit those best.

    Args:
        xyz: (N, 3) float64.
        cell: edge of the cells in which points are near each other, in the unit of ``xyz``.
    """
    position = np.floor((xyz - xyz.min(axis=0)) / cell).astype(np.int64)
    size = position.max(axis=0) + 1
    key = (position[:, 0] * size[1] + position[:, 1]) * size[2] + position[:, 2]
    cell_of_point, num_points = np.unique(key, return_inverse=True, return_counts=True)[1:]
    enough = (num_points >= _MIN_CELL_POINTS)[cell_of_point]
    weight = 1 / num_points
    center = np.stack([np.bincount(cell_of_point, column) * weight for column in xyz.T], axis=1)
    offset = xyz - center[cell_of_point]
    covariance = np.empty((len(num_points), 3, 3))
    for i in range(3):
        for j in range(i, 3):
            covariance[:, i, j] = covariance[:, j, i] = np.bincount(cell_of_point, offset[:, i] * offset[:, j]) * weight
    normal = np.linalg.eigh(covariance)[1][:, :, 0]
    return xyz[enough], normal[cell_of_point[enough]]
