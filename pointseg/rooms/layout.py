"""Where everything in a demo room stands. No mesh yet: boxes only, so that thousands can be sampled quickly."""

from dataclasses import dataclass, field, replace

import numpy as np

from pointseg.rooms.placing import Placed, Pose, Surroundings, find_pose
from pointseg.rooms.recipes import Recipe, load_recipes
from pointseg.rooms.room_kinds import RoomKind, expected_objects
from pointseg.rooms.shapes import Shape, load_shapes

REFERENCE_VERTICES = 20_000
REFERENCE_AREA_M2 = 5.6
REFERENCE_OBJECTS_SCALE = 0.55
"""Of the objects of a real-sized room, in a scan of ``REFERENCE_VERTICES``."""
AREA_RANGE_M2 = (3.5, 45.0)
NUM_VERTICES_WITH_ALL_WALLS = 50_000
"""A scan of fewer vertices leaves the wall at the front out."""
LARGE_FOOTPRINT_M2 = 0.3
UNANNOTATED_SHARE = 0.04
"""Of the objects nobody gave a name."""


@dataclass
class RoomObject:
    """One object in its place."""

    recipe: Recipe
    shape: Shape
    size_m: np.ndarray
    """(3,) width, depth, height."""
    pose: Pose
    material_of_tone: tuple[str, ...]
    is_annotated: bool = True


@dataclass
class Layout:
    """A room with its objects; the floor is [0, width] x [0, depth] at z = 0."""

    kind: RoomKind
    size_m: np.ndarray
    """(3,) width, depth, height."""
    walls: tuple[int, ...]
    """Walls that were scanned: 0 at y = depth, 1 at x = 0, 2 at x = width, 3 at y = 0."""
    has_ceiling: bool
    wall_material: str
    floor_material: str
    objects: list[RoomObject] = field(default_factory=list)

    def boxes(self) -> np.ndarray:
        """(n, 6) axis-aligned boxes of the objects: x0, y0, z0, x1, y1, z1."""
        return np.array([o.pose.box(o.size_m) for o in self.objects]).reshape(-1, 6)

    def dependents_of(self, index: int) -> set[int]:
        """The object and all that stands on, under or at it."""
        found = {index}
        for i, o in enumerate(self.objects):  # a host comes before its guests
            if o.pose.host in found:
                found.add(i)
        return found

    def without(self, left_out: set[int]) -> "Layout":
        """The same room without these objects, which include their dependents."""
        kept = [i for i in range(len(self.objects)) if i not in left_out]
        new_index = {old: new for new, old in enumerate(kept)}
        objects = [
            replace(
                self.objects[i], pose=replace(self.objects[i].pose, host=new_index.get(self.objects[i].pose.host, -1))
            )
            for i in kept
        ]
        return replace(self, objects=objects)


def sample_layout(kind: RoomKind, num_vertices: int, rng: np.random.Generator) -> Layout:
    """Furnish a room of ``kind``, of a size that ``num_vertices`` can cover.

    Objects that find no place even at their smallest size are left out.
    """
    layout = sample_empty_room(kind, num_vertices, rng)
    objects_scale = REFERENCE_OBJECTS_SCALE * (num_vertices / REFERENCE_VERTICES) ** 0.2
    wanted = []
    for name, mean in expected_objects()[kind.name].items():
        recipe = load_recipes()[name]
        if not recipe.is_shell:
            # Randomised rounding: the right mean with the least spread (one bed a bedroom, not none or three).
            wanted += [recipe] * int(mean * objects_scale + rng.random())
    furnish_room(layout, wanted, rng)
    return layout


def furnish_room(layout: Layout, wanted: list[Recipe], rng: np.random.Generator) -> None:
    """Add the ``wanted`` objects to the room, but those that find no place even at their smallest size."""
    sizes = [_draw_sizes(recipe, rng) for recipe in wanted]
    for i in _placing_order(wanted, sizes):
        _place_object(layout, wanted[i], sizes[i], rng)


def sample_empty_room(kind: RoomKind, num_vertices: int, rng: np.random.Generator) -> Layout:
    """Walls and floor of a room of ``kind``, of a size that ``num_vertices`` can cover."""
    area = REFERENCE_AREA_M2 * (num_vertices / REFERENCE_VERTICES) ** 0.5 * kind.area * rng.uniform(0.9, 1.1)
    area = float(np.clip(area, *AREA_RANGE_M2))
    aspect = rng.uniform(*kind.aspect)
    size = np.array([np.sqrt(area * aspect), np.sqrt(area / aspect), rng.uniform(2.4, 2.65)])
    all_walls = num_vertices >= NUM_VERTICES_WITH_ALL_WALLS
    ceiling_mean = expected_objects()[kind.name]["ceiling"]
    return Layout(
        kind=kind,
        size_m=size,
        walls=(0, 1, 2, 3) if all_walls else (0, 1, 2),
        has_ceiling=bool(rng.random() < ceiling_mean),
        wall_material=str(rng.choice(kind.wall_materials)),
        floor_material=str(rng.choice(kind.floor_materials)),
    )


def _draw_sizes(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """(2, 3) metres: a random size in the recipe's range, and its smallest."""
    low, high = np.array(recipe.size_m).T
    # One draw for all sides, mostly: a wide table is a deep table.
    share = np.clip(rng.random() + rng.normal(0, 0.15, 3), 0, 1)
    return np.stack([low + share * (high - low), low])


def _placing_order(recipes: list[Recipe], sizes: list[np.ndarray]) -> list[int]:
    """Openings first, then large furniture, what belongs to it, smaller things, and last what lies on something."""

    def key(i: int) -> tuple[int, float, int]:
        place, size = recipes[i].places[0], sizes[i][0]
        on_floor = place.relation in ("side", "corner", "middle")
        if (place.relation == "wall" and place.height_m[1] == 0) or recipes[i].name == "window":
            rank = 0
        elif on_floor and size[0] * size[1] > LARGE_FOOTPRINT_M2:
            rank = 1
        elif place.relation in ("at", "under", "over", "around"):
            rank = 2
        else:
            rank = 4 if place.relation == "on" else 3
        return rank, -float(size[0] * size[1] if on_floor else np.prod(size)), i

    return sorted(range(len(recipes)), key=key)


def _place_object(layout: Layout, recipe: Recipe, sizes: np.ndarray, rng: np.random.Generator) -> None:
    shape = load_shapes()[str(rng.choice(recipe.shapes))]
    materials = tuple(str(rng.choice(tone)) for tone in recipe.materials)
    is_annotated = bool(rng.random() >= UNANNOTATED_SHARE)
    placed = [Placed(o.recipe.name, o.shape, o.size_m, o.pose) for o in layout.objects]
    around = Surroundings(layout.size_m, layout.walls, placed, layout.boxes())
    for size in sizes:
        for place in recipe.places:
            pose = find_pose(place, size, around, rng)
            if pose is not None:
                layout.objects.append(RoomObject(recipe, shape, size, pose, materials, is_annotated))
                return
