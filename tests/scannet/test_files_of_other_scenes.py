"""Files of another scene among those of a raw scan: refused where they say so, and warned of where they do not fit."""

import json
import re
import shutil

import numpy as np
import pytest

from pointseg.scannet.alignment import doubt_alignment, transform
from pointseg.scannet.belonging import doubt_segments
from pointseg.scannet.raw_scan import LABEL_MAP_NAME
from tests.scannet.raw_scans import grid_mesh
from tests.scripts import run_script

FIRST, SECOND = "scene0000_00", "scene0001_00"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Two scans of rooms to train on and one to validate on."""
    raw = tmp_path_factory.mktemp("demo") / "raw"
    counts = ("--train", 2, "--val", 1, "--test", 0, "--vertices", 4000)
    assert run_script("make_demo_scans.py", "--out", raw, *counts).status == 0
    return raw


@pytest.fixture
def raw(demo, tmp_path):
    return shutil.copytree(demo, tmp_path / "raw")


def prepare(raw, *options):
    return run_script("preprocess_scannet.py", "--raw", raw, "--out", raw.parent / "out", "--workers", 1, *options)


def put(raw, suffix):
    """The second scene's file in the place of the first one's."""
    shutil.copy(raw / "scans" / SECOND / f"{SECOND}{suffix}", raw / "scans" / FIRST / f"{FIRST}{suffix}")


def test_scans_as_they_should_be(raw):
    done = prepare(raw)
    assert (done.status, done.err) == (0, "")
    assert json.loads((raw.parent / "out" / "preprocess_report.json").read_text())["doubts"] == {}


def test_objects_of_another_scene(raw):
    """Its sceneId says so, as the second release writes it: the scene fails, the others are prepared."""
    put(raw, ".aggregation.json")
    done = prepare(raw)
    assert done.status == 1
    [line] = done.error_lines
    assert f"{FIRST}.aggregation.json: is of {SECOND}, by its sceneId, not of {FIRST}; " in line
    out = raw.parent / "out"
    assert sorted(f"{path.parent.name}/{path.name}" for path in out.glob("*/scene*")) == [
        f"train/{SECOND}",
        "val/scene4000_00",
    ]


def test_objects_that_do_not_say_whose_they_are(raw):
    """Segments that the mesh does not have show it."""
    path = raw / "scans" / FIRST / f"{FIRST}.aggregation.json"
    content = json.loads(path.read_text())
    groups = [{**group, "segments": [s + 10**6 for s in group["segments"]]} for group in content["segGroups"]]
    path.write_text(json.dumps({"segGroups": groups}))
    done = prepare(raw)
    assert done.status == 0
    doubts = [line for line in done.error_lines if f"warning: train/{FIRST}: " in line]
    assert doubts == done.error_lines
    assert re.search(r"(\d+) of the \1 segments that its objects name are not in the mesh", doubts[0])
    assert "none of its vertices is labelled" in doubts[1]
    checked = run_script("check_scans.py", raw.parent / "out", "--workers", 1)
    assert f"note: train/{FIRST}: none of its vertices is labelled" in checked.out


def test_mesh_in_another_order(raw):
    """As many vertices as segIndices, but not the same: as of a mesh that went through another program."""
    path = raw / "scans" / FIRST / f"{FIRST}_vh_clean_2.0.010000.segs.json"
    content = json.loads(path.read_text())
    content["segIndices"] = np.random.default_rng(0).permutation(content["segIndices"]).tolist()
    path.write_text(json.dumps(content))
    done = prepare(raw)
    assert done.status == 0
    [line] = done.error_lines
    assert f"warning: train/{FIRST}: {path.name} may be another scan's: " in line
    assert "edges lie within a segment" in line
    assert prepare(raw).error_lines == [line], "it is said as long as it is so"


def test_alignment_of_another_scene(raw):
    """The walls show it: both scans are turned by an angle of their own."""
    put(raw, ".txt")
    done = prepare(raw)
    assert done.status == 0
    [line] = done.error_lines
    assert f"warning: train/{FIRST}: {FIRST}.txt may be another scene's: turned by it, its walls stand " in line
    assert prepare(raw, "--no-align").err == ""


def test_info_file_that_is_empty(raw):
    """Not the same as a scan without axisAlignment, which is counted."""
    (raw / "scans" / FIRST / f"{FIRST}.txt").write_text("")
    done = prepare(raw)
    assert done.status == 1
    [line] = done.error_lines
    assert f"{FIRST}.txt: is empty or cut" in line
    (raw / "scans" / FIRST / f"{FIRST}.txt").write_text("colorHeight = 968\ncolorWidth = 1296\n")
    done = prepare(raw)
    assert (done.status, done.err) == (0, "")
    assert "without axisAlignment, left as scanned: 1 scenes" in done.out


def test_label_map_that_is_cut_at_the_end_of_a_line(raw):
    """Classes that no row leads to are named, and those that scans are annotated with fail the preparation."""
    path = raw / LABEL_MAP_NAME
    lines = path.read_text().splitlines(keepends=True)
    objects = json.loads((raw / "scans" / FIRST / f"{FIRST}.aggregation.json").read_text())["segGroups"]
    column = lines[0].rstrip("\n").split("\t").index("raw_category")
    row = next(i for i, line in enumerate(lines) if line.split("\t")[column] == "wall")
    assert "wall" in {group["label"] for group in objects}
    path.write_text("".join(lines[:row]))
    own = prepare(raw, "--label-map", path)
    assert own.status == 0, "whoever gives a map may mean it"
    assert f"warning: {path}: has no row for " in own.err
    done = prepare(raw)
    assert done.status == 1
    assert "warning: no row of the label map leads to " in done.out
    [line] = [line for line in done.error_lines if LABEL_MAP_NAME in line]
    assert re.search(r"has no row for \d+ classes that scans are annotated with \(.*\); download it again", line)


@pytest.mark.parametrize(
    ("shift_m", "doubt"), [(0, None), (0.3, None), (1.5, "its floor is at 1.4"), (-0.7, "its floor is at -0.7")]
)
def test_an_aligned_scan_stands_on_the_ground(shift_m, doubt):
    xyz = grid_mesh(40, 40)[0] + np.float32([0, 0, shift_m])
    found = doubt_alignment(xyz, np.tile(np.float32([0, 0, 1]), (len(xyz), 1)))
    assert found == doubt if doubt is None else doubt in found


@pytest.mark.parametrize("angle_deg", [0, 5, 20, -45, 88, 115])
def test_walls_of_an_aligned_scan_are_along_x_and_y(angle_deg):
    """Four walls; a quarter turn is not seen, since there is nothing to see it by."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0, 0], [np.sin(angle), np.cos(angle), 0, 0], [0, 0, 1, 0]])
    normal = transform(np.repeat(np.float32([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]), 200, axis=0), turn)
    found = doubt_alignment(np.zeros_like(normal), normal)
    off = (angle_deg + 45) % 90 - 45
    assert found == (None if abs(off) <= 8 else f"its walls stand {abs(off)} degrees from x and y")


def test_segments_of_one_scan_without_objects():
    """Nothing speaks against a scan that is one segment, and few vertices say nothing."""
    _, _, faces = grid_mesh(40, 40)
    assert doubt_segments(np.zeros(1600, dtype=np.int64), faces, []) == []
    assert doubt_segments(np.arange(48), grid_mesh(6, 8)[2], [np.array([1, 2])]) == []
