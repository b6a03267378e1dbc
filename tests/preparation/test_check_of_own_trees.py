"""The check of trees that have classes of their own, ours and other programs'."""

import csv
import json
import shutil

import numpy as np
import pytest

from pointseg.preparation.prepared_source import write_scene
from tests.labelled.labelled_scans import NAMES, make_room, write_ply, write_rooms, write_table
from tests.labelled.test_import import check, import_scans

# Points of a room by class.
COUNTS = {seed: np.bincount(make_room(seed)[1], minlength=4)[1:] for seed in range(4)}


@pytest.fixture
def tree(tmp_path):
    """Two rooms to train, one to validate, one to test."""
    write_rooms(tmp_path / "scans", ["train/a", "train/b", "val/c"])
    write_ply(tmp_path / "scans" / "test" / "d.ply", make_room(3)[0])
    table = write_table(tmp_path / "classes.tsv")
    assert import_scans(tmp_path / "scans", tmp_path / "tree", "--classes", table).status == 0
    return tmp_path / "tree"


@pytest.fixture
def areas(tmp_path):
    """As Pointcept writes S3DIS: rooms of equal names in areas, ``segment.npy`` as a column of int16."""
    for seed, place in enumerate(("Area_1/office_1", "Area_1/office_2", "Area_5/office_1")):
        xyz, label = make_room(seed)
        folder = tmp_path / "areas" / place
        folder.mkdir(parents=True)
        np.save(folder / "coord.npy", xyz.astype(np.float32))
        np.save(folder / "color.npy", np.zeros((400, 3), dtype=np.uint8))
        np.save(folder / "segment.npy", (label - 1).astype(np.int16)[:, None])
        np.save(folder / "instance.npy", label.astype(np.int16)[:, None])
    return tmp_path / "areas"


def test_counts_of_classes(tree, tmp_path):
    """Table and JSON hold the points and scenes of each class and split, with thirds by points for groups."""
    done = check(tree, "--tsv", tmp_path / "c.tsv", "--json", tmp_path / "c.json")
    assert (done.status, done.err) == (0, "")
    assert "head, common and tail: thirds of the classes by their points in train" in done.out
    with open(tmp_path / "c.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["class_id"], row["name"]) for row in rows] == [(str(i), name) for i, name in NAMES.items()]
    assert [int(row["train_points"]) for row in rows] == (COUNTS[0] + COUNTS[1]).tolist()
    assert [int(row["val_points"]) for row in rows] == COUNTS[2].tolist()
    assert [row["train_scenes"] for row in rows] == ["2"] * 3
    order = np.argsort(-(COUNTS[0] + COUNTS[1]), kind="stable")
    assert [rows[label]["group"] for label in order] == ["head", "common", "tail"]
    found = json.loads((tmp_path / "c.json").read_text())
    assert [row["train_points"] for row in found["classes"]["own"]] == (COUNTS[0] + COUNTS[1]).tolist()
    assert found["splits"]["test"] == {"num_scenes": 1, "num_points": 400}


def test_ids_of_objects_may_be_large(areas, tmp_path):
    """Where an id times the number of classes has no place in 64 bits, each object still counts for its own class."""
    for path in areas.glob("*/*/instance.npy"):
        np.save(path, np.load(path).astype(np.int64) << 61)
    assert check(areas, "--json", tmp_path / "c.json").status == 0
    rows = json.loads((tmp_path / "c.json").read_text())["classes"]["own"]
    assert [(row["Area_1_objects"], row["Area_5_objects"]) for row in rows] == [(2, 1)] * 3


def test_groups_of_the_table_are_kept(tree, tmp_path):
    lines = (tree / "classes.tsv").read_text().splitlines()
    lines = [line + "\t" + column for line, column in zip(lines, ("group", "tail", "head", "head"), strict=True)]
    (tree / "classes.tsv").write_text("\n".join(lines))
    done = check(tree)
    assert done.err == ""
    assert "train  head           2 of 2" in done.out
    assert "train  tail           1 of 1" in done.out


def damage_labels(tree, change):
    path = tree / "train" / "a" / "segment.npy"
    np.save(path, change(np.load(path)))


DAMAGES = {
    "too high": (
        lambda t: damage_labels(t, lambda a: np.maximum(a, 1) + 1),
        "segment.npy: values are 2..3, expected -1..2",
    ),
    "too low": (lambda t: damage_labels(t, lambda a: a - 2), "segment.npy: values are -2..0, expected -1..2"),
    "checksum": (lambda t: damage_labels(t, lambda a: a[::-1]), "segment.npy: is not what was written"),
    "labels gone": (lambda t: (t / "train/a/segment.npy").unlink(), "segment.npy: is missing"),
    "scene gone": (lambda t: shutil.rmtree(t / "train/a"), "train/a: was prepared and is gone; run: "),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_found_and_its_remedy_is_the_import(tree, case):
    damage, message = DAMAGES[case]
    damage(tree)
    done = check(tree)
    assert done.status == 1
    assert message in done.err
    assert f"data_prep/import_scans.py {tree.parent / 'scans'} --out {tree}" in done.err


def test_other_programs_trees(areas):
    """Any names of splits, rooms of one name in several, no table: counted by label, with a note."""
    done = check(areas)
    assert (done.status, done.err) == (0, "")
    assert "Area_1       2            800" in done.out
    assert f"there is no {areas}/classes.tsv, so classes have numbers; name them with --classes TSV" in done.out


def test_other_programs_trees_with_a_table(areas, tmp_path):
    write_table(tmp_path / "t.tsv")
    done = check(areas, "--classes", tmp_path / "t.tsv", "--tsv", tmp_path / "c.tsv")
    assert done.err == ""
    with open(tmp_path / "c.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["name"] for row in rows] == list(NAMES.values())
    assert [int(row["Area_5_points"]) for row in rows] == COUNTS[2].tolist()
    assert [int(row["Area_1_objects"]) for row in rows] == [2, 2, 2]
    write_table(tmp_path / "t.tsv", {1: "floor", 2: "wall"})
    done = check(areas, "--classes", tmp_path / "t.tsv")
    assert done.err.count("segment.npy: values are 0..2, expected -1..1") == 3


def test_plot_of_own_classes(areas, tree, tmp_path):
    pytest.importorskip("matplotlib")
    for root in (areas, tree):
        assert check(root, "--plot", tmp_path / "tail.png").status == 0
        assert (tmp_path / "tail.png").stat().st_size > 10_000
        (tmp_path / "tail.png").unlink()


def test_two_classes_have_no_tail_to_draw(tmp_path):
    """With fewer classes than groups a group is empty, and has no line in the picture."""
    pytest.importorskip("matplotlib")
    write_table(tmp_path / "classes.tsv", {0: "a", 1: "b"})
    label = np.arange(50) % 2
    arrays = {"coord": np.zeros((50, 3), np.float32), "segment": label}
    write_scene(tmp_path / "train" / "x", arrays, {})
    (tmp_path / "train" / "x" / "source.json").unlink()
    assert check(tmp_path, "--plot", tmp_path / "p.png").err == ""
