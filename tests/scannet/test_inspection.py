"""check_scans.py finds every kind of damage, and says how to mend it."""

import csv
import errno
import json
import os
import re
import shlex
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from pointseg import check as check_command
from pointseg.scannet import origin
from pointseg.taxonomy import load_taxonomy
from tests.scannet.raw_scans import CATEGORIES, grid_mesh, write_label_map, write_raw_tree
from tests.scripts import run_script

SCENE = "train/scene0000_00"
TEST_SCENE = "test/scene0707_00"


@pytest.fixture
def tree(tmp_path):
    write_raw_tree(tmp_path / "raw")
    assert prepare(tmp_path / "prepared").status == 0
    return tmp_path / "prepared"


def prepare(tree, *options):
    return run_script("preprocess_scannet.py", "--raw", tree.parent / "raw", "--out", tree, "--workers", 1, *options)


def check(tree, *options):
    return run_script("check_scans.py", tree, "--workers", 1, *options)


def do_as_told(line, raw):
    """What a person does who reads the line: delete what it names, then run the command that it gives.

    Without a report nobody knows where the raw data is: the command then has RAW in its place.
    """
    for path in re.findall(r"delete (/[^\s,;]+)", line):
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
    for command in re.findall(r"run: (.*)", line):
        python, script, *arguments = shlex.split(command.replace("--raw RAW", f"--raw {raw}"))
        assert (python, script) == ("python", "data_prep/preprocess_scannet.py")
        run_script("preprocess_scannet.py", *arguments, "--workers", 1)


def change_array(name, change, scene=SCENE):
    """Edit an array and make its checksum fit, so that the values alone are wrong."""

    def damage(tree):
        path, description = tree / scene / f"{name}.npy", tree / scene / "source.json"
        np.save(path, change(np.load(path)))
        source = json.loads(description.read_text())
        source["arrays"][name] |= {"bytes": path.stat().st_size, "crc32": zlib.crc32(path.read_bytes())}
        description.write_text(json.dumps(source))

    return damage


def put(value, row=3):
    def change(array):
        array[row] = value
        return array

    return change


RAW_SCENE = "raw/scans/scene0000_00/scene0000_00"


def touch_source(tree):
    os.utime(tree.parent / f"{RAW_SCENE}.aggregation.json", (1, 1))


def lengthen_source(tree):
    with open(tree.parent / f"{RAW_SCENE}.aggregation.json", "a") as file:
        file.write(" ")


def prepare_without_alignment_file(tree):
    """A test scene may lack it; here it comes later."""
    shutil.copy(tree.parent / f"{RAW_SCENE}.txt", tree.parent / "raw/scans_test/scene0707_00/scene0707_00.txt")


def add_segments_to_a_test_scene(tree):
    """Those of a published test scan are not to be had; who has them uses them."""
    text = (tree.parent / f"{RAW_SCENE}_vh_clean_2.0.010000.segs.json").read_text()
    path = tree.parent / "raw/scans_test/scene0707_00/scene0707_00_vh_clean_2.0.010000.segs.json"
    path.write_text(text.replace("scene0000_00", "scene0707_00"))


def flip_a_byte(tree):
    path = tree / SCENE / "color.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def replace_in(path, old, new):
    def damage(tree):
        content = (tree / path).read_bytes()
        assert old in content
        (tree / path).write_bytes(content.replace(old, new))

    return damage


def put_a_folder_in_place(tree):
    (tree / SCENE / "normal.npy").unlink()
    (tree / SCENE / "normal.npy").mkdir()


def list_again(tree, split, text):
    (tree.parent / "raw" / "splits" / f"scannetv2_{split}.txt").write_text(text)


def take_from_lists(tree):
    list_again(tree, "train", "scene0001_00\n")
    shutil.move(tree.parent / "raw" / "scans" / "scene0000_00", tree.parent / "put_away")
    prepare(tree)


def move_to_val(tree):
    list_again(tree, "train", "scene0001_00\n")
    list_again(tree, "val", "scene0002_00\nscene0000_00\n")
    prepare(tree)


