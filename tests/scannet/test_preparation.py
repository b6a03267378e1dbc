"""Raw tree to prepared tree, through the command."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pointseg.preparation import jobs
from pointseg.scannet import preparation
from pointseg.scans.prepared import read_scene
from pointseg.taxonomy import load_taxonomy
from tests.scannet.raw_scans import (
    ALIGNMENT,
    CATEGORIES,
    grid_mesh,
    write_label_map,
    write_raw_scan,
    write_raw_tree,
)
from tests.scripts import BENCHMARK_LISTS, DATA_PREP, run_script


@pytest.fixture
def raw(tmp_path):
    write_raw_tree(tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


def prepare(raw, out, *options):
    return run_script("preprocess_scannet.py", "--raw", raw, "--out", out, "--workers", 1, *options)


def read_report(out) -> dict:
    return json.loads((out / "preprocess_report.json").read_text())


def file_states(root) -> dict:
    """Every file with its content and the time of its last change."""
    return {p.relative_to(root): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def assert_nothing_half_written(root) -> None:
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


def test_tree(raw, out):
    """The tree has the layout, dtypes and values that the raw scans give."""
    done = prepare(raw, out)
    assert (done.status, done.err) == (0, "")
    assert "4 scenes prepared" in done.out
    folder = out / "train" / "scene0000_00"
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    assert {name: (a.dtype.name, a.shape) for name, a in arrays.items()} == {
        "coord": ("float32", (48, 3)),
        "color": ("uint8", (48, 3)),
        "normal": ("float32", (48, 3)),
        "segment20": ("int64", (48,)),
        "segment200": ("int64", (48,)),
        "instance": ("int64", (48,)),
        "over_segment": ("int32", (48,)),
    }
    # Of the scan's own segments, numbered from 0.
    assert arrays["over_segment"].reshape(6, 8)[3].tolist() == list(range(8))
    xyz, rgb, _ = grid_mesh(6, 8)
    np.testing.assert_allclose(arrays["coord"], xyz @ np.array(ALIGNMENT)[:3, :3].T + [1.5, -2, 0.25], atol=1e-5)
    np.testing.assert_array_equal(arrays["color"], rgb)
    sign = load_taxonomy("scannet200").class_names.index("sign")
    assert arrays["segment200"].reshape(6, 8)[3].tolist() == [0, 0, 1, 1, -1, sign, -1, -1]
    assert arrays["segment20"].reshape(6, 8)[3].tolist() == [0, 0, 4, 4, -1, -1, -1, -1]
    test_files = {path.name for path in (out / "test" / "scene0707_00").iterdir()}
    assert test_files == {"coord.npy", "color.npy", "normal.npy", "face.npy", "source.json"}
    np.testing.assert_array_equal(np.load(out / "test" / "scene0707_00" / "face.npy"), grid_mesh(6, 8)[2])
    assert_nothing_half_written(out)


def test_no_align_and_label_map(raw, out, tmp_path):
    """--no-align leaves the coordinates as scanned; --label-map takes the place of the raw data's table."""
    (raw / "scannetv2-labels.combined.tsv").rename(tmp_path / "other.tsv")
    done = prepare(raw, out, "--no-align", "--label-map", tmp_path / "other.tsv")
    assert done.status == 0
    scene = read_scene(out / "train" / "scene0000_00", load_taxonomy("scannet200"))
    np.testing.assert_array_equal(scene.xyz, grid_mesh(6, 8)[0])


def test_second_run_writes_nothing(raw, out):
    """A second run says that all is done, and changes no file, the report included."""
    assert prepare(raw, out).status == 0
    before = file_states(out)
    again = prepare(raw, out)
    assert again.status == 0
    assert "0 scenes prepared, 4 were done and still valid" in again.out
    assert file_states(out) == before


def edit_source(raw, out):
    path = raw / "scans" / "scene0001_00" / "scene0001_00.aggregation.json"
    path.write_text(path.read_text().replace("office chair", "wall"))


