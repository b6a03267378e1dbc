"""A folder of labelled scans becomes a prepared tree, whatever people call their files and labels."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pointseg.atomic import TEMPORARY_PREFIX
from pointseg.errors import DataError
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.labelled.split_lists import list_path
from pointseg.preparation.split_lists import read_list
from pointseg.scans.prepared import read_scene
from pointseg.scans.scene_segments import check_segments
from pointseg.taxonomy import read_class_table
from tests.labelled.labelled_scans import NAMES, make_room, write_ply, write_rooms, write_table
from tests.scannet.raw_scans import grid_mesh, write_raw_tree
from tests.scripts import DATA_PREP, Finished, run_script

ROOMS = [f"room{i}" for i in range(10)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(DATA_PREP.parent)}


@pytest.fixture
def source(tmp_path):
    write_rooms(tmp_path / "scans", ROOMS)
    return tmp_path / "scans"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


def import_scans(source, out, *options) -> Finished:
    return run_script("import_scans.py", source, "--out", out, "--workers", 1, *options)


def check(out, *options) -> Finished:
    return run_script("check_scans.py", out, "--workers", 1, *options)


def scenes(out: Path) -> dict[str, list[str]]:
    return {split: sorted(p.name for p in (out / split).glob("*")) for split in ("train", "val", "test")}


def read_report(out):
    return json.loads((out / "preprocess_report.json").read_text())


def test_ten_scans_without_folders_and_without_a_table(source, out):
    """Two become val; the table holds the ids that were found, in their order, and labels are its rows."""
    done = import_scans(source, out)
    assert (done.status, done.err) == (0, "")
    assert [len(names) for names in scenes(out).values()] == [8, 2, 0]
    taxonomy = read_class_table(out / "classes.tsv")
    assert taxonomy.class_names == ("class 1", "class 2", "class 3")
    assert "was made of the 3 ids that the scans have. Give the classes their names in it" in done.out
    for split in ("train", "val"):
        assert (out / "splits" / f"{split}.txt").read_text().split() == scenes(out)[split]
        for name in scenes(out)[split]:
            xyz, label = make_room(ROOMS.index(name))
            scene = read_scene(out / split / name, taxonomy)
            np.testing.assert_allclose(scene.xyz, xyz, atol=1e-6)
            np.testing.assert_array_equal(scene.label, label - 1)
            assert scene.instance is None
    assert check(out).err == ""


def test_a_second_import_writes_nothing_and_a_name_changes_no_scene(source, out):
    import_scans(source, out)
    (out / "classes.tsv").write_text((out / "classes.tsv").read_text().replace("class 3", "chair"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    done = import_scans(source, out)
    assert "0 scenes prepared, 10 were done and still valid, 0 failed" in done.out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert read_class_table(out / "classes.tsv").class_names == ("class 1", "class 2", "chair")


CHANGES = {
    "scan": (lambda source: write_rooms(source, ["room3"], first=77), [], 1),
    "labels beside": (lambda source: np.save(source / "room3.labels.npy", make_room(5)[1]), [], 1),
    "labels beside, whatever their ending": (
        lambda source: (source / "room3.Labels.TXT").write_text("\n".join(map(str, make_room(5)[1]))),
        [],
        1,
    ),
    "unit": (lambda source: None, ["--unit", "cm"], 10),
    "upward axis": (lambda source: None, ["--up=-y"], 10),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_changed_is_made_anew_and_the_check_says_so(source, out, case):
    change, options, number = CHANGES[case]
    import_scans(source, out)
    change(source)
    if not options:
        (line,) = check(out).error_lines
        assert "/room3: is not up to date, " in line
    assert f"{number} scenes prepared, {10 - number} were done" in import_scans(source, out, *options).out
    assert check(out).err == ""


@pytest.mark.parametrize(
    "damage", [{"made_from": []}, {"facts": {"num_points": 3, "points": {}}}, {"arrays": {"coord": {}}}]
)
def test_a_scene_with_a_damaged_source_is_made_anew(source, out, damage):
    import_scans(source, out)
    (path,) = out.glob("*/room3/source.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    (line,) = check(out).error_lines
    assert "/room3/source.json: is broken" in line
    done = import_scans(source, out)
    assert (done.status, done.err) == (0, "")
    assert "1 scenes prepared, 9 were done" in done.out
    assert check(out).err == ""


def test_a_picture_called_as_a_scan_is_no_part_of_it(source, out):
    import_scans(source, out)
    for suffix in (".png", ".mtl"):
        (source / f"room3{suffix}").write_bytes(b"of the room")
    assert check(out).err == ""
    assert "0 scenes prepared, 10 were done" in import_scans(source, out).out


def test_another_table_makes_the_labels_anew(source, out, tmp_path):
    """The check names scenes of another table than the tree's; the import with it mends them."""
    import_scans(source, out)
    write_table(out / "classes.tsv", {3: "chair", 1: "floor", 7: "lamp"})
    done = check(out)
    assert len(done.error_lines) == 10
    assert all("was made with another table of classes than" in line for line in done.error_lines)
    done = import_scans(source, out)
    assert done.status == 0
    assert "classes without a point: lamp" in done.out
    num_walls = sum((make_room(i)[1] == 2).sum() for i in range(10))
    assert (
        f"ids that the table of classes lacks, ignored in training: 2 ({num_walls:,} points in 10 scenes)" in done.out
    )
    assert check(out).err == ""
    (path,) = out.glob("*/room0/segment.npy")
    np.testing.assert_array_equal(np.load(path), np.array([1, -1, 0])[make_room(0)[1] - 1])


