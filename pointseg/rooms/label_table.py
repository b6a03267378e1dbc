"""``scannetv2-labels.combined.tsv``: from the annotators' words to class ids."""

from dataclasses import dataclass
from functools import cache

from pointseg.rooms.recipes import Recipe, load_recipes
from pointseg.rooms.tables import read_table

COLUMNS = (
    "id",
    "raw_category",
    "category",
    "count",
    "nyu40id",
    "eigen13id",
    "nyuClass",
    "nyu40class",
    "eigen13class",
    "ModelNet40",
    "ModelNet10",
    "ShapeNetCore55",
    "synsetoffset",
    "wnsynsetid",
    "wnsynsetkey",
    "mpcat40",
    "mpcat40index",
)


@dataclass(frozen=True)
class Nyu40Class:
    """One row of ``nyu40.tsv``."""

    nyu40id: int
    name: str
    eigen13id: int
    eigen13class: str
    rgb: tuple[int, int, int]


@cache
def load_nyu40() -> dict[int, Nyu40Class]:
    """The 40 classes by id, with the colours of the label meshes."""

    def parse_class(row: dict[str, str]) -> Nyu40Class:
        rgb = (int(row["r"]), int(row["g"]), int(row["b"]))
        return Nyu40Class(int(row["nyu40id"]), row["nyu40class"], int(row["eigen13id"]), row["eigen13class"], rgb)

    return {entry.nyu40id: entry for entry in read_table("nyu40.tsv", parse_class)}


def label_table_text() -> str:
    """The whole table. As in the real one, ``object`` stands twice and some columns are empty."""
    lines = ["\t".join(COLUMNS)]
    for recipe in load_recipes().values():
        for i, raw_category in enumerate(recipe.raw_categories):
            # The class's own name has most of the objects.
            count = recipe.annotated_objects if i == 0 else max(recipe.annotated_objects // 10, 1)
            lines.append(_row(recipe, raw_category, count))
        if recipe.name == "object":
            lines.append(_row(recipe, "object", 1))
    return "\n".join(lines) + "\n"


def _row(recipe: Recipe, raw_category: str, count: int) -> str:
    nyu = load_nyu40()[recipe.nyu40id]
    values = {
        "id": str(recipe.scannet_id),
        "raw_category": raw_category,
        "category": recipe.name,
        "count": str(count),
        "nyu40id": str(nyu.nyu40id),
        "eigen13id": str(nyu.eigen13id),
        "nyuClass": nyu.name,
        "nyu40class": nyu.name,
        "eigen13class": nyu.eigen13class,
    }
    return "\t".join(values.get(column, "") for column in COLUMNS)
