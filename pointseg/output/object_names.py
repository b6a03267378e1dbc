"""Where the names of the largest objects stand in a picture: on them, or beside them with a line to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_NAMES = 10
_MAX_NAMES_OF_A_CLASS = 2
_SMALLEST_SHARE = 0.004  # of what is drawn: smaller patches have no name
_SMALLEST_OF_LARGEST = 0.25  # of a class's largest patch, which has a name: smaller ones are pieces of the same floor
_COVERED = 0.85  # of a name's box that has to be on the object for the name to stand there
_STEPS_AWAY = 4  # of a line of text each, that a name may be away from its object

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""


@dataclass(frozen=True)
class ObjectName:
    """A name and its place in a panel, pixels."""

    text: str
    left: float
    top: float
    target: tuple[float, float] | None
    """Where the line from the name ends; None: the name stands on its object."""


def place_names(
    labels: np.ndarray, names: Sequence[str], pixels_per_cell: float, measure: Callable[[str], tuple[float, float]]
) -> list[ObjectName]:
    """Names of the largest patches of one class, the largest first, none over another.

    Args:
        labels: (H, W) integer, what is seen in each cell of a panel; -1: nothing, or no class.
        names: (K,) of the classes.
        pixels_per_cell: of the panel.
        measure: (width, height) of a text, pixels.
    """
    patch, size = find_patches(labels)
    depth = depth_inside(patch)
    placed: list[ObjectName] = []
    taken: list[Box] = []
    named: dict[int, list[int]] = {}  # label -> cells of its patches that have a name
    for index in np.argsort(-size, kind="stable"):
        if size[index] < _SMALLEST_SHARE * size.sum() or len(placed) == MAX_NAMES:
            break
        cells = patch == index
        row, column = np.unravel_index(np.where(cells, depth, -1).argmax(), labels.shape)
        label = int(labels[row, column])
        others = named.setdefault(label, [])
        if len(others) == _MAX_NAMES_OF_A_CLASS or (others and size[index] < _SMALLEST_OF_LARGEST * others[0]):
            continue
        width, height = measure(names[label])
        middle = ((column + 0.5) * pixels_per_cell, (row + 0.5) * pixels_per_cell)
        radius = float(depth[row, column] * pixels_per_cell)
        for box, is_on_it in _places(middle, radius, width, height, cells, pixels_per_cell):
            if _is_inside(box, labels.shape, pixels_per_cell) and not any(_overlap(box, other) for other in taken):
                placed.append(ObjectName(names[label], box[0], box[1], None if is_on_it else middle))
                taken += [box] if is_on_it else [box, (middle[0] - 2, middle[1] - 2, middle[0] + 2, middle[1] + 2)]
                others.append(int(size[index]))
                break
    return placed


def find_patches(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected cells of one label, by their four neighbours.

    Args:
        labels: (H, W) integer, -1: in no patch.

    Returns:
        (H, W) int64, the patch of each cell, 0..P-1, or -1; and (P,) int64, cells of each.
    """
    height, width = labels.shape
    patch = np.arange(height * width).reshape(height, width)
    alike = [(labels[:, 1:] == labels[:, :-1]), (labels[1:] == labels[:-1])]
    while True:  # each cell takes the lowest number beside it, and then the number of the cell of that number
        before = patch.copy()
        for same, here, there in (
            (alike[0], patch[:, 1:], patch[:, :-1]),
            (alike[1], patch[1:], patch[:-1]),
        ):
            lowest = np.minimum(here, there)
            # Both are views of one array: what one has got, the other must not take back.
            np.minimum(here, lowest, out=here, where=same)
            np.minimum(there, lowest, out=there, where=same)
        patch = patch.ravel()[patch]
        if (patch == before).all():
            break
    result = np.full(labels.shape, -1, dtype=np.int64)
    known = labels >= 0
    numbers, result[known] = np.unique(patch[known], return_inverse=True)
    return result, np.bincount(result[known], minlength=len(numbers))


def depth_inside(patch: np.ndarray) -> np.ndarray:
    """(H, W) int64: steps from each cell to the nearest one of another patch or the edge, 0 outside patches."""
    depth = np.zeros(patch.shape, dtype=np.int64)
    inner = patch >= 0
    framed = np.pad(patch, 1, constant_values=-1)
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(None, -2), slice(1, -1))):
        inner = inner & (framed[rows, columns] == patch)
    for rows, columns in ((slice(1, -1), slice(2, None)), (slice(1, -1), slice(None, -2))):
        inner = inner & (framed[rows, columns] == patch)
    depth[patch >= 0] = 1
    while inner.any():
        depth[inner] += 1
        grown = np.pad(inner, 1)
        inner = inner & grown[2:, 1:-1] & grown[:-2, 1:-1] & grown[1:-1, 2:] & grown[1:-1, :-2]
    return depth


def _places(
    middle: tuple[float, float],
    radius: float,
    width: float,
    height: float,
    cells: np.ndarray,
    pixels_per_cell: float,
) -> list[tuple[Box, bool]]:
    """Boxes for a name, the best first, and whether it stands on its object there."""
    x, y = middle
    on_it = _box_around(x, y, width, height)
    left, top, right, bottom = (round(edge / pixels_per_cell) for edge in on_it)
    if cells[max(top, 0) : bottom + 1, max(left, 0) : right + 1].mean() >= _COVERED:
        return [(on_it, True)]
    rise, reach = radius + height / 3 + height / 2, radius + height / 3 + width / 2
    places: list[tuple[Box, bool]] = []
    for away in range(_STEPS_AWAY):
        up, aside = rise + away * height, reach + away * height
        for dx, dy in ((0.0, -up), (aside, 0.0), (-aside, 0.0), (0.0, up)):
            places.append((_box_around(x + dx, y + dy, width, height), False))
    return places


def _box_around(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _is_inside(box: Box, shape: tuple[int, ...], pixels_per_cell: float) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= shape[1] * pixels_per_cell and box[3] <= shape[0] * pixels_per_cell


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
