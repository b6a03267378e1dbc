"""The frequency law ``longtail`` of the demo scans: few classes, imbalanced, none absent."""

from pathlib import Path

import numpy as np
import pytest

from pointseg.rooms import write_demo_scans
from pointseg.rooms.law_layout import choose_objects, sample_law_layout, spread_evenly
from pointseg.rooms.laws import load_law
from pointseg.rooms.layout import Layout
from pointseg.rooms.recipes import load_recipes
from pointseg.rooms.room_kinds import choose_room_kind
from pointseg.rooms.scan import make_scan
from pointseg.taxonomy import GROUPS, load_taxonomy

NUM_ROOMS = 48
LAW = load_law("longtail")
FREE_CLASSES = [name for name in LAW.objects if name not in ("wall", "floor")]


def sample_layouts(num_rooms: int) -> list[Layout]:
    return [
        sample_law_layout(LAW, choose_room_kind(i, 0.1), 20_000, (7, 0, i), np.random.default_rng([7, i]))
        for i in range(num_rooms)
    ]


def group_of(name: str) -> str:
    taxonomy = load_taxonomy("scannet200")
    assert taxonomy.groups is not None
    return taxonomy.groups[taxonomy.class_names.index(name)]


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return sample_layouts(NUM_ROOMS)


@pytest.fixture(scope="module")
def num_placed(layouts: list[Layout]) -> dict[str, int]:
    names = [o.recipe.name for layout in layouts for o in layout.objects]
    return {name: names.count(name) for name in FREE_CLASSES}


def test_the_table_has_sixteen_classes_of_each_group_each_rarer_than_the_one_before() -> None:
    groups = [group_of(name) for name in LAW.objects]
    assert groups == [group for group in GROUPS for _ in range(16)]
    means = list(LAW.objects.values())
    assert means == sorted(means, reverse=True)
    assert list(LAW.objects)[:2] == ["wall", "floor"]


def test_the_classes_are_large_enough_and_need_no_host() -> None:
    """The longest side is 33 cm or more on average, and one way to place it is on the floor, wherever."""
    for name in FREE_CLASSES:
        recipe = load_recipes()[name]
        assert max(low + high for low, high in recipe.size_m) / 2 >= 0.33, name
        assert {place.relation for place in recipe.places} & {"side", "middle", "corner"}, name


def test_no_other_class_occurs(layouts: list[Layout]) -> None:
    assert {o.recipe.name for layout in layouts for o in layout.objects} == set(FREE_CLASSES)
    assert not any(layout.has_ceiling for layout in layouts)


def test_what_stands_in_the_rooms_follows_the_table(num_placed: dict[str, int]) -> None:
    """Of each class at least four objects in 48 rooms; each group within a tenth of its mean, a class in a third."""
    assert min(num_placed.values()) >= 4
    for group in GROUPS:
        names = [name for name in FREE_CLASSES if group_of(name) == group]
        placed = sum(num_placed[name] for name in names)
        assert abs(placed / (NUM_ROOMS * sum(LAW.objects[name] for name in names)) - 1) < 0.1
    for name, number in num_placed.items():
        expected = NUM_ROOMS * LAW.objects[name]
        assert abs(number - expected) <= max(expected / 3, 1), name


def test_few_objects_find_no_place(num_placed: dict[str, int]) -> None:
    wanted = [recipe.name for i in range(NUM_ROOMS) for recipe in choose_objects(LAW, [7, 0], i)]
    left_out = {name: wanted.count(name) - num_placed[name] for name in FREE_CLASSES}
    assert all(number >= 0 for number in left_out.values())
    assert sum(left_out.values()) <= 0.03 * len(wanted)
    assert sum(left_out[name] for name in FREE_CLASSES if group_of(name) == "tail") <= 2


def test_the_annotated_objects_of_a_scan_are_those_of_the_law() -> None:
    """Placing, hiding and forgetting leave nine in ten of them."""
    num_wanted = num_annotated = 0
    for i in range(8):
        wanted = [recipe.name for recipe in choose_objects(LAW, [2, 1], i)]
        scan = make_scan(2, "val", i, 20_000, "longtail")
        annotated = [a.class_name for a in scan.annotations if a.class_name not in ("wall", "floor")]
        assert all(annotated.count(name) <= wanted.count(name) for name in annotated)
        num_wanted, num_annotated = num_wanted + len(wanted), num_annotated + len(annotated)
    assert num_annotated >= 0.85 * num_wanted


def test_the_scenes_are_the_same_every_time_and_not_those_of_the_other_law(tmp_path: Path) -> None:
    mesh = "scans/scene0000_00/scene0000_00_vh_clean_2.ply"
    for folder, number, law in (("a", 1, "longtail"), ("b", 2, "longtail"), ("c", 1, "scannet200")):
        write_demo_scans(tmp_path / folder, {"train": number, "val": 0, "test": 0}, 0, 3000, law=law)
    contents = [(tmp_path / folder / mesh).read_bytes() for folder in "abc"]
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("size", [1, 4, 16, 64])
def test_aligned_runs_of_the_sequence_fill_every_interval_once(size: int) -> None:
    for first in (0, size, 5 * size):
        values = np.array([spread_evenly([3, 1], i) for i in range(first, first + size)])
        assert sorted(np.floor(values * size).astype(int)) == list(range(size))


def test_each_number_of_the_sequence_is_uniform_and_streams_are_independent() -> None:
    """Over 400 streams: the mean, the variance, and no correlation of one stream with the next."""
    values = np.array([[spread_evenly([stream, 0], i) for i in (5, 6)] for stream in range(400)])
    np.testing.assert_allclose(values.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(values.var(axis=0), 1 / 12, atol=0.015)
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.15
