"""The raw reader: labels by the official rule, alignment, and what it refuses."""

import json

import numpy as np
import pytest

from pointseg.errors import DataError, UsageError
from pointseg.scannet.raw_scan import ScanObject, annotate_vertices, read_label_map, read_raw_scene, unique_ids
from pointseg.taxonomy import load_taxonomy
from tests.scannet.raw_scans import ALIGNMENT, CATEGORIES, grid_mesh, write_label_map, write_raw_scan

SCENE = "scene0000_00"
IDS200 = load_taxonomy("scannet200").class_ids.tolist()
IDS20 = load_taxonomy("scannet20").class_ids.tolist()


@pytest.fixture
def label_map(tmp_path):
    write_label_map(tmp_path / "map.tsv")
    return read_label_map(tmp_path / "map.tsv")


@pytest.fixture
def scan(tmp_path):
    write_raw_scan(tmp_path / SCENE)
    return tmp_path / SCENE


def literal_rule(segments: list[int], groups: list[dict], rows: list[tuple], column: int, valid_ids: list[int]):
    """The official rule, vertex by vertex and row by row, with ids as the official script writes them."""
    ids, instances = [0] * len(segments), [-1] * len(segments)
    for group in groups:
        matches = [row for row in rows if row[0] == group["label"]]
        scannet_id = int(matches[0][column]) if matches else 0
        if scannet_id not in valid_ids:
            scannet_id = 0
        for vertex, segment in enumerate(segments):
            if segment in group["segments"]:
                ids[vertex], instances[vertex] = scannet_id, group["id"]
    return [valid_ids.index(i) if i else -1 for i in ids], instances


@pytest.mark.parametrize("seed", range(8))
def test_labels_follow_the_official_rule(label_map, seed):
    """Random overlapping objects, known, ignored and unknown: as the slow literal rule, for 20 and 200 classes."""
    rng = np.random.default_rng(seed)
    segments = rng.integers(0, 30, 200) * rng.choice([1, 977])
    names = [row[0] for row in CATEGORIES] + ["no such thing"]
    groups = [
        {
            "id": int(rng.integers(0, 100)),
            "label": str(rng.choice(names)),
            "segments": rng.integers(0, 30, rng.integers(0, 9)).tolist(),
        }
        for _ in range(12)
    ]
    objects = [ScanObject(g["id"], g["label"], np.array(g["segments"], dtype=np.int64)) for g in groups]
    found = annotate_vertices(segments, objects, label_map)
    expected200, instances = literal_rule(segments.tolist(), groups, CATEGORIES, 1, IDS200)
    expected20, _ = literal_rule(segments.tolist(), groups, CATEGORIES, 2, IDS20)
    assert found.label200.tolist() == expected200
    assert found.label20.tolist() == expected20
    assert found.instance.tolist() == instances
    assert sum(found.unknown_labels.values()) == sum(g["label"] == "no such thing" for g in groups)


def test_ignored_object_overwrites(label_map):
    """An object outside the benchmark that comes last takes the label away; one that comes first doesn't."""
    wall = ScanObject(0, "wall", np.array([1, 2]))
    for other in ("mat", "unheard of"):
        late = annotate_vertices(np.array([1, 2, 3]), [wall, ScanObject(1, other, np.array([2]))], label_map)
        early = annotate_vertices(np.array([1, 2, 3]), [ScanObject(1, other, np.array([2])), wall], label_map)
        assert late.label200.tolist() == [0, -1, -1]
        assert late.instance.tolist() == [0, 1, -1]
        assert early.label200.tolist() == [0, 0, -1]


@pytest.mark.parametrize("ids", [[7, 0, 7, 3], [5], [], [2, 2], [-1, 4, 0], [9, 10**12, 9]])
def test_unique_ids(ids):
    """As numpy.unique, which sorts: small ids, none, negative ones, and too large ones for a table."""
    ids = np.array(ids, dtype=np.int64)
    found, expected = unique_ids(ids), np.unique(ids, return_inverse=True)
    for have, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(have, want)


def test_no_objects(label_map):
    found = annotate_vertices(np.array([4, 4]), [], label_map)
    assert found.label200.tolist() == found.label20.tolist() == found.instance.tolist() == [-1, -1]


def test_label_map_of_the_real_kind(label_map):
    """A category that stands twice counts as it stands first; outside a benchmark it is known, but ignored."""
    assert label_map.label200_of["twice"] == IDS200.index(2)
    assert label_map.label200_of["mat"] == -1
    assert label_map.label200_of["sign"] == IDS200.index(261)
    assert label_map.label20_of["sign"] == -1
    assert label_map.label20_of["office chair"] == IDS20.index(5)
    assert len(label_map.label200_of) == len({row[0] for row in CATEGORIES})
    assert "wall" not in label_map.classes_without_category
    assert "floor" in label_map.classes_without_category


