"""Arrays and coloured scans beside a prediction: whole or not at all, and readable by other programs."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from pointseg.errors import DataError
from pointseg.formats.mesh import Mesh
from pointseg.formats.ply import read_ply, write_mesh
from pointseg.formats.scan_file import ScanFile
from pointseg.output import prediction_files
from pointseg.output.panels import UNANNOTATED
from pointseg.output.prediction_files import ArrayFiles, is_predicted_mesh, write_predicted_mesh
from pointseg.taxonomy import load_taxonomy

CLASSES = load_taxonomy("scannet20")


def _fill(folder: Path, stop: BaseException | None = None) -> None:
    with ArrayFiles({"probabilities": folder / "a.npy"}) as files:
        array = files.allocate("probabilities", (5, 3), torch.float16)
        assert not array.any()
        array[torch.tensor([4, 0])] = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float16)
        assert files.allocate("label", (5,), torch.int64).dtype == torch.int64
        if stop is not None:
            raise stop


def test_an_array_file_is_what_was_put_in(tmp_path: Path) -> None:
    _fill(tmp_path)
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == np.float16
    assert array.tolist() == [[4, 5, 6], [0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), DataError("bad")])
def test_an_interrupted_array_file_leaves_the_old_one(tmp_path: Path, stop: BaseException) -> None:
    (tmp_path / "a.npy").write_bytes(b"old")
    with pytest.raises(type(stop)):
        _fill(tmp_path, stop)
    assert (tmp_path / "a.npy").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_full_disk_is_said_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a page of a mapped file it would be a signal that kills the process."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
    with pytest.raises(OSError, match="No space left") as error:
        _fill(tmp_path)
    assert error.value.filename == str(tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []


def test_space_is_taken_where_the_system_has_no_call_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(prediction_files, "_ZEROS", bytes(1000))
    with ArrayFiles({"features": tmp_path / "a.npy"}) as files:
        files.allocate("features", (3000, 7), torch.float16)
        (temporary,) = tmp_path.iterdir()
        status = temporary.stat()
        assert status.st_blocks * 512 >= status.st_size == 128 + 2 * 3000 * 7
    assert np.load(tmp_path / "a.npy").shape == (3000, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("has_color", [True, False])
def test_the_scan_stays_and_the_answers_are_added(tmp_path: Path, dtype: type, has_color: bool) -> None:
    rng = np.random.default_rng(0)
    xyz = (rng.random((6, 3)) + 1e5).astype(dtype)
    rgb = rng.integers(0, 256, (6, 3), dtype=np.uint8) if has_color else None
    faces = np.array([[0, 1, 2], [3, 4, 5]], dtype=np.int32)
    scan = ScanFile(Path("a.ply"), xyz, faces, rgb, fields={"label": np.arange(6)})
    labels, confidence = np.array([0, 19, -1, 3, 0, 0]), np.linspace(0, 1, 6, dtype=np.float32)
    write_predicted_mesh(tmp_path / "a.ply", scan, CLASSES, labels, confidence)

    data = PlyData.read(tmp_path / "a.ply")
    vertex = data["vertex"].data
    scan_colors = ["scan_red", "scan_green", "scan_blue"] if has_color else []
    assert vertex.dtype.names == (*"xyz", "red", "green", "blue", *scan_colors, "label", "confidence", "quality")
    np.testing.assert_array_equal(np.stack([vertex[axis] for axis in "xyz"], axis=1), xyz)
    assert vertex["x"].dtype == dtype
    np.testing.assert_array_equal(np.stack(data["face"].data["vertex_indices"]), faces)
    colors = np.stack([vertex[name] for name in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(colors[labels >= 0], CLASSES.colors[labels[labels >= 0]])
    assert tuple(colors[2]) == UNANNOTATED
    for axis, name in enumerate(scan_colors):
        np.testing.assert_array_equal(vertex[name], rgb[:, axis])
    assert vertex["label"].tolist() == CLASSES.class_id_from_label(labels).tolist()
    for name in ("confidence", "quality"):
        assert vertex[name].dtype == np.float32
        np.testing.assert_array_equal(vertex[name], confidence)
    # And as a scan it is read again.
    assert read_ply(tmp_path / "a.ply").fields["label"].tolist() == vertex["label"].tolist()


def test_a_predicted_mesh_is_told_from_a_scan(tmp_path: Path) -> None:
    xyz = np.zeros((2, 3), np.float32)
    write_mesh(
        tmp_path / "scan.ply", Mesh(xyz), {"confidence": np.zeros(2, np.float32), "label": np.zeros(2, np.int32)}
    )
    assert not is_predicted_mesh(tmp_path / "scan.ply")
    write_predicted_mesh(tmp_path / "own.ply", ScanFile(Path("a"), xyz), CLASSES, np.zeros(2, int), np.zeros(2))
    assert is_predicted_mesh(tmp_path / "own.ply")


@pytest.mark.parametrize("has_color", [True, False])
def test_a_predicted_mesh_is_read_with_the_scans_colours_and_not_the_classes(tmp_path: Path, has_color: bool) -> None:
    """Trained on, or predicted again, those would give the labels away."""
    rgb = np.array([[1, 2, 3], [4, 5, 6]], np.uint8) if has_color else None
    scan = ScanFile(Path("a"), np.zeros((2, 3), np.float32), rgb=rgb)
    write_predicted_mesh(tmp_path / "a.ply", scan, CLASSES, np.array([3, 5]), np.array([0.5, 1]))
    read = read_ply(tmp_path / "a.ply")
    if has_color:
        np.testing.assert_array_equal(read.rgb, rgb)
    else:
        assert read.rgb is None
    assert list(read.fields) == ["label"]
    assert "its labels are predictions, and the colours of their classes were left out" in read.notes[0]


def test_a_scan_with_properties_of_the_same_names_keeps_its_colours(tmp_path: Path) -> None:
    rgb = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    extra = {"label": np.array([1, 2]), "confidence": np.array([0.5, 1]), "quality": np.array([7.0, 8])}
    write_mesh(tmp_path / "a.ply", Mesh(np.zeros((2, 3), np.float32), rgb=rgb), extra)
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.rgb, rgb)
    assert read.notes == []
