"""How objects are put together from primitives: read from ``shapes.tsv``.

A row is a part of a shape: a primitive (``pointseg.rooms.primitives``) and where it sits in the
object's unit box, ``from:to`` along x (left to right), y (front to back) and z (up). ``0:.1,.9:1`` makes one
part for each interval and each combination with the other axes (four table legs in one row);
``0:.03+.24*5`` makes five, each 0.24 further (the boards of a shelf). ``tone`` says which of a recipe's
colours it takes. Three parts are not solid: ``rod`` runs from the first to the second end of its intervals,
``top`` is where things may be put, ``hole`` is cut from the wall behind.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from pointseg.rooms.tables import combine_axes, read_table


@dataclass(frozen=True, eq=False)
class Part:
    """One primitive of a shape."""

    primitive: str
    box: np.ndarray
    """(3, 2): from and to along x, y, z, as shares of the object's size."""
    tone: int


@dataclass(frozen=True, eq=False)
class Shape:
    """A named arrangement of parts in the unit box."""

    parts: tuple[Part, ...]
    tops: tuple[np.ndarray, ...]
    """(3, 2) boxes whose lower z is a surface that can carry things."""
    holes: tuple[np.ndarray, ...]


@cache
def load_shapes() -> dict[str, Shape]:
    """All shapes by name."""
    rows = read_table("shapes.tsv", _parse_part)
    shapes = {}
    for name in dict.fromkeys(name for name, _ in rows):
        parts = [part for row_name, row_parts in rows if row_name == name for part in row_parts]
        shapes[name] = Shape(
            parts=tuple(part for part in parts if part.primitive not in ("top", "hole")),
            tops=tuple(part.box for part in parts if part.primitive == "top"),
            holes=tuple(part.box for part in parts if part.primitive == "hole"),
        )
    return shapes


def _parse_part(row: dict[str, str]) -> tuple[str, list[Part]]:
    boxes = combine_axes(row["x"], row["y"], row["z"])
    return row["shape"], [Part(row["part"], np.array(box), int(row["tone"] or 1)) for box in boxes]