def test_bad_label_maps(tmp_path):
    path = tmp_path / "map.tsv"
    with pytest.raises(UsageError, match="there is no label map"):
        read_label_map(path)
    for missing in ("raw_category", "id", "nyu40id"):
        write_label_map(path, columns=" ".join({"raw_category", "id", "nyu40id"} - {missing}))
        with pytest.raises(DataError, match=f"map.tsv: has no column '{missing}'"):
            read_label_map(path)
    write_label_map(path, [("wall", "one", 1)])
    with pytest.raises(DataError, match="id 'one' in line 2"):
        read_label_map(path)
    write_label_map(path, [("wall", "", "")])
    assert read_label_map(path).label200_of == {"wall": -1}
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="no table"):
        read_label_map(path)


def test_mesh_is_turned_by_the_alignment(scan, label_map):
    """Every vertex is M [x 1]; normals turn with it; without alignment both stay as scanned."""
    xyz, rgb, _ = grid_mesh(6, 8)
    aligned = read_raw_scene(scan, label_map)
    as_scanned = read_raw_scene(scan, label_map, align=False)
    matrix = np.array([[float(f"{x:.6f}") for x in row] for row in ALIGNMENT])
    expected = [(matrix @ [*point, 1])[:3] for point in xyz.astype(np.float64)]
    np.testing.assert_allclose(aligned.mesh.xyz, expected, atol=1e-6)
    np.testing.assert_array_equal(as_scanned.mesh.xyz, xyz)
    np.testing.assert_allclose(aligned.mesh.normal, as_scanned.mesh.normal @ matrix[:3, :3].T, atol=1e-4)
    np.testing.assert_array_equal(aligned.mesh.rgb, rgb)
    assert (aligned.alignment, as_scanned.alignment) == ("applied", "off")
    np.testing.assert_array_equal(aligned.annotation.label200, as_scanned.annotation.label200)


def test_scan_without_alignment(tmp_path, label_map):
    """Some scans have no axisAlignment, test scans may have no info file: both stay as scanned, and say so."""
    write_raw_scan(tmp_path / "a", alignment=None)
    write_raw_scan(tmp_path / "b", labelled=False)
    for folder, labelled in (("a", True), ("b", False)):
        scene = read_raw_scene(tmp_path / folder, label_map, labelled=labelled)
        assert scene.alignment == "absent"
        np.testing.assert_array_equal(scene.mesh.xyz, grid_mesh(6, 8)[0])
    assert scene.annotation is None


def test_object_labels_are_counted(scan, label_map):
    found = read_raw_scene(scan, label_map).annotation
    assert found.object_label200.tolist() == [0, IDS200.index(2), -1, IDS200.index(261)]
    assert found.instance.reshape(6, 8)[0].tolist() == [0, 0, 1, 1, 2, 3, -1, -1]