ALL_WALLS = [(name, 1, 1) for name, *_ in CATEGORIES]
CHANGES = {
    "changed source": (edit_source, (), 1),
    "missing array": (lambda raw, out: (out / "train" / "scene0001_00" / "normal.npy").unlink(), (), 1),
    "truncated array": (lambda raw, out: os.truncate(out / "val" / "scene0002_00" / "coord.npy", 200), (), 1),
    "broken source.json": (lambda raw, out: (out / "val" / "scene0002_00" / "source.json").write_text("{"), (), 1),
    "scene deleted": (lambda raw, out: shutil.rmtree(out / "test" / "scene0707_00"), (), 1),
    "other alignment": (lambda raw, out: None, ("--no-align",), 4),
    "other label map": (
        lambda raw, out: write_label_map(raw / "scannetv2-labels.combined.tsv", ALL_WALLS),
        (),
        3,  # all but the test scene, which has no labels
    ),
}


def test_what_a_killed_call_left_of_the_report_is_cleared(raw, out):
    """Files of ours alone; a shard leaves it, since another one may be writing it."""
    prepare(raw, out)
    leftover, other = out / ".writing-preprocess_report-abc.json", out / "writing.json"
    for path in (leftover, other):
        path.write_text("{")
    prepare(raw, out, "--shard", "1/1")
    assert leftover.exists()
    assert run_script("check_scans.py", out, "--workers", 1).status == 1
    prepare(raw, out)
    assert not leftover.exists()
    assert other.exists()
    assert run_script("check_scans.py", out, "--workers", 1).status == 0


@pytest.mark.parametrize("case", CHANGES)
def test_what_changed_is_made_anew(raw, out, tmp_path, case):
    """After a change, a run makes what it concerns anew, and the tree is as if made from nothing."""
    change, options, num_written = CHANGES[case]
    prepare(raw, out)
    change(raw, out)
    again = prepare(raw, out, *options)
    assert again.status == 0
    assert f"{num_written} scenes prepared, {4 - num_written} were done" in again.out
    prepare(raw, tmp_path / "fresh", *options)
    fresh = {path: content for path, (content, _) in file_states(tmp_path / "fresh").items()}
    assert {path: content for path, (content, _) in file_states(out).items()} == fresh


def test_new_version_of_the_preparation_makes_all_anew(raw, out, monkeypatch):
    prepare(raw, out)
    monkeypatch.setattr(preparation, "PREPARATION_VERSION", preparation.PREPARATION_VERSION + 1)
    assert "4 scenes prepared" in prepare(raw, out).out


def test_number_of_workers_changes_no_byte(raw, out, tmp_path):
    """One process and three give the same files."""
    run_script("preprocess_scannet.py", "--raw", raw, "--out", out, "--workers", 1)
    run_script("preprocess_scannet.py", "--raw", raw, "--out", tmp_path / "three", "--workers", 3)
    one, three = ({p: content for p, (content, _) in file_states(root).items()} for root in (out, tmp_path / "three"))
    assert one == three
    assert len(one) == 3 * 8 + 5 + 1


def spoil_mesh(change):
    def spoil(folder):
        path = folder / f"{folder.name}_vh_clean_2.ply"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def spoil_text(suffix, change):
    def spoil(folder):
        path = folder / f"{folder.name}{suffix}"
        path.write_text(change(path.read_text()))

    return spoil


def nan_coordinate(content: bytes) -> bytes:
    start = content.index(b"end_header\n") + len(b"end_header\n")
    return content[:start] + np.float32(np.nan).tobytes() + content[start + 4 :]


