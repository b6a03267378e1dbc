"""A table of classes: what it may hold, what is said of one that is wrong, and the way through a file."""

from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError, UsageError
from pointseg.taxonomy import IGNORE, load_taxonomy, parse_class_table, read_class_table

PLANT = "id\tname\n40\tpipe\n7\tvalve\n12\tpump\n9\ttank\n"


def test_the_row_is_the_label_and_ids_need_no_order() -> None:
    plant = parse_class_table(PLANT, "plant", "x.tsv")
    assert plant.class_names == ("pipe", "valve", "pump", "tank")
    ids = np.array([7, 40, 12, 9, 1, 0, -1, 1000])
    assert plant.label_from_class_id(ids).tolist() == [1, 0, 2, 3, IGNORE, IGNORE, IGNORE, IGNORE]
    assert plant.class_id_from_label(np.array([0, 1, 2, 3, IGNORE])).tolist() == [40, 7, 12, 9, 0]
    assert not plant.is_benchmark
    assert plant.segment == "segment"


def test_where_0_is_a_class_nothing_known_is_minus_1() -> None:
    table = parse_class_table("id\tname\n0\tceiling\n1\tfloor\n", "x", "x")
    assert table.class_id_from_label(np.array([0, IGNORE])).tolist() == [0, -1]
    assert table.label_from_class_id(np.array([0, -1])).tolist() == [0, IGNORE]


def test_classes_without_colours_get_different_ones() -> None:
    rows = "".join(f"{i}\tclass {i}\n" for i in range(60))
    colors = parse_class_table("id\tname\n" + rows, "x", "x").colors
    assert len(np.unique(colors, axis=0)) == 60
    neighbours = np.abs(np.diff(colors.astype(int), axis=0)).sum(axis=1)
    assert neighbours.min() > 60


@pytest.mark.parametrize("name", ["scannet200", "scannet20"])
def test_a_table_survives_its_file(name: str, tmp_path: Path) -> None:
    taxonomy = load_taxonomy(name)
    path = tmp_path / "mine.tsv"
    path.write_text(taxonomy.as_table())
    again = read_class_table(path)
    assert again.name == "mine"
    for part in ("class_names", "groups", "fingerprint"):
        assert getattr(again, part) == getattr(taxonomy, part)
    np.testing.assert_array_equal(again.colors, taxonomy.colors)


def test_groups_by_points_are_thirds_and_say_so(tmp_path: Path) -> None:
    counted = parse_class_table(PLANT, "plant", "x").with_counted_groups([5, 900, 0, 30])
    assert counted.groups == ("common", "head", "tail", "head")
    assert counted.groups_are_counted
    (tmp_path / "classes.tsv").write_text(counted.as_table())
    again = read_class_table(tmp_path / "classes.tsv")
    assert (again.name, again.groups, again.groups_are_counted) == (tmp_path.name, counted.groups, True)


def test_groups_of_the_table_and_of_a_benchmark_stay() -> None:
    table = parse_class_table("id\tname\tgroup\n1\ta\ttail\n2\tb\thead\n", "x", "x")
    assert table.with_counted_groups([9, 1]) is table
    twenty = load_taxonomy("scannet20")
    assert twenty.with_counted_groups([1] * 20) is twenty


def test_groups_that_were_counted_are_counted_anew_on_other_scenes() -> None:
    """A run that begins from another one has the other's table, with the groups of its scenes."""
    first = parse_class_table(PLANT, "plant", "x").with_counted_groups([5, 900, 0, 30])
    stored = parse_class_table(first.as_table(), "plant", "x")
    assert stored.with_counted_groups([900, 5, 30, 0]).groups == ("head", "common", "head", "tail")


def test_a_spreadsheets_file_is_read() -> None:
    """A BOM, CRLF, a comment, empty lines, spaces about the values."""
    text = "# of the plant\r\nid\tname\r\n\r\n 1 \t pipe \r\n2\tvalve\r\n"
    assert parse_class_table(text, "x", "x").class_names == ("pipe", "valve")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'id'"),
        ("name\tid\n", "has 0 classes"),
        ("name\nwall\nfloor\n", r"has no column 'id' \(found: name\)"),
        ("id\tclass\n1\twall\n2\tfloor\n", r"has no column 'name' \(found: id, class\)"),
        ("id,name\n1,wall\n2,floor\n", r"\(found: id,name\).*, and tabs separate the columns"),
        ("1\twall\n2\tfloor\n", r"has no column 'id' \(found: 1, wall\); its first line has to be id<tab>name"),
        ("ID\tName\n1\twall\n", r"has no column 'id' \(found: ID, Name\); its first line has to be id<tab>name"),
        ("id\tname\n1\twall\n", "has 1 classes; a network needs two or more"),
        ("id\tname\n1\twall\n1\tfloor\n", "x.tsv:3: has the id 1 of line 2"),
        ("id\tname\n1\twall\n2\twall\n", "x.tsv:3: has the name wall of line 2"),
        ("id\tname\n1\twall\n2\t\n", "x.tsv:3: name is '': field required"),
        ("id\tname\n1\twall\n-2\tfloor\n", "x.tsv:3: id is '-2': input should be greater than or equal to 0"),
        ("id\tname\n1\twall\ntwo\tfloor\n", "x.tsv:3: id is 'two'"),
        ("id\tname\n1\twall\n99999999999\tfloor\n", "x.tsv:3: id is '99999999999'"),
        ("id\tname\n1\twall\n2\n", "x.tsv:3: has another number of columns"),
        ("id\tname\n1\twall\n2\tfloor\tmore\n", "x.tsv:3: has another number of columns"),
        ("id\tname\tgroup\n1\ta\thead\n2\tb\t\n", "has groups of some classes alone; give a group of all"),
        ("id\tname\tr\n1\ta\t1\n2\tb\t2\n", "has colours of some classes or channels alone"),
        (
            "id\tname\tr\tg\tb\n1\ta\t1\t1\t1\n2\tb\t2\t2\t256\n",
            "x.tsv:3: b is '256': input should be less than",
        ),
        (
            "id\tname\tgroup\n1\ta\thead\n2\tb\trare\n",
            "x.tsv:3: group is 'rare': .* 'head', 'common' or 'tail'",
        ),
    ],
)
def test_a_wrong_table_is_one_line_that_names_the_row(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        parse_class_table(text, "x", "x.tsv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["id\tname\n1\twall\n{}\tfloor\n", "{}\tname\n1\twall\n2\tfloor\n"])
def test_a_cell_of_any_length_is_a_short_line(text: str) -> None:
    with pytest.raises(DataError) as error:
        parse_class_table(text.format("7" * 200_000), "x", "x.tsv")
    assert len(str(error.value)) < 400


def test_a_name_may_be_long() -> None:
    assert parse_class_table(f"id\tname\n1\t{'a' * 200_000}\n2\tb\n", "x", "x").class_names[1] == "b"


def test_a_table_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such table of classes"):
        load_taxonomy(str(tmp_path / "none.tsv"))
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="can't be read as a table of text"):
        load_taxonomy(str(tmp_path / "binary.tsv"))
    with pytest.raises(DataError, match="can't be read"):
        read_class_table(tmp_path)