def edit_json(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


MESH, SEGMENTS, OBJECTS, INFO = (
    f"{SCENE}{suffix}" for suffix in ("_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json", ".aggregation.json", ".txt")
)
TEXT_MESH = (
    b"ply\nformat ascii 1.0\nelement vertex 1\n"
    b"property float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n"
)
BAD = {
    "no mesh": (MESH, lambda p: p.unlink(), "is missing; download it$"),
    "truncated mesh": (MESH, cut, "truncated.*; download it again$"),
    "ASCII mesh": (MESH, lambda p: p.write_bytes(TEXT_MESH), "is ascii, expected binary_little_endian"),
    "no faces": (
        MESH,
        lambda p: p.write_bytes(p.read_bytes().replace(b"element face 70", b"element face 00")),
        "has no faces",
    ),
    "no colours": (
        MESH,
        lambda p: p.write_bytes(p.read_bytes().replace(b"uchar red", b"uchar rad")),
        "no red, green and blue",
    ),
    "no segments": (SEGMENTS, lambda p: p.unlink(), "is missing"),
    "fewer segments": (SEGMENTS, lambda p: edit_json(p, lambda c: c["segIndices"].pop()), "segIndices are 47, .* 48"),
    "no segIndices": (SEGMENTS, lambda p: edit_json(p, lambda c: c.pop("segIndices")), "segIndices is no list"),
    "odd segIndices": (SEGMENTS, lambda p: edit_json(p, lambda c: c.update(segIndices=[0.5])), "whole numbers"),
    "nested segIndices": (SEGMENTS, lambda p: edit_json(p, lambda c: c.update(segIndices=[[1], 2])), "whole numbers"),
    "broken segments": (SEGMENTS, cut, "broken JSON"),
    "no objects": (OBJECTS, lambda p: p.unlink(), "is missing"),
    "broken objects": (OBJECTS, cut, "broken JSON"),
    "empty objects": (OBJECTS, lambda p: p.write_text(""), "broken JSON"),
    "a list of objects": (OBJECTS, lambda p: p.write_text("[]"), "is a JSON list"),
    "no segGroups": (OBJECTS, lambda p: p.write_text("{}"), "no list segGroups"),
    "object without label": (
        OBJECTS,
        lambda p: edit_json(p, lambda c: c["segGroups"][2].pop("label")),
        "2. has no label",
    ),
    "object without segments": (
        OBJECTS,
        lambda p: edit_json(p, lambda c: c["segGroups"][1].pop("segments")),
        "segments of",
    ),
    "odd object id": (OBJECTS, lambda p: edit_json(p, lambda c: c["segGroups"][1].update(id="a")), "id of segGroups"),
    "no info": (INFO, lambda p: p.unlink(), "--no-align"),
    "another scene's objects": (
        OBJECTS,
        lambda p: edit_json(p, lambda c: c.update(sceneId="scannet.b")),
        "is of b, by ",
    ),
    "another scene's objects, as of the first release": (
        OBJECTS,
        lambda p: edit_json(p, lambda c: c.update(sceneId="scene0001_01")),
        "is of scene0001_01, by its sceneId, not of ",
    ),
    "objects of another scene's segments": (
        OBJECTS,
        lambda p: edit_json(p, lambda c: c.update(segmentsFile="scannet.b_vh_clean_2.0.010000.segs.json")),
        "is of b, by its segmentsFile, not of ",
    ),
    "another scene's segments": (SEGMENTS, lambda p: edit_json(p, lambda c: c.update(sceneId="b")), "is of b, by its "),
    "empty info": (INFO, lambda p: p.write_text(""), "is empty or cut"),
    "info that is cut before the alignment": (
        INFO,
        lambda p: p.write_text("appVersionId = 1\naxisAl"),
        "is empty or cut",
    ),
    "15 numbers": (INFO, lambda p: p.write_text("axisAlignment = " + "1 " * 15), "not 16 numbers but 15"),
    "words": (INFO, lambda p: p.write_text("axisAlignment = " + "a " * 16), "not 16 numbers"),
    "NaN alignment": (INFO, lambda p: p.write_text("axisAlignment = " + "nan " * 16), "no rotation"),
    "all zero": (INFO, lambda p: p.write_text("axisAlignment = " + "0 " * 16), "no rotation"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_scan_is_one_line(scan, label_map, case):
    """Each broken file is a DataError of one line that begins with the path of that file and says what to do."""
    name, spoil, message = BAD[case]
    spoil(scan / name)
    with pytest.raises(DataError, match=message) as caught:
        read_raw_scene(scan, label_map)
    assert str(caught.value).startswith(f"{scan / name}: ")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [("1234", r"map\.tsv:\d+: has fewer columns"), (None, r"id '1000000000000000000000000000000' in line \d+ is no")],
)
def test_a_label_map_with_a_broken_row_is_refused_with_its_line(tmp_path, row, message):
    path = tmp_path / "map.tsv"
    write_label_map(path)
    header, *rows = path.read_text().splitlines()
    if row is None:
        column = header.split("\t").index("id")
        cells = rows[0].split("\t")
        cells[column] = str(10**30)
        row = "\t".join(cells)
    path.write_text("\n".join([header, *rows, row]) + "\n")
    with pytest.raises(DataError, match=message):
        read_label_map(path)


@pytest.mark.parametrize("number", [10**30, True])
def test_an_id_of_an_object_that_is_no_number_of_64_bits_is_refused(scan, label_map, number):
    path = scan / f"{SCENE}.aggregation.json"
    content = json.loads(path.read_text())
    content["segGroups"][0]["id"] = number
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the id of segGroups\[0\] is no whole number"):
        read_raw_scene(scan, label_map)


@pytest.mark.parametrize("prefix", ["scannet.", ""])
def test_names_of_both_releases_are_of_the_scene(scan, label_map, prefix):
    """And a file that says nothing of its scene is believed."""
    owner = {"sceneId": f"{prefix}{SCENE}", "segmentsFile": f"{prefix}{SEGMENTS}"}
    edit_json(scan / OBJECTS, lambda content: content.update(owner))
    read_raw_scene(scan, label_map)
    edit_json(scan / OBJECTS, lambda content: [content.pop(key) for key in owner])
    edit_json(scan / SEGMENTS, lambda content: content.pop("sceneId"))
    assert read_raw_scene(scan, label_map).doubts == []


def test_a_label_map_with_a_column_twice_is_refused(tmp_path):
    path = tmp_path / "map.tsv"
    path.write_text("id\traw_category\tid\tnyu40id\n1\twall\t2\t1\n")
    with pytest.raises(DataError, match=r"map\.tsv: has 2 columns 'id'; use "):
        read_label_map(path)
