"""A prediction comes back as it was written, and a file that is not one is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError
from pointseg.formats.scan_file import ScanFile
from pointseg.output.prediction_files import read_confidence, write_predicted_mesh
from pointseg.output.submission import read_predicted_labels, read_prediction, write_prediction
from pointseg.taxonomy import IGNORE, Taxonomy, load_taxonomy


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16])
def test_a_prediction_comes_back(tmp_path: Path, taxonomy: Taxonomy, dtype: type) -> None:
    label = np.random.default_rng(0).integers(0, 200, 1000)
    path = tmp_path / "new" / "scene0000_00.txt"
    write_prediction(path, taxonomy.class_id_from_label(label).astype(dtype))
    assert read_prediction(path, 1000).dtype == np.int32
    assert (read_predicted_labels(path, 1000, taxonomy) == label).all()
    assert path.read_text().splitlines() == [str(taxonomy.class_ids[k]) for k in label]


@pytest.mark.parametrize("ids", [np.zeros((3, 1), int), np.zeros(3), np.zeros(3, bool)])
def test_only_a_row_of_integers_is_written(tmp_path: Path, ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected integers"):
        write_prediction(tmp_path / "scene.txt", ids)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_length_names_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "scene.txt"
    write_prediction(path, np.ones(5, int))
    with pytest.raises(DataError, match=r"scene\.txt: has 5 lines, the mesh has 7 vertices"):
        read_prediction(path, 7)


def test_what_is_no_prediction_is_refused(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = tmp_path / "scene.txt"
    with pytest.raises(DataError, match="there is no such file"):
        read_prediction(path, 2)
    path.write_bytes(b"\xff\xfe1\n")
    with pytest.raises(DataError, match="line 1 is"):
        read_prediction(path, 2)
    path.write_text("1\n-5\n")
    with pytest.raises(DataError, match="line 2 is -5, no class of scannet200"):
        read_predicted_labels(path, 2, taxonomy)


def test_a_point_without_a_class_is_none(tmp_path: Path, taxonomy: Taxonomy) -> None:
    """As ``predict`` writes it for points whose coordinates are not finite."""
    (tmp_path / "scene.txt").write_text("1\n0\n")
    assert read_predicted_labels(tmp_path / "scene.txt", 2, taxonomy).tolist() == [0, -1]


def test_confidence_is_read_from_the_mesh_of_the_same_prediction(tmp_path: Path) -> None:
    taxonomy = load_taxonomy("scannet20")
    file = ScanFile(tmp_path / "a.ply", np.random.default_rng(0).random((5, 3)).astype(np.float32))
    labels, confidence = np.array([0, 1, 2, IGNORE, 4]), np.linspace(0, 1, 5).astype(np.float32)
    ids = taxonomy.class_id_from_label(labels)
    path = tmp_path / "a.txt"
    assert read_confidence(path, ids) is None
    write_predicted_mesh(path.with_suffix(".ply"), file, taxonomy, labels, confidence)
    np.testing.assert_array_equal(read_confidence(path, ids), confidence)
    assert read_confidence(path, ids[::-1]) is None
    assert read_confidence(path, ids[:4]) is None
    path.with_suffix(".ply").write_bytes(path.with_suffix(".ply").read_bytes()[:-3])
    assert read_confidence(path, ids) is None
