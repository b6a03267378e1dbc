"""check_scans.py finds every kind of damage, and says how to mend it."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from pointseg.taxonomy import load_taxonomy
from tests.scans.raw_scans import write_raw_tree
from tests.scans.scripts import run_script

SCENE = "train/scene0000_00"


@pytest.fixture
def tree(tmp_path):
    write_raw_tree(tmp_path / "raw")
    prepare = run_script(
        "preprocess_scannet.py", "--raw", tmp_path / "raw", "--out", tmp_path / "prepared", "--workers", 1
    )
    assert prepare.status == 0
    return tmp_path / "prepared"


def check(tree, *options):
    return run_script("check_scans.py", tree, "--workers", 1, *options)


def change_array(name, change):
    """Edit an array in place and make its checksum fit, so that the values alone are wrong."""

    def damage(tree):
        path = tree / SCENE / f"{name}.npy"
        array = np.load(path)
        np.save(path, change(array))
        (tree / SCENE / "source.json").unlink()

    return damage


def put(value, row=3):
    def change(array):
        array[row] = value
        return array

    return change


def touch_source(tree):
    os.utime(tree.parent / "raw" / "scans" / "scene0000_00" / "scene0000_00.aggregation.json", (1, 1))


def flip_a_byte(tree):
    path = tree / SCENE / "color.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "array missing": (lambda tree: (tree / SCENE / "normal.npy").unlink(), "normal.npy: is missing"),
    "instances missing": (lambda tree: (tree / SCENE / "instance.npy").unlink(), "instance.npy: is missing"),
    "labels missing": (lambda tree: (tree / SCENE / "segment20.npy").unlink(), "segment20.npy: is missing"),
    "truncated": (lambda tree: os.truncate(tree / SCENE / "coord.npy", 300), "coord.npy: is truncated"),
    "other length": (change_array("color", lambda a: a[:-1]), "color.npy: has 47 rows, coord.npy has 48"),
    "other dtype": (change_array("color", lambda a: a.astype(np.float64)), "color.npy: is float64"),
    "label too high": (change_array("segment200", put(200)), "segment200.npy: values are -1..200, expected -1..199"),
    "label20 too high": (change_array("segment20", put(20)), "segment20.npy: values are -1..20, expected -1..19"),
    "label too low": (change_array("segment20", put(-2)), "segment20.npy: values are -2..4"),
    "instance too low": (change_array("instance", put(-5)), "instance.npy: values are -5..3"),
    "NaN": (change_array("coord", put(np.nan)), "coord.npy: 1 rows are not finite"),
    "infinite normal": (change_array("normal", put(np.inf)), "normal.npy: 1 rows are not finite"),
    "long normal": (change_array("normal", put(2)), "normal.npy: 1 normals are not of unit length"),
    "flipped bit": (flip_a_byte, "color.npy: is not what was written, its checksum differs"),
    "source changed": (touch_source, "is older than"),
    "source.json broken": (lambda tree: (tree / SCENE / "source.json").write_text("{"), "source.json: is broken"),
    "scene gone": (lambda tree: shutil.rmtree(tree / SCENE), "was prepared and is gone"),
    "unfinished": (lambda tree: (tree / "val" / ".writing-scene0000_00-abc").mkdir(), "of a run that was killed"),
    "in two splits": (lambda tree: shutil.copytree(tree / SCENE, tree / "val/scene0000_00"), "is in train and val"),
    "report broken": (lambda tree: (tree / "preprocess_report.json").write_text("{}"), "report.json: is broken"),
}


def test_whole_tree(tree):
    done = check(tree)
    assert (done.status, done.err) == (0, "")
    assert "4 scenes checked, 0 problems" in done.out


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_found(tree, case):
    """Each damage: exit 1 and exactly one line, which names the place and a remedy."""
    damage, message = DAMAGES[case]
    damage(tree)
    done = check(tree)
    assert done.status == 1
    assert len(done.error_lines) == 1, done.err
    assert message in done.err
    assert done.err.startswith(f"check_scans.py: {tree}")
    assert ";" in done.err


@pytest.mark.parametrize("case", sorted(DAMAGES.keys() - {"in two splits", "unfinished"}))
def test_the_remedy_mends(tree, case):
    """Deleting the scene (or the report) and preparing again, as the line says, makes the tree whole."""
    DAMAGES[case][0](tree)
    if case == "report broken":
        (tree / "preprocess_report.json").unlink()
    elif case not in ("source changed", "scene gone"):
        shutil.rmtree(tree / SCENE)
    run_script("preprocess_scannet.py", "--raw", tree.parent / "raw", "--out", tree, "--workers", 1)
    assert check(tree).status == 0


def test_failed_scene_is_named(tree):
    """What the preparation could not do, the check says too."""
    path = tree.parent / "raw" / "scans" / "scene0001_00" / "scene0001_00.aggregation.json"
    path.write_text("{}")
    run_script("preprocess_scannet.py", "--raw", tree.parent / "raw", "--out", tree, "--workers", 1)
    done = check(tree)
    assert done.status == 1
    assert "train/scene0001_00: could not be prepared" in done.err


def test_foreign_tree(tree):
    """A tree of another program, without report and source.json, int16 columns and zero normals: notes, no problem."""
    (tree / "preprocess_report.json").unlink()
    for path in tree.glob("*/*/source.json"):
        path.unlink()
    for path in tree.glob("*/*/segment*.npy"):
        np.save(path, np.load(path).astype(np.int16)[:, None])
    change_normal = np.load(tree / SCENE / "normal.npy")
    change_normal[0] = 0
    np.save(tree / SCENE / "normal.npy", change_normal)
    done = check(tree)
    assert (done.status, done.err) == (0, "")
    assert "1 vertices have a zero normal" in done.out
    assert "preprocess_report.json is missing" in done.out


def test_histogram(tree, tmp_path):
    """--json and --tsv hold points, objects and scenes of every class, as counted from the arrays."""
    done = check(tree, "--json", tmp_path / "a.json", "--tsv", tmp_path / "a.tsv")
    assert done.status == 0
    found = json.loads((tmp_path / "a.json").read_text())
    with open(tmp_path / "a.tsv", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    taxonomy = load_taxonomy("scannet200")
    assert [row["name"] for row in table] == list(taxonomy.class_names)
    labels = np.concatenate([np.load(path) for path in (tree / "train").glob("*/segment200.npy")])
    for label, row in enumerate(found["classes"]["scannet200"]):
        assert row["train_points"] == (labels == label).sum()
        assert row["train_scenes"] == row["train_objects"] == (2 if (labels == label).any() else 0)
        assert {key: str(value) for key, value in row.items()} == table[label]
    assert len(found["classes"]["scannet20"]) == 20
    assert found["splits"]["train"] == {"num_scenes": 2, "num_points": 96}
    assert found["problems"] == []
    assert "train  head          2 of 66             48         4" in done.out


@pytest.mark.parametrize("where", ["no", ""])
def test_no_tree(tmp_path, where):
    done = run_script("check_scans.py", tmp_path / where)
    assert done.status == 2
    assert len(done.error_lines) == 1
    assert "prepare them with: python data_prep/preprocess_scannet.py" in done.err
