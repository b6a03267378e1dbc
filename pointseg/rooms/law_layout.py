"""The rooms of a law that leaves no class out (``laws``): fuller than others, each object of each class in turn."""

from dataclasses import replace

import numpy as np

from pointseg.rooms.laws import Law
from pointseg.rooms.layout import Layout, furnish_room, sample_empty_room
from pointseg.rooms.recipes import Recipe
from pointseg.rooms.room_kinds import RoomKind

NUM_LAYOUTS = 16
"""So many are tried until one has a place for every object."""
NUM_SPREAD_BITS = 12
"""The spread is even over runs of up to 2^12 scenes, more than a split can have."""


def sample_law_layout(
    law: Law, kind: RoomKind, num_vertices: int, scene: tuple[int, int, int], rng: np.random.Generator
) -> Layout:
    """Furnish a room with the objects that the law has for ``scene``: seed, number of the split, index in the split.

    Of ``NUM_LAYOUTS`` tries the first that leaves no object out, or else the one that leaves out least, an object
    counting the more the rarer its class.
    """
    *stream, scene_index = scene
    wanted = choose_objects(law, stream, scene_index)
    best: Layout | None = None
    best_worth = -1.0
    for _ in range(NUM_LAYOUTS):
        layout = sample_empty_room(replace(kind, area=law.area), num_vertices, rng)
        layout.has_ceiling = False
        furnish_room(layout, wanted, rng)
        worth = sum(1 / law.objects[o.recipe.name] for o in layout.objects)
        if worth > best_worth:
            best, best_worth = layout, worth
        if len(layout.objects) == len(wanted):
            break
    assert best is not None
    return best


def choose_objects(law: Law, stream: list[int], scene_index: int) -> list[Recipe]:
    """What is to stand in scene ``scene_index`` of the run of scenes ``stream`` (non-negative integers).

    Randomised rounding of the means, each class on its own, but evenly spread over the scenes: 16 scenes or more have a
    class of mean 0.1 at least once, which independent draws leave out of them one time in five.
    """
    wanted: list[Recipe] = []
    for number, (name, mean) in enumerate(law.objects.items()):
        if not law.recipes[name].is_shell:
            wanted += [law.recipes[name]] * int(mean + spread_evenly([*stream, number], scene_index))
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