DAMAGES = {
    "array missing": (lambda tree: (tree / SCENE / "normal.npy").unlink(), "normal.npy: is missing"),
    "instances missing": (lambda tree: (tree / SCENE / "instance.npy").unlink(), "instance.npy: is missing"),
    "labels missing": (lambda tree: (tree / SCENE / "segment20.npy").unlink(), "segment20.npy: is missing"),
    "truncated": (lambda tree: os.truncate(tree / SCENE / "coord.npy", 300), "coord.npy: is truncated"),
    "truncated header": (lambda tree: os.truncate(tree / SCENE / "coord.npy", 60), "coord.npy: is truncated"),
    "empty file": (lambda tree: os.truncate(tree / SCENE / "segment200.npy", 0), "segment200.npy: is truncated"),
    "header that is no Python": (replace_in(f"{SCENE}/coord.npy", b"(48, 3), }", b"(48, 3(, }"), "coord.npy: is trunc"),
    "header that lies": (replace_in(f"{SCENE}/coord.npy", b"(48, 3), }    ", b"(480000, 3), }"), "coord.npy: is trunc"),
    "header beyond all memory": (
        replace_in(f"{SCENE}/coord.npy", b"(48, 3), }              ", b"(480000000000000, 3), } "),
        "coord.npy: is truncated",
    ),
    "no file": (put_a_folder_in_place, "normal.npy: Is a directory"),
    "other length": (change_array("color", lambda a: a[:-1]), "color.npy: has 47 rows, coord.npy has 48"),
    "other dtype": (change_array("color", lambda a: a.astype(np.float64)), "color.npy: is float64"),
    "labels of another dtype": (change_array("segment20", lambda a: a + 0.5), "segment20.npy: is float64 (48,)"),
    "other shape": (change_array("normal", lambda a: a[:, :2]), "normal.npy: is float32 (48, 2), expected float32"),
    "labels of another shape": (change_array("segment200", lambda a: a.reshape(6, 8)), "segment200.npy: is int64 (6,"),
    "label too high": (change_array("segment200", put(200)), "segment200.npy: values are -1..200, expected -1..199"),
    "label20 too high": (change_array("segment20", put(20)), "segment20.npy: values are -1..20, expected -1..19"),
    "label too low": (change_array("segment20", put(-2)), "segment20.npy: values are -2..4"),
    "instance too low": (change_array("instance", put(-5)), "instance.npy: values are -5..3"),
    "segments missing": (lambda tree: (tree / SCENE / "over_segment.npy").unlink(), "over_segment.npy: is missing"),
    "segments of another length": (change_array("over_segment", lambda a: a[1:]), "over_segment.npy: has 47 rows"),
    "segment too low": (change_array("over_segment", put(-1)), "over_segment.npy: values are -1..7, expected 0..47"),
    "segment too high": (change_array("over_segment", put(48)), "over_segment.npy: values are 0..48, expected 0..47"),
    "faces missing": (lambda tree: (tree / TEST_SCENE / "face.npy").unlink(), "face.npy: is missing"),
    "faces of another mesh": (change_array("face", put(48), TEST_SCENE), "face.npy: values are 0..48, expected 0..47"),
    "faces of another shape": (
        change_array("face", lambda a: a.ravel(), TEST_SCENE),
        "face.npy: is int32 (210,), expected integers (F, 3)",
    ),
    "segments of a test scene added": (add_segments_to_a_test_scene, "segs.json was not there then"),
    "NaN": (change_array("coord", put(np.nan)), "coord.npy: 1 rows are not finite"),
    "at the end of the world": (change_array("coord", put(1e30)), "coord.npy: 1 rows are beyond 1e+08 m"),
    "infinite normal": (change_array("normal", put(np.inf)), "normal.npy: 1 rows are not finite"),
    "long normal": (change_array("normal", put(2)), "normal.npy: 1 normals are not of unit length"),
    "flipped bit": (flip_a_byte, "color.npy: is not what was written, its checksum differs"),
    "source older": (touch_source, "scene0000_00.aggregation.json changed since"),
    "source changed": (lengthen_source, "scene0000_00.aggregation.json changed since"),
    "source added": (prepare_without_alignment_file, "scene0707_00.txt was not there then"),
    "source.json broken": (lambda tree: (tree / SCENE / "source.json").write_text("{"), "source.json: is broken"),
    "source.json shallow": (replace_in(f"{SCENE}/source.json", b'"files"', b'"fills"'), "source.json: is broken"),
    "source.json gone": (lambda tree: (tree / SCENE / "source.json").unlink(), "has lost its source.json"),
    "scene gone": (lambda tree: shutil.rmtree(tree / SCENE), "was prepared and is gone"),
    "scene added": (
        lambda tree: shutil.copytree(tree / SCENE, tree / "train/scene9_00"),
        "scene9_00: is in no",
    ),
    "scene no longer listed": (take_from_lists, f"{SCENE}: is in no split list"),
    "scene moved to val": (move_to_val, f"{SCENE}: belongs to val"),
    "scene unfinished": (lambda tree: (tree / "val" / ".writing-scene0000_00-abc").mkdir(), "an interrupted write"),
    "report unfinished": (lambda tree: (tree / ".writing-preprocess_report-abc.json").touch(), "an interrupted write"),
    "in two splits": (lambda tree: shutil.copytree(tree / SCENE, tree / "val/scene0000_00"), "is in no list"),
    "report broken": (lambda tree: (tree / "preprocess_report.json").write_text("{}"), "report.json: is broken"),
    "report gone": (
        lambda tree: (tree / "preprocess_report.json").unlink(),
        "report.json: is missing, the prep",
    ),
}
NAMES_ITS_PLACE = {  # where that is not the scene that most damages are done to
    "faces missing": TEST_SCENE,
    "faces of another mesh": TEST_SCENE,
    "faces of another shape": TEST_SCENE,
    "segments of a test scene added": TEST_SCENE,
    "source added": TEST_SCENE,
    "scene added": "train/scene9_00",
    "scene unfinished": "val/.writing-scene0000_00-abc",
    "report unfinished": ".writing-preprocess_report-abc.json",
    "report broken": "preprocess_report.json",
    "report gone": "preprocess_report.json",
    "in two splits": "val/scene0000_00",
}


