"""Points as columns with names, as PLY, PCD, LAS and tables of text have them: which are the place, the colour, ..."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pointseg.errors import DataError
from pointseg.formats.scan_file import ScanFile, are_whole, scan_of_values, whole_numbers

XYZ = (("x", "y", "z"),)
RGB = (
    *(("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b")),
    ("rf", "gf", "bf"),  # CloudCompare's, in 0..1
)
NORMAL = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"), ("normalx", "normaly", "normalz"))
_ALPHA = ("alpha", "diffuse_alpha", "a")


def scan_of_columns(
    path: Path,
    columns: Mapping[str, np.ndarray],
    faces: np.ndarray | None = None,
    *,
    notes: list[str],
    rgb: np.ndarray | None = None,
    num_dropped_faces: int = 0,
    is_text: bool = False,
) -> ScanFile:
    """A scan of columns: by their names, in any case, the place, the colour and the normal; the rest is ``fields``.

    Args:
        path: of the file.
        columns: name in the file -> (N,) number.
        faces: (F, 3) integer, or None.
        notes: gets what a person should know.
        rgb: (N, 3) number, where the colour is in no columns of its own.
        num_dropped_faces: faces of the file that are not in ``faces``.
        is_text: numbers have no type, so that a column of whole numbers is one of labels, whatever its name.

    Raises:
        DataError: there is no point, or no x, y and z; or as :func:`scan_of_values`.
    """
    xyz, used = find_columns(columns, XYZ)
    if xyz is None:
        names = ", ".join(columns) or "none"
        raise DataError(f"{path}: its points have no x, y and z (it has {names}); export it again")
    if rgb is None:
        rgb, used_by_rgb = find_columns(columns, RGB)
        used |= used_by_rgb
    normal, used_by_normal = find_columns(columns, NORMAL)
    used |= used_by_normal | {name for name in columns if name.lower() in _ALPHA}
    others = {name: column for name, column in columns.items() if name not in used}
    fields, not_whole = whole_columns(others, notes, is_text)
    return scan_of_values(
        path,
        xyz if xyz.dtype == np.float32 else xyz.astype(np.float64, copy=False),
        faces,
        rgb=rgb,
        normal=normal,
        fields=fields,
        not_whole=not_whole,
        num_dropped_faces=num_dropped_faces,
        notes=notes,
    )


def find_columns(
    columns: Mapping[str, np.ndarray], choices: Sequence[tuple[str, str, str]]
) -> tuple[np.ndarray | None, set[str]]:
    """The first choice of names that are all there, in any case.

    Returns:
        (N, 3), or None where no choice is there; and its names in the file.
    """
    names_of = {name.lower(): name for name in columns}
    for choice in choices:
        if names_of.keys() >= set(choice):
            names = [names_of[name] for name in choice]
            return np.stack([columns[name] for name in names], axis=1), set(names)
    return None, set()


def whole_columns(
    columns: Mapping[str, np.ndarray], notes: list[str], is_text: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The columns of whole numbers, as integers: see :func:`whole_numbers`.

    Args:
        columns: name in the file -> (N,) number.
        notes: gets what a person should know.
        is_text: as for :func:`scan_of_columns`.

    Returns:
        those; and of the others that hold what is no whole number the first such value, NaN if all are.
    """
    whole, not_whole = {}, {}
    for name, column in columns.items():
        if is_text and are_whole(column).all():
            column = column.astype(np.int64)
        if (values := whole_numbers(name, column, notes)) is not None:
            whole[name] = values
        elif (value := _find_not_whole(column)) is not None:
            not_whole[name] = value
    return whole, not_whole


def _find_not_whole(column: np.ndarray) -> float | None:
    if not np.issubdtype(column.dtype, np.floating):
        return None
    is_missing = np.isnan(column)
    is_bad = ~are_whole(column) & (~is_missing | is_missing.all())
    return float(column[is_bad.argmax()]) if is_bad.any() else None