def test_the_tables_own_text_is_kept(source, out, tmp_path):
    table = write_table(tmp_path / "mine.tsv")
    table.write_text("# from the survey\r\n" + table.read_text().replace("\n", "\tremark\r\n"), newline="")
    table.write_text(table.read_text().replace("name\tremark", "name\tnote", 1))
    assert import_scans(source, out, "--classes", table).status == 0
    assert read_class_table(out / "classes.tsv").class_names == tuple(NAMES.values())
    assert "from the survey" in (out / "classes.tsv").read_text()


def test_folders_are_splits_and_test_scans_need_no_labels(out, tmp_path):
    source = tmp_path / "scans"
    write_rooms(source, ["train/a", "train/b", "val/c"])
    write_ply(source / "test" / "d.ply", make_room(4)[0])
    done = import_scans(source, out)
    assert (done.status, done.err) == (0, "")
    assert scenes(out) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    assert not (out / "test" / "d" / "segment.npy").exists()
    assert check(out).err == ""


def test_who_was_learned_from_never_becomes_val(source, out):
    """Scans that come later fill the share; those that were there stay where they were."""
    import_scans(source, out)
    before = scenes(out)
    write_rooms(source, [f"later{i}" for i in range(10)], first=50)
    import_scans(source, out)
    after = scenes(out)
    assert set(before["train"]) <= set(after["train"])
    assert set(before["val"]) <= set(after["val"])
    assert (len(after["train"]), len(after["val"])) == (16, 4)


def test_a_scan_that_a_person_lists_elsewhere_moves(source, out):
    """The lists in the tree are for people to edit; the old place is named."""
    import_scans(source, out)
    moved = scenes(out)["train"][0]
    for split, change in (("train", lambda s: s.remove(moved)), ("test", lambda s: s.append(moved))):
        lines = (out / "splits" / f"{split}.txt").read_text().split()
        change(lines)
        (out / "splits" / f"{split}.txt").write_text("\n".join(lines))
    done = import_scans(source, out)
    assert scenes(out)["test"] == [moved]
    assert f"stale in the tree: 1 scenes, first train/{moved}, which belongs to test" in done.out
    (line,) = done.error_lines
    assert line.endswith(f"{out / 'train' / moved}: belongs to test, and was made before it moved there; delete it")
    assert done.status == 1