def test_whole_tree(tree):
    done = check(tree)
    assert (done.status, done.err) == (0, "")
    assert "4 scenes checked, 0 problems" in done.out


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_found(tree, case):
    """Each damage: exit 1 and one line, which names scene and file; to do what it says makes the tree whole."""
    damage, message = DAMAGES[case]
    damage(tree)
    done = check(tree)
    assert done.status == 1
    (line,) = done.error_lines
    assert message in line
    assert line.startswith(f"check_scans.py: {tree / NAMES_ITS_PLACE.get(case, SCENE)}")
    do_as_told(line, tree.parent / "raw")
    again = check(tree)
    assert (again.status, again.err) == (0, "")


def test_several_damages_are_several_lines(tree):
    """Each is told, and none hides another or ends the check."""
    flip_a_byte(tree)
    os.truncate(tree / SCENE / "coord.npy", 300)
    shutil.rmtree(tree / "val" / "scene0002_00")
    done = check(tree)
    assert done.status == 1
    assert [line.split(": ")[1].removeprefix(f"{tree}/") for line in done.error_lines] == [
        f"{SCENE}/coord.npy",
        f"{SCENE}/color.npy",
        "val/scene0002_00",
    ]
    assert "3 scenes checked, 3 problems" in done.out


def test_another_label_map(tree):
    """Scenes with labels by another map than the report's are named; the test scene has none."""
    write_label_map(tree.parent / "raw" / "scannetv2-labels.combined.tsv", [*CATEGORIES, ("lamp", 28, 35)])
    done = check(tree)
    assert done.status == 1
    assert len(done.error_lines) == 3
    assert all("was made with another label map than" in line for line in done.error_lines)
    do_as_told(done.error_lines[0], tree.parent / "raw")
    assert check(tree).status == 0


def test_another_label_map_from_another_folder(tree, monkeypatch, tmp_path):
    """The report says where the label map lies, from wherever the check is made."""
    monkeypatch.chdir(tmp_path)
    run_script("preprocess_scannet.py", "--raw", "raw", "--out", tree, "--workers", 1)
    write_label_map(tmp_path / "raw" / "scannetv2-labels.combined.tsv", [*CATEGORIES, ("lamp", 28, 35)])
    monkeypatch.chdir("/")
    assert len(check(tree).error_lines) == 3


