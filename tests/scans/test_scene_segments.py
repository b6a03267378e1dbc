"""The segments of prepared scenes and of meshes: where they come from, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError
from pointseg.preparation.prepared_source import write_scene
from pointseg.rooms.scan import make_scan
from pointseg.scans.over_segments import segment_mesh
from pointseg.scans.scene_segments import check_segments, read_scene_segments, segments_of_mesh, surface_files
from tests.scannet.raw_scans import grid_mesh

XYZ, RGB, FACES = grid_mesh(20, 30)
COLUMNS = np.tile(np.arange(30, dtype=np.int32), 20)


def write(folder: Path, **arrays: np.ndarray) -> Path:
    write_scene(folder, {"coord": XYZ, "color": RGB, **arrays}, {"raw_folder": "", "made_from": {}, "facts": {}})
    return folder


def test_those_of_the_raw_scan_come_before_those_of_the_faces(tmp_path: Path) -> None:
    both = write(tmp_path / "both", over_segment=7 * (COLUMNS % 5), face=FACES)
    np.testing.assert_array_equal(read_scene_segments(both, XYZ), COLUMNS % 5)
    faces = write(tmp_path / "faces", face=FACES)
    np.testing.assert_array_equal(read_scene_segments(faces, XYZ), segment_mesh(XYZ, FACES))
    assert [path.name for path in (*surface_files(both), *surface_files(faces))] == ["over_segment.npy", "face.npy"]
    check_segments([both, faces])
    assert read_scene_segments(both, XYZ).dtype == read_scene_segments(faces, XYZ).dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {},
            r"has no faces \(neither over_segment.npy nor face.npy\), so there are no segments to vote in; use --vote",
        ),
        ({"over_segment": COLUMNS[:-1]}, r"over_segment.npy: has 599 rows, coord.npy has 600; delete "),
        ({"over_segment": COLUMNS - 1}, r"over_segment.npy: values are -1..28, expected 0..599; delete "),
        ({"face": FACES + 1}, r"face.npy: values are 1..600, expected 0..599; delete "),
        ({"over_segment": COLUMNS / 2}, r"over_segment.npy: is float64 \(600,\), expected integers \(N,\)"),
        ({"face": FACES[:, :2]}, r"face.npy: is int32 \(1102, 2\), expected integers \(F, 3\)"),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(tmp_path: Path, arrays: dict, message: str) -> None:
    folder = write(tmp_path / "scene", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        read_scene_segments(folder, XYZ)
    assert str(caught.value).startswith(f"{folder}")
    assert "\n" not in str(caught.value)
    if "values are" not in message:  # all that the heads of the files show is found before the work begins
        with pytest.raises(DataError, match=message):
            check_segments([folder])


def test_an_array_that_was_there_is_missed(tmp_path: Path) -> None:
    """It is not silently made of something else, nor called a tree without faces."""
    folder = write(tmp_path / "scene", over_segment=COLUMNS)
    (folder / "over_segment.npy").unlink()
    for read in (lambda: check_segments([folder]), lambda: read_scene_segments(folder, XYZ)):
        with pytest.raises(DataError, match=r"over_segment.npy: is missing; delete "):
            read()


def test_vertices_at_one_place_are_one(tmp_path: Path) -> None:
    """As an STL file has them, three a face: the pieces are those of the mesh whose faces share vertices."""
    scan = make_scan(0, "val", 0, 3_000)
    expected = segments_of_mesh(scan.xyz, scan.faces)
    apart = segments_of_mesh(scan.xyz[scan.faces].reshape(-1, 3), np.arange(scan.faces.size).reshape(-1, 3))
    of_corner = expected[scan.faces.ravel()]
    assert len(np.unique(apart)) == len(np.unique(of_corner)) == len(np.unique(np.stack([apart, of_corner]), axis=1).T)
    assert 20 < expected.max() + 1 < len(scan.xyz) / 20
    # With no two at one place nothing is done to them.
    np.testing.assert_array_equal(segments_of_mesh(XYZ, FACES), segment_mesh(XYZ, FACES))


def test_true_labels_are_one_in_each_segment_of_a_prepared_demo_scan(tmp_path: Path) -> None:
    """Annotators label segments: the voted label can be right for every vertex. A test scan has its faces instead."""
    from pointseg.prepare import main
    from pointseg.rooms import write_demo_scans

    write_demo_scans(tmp_path / "raw", {"train": 1, "val": 1, "test": 1}, 0, 3_000, 1)
    assert not main(["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "1"])
    for split in ("train", "val"):
        (folder,) = (tmp_path / "out" / split).iterdir()
        segment = read_scene_segments(folder, np.load(folder / "coord.npy"))
        (raw,) = (tmp_path / "raw" / "scans" / folder.name).glob("*.segs.json")
        published = np.array(json.loads(raw.read_text())["segIndices"])
        pairs = np.unique(np.stack([segment, published]), axis=1)
        assert pairs.shape[1] == len(np.unique(published)) == segment.max() + 1 > 20
        for part in ("segment200", "segment20"):
            label = np.load(folder / f"{part}.npy")
            assert np.unique(np.stack([segment, label]), axis=1).shape[1] == segment.max() + 1
    (folder,) = (tmp_path / "out" / "test").iterdir()
    assert [path.name for path in surface_files(folder)] == ["face.npy"]
    assert read_scene_segments(folder, np.load(folder / "coord.npy")).max() > 20