ASCII_MESH = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)
BAD_SCENES = {
    "truncated": (spoil_mesh(lambda b: b[:-100]), "is truncated"),
    "ascii": (spoil_mesh(lambda b: ASCII_MESH.encode()), "is ascii"),
    "faceless": (spoil_mesh(lambda b: b.replace(b"element face 70", b"element face 00")), "has no faces"),
    "nan": (spoil_mesh(nan_coordinate), "coordinates of vertex 0 are not finite"),
    "empty": (spoil_mesh(lambda b: b.replace(b"element vertex 48", b"element vertex 00")), "has no vertices"),
    "short": (
        spoil_text("_vh_clean_2.0.010000.segs.json", lambda t: t.replace("[100, ", "[")),
        "segIndices are 47, the mesh has 48",
    ),
    "json": (spoil_text(".aggregation.json", lambda t: t[:-9]), "broken JSON"),
    "unfolder": (lambda folder: shutil.rmtree(folder) or folder.mkdir(), "is missing; download it"),
}


def test_bad_scenes_do_not_stop_the_others(raw, out):
    """One scene of each bad kind: one line each on stderr, exit 1, the others done, the report lists them."""
    for name, (spoil, _) in BAD_SCENES.items():
        write_raw_scan(raw / "scans" / name)
        spoil(raw / "scans" / name)
    with open(raw / "splits" / "scannetv2_train.txt", "a") as file:
        file.write("".join(f"{name}\n" for name in BAD_SCENES))
    done = prepare(raw, out)
    assert done.status == 1
    assert f"4 scenes prepared, 0 were done and still valid, {len(BAD_SCENES)} failed" in done.out
    assert len(done.error_lines) == len(BAD_SCENES)
    reasons = {row["scene"]: row["reason"] for row in read_report(out)["failed"]}
    assert set(reasons) == set(BAD_SCENES)
    for name, (_, message) in BAD_SCENES.items():
        assert message in reasons[name]
        assert reasons[name].startswith(f"{raw}/scans/{name}/{name}")
        assert f"preprocess_scannet.py: {reasons[name]}" in done.error_lines
    assert {path.name for path in (out / "train").iterdir()} == {"scene0000_00", "scene0001_00"}
    assert_nothing_half_written(out)


def test_unknown_label_is_counted_and_ignored(raw, out):
    """A label that the table doesn't have: exit 0, named with its number of objects, its vertices ignored."""
    objects = [("wall", [100, 101]), ("flux capacitor", [101, 102]), ("flux capacitor", [103])]
    write_raw_scan(raw / "scans" / "scene0001_00", objects)
    done = prepare(raw, out)
    assert (done.status, done.err) == (0, "")
    assert "'flux capacitor' (2 objects)" in done.out
    assert read_report(out)["unknown_labels"] == {"flux capacitor": {"objects": 2, "scenes": 1}}
    label = read_scene(out / "train" / "scene0001_00", load_taxonomy("scannet200")).label.reshape(6, 8)
    assert label[0].tolist() == [0, -1, -1, -1, -1, -1, -1, -1]


def test_scene_in_no_split(raw, out):
    """One line for all such scenes, exit 1, the others done. A listed scene in the wrong place is one too."""
    write_raw_scan(raw / "scans" / "scene0900_00")
    write_raw_scan(raw / "scans_test" / "scene0000_00", labelled=False)
    done = prepare(raw, out)
    assert done.status == 1
    assert len(done.error_lines) == 1
    assert "2 scenes are in no list" in done.err
    assert read_report(out)["unlisted"] == ["scans/scene0900_00", "scans_test/scene0000_00"]
    assert len(list((out / "train").iterdir())) == 2


def test_partial_download(raw, out):
    """Listed scenes that aren't there are one summary line and no error."""
    shutil.rmtree(raw / "scans" / "scene0001_00")
    shutil.rmtree(raw / "scans_test")
    done = prepare(raw, out)
    assert (done.status, done.err) == (0, "")
    assert "not in the raw data: 1 train, 1 test scenes of the lists" in done.out
    assert read_report(out)["missing"] == {"train": ["scene0001_00"], "val": [], "test": ["scene0707_00"]}