def test_a_scene_that_a_person_took_out_of_the_lists_is_told_of(source, out):
    import_scans(source, out)
    path = out / "splits" / "train.txt"
    first, *others = path.read_text().split()
    path.write_text("\n".join(others))
    (line,) = import_scans(source, out).error_lines
    assert f"{path}: {first} was in no list, and is in this again; to leave it out, move its scan away and" in line
    assert line.endswith(f"delete {out / 'train' / first}")
    assert import_scans(source, out).err == ""


SLIPS = {
    "no scene": ("test", "nosuch", "test.txt:1: nosuch is no scene; mend the line, or delete it"),
    "a file": ("val", "\nroom4.ply", "val.txt:4: room4.ply is no scene; the nearest is room4; mend the line"),
    "a comment": ("val", "# by hand", "val.txt:3: # by hand is no scene; mend the line, or delete it"),
}


@pytest.mark.parametrize("case", SLIPS)
def test_a_name_in_a_list_that_is_no_scene_is_refused_and_the_lists_are_kept(source, out, case):
    split, name, message = SLIPS[case]
    import_scans(source, out)
    path = out / "splits" / f"{split}.txt"
    path.write_text(path.read_text() + name + "\n")
    before = {file: file.read_bytes() for file in out.rglob("*.*") if file.is_file()}
    done = import_scans(source, out)
    (line,) = done.error_lines
    assert line.endswith(f"{out / 'splits'}/{message}")
    assert done.status == 1
    assert {file: file.read_bytes() for file in out.rglob("*.*") if file.is_file()} == before


def test_a_scan_is_left_out_by_moving_it_away_and_deleting_its_scene(source, out):
    """As the docs say; its name in the list is no slip of who edits it, also where its scene was never made."""
    (source / "room1.ply").write_text("damaged")
    import_scans(source, out, "--classes", write_table(source.parent / "a.tsv"))
    gone = ["room1", next(name for name in scenes(out)["train"] if name != "room1")]
    for name in gone:
        (source / f"{name}.ply").unlink()
    shutil.rmtree(out / "train" / gone[1])
    done = import_scans(source, out)
    assert (done.status, done.err) == (0, "")
    assert not set(gone) & {name for split in ("train", "val") for name in read_list(list_path(out, split))}
    assert check(out).err == ""


def test_notes_that_differ_in_numbers_alone_are_one_line(source, out):
    """Ten rooms in millimetres, read as metres; the check says it, too, until somebody says that it is so."""
    for i, name in enumerate(ROOMS):
        xyz, label = make_room(i)
        write_ply(source / f"{name}.ply", xyz * 1000, label=("int", label))
    done = import_scans(source, out)
    (line,) = [line for line in done.out.splitlines() if line.startswith("note: ")]
    assert line.startswith("note: train/room0: is ")
    assert line.endswith(" (and 9 more scenes, with numbers of their own)")
    checked = check(out)
    (line,) = [line for line in checked.out.splitlines() if "which is no room in metres, but in mm" in line]
    assert line.startswith(f"note: {out / 'train' / 'room0'}: is ")
    assert line.endswith(
        "(9 more scenes are none either); make them anew with the unit of their scans (--unit of the import)"
    )
    assert checked.status == 0
    import_scans(source, out, "--unit", "m")
    assert "no room" not in check(out).out


def test_folders_that_are_splits_come_before_the_lists_and_it_is_said(tmp_path, out):
    write_rooms(tmp_path / "scans", ["train/a", "train/b", "val/c"])
    import_scans(tmp_path / "scans", out)
    (out / "splits" / "train.txt").write_text("a\n")
    (out / "splits" / "val.txt").write_text("b\nc\n")
    (line,) = import_scans(tmp_path / "scans", out).error_lines
    assert line.endswith("train/b.ply: is train by its folder, not val as a list said; move the file instead")
    assert import_scans(tmp_path / "scans", out).err == ""


def test_a_share_that_has_no_effect_is_told(source, out):
    """All scans are known, and none that was learned from becomes val."""
    import_scans(source, out)
    for name in (out / "splits" / "val.txt").read_text().split():
        (source / f"{name}.ply").unlink()
        shutil.rmtree(out / "val" / name)
    (line,) = import_scans(source, out, "--val-share", "0.5").error_lines
    assert "val.txt: has 0 of 8 scenes, where --val-share 0.5 would be 4: who was in a list before stays" in line


