"""Frequency laws: which classes stand in the demo rooms, how many of each, and what they look like.

``scannet200`` is the benchmark's own: its 200 classes by its counts, in the kinds of room where they belong
(``room_kinds``). The others are made to compare losses on few rooms, so no class is absent: each has a mean number of
objects a room, whatever its kind, and no ceiling and nothing outside the 200 classes is there.

``longtail`` (``longtail_law.tsv``) has 48 classes, 16 of each of the benchmark's groups: such as stand in any room and
are recognisable at a few centimetres. Many of the rare ones are alike to a frequent one (folded chair and chair, crate
and box), but each has a shape of its own.

``lookalikes`` (``lookalikes_law.tsv``) has 100 classes, 20 head ones with wall and floor among them, 39 common and 41
tail ones, and a common or tail class is hard to tell from a frequent one, as on real scans: the class in its column
``like`` is its model. It has the model's shapes in the model's places, nearly
the model's sizes, and one time in four the model's colours. ``LAWS`` also holds this law with one of its difficulties
taken away, which says what each of them does, and with a milder imbalance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from pointseg.rooms.recipes import Place, Recipe, load_recipes
from pointseg.rooms.tables import read_table

SCANNET200 = "scannet200"
SIZE_TELL = (0.75, 1.35)
"""Least and largest size of a lookalike, relative to its model's, on each axis."""


@dataclass(frozen=True)
class Difficulties:
    """What makes a rare class hard in the law ``lookalikes``; each can be taken away."""

    shape: bool = True
    """It has its model's shapes and nearly its sizes."""
    color: bool = True
    """One in four of its objects has its model's colours."""
    place: bool = True
    """It stands where its model stands."""
    imbalance: float = 1.0
    """Exponent of the table's frequencies; 0: all classes alike, and as many objects in all."""


@dataclass(frozen=True)
class Law:
    """A frequency law that leaves no class out."""

    objects: Mapping[str, float]
    """Class name -> objects to expect in a scan; wall and floor are 1."""
    recipes: Mapping[str, Recipe]
    """Class name -> what it looks like here."""
    area: float
    """Of a room of any kind, relative to the average room of ``scannet200``: these rooms are fuller."""


LAWS: dict[str, Difficulties | None] = {
    SCANNET200: None,
    "longtail": None,
    "lookalikes": Difficulties(),
    "lookalikes_milder": Difficulties(imbalance=0.5),
    "lookalikes_balanced": Difficulties(imbalance=0.0),
    "lookalikes_own_shapes": Difficulties(shape=False),
    "lookalikes_own_colors": Difficulties(color=False),
    "lookalikes_own_places": Difficulties(place=False),
}
"""Name of each law -> its difficulties, where it is ``lookalikes`` or made from it."""
FREQUENCY_LAWS = tuple(LAWS)


def tables_of(law: str) -> tuple[str, ...]:
    """The tables that a law has beside those of all rooms."""
    if law == SCANNET200:
        return ()
    return ("longtail_law.tsv",) if LAWS[law] is None else ("lookalikes_law.tsv",)


@cache
def load_law(name: str) -> Law:
    """One of ``LAWS``, but for ``scannet200``, whose classes hang on the kind of room."""
    difficulties = LAWS[name]
    if difficulties is None:
        objects = dict(read_table("longtail_law.tsv", lambda row: (row["name"], float(row["objects"]))))
        return Law(objects, load_recipes(), area=1.15)
    rows = read_table("lookalikes_law.tsv", lambda row: (row["name"], float(row["objects"]), row["like"]))
    recipes = load_recipes()
    return Law(
        _flatten_frequencies({name: mean for name, mean, _ in rows}, difficulties.imbalance),
        {name: _look_like(recipes[name], recipes[like or name], difficulties) for name, _, like in rows},
        area=1.3,
    )


def _flatten_frequencies(objects: Mapping[str, float], exponent: float) -> dict[str, float]:
    """Frequencies to the power of ``exponent``, with as many objects in all; wall and floor stay."""
    shell = {name: mean for name, mean in objects.items() if load_recipes()[name].is_shell}
    free = {name: mean for name, mean in objects.items() if name not in shell}
    powers = {name: mean**exponent for name, mean in free.items()}
    factor = sum(free.values()) / sum(powers.values())
    return {**shell, **{name: factor * power for name, power in powers.items()}}


def _look_like(own: Recipe, model: Recipe, difficulties: Difficulties) -> Recipe:
    """The recipe of a class that looks like its model; for a model itself, its own."""
    if own.is_shell:
        return own
    shape, color, place = (model if is_alike else own for is_alike in _as_flags(difficulties))
    return replace(
        own,
        shapes=shape.shapes,
        size_m=_nearly(own.size_m, shape.size_m),
        materials=_mix(own.materials, color.materials),
        # What finds no table or desk to stand on stands on the floor.
        places=(*place.places, Place("middle")),
    )


def _as_flags(difficulties: Difficulties) -> tuple[bool, bool, bool]:
    return difficulties.shape, difficulties.color, difficulties.place


def _nearly(
    own: tuple[tuple[float, float], ...], model: tuple[tuple[float, float], ...]
) -> tuple[tuple[float, float], ...]:
    """The model's sizes, moved a little towards the class's own."""
    factors = np.clip(np.sum(own, axis=1) / np.sum(model, axis=1), *SIZE_TELL)
    return tuple((float(low * f), float(high * f)) for (low, high), f in zip(model, factors, strict=True))


def _mix(own: tuple[tuple[str, ...], ...], model: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Materials of each tone: three in four draws are of the first list, the others of the second."""
    tones = max(len(own), len(model))
    pairs = [(own[min(i, len(own) - 1)], model[min(i, len(model) - 1)]) for i in range(tones)]
    return tuple(a * (3 * len(b)) + b * len(a) for a, b in pairs)