def test_stale_scenes_are_named(raw, out):
    """Scenes that moved to another split, left the raw data or went bad stay in the tree and are reported."""
    prepare(raw, out)
    shutil.rmtree(raw / "scans_test" / "scene0707_00")
    (raw / "splits" / "scannetv2_train.txt").write_text("scene0000_00\n")
    (raw / "splits" / "scannetv2_val.txt").write_text("scene0001_00\nscene0002_00\n")
    (raw / "scans" / "scene0002_00" / "scene0002_00.aggregation.json").write_text("{}")
    done = prepare(raw, out)
    assert done.status == 1
    assert {f"{row['split']}/{row['scene']}": row["why"] for row in read_report(out)["stale"]} == {
        "train/scene0001_00": "belongs to val",
        "val/scene0002_00": "is from an earlier run and could not be prepared again",
        "test/scene0707_00": "is not in the raw data",
    }
    assert "stale in the tree: 3 scenes" in done.out


def test_report_counts_classes(raw, out):
    """Points, objects and scenes of each class, as the arrays have them."""
    prepare(raw, out)
    train = read_report(out)["splits"]["train"]
    labels = np.concatenate([np.load(path) for path in sorted((out / "train").glob("*/segment200.npy"))])
    expected = np.bincount(labels[labels >= 0], minlength=200)
    assert train["classes"]["scannet200"]["points"] == expected.tolist()
    assert train["classes"]["scannet200"]["scenes"] == (2 * (expected > 0)).tolist()
    assert train["classes"]["scannet200"]["objects"] == (2 * (expected > 0)).tolist()
    assert train["annotated_share"] == pytest.approx((labels >= 0).mean())
    assert read_report(out)["splits"]["test"]["classes"] is None