def test_a_run_is_no_prepared_tree(tmp_path):
    """To import into it would not help."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("")
    (line,) = check(tmp_path).error_lines
    assert "is the folder of a run; give the prepared tree that it was trained on" in line


@pytest.mark.parametrize("name", ["preprocess_report.json", "train/scene0000_00/coord.npy", "train/found.json"])
def test_what_was_found_takes_no_place_in_the_tree(tree, name):
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    done = check(tree, "--json", tree / name)
    assert done.status == 2
    assert "choose another name with --json" in done.err
    assert before == {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_older_version_of_the_preparation(tree, monkeypatch):
    monkeypatch.setattr(origin, "PREPARATION_VERSION", origin.PREPARATION_VERSION + 1)
    done = check(tree)
    assert len(done.error_lines) == 4
    before, now = origin.PREPARATION_VERSION - 1, origin.PREPARATION_VERSION
    assert f"{tree}/{SCENE}: was made by version {before} of the preparation, now {now}; run: " in done.err


def test_the_remedy_keeps_the_options(tree):
    """A tree that was left unaligned stays so, and other lists and tables are used again."""
    raw = tree.parent / "raw"
    (raw / "splits").rename(tree.parent / "my lists")
    (raw / "scannetv2-labels.combined.tsv").rename(tree.parent / "map.tsv")
    assert (
        prepare(tree, "--no-align", "--splits", tree.parent / "my lists", "--label-map", tree.parent / "map.tsv").status
        == 0
    )
    shutil.rmtree(tree / SCENE)
    (line,) = check(tree).error_lines
    do_as_told(line, tree.parent / "raw")
    assert check(tree).status == 0
    np.testing.assert_array_equal(np.load(tree / SCENE / "coord.npy"), grid_mesh(6, 8)[0])


def test_half_a_split_is_missing(tree):
    """A listed scene that was not in the raw data is a line, where others of its split are there."""
    shutil.rmtree(tree.parent / "raw" / "scans" / "scene0001_00")
    shutil.rmtree(tree / "train" / "scene0001_00")
    assert prepare(tree).status == 0
    (line,) = check(tree).error_lines
    assert f"{tree}/train/scene0001_00: is in the list, but not in the raw data; download it and run: " in line


def test_a_whole_split_is_missing(tree):
    """Who left out a whole split meant it: a note."""
    shutil.rmtree(tree.parent / "raw" / "scans_test")
    shutil.rmtree(tree / "test")
    prepare(tree)
    done = check(tree)
    assert (done.status, done.err) == (0, "")
    assert "note: no test scenes: the 1 of its list were not in the raw data" in done.out


def test_raw_data_that_was_put_away(tree):
    """Whole scenes stay good when their raw data goes: a note after the next preparation, nothing before."""
    shutil.rmtree(tree.parent / "raw" / "scans_test" / "scene0707_00")
    done = check(tree)
    assert (done.status, done.err) == (0, "")
    prepare(tree)
    done = check(tree)
    assert (done.status, done.err) == (0, "")
    assert "note: 1 scenes are no longer in the raw data, first test/scene0707_00" in done.out


def test_raw_scene_in_no_list(tree):
    shutil.copytree(tree.parent / "raw/scans/scene0001_00", tree.parent / "raw/scans/scene0900_00")
    prepare(tree)
    (line,) = check(tree).error_lines
    assert f"{tree}: 1 scenes of the raw data are in no split list (scans/scene0900_00); move them away, or" in line


def test_scene_in_the_wrong_split(tree):
    """After a change of the lists the old place is named, also when the new one is still to come."""
    list_again(tree, "train", "scene0001_00\n")
    list_again(tree, "val", "scene0002_00\nscene0000_00\n")
    done = check(tree, "--splits", tree.parent / "raw" / "splits")
    assert done.status == 1
    assert [line.partition("; ")[0] for line in done.error_lines] == [
        f"check_scans.py: {tree}/train/scene0000_00: belongs to val",
        f"check_scans.py: {tree}/val/scene0000_00: is in the list of val, but not in the tree",
    ]


def test_failed_scene_is_named(tree):
    """What the preparation could not do, the check says too."""
    path = tree.parent / "raw" / "scans" / "scene0001_00" / "scene0001_00.aggregation.json"
    path.write_text("{}")
    prepare(tree)
    old, failed = check(tree).error_lines
    assert f"{tree}/train/scene0001_00: is not up to date, {path} changed since; " in old
    assert f"{tree}/train/scene0001_00: could not be prepared: {path}: has no list segGroups; download" in failed


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
    shutil.copytree(tree / "val" / "scene0002_00", tree / "train" / "scene0002_00")
    (line,) = check(tree).error_lines
    assert f"{tree}: scene0002_00 is in train and val; a scene belongs to one split, delete the wrong one" in line
    shutil.rmtree(tree / "train" / "scene0002_00")
    lists = tree.parent / "raw" / "splits"
    assert check(tree, "--splits", lists).status == 0
    list_again(tree, "train", "scene0001_00\nscene0003_00\n")
    list_again(tree, "test", "scene0800_00\n")
    done = check(tree, "--splits", lists)
    assert [line.partition("; ")[0].removeprefix(f"check_scans.py: {tree}/") for line in done.error_lines] == [
        "test/scene0707_00: is in no split list",
        "test/scene0800_00: is in the list of test, but not in the tree",
        "train/scene0000_00: is in no split list",
        "train/scene0003_00: is in the list of train, but not in the tree",
    ]


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


def test_plot(tree, tmp_path, monkeypatch):
    """--plot draws what --tsv holds for train, with the tree's own number of scenes and points."""
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr("pointseg.check.draw_class_frequency", lambda *given: drawn.append(given))
    assert check(tree, "--plot", tmp_path / "tail.png", "--tsv", tmp_path / "a.tsv").status == 0
    ((path, frequency),) = drawn
    assert path == tmp_path / "tail.png"
    assert frequency.title == "The 200 classes in 2 scenes of train, 96 points"
    with open(tmp_path / "a.tsv", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["group"] for row in table] == list(frequency.groups)
    for what in ("points", "objects", "scenes"):
        assert [int(row[f"train_{what}"]) for row in table] == frequency.counts[what].tolist()
    monkeypatch.undo()
    assert check(tree, "--plot", tmp_path / "tail.png").status == 0
    assert (tmp_path / "tail.png").read_bytes().startswith(b"\x89PNG")