BAD_LISTS = {
    "no text": (lambda _: b"\xff", "train.txt: is no text; put one scene name a line"),
    "twice": (lambda text: text + text, "twice; delete one of the lines"),
    "no name": (lambda text: text + b"../raw\n", "train.txt: '../raw' is no scene name"),
    "two lists": (lambda text: text, "in train.txt too; a scene belongs to one split"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_list_that_a_person_spoiled_is_one_line(source, out, case):
    change, message = BAD_LISTS[case]
    import_scans(source, out)
    if case == "two lists":
        (out / "splits" / "val.txt").write_bytes((out / "splits" / "train.txt").read_bytes())
    else:
        path = out / "splits" / "train.txt"
        path.write_bytes(change(path.read_bytes()))
    (line,) = import_scans(source, out).error_lines
    assert message in line


def test_scans_that_were_put_away_stay(source, out):
    import_scans(source, out)
    kept = scenes(out)
    (source / "room2.ply").unlink()
    done = import_scans(source, out)
    assert done.status == 0
    assert "no longer in the source, kept in the tree: 1 scenes" in done.out
    assert scenes(out) == kept
    done = check(out)
    assert (done.err, "1 scenes are no longer in the raw data" in done.out) == ("", True)


def test_a_scan_that_was_put_away_keeps_the_labels_of_its_table(source, out, tmp_path):
    """With another table its labels would be other classes; nothing can make it anew but its scan."""
    import_scans(source, out, "--classes", write_table(tmp_path / "a.tsv"))
    gone = scenes(out)["train"][0]
    (source / f"{gone}.ply").rename(tmp_path / "gone.ply")
    renamed = write_table(tmp_path / "b.tsv", {i: name.upper() for i, name in NAMES.items()})
    assert import_scans(source, out, "--classes", renamed).err == ""
    done = import_scans(source, out, "--classes", write_table(tmp_path / "c.tsv", dict(reversed(NAMES.items()))))
    (line,) = done.error_lines
    assert f"{out / 'train' / gone}: has the labels of another table of classes" in line
    assert done.status == 1
    (tmp_path / "gone.ply").rename(source / f"{gone}.ply")
    assert import_scans(source, out).err == ""


def test_a_property_that_no_labelled_scan_has_is_named(tmp_path, out):
    """Scans in test need no labels, and do not hide why the others fail."""
    write_rooms(tmp_path / "scans", ["train/a", "val/b", "test/c"])
    done = import_scans(tmp_path / "scans", out, "--label-field", "nosuch")
    (line,) = done.error_lines
    assert "a.ply: has no property 'nosuch' of whole numbers; its whole numbers are: 'label'" in line
    assert not out.exists()


def test_other_options_than_before_are_named(source, out):
    """Scans in millimetres would become rooms of kilometres, by the command that only adds new ones."""
    assert import_scans(source, out, "--unit", "mm", "--val-share", "0.3").err == ""
    assert import_scans(source, out, "--unit", "mm").err == ""
    done = import_scans(source, out)
    (line,) = done.error_lines
    assert "scans were read with --unit mm before, so their scenes were made anew" in line
    assert done.status == 0
    assert import_scans(source, out).err == ""
    done = import_scans(source, out, "--label-field", "gone")
    assert "10 failed" in done.out
    assert "made anew; give the same options" not in done.err
    assert import_scans(source, out).err == ""


@pytest.mark.parametrize(("name", "why"), [(" a", "has a blank at an end"), ("a\\b", "has a sign that the name of a")])
def test_a_name_that_no_scene_can_have_says_why(source, out, name, why):
    (source / "room0.ply").rename(source / f"{name}.ply")
    (line,) = import_scans(source, out).error_lines
    assert "its name can't be that of a scene: " in line
    assert why in line
    assert line.endswith("; rename it")


def test_labels_in_half_precision(source, out):
    xyz, label = make_room(5)
    write_ply(source / "room5.ply", xyz)
    np.save(source / "room5.labels.npy", label.astype(np.float16))
    assert import_scans(source, out).err == ""


def test_names_of_all_kinds(out, tmp_path):
    """Equal stems in different folders, spaces, other alphabets, a link to a file, to a folder and to itself."""
    source = tmp_path / "scans"
    write_rooms(source, ["a/scan", "b/scan", "Büro 3. Stock", "部屋", "c.d"])
    write_rooms(tmp_path / "elsewhere", ["far/scan"], first=9)
    (source / "linked").symlink_to(tmp_path / "elsewhere" / "far")
    (source / "link.ply").symlink_to(tmp_path / "elsewhere" / "far" / "scan.ply")
    (source / "loop").symlink_to(source)
    (source / ".hidden").mkdir()
    shutil.copy(source / "c.d.ply", source / ".hidden")
    assert import_scans(source, out).err == ""
    found = sorted(scenes(out)["train"] + scenes(out)["val"])
    assert found == sorted(["a_scan", "b_scan", "Büro 3. Stock", "部屋", "c.d", "linked_scan", "link"])
    assert check(out).err == ""
    assert "0 scenes prepared, 7 were done" in import_scans(source, out).out


def test_the_tree_may_lie_in_the_folder_of_the_scans(source):
    out = source / "prepared"
    assert import_scans(source, out).status == 0
    assert "0 scenes prepared, 10 were done" in import_scans(source, out).out


BAD_CALLS = {
    "empty folder": (
        lambda t: (t / "none").mkdir(),
        "none",
        [],
        "none: has no scans; give a folder with files of .ply",
    ),
    "no folder": (lambda t: None, "nowhere", [], "nowhere: there is no such folder"),
    "a file": (lambda t: None, "scans/room0.ply", [], "room0.ply: is no folder"),
    "one name twice": (
        lambda t: (t / "scans/room0.xyz").write_text("1 2 3"),
        "scans",
        [],
        "would be the same scene as",
    ),
    "one name in two splits": (
        lambda t: [write_rooms(t / "two", [f"{split}/x"]) for split in ("train", "val")],
        "two",
        [],
        "val/x.ply: is called as ",
    ),
    "into itself": (
        lambda t: (t / "prepared").symlink_to(t / "scans"),
        "scans",
        [],
        "prepared: is the folder of the scans; choose another folder by --out",
    ),
    "no such table": (lambda t: None, "scans", ["--classes", "no.tsv"], "no.tsv: there is no such table of classes"),
    "share": (lambda t: None, "scans", ["--val-share", "1"], "--val-share 1: is not a share from 0 to below 1"),
    "unit": (lambda t: None, "scans", ["--unit", "ell"], "invalid choice: 'ell'"),
    "data set and table": (
        lambda t: None,
        "scans",
        ["--dataset", "s3dis", "--label-field", "x"],
        "leave out --classes",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_one_line(source, out, tmp_path, case):
    prepare, folder, options, message = BAD_CALLS[case]
    prepare(tmp_path)
    done = import_scans(tmp_path / folder, out, *options)
    assert done.status == 2
    (line,) = done.error_lines
    assert message in line


def test_bad_scans_do_not_stop_the_others(source, out):
    """Labels of another length, none at all, no scan: a line each, exit 1, and the seven others are done."""
    (source / "room1.ply").write_bytes(b"ply\nnonsense")
    (source / "room2.labels.txt").write_text("1\n2\n")
    write_ply(source / "room3.ply", make_room(3)[0])
    done = import_scans(source, out)
    assert done.status == 1
    broken, short, bare = sorted(done.error_lines)
    assert "room1.ply: " in broken
    assert "room2.labels.txt: has 2 labels, room2.ply has 400 points" in short
    assert "room3.ply: has no labels; name their property by --label-field, or put room3.labels.txt or" in bare
    assert "7 scenes prepared" in done.out
    assert {row["scene"] for row in read_report(out)["failed"]} == {"room1", "room2", "room3"}
    assert "could not be prepared: " in check(out).err
    write_rooms(source, ["room1", "room2", "room3"])
    (source / "room2.labels.txt").unlink()
    assert "3 scenes prepared, 7 were done" in import_scans(source, out).out


def test_nothing_to_train_on(source, out, tmp_path):
    """A table that has none of the ids: refused, with the ids that there are."""
    done = import_scans(source, out, "--classes", write_table(tmp_path / "t.tsv", {8: "a", 9: "b"}))
    assert done.status == 1
    (line,) = done.error_lines
    assert "there is nothing to train on; the scans have the ids 1, 2, 3: mend the table" in line


def test_scans_outside_the_folders_of_splits(out, tmp_path):
    write_rooms(tmp_path / "scans", ["train/a", "val/b", "stray"])
    done = import_scans(tmp_path / "scans", out)
    assert done.status == 1
    assert "1 scans lie outside train, val, test (stray.ply); move them into one" in done.err


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("Train", "Val"), r"scans/Train: is called like a split, and is none: .*; rename it to train, or call"),
        (("training", "validation"), r"scans/training: .*; rename it to train"),
        (("data/train", "data/test"), r"scans/data/t\w+: .*; give \S*scans/data, or call the folder otherwise"),
        (("set/Test", "set/rest"), r"scans/set/Test: .*; rename it to test and give \S*scans/set"),
    ],
)
def test_folders_that_only_look_like_splits_are_no_training_scans(out, tmp_path, folders, message):
    """Else the scans of a test set would be learned from."""
    write_rooms(tmp_path / "scans", [f"{folder}/room{i}" for i, folder in enumerate(folders)])
    done = import_scans(tmp_path / "scans", out)
    assert done.status == 2
    assert re.search(message, done.err), done.err
    assert not out.exists()


def test_a_file_of_labels_without_its_scan_is_named(out, tmp_path):
    write_rooms(tmp_path / "scans", ["room_0"])
    (tmp_path / "scans" / "room0.labels.txt").write_text("1\n")
    done = import_scans(tmp_path / "scans", out)
    assert done.status == 2
    assert "room0.labels.txt: there is no scan room0 beside it; call it as its scan" in done.err


def test_labels_in_different_properties_are_a_problem(out, tmp_path):
    """Of some scans the usual one is missing, and another name of the list takes its place."""
    for i, name in enumerate(["label", "label", "classification"]):
        xyz, label = make_room(i)
        write_ply(tmp_path / "scans" / f"room{i}.ply", xyz, **{name: ("int", label)})
    done = import_scans(tmp_path / "scans", out)
    assert done.status == 1
    assert "the labels of some scans are in property 'classification' and of others in 'label', in which" in done.err


def test_some_scans_lack_what_others_have(source, out):
    """A tree has normals in all scenes or in none: the line says how to get there."""
    write_ply(source / "room4.ply", make_room(4)[0], normal=False, label=("int", make_room(4)[1]))
    done = import_scans(source, out)
    assert done.status == 1
    (line,) = done.error_lines
    assert "/room4: has no normal, as 1 scenes, while others have; --estimate-normals makes them" in line
    assert "/room4: has no normal.npy, as 1 scenes, while others have" in check(out).err


def test_a_tree_without_colours_and_normals(out, tmp_path):
    for i in range(4):
        xyz, label = make_room(i)
        write_ply(tmp_path / "scans" / f"{i}.ply", xyz, color=False, normal=False, label=("uchar", label))
    assert import_scans(tmp_path / "scans", out).err == ""
    assert check(out).err == ""
    (folder,) = out.glob("*/0")
    assert sorted(path.name for path in folder.iterdir()) == ["coord.npy", "segment.npy", "source.json"]


def test_points_without_place_and_objects(out, tmp_path):
    """NaN points go, with their labels; objects are counted, negative ids are none."""
    for i in range(3):
        xyz, label = make_room(i)
        xyz[5] = np.nan
        instance = np.where(label == 3, 40 + i, -7)
        write_ply(tmp_path / "scans" / f"{i}.ply", xyz, label=("int", label), objectId=("int", instance))
    done = import_scans(tmp_path / "scans", out)
    assert done.err == ""
    assert "1 points have no place (NaN) and were left out (and 2 more scenes)" in done.out
    assert check(out).err == ""
    (path,) = out.glob("*/1/instance.npy")
    expected = np.delete(np.where(make_room(1)[1] == 3, 41, -1), 5)
    np.testing.assert_array_equal(np.load(path), expected)
    report = read_report(out)["splits"]
    assert [
        sum(row["classes"]["own"]["objects"][c] for row in report.values() if row["classes"]) for c in range(3)
    ] == [
        0,
        0,
        3,
    ]


def test_a_mesh_keeps_its_faces_and_a_cloud_has_none(out, tmp_path):
    """Of a mesh those whose corners have a place, in the numbers of the points that are left; the check knows them."""
    xyz, rgb, faces = grid_mesh(6, 8)
    xyz[0] = np.nan
    path = tmp_path / "scans" / "train" / "mesh.ply"
    path.parent.mkdir(parents=True)
    write_mesh(path, Mesh(xyz, faces, rgb))
    np.save(path.with_suffix(".labels.npy"), np.arange(48) % 3 + 1)
    assert import_scans(tmp_path / "scans", out).status == 0
    stored = np.load(out / "train" / "mesh" / "face.npy")
    assert stored.dtype == np.int32
    np.testing.assert_array_equal(stored, faces[(faces > 0).all(axis=1)] - 1)
    check_segments([out / "train" / "mesh"])
    assert check(out).status == 0
    (out / "train" / "mesh" / "face.npy").unlink()
    (line,) = check(out).error_lines
    assert f"{out}/train/mesh/face.npy: is missing; delete " in line

    shutil.rmtree(path.parent)
    write_rooms(tmp_path / "scans", ["train/cloud"])
    assert import_scans(tmp_path / "scans", out).status == 0
    assert not (out / "train" / "cloud" / "face.npy").exists()
    with pytest.raises(DataError, match=r"cloud: has no faces .*prepare the scene again from a mesh"):
        check_segments([out / "train" / "cloud"])


def test_map_coordinates_and_units(out, tmp_path):
    """Centimetres with y up, in a map grid, come out as metres with z up near the origin."""
    xyz, label = make_room(0)
    turned = np.array([690_000, 0, 5_335_000]) + xyz[:, [0, 2, 1]] * (1, 1, -1)
    for i in range(3):
        write_ply(tmp_path / "scans" / f"{i}.ply", 100 * turned, label=("int", label))
    assert import_scans(tmp_path / "scans", out, "--unit", "cm", "--up", "y").err == ""
    (path,) = out.glob("*/0/coord.npy")
    coord = np.load(path)
    np.testing.assert_allclose(coord - coord.min(axis=0), xyz - xyz.min(axis=0), atol=1e-4)
    assert np.abs(coord).max() < 10


@pytest.mark.parametrize("place", ["out", "parent"])
def test_read_only_out(source, tmp_path, place, monkeypatch):
    """One line that names the place. Root may write anywhere, so the system's refusal is played."""
    out = tmp_path / "tree" / "prepared"

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(out if place == "out" else out.parent))

    os_open = os.open

    def open_what_is_there(path, *arguments, **options):
        return refuse() if TEMPORARY_PREFIX in str(path) else os_open(path, *arguments, **options)

    if place == "out":
        monkeypatch.setattr("os.open", open_what_is_there)
    else:
        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    done = import_scans(source, out)
    assert done.status == 1
    (line,) = done.error_lines
    assert "Permission denied" in line