FOREIGN = {
    "raw scan": (
        lambda scene: (scene / "scene0000_00_vh_clean_2.ply").write_text("mine"),
        r"holds what no preparation wrote",
    ),
    "another program's": (lambda scene: (scene / "coord.npy").write_text("mine"), "another program made it"),
    "ours with more": (
        lambda scene: [(scene / name).write_text("mine") for name in ("source.json", "superpoint.npy")],
        r"holds what no preparation wrote .superpoint\.npy.",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_no_preparation_wrote_is_not_replaced(raw, out, case):
    """Such as raw scans that lie by split where the tree is to go, or a tree that another program prepared."""
    put, message = FOREIGN[case]
    scene = out / "train" / "scene0000_00"
    scene.mkdir(parents=True)
    put(scene)
    before = {path.name: path.read_bytes() for path in scene.iterdir()}
    done = prepare(raw, out)
    assert done.status == 1
    assert re.search(message, done.err)
    assert "move it away, or choose another --out" in done.err
    assert {path.name: path.read_bytes() for path in scene.iterdir()} == before
    assert (out / "train" / "scene0001_00" / "coord.npy").exists()  # the others are done


@pytest.mark.parametrize("is_link", [True, False])
def test_what_stands_for_a_scene_is_not_replaced(raw, out, tmp_path, is_link):
    """A link to a folder on another disk, or a file, costs that scene and leaves nothing beside it."""
    (out / "train").mkdir(parents=True)
    place = out / "train" / "scene0000_00"
    if is_link:
        place.symlink_to(tmp_path)
    else:
        place.write_text("mine")
    done = prepare(raw, out)
    assert done.status == 1
    assert "scene0000_00: is there already, and is no folder of a prepared scene" in done.err
    assert sorted(path.name for path in (out / "train").iterdir()) == ["scene0000_00", "scene0001_00"]


def test_leftovers_of_a_killed_run_are_removed(raw, out):
    """Half-written folders of our scenes go; those of scenes that are not ours to prepare stay."""
    prepare(raw, out)
    (out / "train" / ".writing-scene0000_00-abcd_123").mkdir()
    (out / "train" / ".writing-scene0001_00-old-abcd_123").mkdir()
    (out / "train" / ".writing-scene0000_00-b-abcd_123").mkdir()
    prepare(raw, out)
    assert [p.name for p in (out / "train").glob(".*")] == [".writing-scene0000_00-b-abcd_123"]


BAD_CALLS = {
    "no raw": (lambda raw: ["--raw", raw / "no"], "has no scans/ and no scans_test/"),
    "no label map": (lambda raw: ["--raw", raw, "--label-map", raw / "no.tsv"], "there is no label map"),
    "no split folder": (lambda raw: ["--raw", raw, "--splits", raw / "no"], "is no folder"),
    "folder without lists": (lambda raw: ["--raw", raw, "--splits", raw], "there is no such list"),
    "benchmark lists": (lambda raw: ["--raw", raw, "--splits", BENCHMARK_LISTS, "--workers", "0"], "0 workers"),
    "workers": (lambda raw: ["--raw", raw, "--workers", "many"], "invalid int value"),
    "unknown option": (lambda raw: ["--raw", raw, "--nope"], "unrecognized arguments"),
    "abbreviation": (lambda raw: ["--raw", raw, "--work", "1"], "unrecognized arguments"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_call(raw, out, case):
    """A wrong call: one line, exit 2, nothing written."""
    options, message = BAD_CALLS[case]
    done = run_script("preprocess_scannet.py", "--out", out, *options(raw))
    assert done.status == 2
    assert len(done.error_lines) == 1
    assert message in done.err
    assert not out.exists()


@pytest.mark.parametrize("place", ["", "scans", "scans_test/x"])
def test_out_is_a_place_of_the_raw_scans(raw, place):
    before = sorted(raw.rglob("*"))
    done = run_script("preprocess_scannet.py", "--raw", raw, "--out", raw / place)
    assert done.status == 2
    assert "is a place of the raw scans; choose another folder by --out" in done.err
    assert sorted(raw.rglob("*")) == before


def test_bad_tables(raw, out):
    """A label map without a needed column, and a scene in two splits: one line, exit 1, nothing written."""
    write_label_map(raw / "scannetv2-labels.combined.tsv", columns="raw_category id")
    done = prepare(raw, out)
    assert done.status == 1
    assert done.error_lines == [
        f"preprocess_scannet.py: {raw}/scannetv2-labels.combined.tsv: has no column 'nyu40id'; "
        "use scannetv2-labels.combined.tsv of the ScanNet release"
    ]
    (raw / "splits" / "scannetv2_val.txt").write_text("scene0000_00\n")
    done = prepare(raw, out)
    assert done.status == 1
    assert len(done.error_lines) == 1
    assert "scene0000_00 is in" in done.err
    assert not out.exists()


def test_nothing_found(raw, out):
    """Raw data without one scene of the lists is a wrong call."""
    for split in ("train", "val", "test"):
        (raw / "splits" / f"scannetv2_{split}.txt").write_text(f"other_{split}\n")
    done = prepare(raw, out)
    assert done.status == 2
    assert "none of the scenes listed in" in done.err
    assert len(done.error_lines) == 1


def test_full_disk(raw, out, monkeypatch):
    """A full disk ends the run with one line and exit 1; what was done stays whole, the rest is not there."""
    real, written = jobs.write_scene, []

    def write_scene(folder, arrays, source):
        if written:
            monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        written.append(folder)
        real(folder, arrays, source)

    monkeypatch.setattr(jobs, "write_scene", write_scene)
    done = prepare(raw, out)
    assert done.status == 1
    assert done.error_lines == [
        f"preprocess_scannet.py: {out}/train/scene0001_00: the disk is full; "
        "free some space and run the same command again"
    ]
    assert {str(path.relative_to(out)) for path in out.glob("*/*")} == {"train/scene0000_00"}


def test_as_a_process(raw, out):
    """The script itself: exit status, nothing on stderr where that is no terminal."""
    command = [sys.executable, DATA_PREP / "preprocess_scannet.py", "--raw", raw, "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(DATA_PREP.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 scenes prepared" in done.stdout
