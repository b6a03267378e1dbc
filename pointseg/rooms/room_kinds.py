"""Kinds of room, and how many objects of each class to expect in them."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from pointseg.rooms.recipes import Recipe, load_recipes
from pointseg.rooms.tables import parse_interval, parse_list, read_table

NUM_REAL_SCANS = 1513
"""Annotated scans (1201 + 312) over which the taxonomy counts objects."""


@dataclass(frozen=True)
class RoomKind:
    """One row of ``room_kinds.tsv``."""

    name: str
    share: float
    """Of all rooms; the shares sum to one."""
    area: float
    """Floor area, relative to the average room."""
    aspect: tuple[float, float]
    wall_materials: tuple[str, ...]
    floor_materials: tuple[str, ...]


@cache
def load_room_kinds() -> tuple[RoomKind, ...]:
    """The kinds of room in the order of the table."""

    def parse_room(row: dict[str, str]) -> RoomKind:
        return RoomKind(
            name=row["room"],
            share=float(row["share"]),
            area=float(row["area"]),
            aspect=parse_interval(row["aspect"]),
            wall_materials=parse_list(row["walls"]),
            floor_materials=parse_list(row["floor"]),
        )

    return tuple(read_table("room_kinds.tsv", parse_room))


@cache
def expected_objects() -> dict[str, dict[str, float]]:
    """Objects to expect in a real-sized room: room kind -> class name -> mean.

    A class's weights over the room kinds are scaled so that its mean over all rooms is
    ``annotated_objects / 1513``: the long tail of the benchmark, whatever the weights are.
    """
    kinds = load_room_kinds()
    means: dict[str, dict[str, float]] = {kind.name: {} for kind in kinds}
    for recipe in load_recipes().values():
        overall = recipe.annotated_objects / NUM_REAL_SCANS
        weights = {kind.name: _room_weight(recipe, kind.name) for kind in kinds}
        average_weight = sum(kind.share * weights[kind.name] for kind in kinds)
        for kind in kinds:
            means[kind.name][recipe.name] = overall * weights[kind.name] / average_weight
    return means


def choose_room_kind(scene_index: int, offset: float) -> RoomKind:
    """The kind of the scene with this index.

    Golden-ratio steps through the shares: any run of scenes, however short, holds the kinds in about
    their shares, and the kind of a scene does not depend on how many scenes there are.
    """
    kinds = load_room_kinds()
    position = (offset + scene_index * (np.sqrt(5) - 1) / 2) % 1.0
    upper_ends = np.cumsum([kind.share for kind in kinds])
    return kinds[min(int(np.searchsorted(upper_ends, position, side="right")), len(kinds) - 1)]


def _room_weight(recipe: Recipe, kind: str) -> float:
    return recipe.rooms.get(kind, 0.0) if recipe.rooms else 1.0