def test_a_killed_import_goes_on(source, out):
    """What a kill leaves is no scene; the same call makes the rest and the same tree."""
    write_rooms(source, [f"more{i}" for i in range(60)], first=100)
    process = subprocess.Popen(
        [sys.executable, str(DATA_PREP / "import_scans.py"), str(source), "--out", str(out), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("train/*/source.json"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (out / "train").mkdir(exist_ok=True)
    leftover = out / "train" / f".writing-{(out / 'splits' / 'train.txt').read_text().splitlines()[-1]}-abc"
    leftover.mkdir()
    for half_written in (out / ".writing-preprocess_report-abc.json", out / "splits" / ".writing-train-abc.txt"):
        half_written.write_text("{")
    done = import_scans(source, out)
    assert done.status == 0
    written, skipped = (int(done.out.split()[i]) for i in (0, 3))
    assert written + skipped == 70
    assert written > 0
    assert skipped > 0
    assert not list(out.rglob(".writing-*"))
    assert check(out).err == ""


def test_number_of_workers_changes_no_byte(source, out, tmp_path):
    """The command as its user runs it, in a process with two workers."""
    import_scans(source, out)
    command = [sys.executable, "-m", "pointseg.import_scans", str(source), "--out", str(tmp_path / "two")]
    subprocess.run([*command, "--workers", "2"], check=True, capture_output=True, env=ENVIRONMENT, cwd=tmp_path)
    for path in out.rglob("*.*"):
        if path.is_file():
            assert (tmp_path / "two" / path.relative_to(out)).read_bytes() == path.read_bytes(), path


def test_other_files_are_named_and_left(source, out):
    """A text that is no table of points is no scan; neither are pictures and notes."""
    (source / "readme.txt").write_text("Measured in March.\n12 rooms, 3 floors\n")
    (source / "plan.pdf").write_bytes(b"%PDF")
    (source / "room0.jpg").write_bytes(b"")
    np.savetxt(source / "points.txt", make_room(1)[0])
    np.save(source / "points.labels.npy", make_room(1)[1])
    done = import_scans(source, out)
    assert "files that are no scans: 1 .pdf, 1 .txt" in done.out
    assert "11 scenes prepared" in done.out


def test_predictions_are_no_labelled_scans(source, out):
    """Only those: a scan beside them, of which they may be, stays."""
    record = {"settings": {"tta": "none"}, "scenes": {}, "files": ["room0.ply", "room0.txt", "gone.txt"]}
    (source / "predictions.json").write_text(json.dumps(record))
    (source / "room0.txt").write_text("1\n")
    done = import_scans(source, out)
    assert done.err == ""
    assert "predictions, left out: 2 files, as predictions.json beside them says" in done.out
    assert "9 scenes prepared" in done.out


def test_a_folder_of_predictions_alone_has_no_scans(source, out):
    for path in source.glob("room[1-9].ply"):
        path.unlink()
    record = {"settings": {"tta": "none"}, "scenes": {}, "files": ["room0.ply"]}
    (source / "predictions.json").write_text(json.dumps(record))
    assert "scans: has no scans but 1 files of predict; give a folder" in import_scans(source, out).err


def test_a_link_to_nothing_is_a_scan_that_fails(source, out):
    (source / "dead.ply").symlink_to(source / "nothing.ply")
    (line,) = import_scans(source, out).error_lines
    assert "dead.ply: there is no such file" in line


def test_a_tree_has_one_kind_of_classes(source, out, tmp_path):
    """Neither command writes into the other's tree."""
    write_raw_tree(tmp_path / "raw")
    prepare = ["--raw", tmp_path / "raw", "--out", tmp_path / "scannet", "--workers", 1]
    assert run_script("preprocess_scannet.py", *prepare).status == 0
    done = import_scans(source, tmp_path / "scannet")
    assert (done.status, "is a tree of ScanNet's classes; choose another folder" in done.err) == (2, True)
    import_scans(source, out)
    done = run_script("preprocess_scannet.py", "--raw", tmp_path / "raw", "--out", out)
    assert (done.status, "is a tree of other classes, those of its classes.tsv" in done.err) == (2, True)


@pytest.mark.parametrize("place", ["raw", "raw/scans"])
def test_raw_scans_of_scannet_are_for_prepare(tmp_path, out, place):
    write_raw_tree(tmp_path / "raw")
    (line,) = import_scans(tmp_path / place, out).error_lines
    assert "holds raw scans of ScanNet; prepare them with: python data_prep/preprocess_scannet.py --raw " in line
    assert f"{tmp_path / 'raw'} --out {out}" in line