def test_plot_that_can_not_be(tree, tmp_path):
    """Another format is refused before any work; a tree without labels has nothing to draw. One line each, exit 2."""
    pytest.importorskip("matplotlib")
    done = check(tree, "--plot", tmp_path / "tail.bmp")
    assert (done.status, done.out) == (2, "")
    assert "a plot ends in" in done.err
    shutil.rmtree(tree / "train")
    shutil.rmtree(tree / "val")
    (tree / "preprocess_report.json").unlink()
    (tree / "test" / "scene0707_00" / "source.json").unlink()
    done = check(tree, "--plot", tmp_path / "tail.png")
    assert done.status == 2
    assert len(done.error_lines) == 1
    assert "there is nothing to plot" in done.err


@pytest.mark.parametrize("where", ["no", ""])
def test_no_tree(tmp_path, where):
    done = run_script("check_scans.py", tmp_path / where)
    assert done.status == 2
    assert len(done.error_lines) == 1
    assert "prepare them with: python data_prep/preprocess_scannet.py" in done.err


def test_two_scenes_that_changed_names(tree):
    """Both are in the lists, so that only what they say of themselves shows it."""
    first, second, aside = (tree / "train" / name for name in ("scene0000_00", "scene0001_00", "aside"))
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    done = check(tree)
    assert done.status == 1
    assert f"{first}: is scene0001_00, by its source.json; give the folder its name again" in done.err
    assert f"{second}: is scene0000_00, by its source.json; give the folder its name again" in done.err


def test_problems_are_printed_where_nothing_can_be_written(tree, tmp_path, capsys, monkeypatch):
    """A file that can't be made at all is told of before any scene is read."""

    def fail(*_):
        raise OSError(errno.ENOSPC, "the disk is full")

    np.save(tree / SCENE / "color.npy", np.zeros((1, 3), np.uint8))
    monkeypatch.setattr(check_command, "write_text", fail)
    with pytest.raises(OSError, match="the disk is full"):
        check_command.main([str(tree), "--json", str(tmp_path / "a.json")])
    shown = capsys.readouterr()
    assert "color.npy" in shown.err
    assert "scenes checked" in shown.out
    monkeypatch.setattr(check_command, "inspect_tree", lambda *_, **__: pytest.fail("the work has begun"))
    for option in ("--json", "--tsv", "--plot"):
        folder = tmp_path / f"{option}.png"
        folder.mkdir()
        with pytest.raises(IsADirectoryError):
            check_command.main([str(tree), option, str(folder)])
