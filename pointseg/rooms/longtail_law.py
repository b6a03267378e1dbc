"""The frequency law ``longtail``: fewer classes, imbalanced but none absent, to compare losses on few rooms.

By ScanNet200's own counts about half of the tail classes are absent from 80 rooms: nothing to learn from, nothing to
measure. Here 48 classes occur, 16 of each of the benchmark's groups, each as often as ``longtail_law.tsv`` says:
``name``, and the mean number of ``objects`` a scan, whatever its number of vertices and its kind of room. They are
classes that stand in any room and are recognisable at a few centimetres, many of the rare ones alike to a frequent one
(folded chair and chair, crate and box, bucket and trash can). There are no objects outside the 200 classes, and no
ceiling.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from pointseg.rooms.layout import Layout, furnish_room, sample_empty_room
from pointseg.rooms.recipes import Recipe, load_recipes
from pointseg.rooms.room_kinds import RoomKind
from pointseg.rooms.tables import read_table

NUM_LAYOUTS = 16
"""So many are tried until one has a place for every object."""
ROOM_AREA = 1.15
"""Of a room of any kind, relative to the average room of the other law: these rooms are fuller."""
NUM_SPREAD_BITS = 12
"""The spread is even over runs of up to 2^12 scenes, more than a split can have."""


@cache
def longtail_objects() -> dict[str, float]:
    """Class name -> objects to expect in a scan; wall and floor are 1."""
    return dict(read_table("longtail_law.tsv", lambda row: (row["name"], float(row["objects"]))))


def sample_longtail_layout(
    kind: RoomKind, num_vertices: int, scene: tuple[int, int, int], rng: np.random.Generator
) -> Layout:
    """Furnish a room with the objects that the law has for ``scene``: seed, number of the split, index in the split.

    Of ``NUM_LAYOUTS`` tries the first that leaves no object out, or else the one that leaves out least, an object
    counting the more the rarer its class.
    """
    *stream, scene_index = scene
    wanted = choose_longtail_objects(stream, scene_index)
    best: Layout | None = None
    best_worth = -1.0
    for _ in range(NUM_LAYOUTS):
        layout = sample_empty_room(replace(kind, area=ROOM_AREA), num_vertices, rng)
        layout.has_ceiling = False
        furnish_room(layout, wanted, rng)
        worth = sum(1 / longtail_objects()[o.recipe.name] for o in layout.objects)
        if worth > best_worth:
            best, best_worth = layout, worth
        if len(layout.objects) == len(wanted):
            break
    assert best is not None
    return best


def choose_longtail_objects(stream: list[int], scene_index: int) -> list[Recipe]:
    """What is to stand in scene ``scene_index`` of the run of scenes ``stream`` (non-negative integers).

    Randomised rounding of the means, each class on its own, but evenly spread over the scenes: 16 scenes or more have a
    class of mean 0.1 at least once, which independent draws leave out of them one time in five.
    """
    recipes = load_recipes()
    wanted: list[Recipe] = []
    for number, (name, mean) in enumerate(longtail_objects().items()):
        if not recipes[name].is_shell:
            wanted += [recipes[name]] * int(mean + spread_evenly([*stream, number], scene_index))
    return wanted


def spread_evenly(stream: list[int], index: int) -> float:
    """Number ``index`` of a random sequence in [0, 1) that fills the interval evenly.

    The van der Corput sequence with Owen's scrambling (Owen 1995, "Randomly permuted (t,m,s)-nets and
    (t,s)-sequences"): each number is uniform; of 2^k in a row, from a multiple of 2^k, every interval
    [i / 2^k, (i+1) / 2^k) holds one; different streams are independent.
    """
    value = 0.0
    for level in range(NUM_SPREAD_BITS):
        digit, earlier_digits = index >> level & 1, index & (1 << level) - 1
        flip = int(np.random.default_rng([*stream, level, earlier_digits]).integers(2))
        value += (digit ^ flip) * 0.5 ** (level + 1)
    rest = np.random.default_rng([*stream, NUM_SPREAD_BITS, index]).random()
    return float(value + rest * 0.5**NUM_SPREAD_BITS)
