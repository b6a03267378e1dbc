"""What can stand in a demo room: one recipe a class, read from ``recipes.tsv``.

Columns of the table:

- ``name``: the class, as in the ScanNet200 taxonomy; rows with a ``scannet_id`` are objects outside the 200 classes.
- ``shape``: one of these entries of ``shapes.tsv``, at random. Empty: part of the room's shell (wall, floor, ceiling).
- ``width``, ``depth``, ``height``: metres, ``low:high``.
- ``colors``: materials to choose from; the second and third list, after ``/``, are for the parts with tone 2 and 3.
- ``place``: where it stands. ``middle``, ``side`` (back to a wall), ``corner``, ``wall 1.2:1.6`` (hung, its lower edge
  at that height), ``ceiling``, ``on X,Y``, ``under X``, ``at X`` (beside and facing it), ``over X`` (hung in front of
  it), ``around X`` (framing it). After ``;`` comes what is tried next.
- ``rooms``: how much more often than elsewhere it is found in these kinds of room; ``any`` is all alike.
- ``nyu40id``: the class among NYU's 40. ``also``: other raw categories with the same id.
- ``count``: how often, for the rows outside the 200; for the others the taxonomy's ``annotated_objects`` says it.
"""

from dataclasses import dataclass
from functools import cache

from pointseg.rooms.tables import parse_interval, parse_list, read_table
from pointseg.taxonomy import load_taxonomy

RELATIONS = ("middle", "side", "corner", "wall", "ceiling", "on", "under", "at", "over", "around")


@dataclass(frozen=True)
class Place:
    """One way to place an object: a relation, and either hosts or a height."""

    relation: str
    hosts: tuple[str, ...] = ()
    height_m: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Recipe:
    """One row of ``recipes.tsv``."""

    name: str
    scannet_id: int
    annotated_objects: int
    shapes: tuple[str, ...]
    size_m: tuple[tuple[float, float], ...]
    """Three intervals: width, depth, height. Empty for the room's shell."""
    materials: tuple[tuple[str, ...], ...]
    """Materials to choose from for tone 1, 2, 3."""
    places: tuple[Place, ...]
    rooms: dict[str, float]
    """Weight of each kind of room that it is found in; empty: any, all alike."""
    nyu40id: int
    raw_categories: tuple[str, ...]
    """The names that stand in an aggregation file for this class; the class's own comes first."""

    @property
    def is_shell(self) -> bool:
        """Whether it is part of the room itself: wall, floor or ceiling."""
        return not self.shapes


@cache
def load_recipes() -> dict[str, Recipe]:
    """All recipes by name, those of the 200 classes first and in label order."""
    taxonomy = load_taxonomy("scannet200")
    assert taxonomy.annotated_objects is not None
    known = {
        name: (int(scannet_id), int(count))
        for name, scannet_id, count in zip(
            taxonomy.class_names, taxonomy.class_ids, taxonomy.annotated_objects, strict=True
        )
    }

    def parse_recipe(row: dict[str, str]) -> Recipe:
        if row["scannet_id"]:
            scannet_id, count = int(row["scannet_id"]), int(row["count"])
        else:
            scannet_id, count = known[row["name"]]
        sizes = tuple(parse_interval(row[side]) for side in ("width", "depth", "height") if row[side])
        return Recipe(
            name=row["name"],
            scannet_id=scannet_id,
            annotated_objects=count,
            shapes=parse_list(row["shape"]),
            size_m=sizes,
            materials=tuple(parse_list(tone) for tone in row["colors"].split("/") if tone),
            places=tuple(_parse_place(place) for place in row["place"].split(";") if place),
            rooms=_parse_rooms(row["rooms"]),
            nyu40id=int(row["nyu40id"]),
            raw_categories=(row["name"], *parse_list(row["also"])),
        )

    return {recipe.name: recipe for recipe in read_table("recipes.tsv", parse_recipe)}


def _parse_place(text: str) -> Place:
    relation, _, detail = text.strip().partition(" ")
    if relation not in RELATIONS:
        raise ValueError(f"{relation!r} is not one of {', '.join(RELATIONS)}")
    if relation == "wall":
        return Place(relation, height_m=parse_interval(detail))
    return Place(relation, hosts=parse_list(detail))


def _parse_rooms(text: str) -> dict[str, float]:
    if text == "any":
        return {}
    words = text.split()
    return {kind: float(weight) for kind, weight in zip(words[::2], words[1::2], strict=True)}
