"""The frequency law ``lookalikes``: rare classes that look like frequent ones, and what each difficulty is."""

from collections import Counter

import numpy as np
import pytest

from pointseg.rooms.law_layout import choose_objects, sample_law_layout
from pointseg.rooms.laws import LAWS, SIZE_TELL, Law, load_law
from pointseg.rooms.layout import Layout
from pointseg.rooms.recipes import load_recipes
from pointseg.rooms.room_kinds import choose_room_kind
from pointseg.rooms.tables import read_table
from pointseg.taxonomy import GROUPS, load_taxonomy

LAW = load_law("lookalikes")
MODEL_OF = {
    name: like for name, like in read_table("lookalikes_law.tsv", lambda row: (row["name"], row["like"])) if like
}
NUM_ROOMS = 32
NUM_VERTICES = 15_000


def group_of(name: str) -> str:
    taxonomy = load_taxonomy("scannet200")
    assert taxonomy.groups is not None
    return taxonomy.groups[taxonomy.class_names.index(name)]


def sample_layouts(law: Law, num_rooms: int) -> list[Layout]:
    return [
        sample_law_layout(law, choose_room_kind(i, 0.1), NUM_VERTICES, (7, 0, i), np.random.default_rng([7, i]))
        for i in range(num_rooms)
    ]


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return sample_layouts(LAW, NUM_ROOMS)


def test_the_table_has_a_hundred_classes_or_more_each_group_rarer_than_the_one_before() -> None:
    groups = [group_of(name) for name in LAW.objects]
    assert len(groups) >= 100
    assert groups == sorted(groups, key=GROUPS.index)
    assert list(LAW.objects.values()) == sorted(LAW.objects.values(), reverse=True)
    assert min(Counter(groups).values()) >= 20


def test_all_but_frequent_classes_have_a_model_which_is_frequent() -> None:
    for name in LAW.objects:
        assert (name in MODEL_OF) == (group_of(name) != "head"), name
    for model in MODEL_OF.values():
        assert group_of(model) == "head" and model not in MODEL_OF


def test_a_lookalike_has_the_shapes_and_places_of_its_model_and_nearly_its_sizes() -> None:
    for name, model in MODEL_OF.items():
        own, of_model = LAW.recipes[name], load_recipes()[model]
        assert own.shapes == of_model.shapes
        assert own.places[:-1] == of_model.places
        for (low, high), (model_low, model_high) in zip(own.size_m, of_model.size_m, strict=True):
            for factor in (low / model_low, high / model_high):
                assert SIZE_TELL[0] - 1e-9 <= factor <= SIZE_TELL[1] + 1e-9


def test_one_in_four_of_its_objects_has_the_colours_of_its_model() -> None:
    for name, model in MODEL_OF.items():
        own, of_model = load_recipes()[name].materials[0], load_recipes()[model].materials[0]
        drawn = Counter(LAW.recipes[name].materials[0])
        for color in {*own, *of_model}:
            share = 0.75 * own.count(color) / len(own) + 0.25 * of_model.count(color) / len(of_model)
            assert drawn[color] / drawn.total() == pytest.approx(share), (name, color)


def test_models_are_what_they_are_elsewhere() -> None:
    for model in set(MODEL_OF.values()):
        own = load_recipes()[model]
        law = LAW.recipes[model]
        assert (law.shapes, law.size_m) == (own.shapes, own.size_m)
        assert [set(tone) for tone in law.materials] == [set(tone) for tone in own.materials]


@pytest.mark.parametrize(
    ("law", "differs_in"),
    [("own_shapes", {"shapes", "size_m"}), ("own_colors", {"materials"}), ("own_places", {"places"})],
)
def test_a_difficulty_that_is_taken_away_changes_that_alone(law: str, differs_in: set[str]) -> None:
    other = load_law(f"lookalikes_{law}")
    assert other.objects == LAW.objects
    found = set()
    for name in MODEL_OF:
        own, whole = other.recipes[name], LAW.recipes[name]
        different = {key for key, value in vars(whole).items() if vars(own)[key] != value}
        assert different <= differs_in, name
        found |= different
        for key in different - {"places", "materials", "size_m"}:
            assert vars(own)[key] == vars(load_recipes()[name])[key]
    assert found == differs_in


def test_another_imbalance_has_as_many_objects_in_all() -> None:
    means = {law: dict(load_law(law).objects) for law in ("lookalikes", "lookalikes_milder", "lookalikes_balanced")}
    ratios = []
    for objects in means.values():
        free = [mean for name, mean in objects.items() if name not in ("wall", "floor")]
        assert sum(objects.values()) == pytest.approx(sum(LAW.objects.values()))
        ratios.append(max(free) / min(free))
    assert ratios[1] == pytest.approx(ratios[0] ** 0.5)
    assert ratios[2] == pytest.approx(1)


def test_every_class_is_in_few_rooms_already_as_often_as_the_law_says(layouts: list[Layout]) -> None:
    wanted = Counter(recipe.name for i in range(NUM_ROOMS) for recipe in choose_objects(LAW, [7, 0], i))
    placed = Counter(o.recipe.name for layout in layouts for o in layout.objects)
    assert set(placed) == {name for name in LAW.objects if name not in ("wall", "floor")}
    assert placed.total() >= 0.94 * wanted.total()
    for group in ("common", "tail"):
        names = [name for name in MODEL_OF if group_of(name) == group]
        expected = NUM_ROOMS * sum(LAW.objects[name] for name in names)
        assert sum(wanted[name] for name in names) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("law", [law for law in LAWS if law.startswith("lookalikes_")])
def test_every_variant_finds_room_for_its_objects(law: str) -> None:
    variant = load_law(law)
    layouts = sample_layouts(variant, 4)
    wanted = sum(len(choose_objects(variant, [7, 0], i)) for i in range(4))
    assert sum(len(layout.objects) for layout in layouts) >= 0.85 * wanted
