"""Labels are found wherever people keep them, and what is no label is refused in one line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError
from pointseg.formats.scan_file import ScanFile
from pointseg.labelled.label_source import find_instances, find_labels
from pointseg.taxonomy import read_class_table
from tests.labelled.labelled_scans import make_room, write_ply, write_table
from tests.labelled.test_import import import_scans
from tests.scripts import Finished

XYZ, LABEL = make_room(0)

PROPERTIES = {
    "label": ("int", LABEL),
    "Semantic_Label": ("ushort", LABEL),
    "class": ("uchar", LABEL),
    "class_id": ("int", LABEL),
    "segment": ("int", LABEL),
    "semantic": ("int", LABEL),
    "scalar_Label": ("float", LABEL),
    "scalar_Classification": ("float", LABEL),
    "scalar_semantic": ("double", LABEL),
    "Label ID": None,
}


def import_one(tmp_path, *options, **properties) -> Finished:
    """The room as train and val, with the properties."""
    for split in ("train", "val"):
        write_ply(tmp_path / "scans" / split / f"{split}.ply", XYZ, **properties)
    return import_scans(tmp_path / "scans", tmp_path / "out", *options)


def read_ids(tmp_path) -> np.ndarray:
    """(N,) ids of the imported room."""
    taxonomy = read_class_table(tmp_path / "out" / "classes.tsv")
    return taxonomy.class_id_from_label(np.load(tmp_path / "out" / "train" / "train" / "segment.npy"))


@pytest.mark.parametrize("name", [name for name, values in PROPERTIES.items() if values])
def test_usual_names_of_any_type(tmp_path, name):
    done = import_one(tmp_path, **{name: PROPERTIES[name]})
    assert done.err == ""
    assert f"labels: property '{name}' (2 scenes)" in done.out
    np.testing.assert_array_equal(read_ids(tmp_path), LABEL)


def test_another_name_is_named(tmp_path):
    """A property of an unusual name, beside one that looks like labels; its case and scalar_ don't matter."""
    swapped = 4 - LABEL
    done = import_one(tmp_path, "--label-field", "material", label=("int", LABEL), scalar_Material=("float", swapped))
    assert done.err == ""
    np.testing.assert_array_equal(read_ids(tmp_path), swapped)


def test_of_several_the_usual_one_is_taken_and_said(tmp_path):
    done = import_one(tmp_path, segment=("int", np.arange(400)), label=("int", LABEL))
    assert "labels are those of 'label', not of 'segment'; --label-field takes another" in done.out
    np.testing.assert_array_equal(read_ids(tmp_path), LABEL)


TEXTS = {
    "lines": lambda label: "".join(f"{i}\n" for i in label).encode(),
    "CRLF": lambda label: "".join(f"{i}\r\n" for i in label).encode(),
    "byte order mark": lambda label: b"\xef\xbb\xbf" + "\n".join(map(str, label)).encode(),
    "whole floats": lambda label: "\n".join(f"{i}.0" for i in label).encode(),
    "blank last lines": lambda label: "".join(f"{i}\n" for i in label).encode() + b"\n  \n",
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_beside_the_scan_comes_first(tmp_path, case):
    for split in ("train", "val"):
        write_ply(tmp_path / "scans" / split / f"{split}.ply", XYZ, label=("int", 4 - LABEL))
        (tmp_path / "scans" / split / f"{split}.labels.txt").write_bytes(TEXTS[case](LABEL))
    done = import_scans(tmp_path / "scans", tmp_path / "out")
    assert done.err == ""
    assert "labels: file <scan>.labels.txt (2 scenes)" in done.out
    np.testing.assert_array_equal(read_ids(tmp_path), LABEL)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64, np.float32, np.float64])
def test_an_array_beside_the_scan(tmp_path, dtype):
    for split in ("train", "val"):
        write_ply(tmp_path / "scans" / split / f"{split}.ply", XYZ)
        np.save(tmp_path / "scans" / split / f"{split}.labels.npy", LABEL.astype(dtype)[:, None])
    assert import_scans(tmp_path / "scans", tmp_path / "out").err == ""
    np.testing.assert_array_equal(read_ids(tmp_path), LABEL)


def npy_with_a_large_header() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(1, dtype=[("x" * 12_000, "i4")]))
    return file.getvalue()


BAD_FILES = {
    "half a number": ("txt", b"1\n" * 399 + b"1.5\n", "label 400 is 1.5, expected whole numbers"),
    "a word": ("txt", b"1\nchair\n" + b"1\n" * 398, "labels.txt:2: is no number; write one whole number a line"),
    "no text": ("txt", b"\xff\xfe\x00", "is no text"),
    "empty": ("txt", b"", "has 0 labels, train.ply has 400 points"),
    "blank line": ("txt", b"1\n" * 200 + b"\n" + b"1\n" * 199, "labels.txt:201: is no number"),
    "no array": ("npy", b"nonsense", "is truncated or no array"),
    "a header that NumPy refuses in three lines": ("npy", npy_with_a_large_header(), "no array (Header info length"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_one_line(tmp_path, case):
    kind, content, message = BAD_FILES[case]
    write_table(tmp_path / "t.tsv")
    for split in ("train", "val"):
        write_ply(tmp_path / "scans" / split / f"{split}.ply", XYZ, label=("int", LABEL))
    (tmp_path / "scans" / "train" / f"train.labels.{kind}").write_bytes(content)
    done = import_scans(tmp_path / "scans", tmp_path / "out", "--classes", tmp_path / "t.tsv")
    assert done.status == 1
    (line,) = done.error_lines
    assert message in line


def test_an_array_of_another_shape(tmp_path):
    write_ply(tmp_path / "scans" / "train.ply", XYZ)
    np.save(tmp_path / "scans" / "train.labels.npy", np.zeros((400, 2)))
    done = import_scans(tmp_path / "scans", tmp_path / "out")
    assert "train.labels.npy: is float64 (400, 2), expected whole numbers (N,)" in done.err


def test_both_files_beside_a_scan(tmp_path):
    write_ply(tmp_path / "scans" / "a.ply", XYZ)
    for kind in ("txt", "npy"):
        (tmp_path / "scans" / f"a.labels.{kind}").write_text("1")
    assert (
        "has labels in a.labels.txt and in a.labels.npy; leave one"
        in import_scans(tmp_path / "scans", tmp_path / "out").err
    )


def test_a_property_that_is_not_there(tmp_path):
    done = import_one(tmp_path, "--label-field", "klasse", label=("int", LABEL), row=("int", LABEL))
    assert done.status == 1
    assert "has no property 'klasse' of whole numbers; its whole numbers are: 'label', 'row'" in done.err


def test_floats_that_are_no_labels(tmp_path):
    """A float property that is not whole everywhere is none, and the line says so, and lists what there is."""
    done = import_one(tmp_path, label=("float", LABEL + 0.25), objectId=("int", LABEL))
    assert done.status == 1
    assert f"its 'label' holds {LABEL[0] + 0.25}, and labels are whole numbers; write whole numbers there" in done.err
    assert "its whole numbers are: 'objectId'" in done.err
    done = import_one(tmp_path, "--label-field", "label", label=("float", LABEL + 0.25))
    assert f"its 'label' holds {LABEL[0] + 0.25}, and labels are whole numbers; write whole numbers there" in done.err


@pytest.mark.parametrize(("bad", "shown"), [(np.inf, "inf"), (np.nan, "1.5")])
def test_the_value_that_is_no_label_is_shown(tmp_path, bad, shown):
    """Of a missing one, which is allowed, and one that is not, the latter."""
    values = LABEL.astype(np.float64)
    values[:2] = bad, bad if np.isinf(bad) else 1.5
    done = import_one(tmp_path, row=("int", LABEL), label=("float", values))
    assert f"its 'label' holds {shown}, and labels are whole numbers" in done.err


class TestIdZero:
    """0 is a class where the table has it, and else no label; negative ids are never one."""

    ids = np.where(LABEL == 3, 0, LABEL)

    def test_no_table(self, tmp_path):
        done = import_one(tmp_path, label=("int", self.ids))
        assert "id 0 is one of them: if it means 'not labelled', delete its row" in done.out
        assert read_class_table(tmp_path / "out" / "classes.tsv").no_class_id == -1
        np.testing.assert_array_equal(read_ids(tmp_path), self.ids)

    def test_its_row_deleted(self, tmp_path):
        """As the line says: then its points are not labelled."""
        import_one(tmp_path, label=("int", self.ids))
        table = tmp_path / "out" / "classes.tsv"
        table.write_text("".join(line for line in table.open() if not line.startswith("0\t")))
        done = import_scans(tmp_path / "scans", tmp_path / "out")
        assert done.err == ""
        assert f"ignored in training: 0 ({2 * (LABEL == 3).sum()} points in 2 scenes)" in done.out
        label = np.load(tmp_path / "out" / "train" / "train" / "segment.npy")
        np.testing.assert_array_equal(label == -1, LABEL == 3)

    @pytest.mark.parametrize("names", [{0: "chair", 1: "floor", 2: "wall"}, {1: "floor", 2: "wall"}])
    def test_a_table(self, tmp_path, names):
        import_one(tmp_path, "--classes", write_table(tmp_path / "t.tsv", names), label=("int", self.ids))
        label = np.load(tmp_path / "out" / "train" / "train" / "segment.npy")
        np.testing.assert_array_equal(label == -1, (LABEL == 3) & (0 not in names))
        report = json.loads((tmp_path / "out" / "preprocess_report.json").read_text())
        assert list(report["unknown_ids"]) == ([] if 0 in names else ["0"])

    @pytest.mark.parametrize("name", ["classification", "scalar_Classification"])
    def test_a_ply_with_the_name_that_las_uses(self, tmp_path, name):
        """Only in a LAS file 0 is "never classified"."""
        done = import_one(tmp_path, **{name: ("uchar", self.ids)})
        assert "id 0 is one of them" in done.out
        np.testing.assert_array_equal(read_ids(tmp_path), self.ids)

    def test_negative(self, tmp_path):
        done = import_one(tmp_path, label=("char", np.where(LABEL == 3, -1, LABEL)))
        assert read_class_table(tmp_path / "out" / "classes.tsv").class_ids.tolist() == [1, 2]
        assert "ignored in training: -1 (" in done.out


def test_too_many_ids_are_no_classes(tmp_path):
    xyz = np.random.default_rng(0).random((1500, 3))
    write_ply(tmp_path / "scans" / "a.ply", xyz, label=("int", np.arange(1500)))
    done = import_scans(tmp_path / "scans", tmp_path / "out")
    assert done.status == 1
    assert "the labels have 1500 ids up to 1499, which look like no classes; name the property" in done.err


def test_one_id_is_no_table(tmp_path):
    done = import_one(tmp_path, label=("int", np.ones(400)))
    assert "the labels have fewer than two classes (ids: 1)" in done.err


@pytest.mark.needs("laspy")
def test_classification_of_a_las_file(tmp_path):
    """0 is "never classified" there, and so no class of a table that is made."""
    import laspy

    for split in ("train", "val"):
        (tmp_path / "scans" / split).mkdir(parents=True)
        las = laspy.create(point_format=2)
        las.x, las.y, las.z = XYZ.T
        las.classification = np.where(LABEL == 3, 0, LABEL)
        las.write(str(tmp_path / "scans" / split / f"{split}.las"))
    assert import_scans(tmp_path / "scans", tmp_path / "out").err == ""
    assert read_class_table(tmp_path / "out" / "classes.tsv").class_ids.tolist() == [1, 2]


def test_the_ending_of_a_label_file_is_read_in_any_case(tmp_path):
    scan = ScanFile(tmp_path / "room0.ply", np.zeros((2, 3)))
    (tmp_path / "room0.Labels.TXT").write_text("4\n5\n")
    (tmp_path / "room00.labels.txt").write_text("6\n7\n")
    assert find_labels(scan).class_id.tolist() == [4, 5]


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_minus_one_without_a_sign_is_none(kind):
    largest = np.iinfo(kind).max
    fields = {"instance": np.array([7, largest, 0], kind), "label": np.array([1, 2, largest], kind)}
    scan = ScanFile(Path("a.ply"), np.zeros((3, 3)), fields=fields)
    assert find_instances(scan).tolist() == [7, -1, 0]
    assert find_labels(scan).class_id.tolist() == [1, 2, -1]


def test_minus_one_that_lost_its_sign_in_a_float_is_none():
    """CloudCompare keeps scalar fields in single precision."""
    labels = np.array([1, 2, 2**32 - 1], np.uint32).astype(np.float32).astype(np.int64)
    scan = ScanFile(Path("a.ply"), np.zeros((3, 3)), fields={"scalar_label": labels})
    assert find_labels(scan).class_id.tolist() == [1, 2, -1]


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_minus_one_without_a_sign_is_none_in_a_file_beside_the_scan(tmp_path, kind):
    scan = ScanFile(tmp_path / "a.ply", np.zeros((3, 3)))
    np.save(tmp_path / "a.labels.npy", np.array([1, 2, np.iinfo(kind).max], kind))
    assert find_labels(scan).class_id.tolist() == [1, 2, -1]
    (tmp_path / "a.labels.npy").rename(tmp_path / "b.labels.npy")
    (tmp_path / "a.labels.txt").write_text(f"1\n2\n{np.iinfo(kind).max}\n")
    assert find_labels(scan).class_id.tolist() == [1, 2, -1]


def test_a_number_beyond_64_bits_is_no_label(tmp_path):
    np.save(tmp_path / "a.labels.npy", np.array([1, 2**63], np.uint64))
    with pytest.raises(DataError, match="label 2 is 9223372036854775808, expected whole numbers"):
        find_labels(ScanFile(tmp_path / "a.ply", np.zeros((2, 3))))


@pytest.mark.parametrize(("kind", "last"), [("uchar", 255), ("ushort", 65535)])
def test_what_may_be_minus_one_is_named(tmp_path, kind, last):
    """It may be a class or an object as well, so nothing is changed."""
    ids = (kind, np.where(LABEL == 3, last, LABEL))
    done = import_one(tmp_path, label=ids, instance=ids)
    assert f"id {last} is one of them: if it means 'not labelled' (-1 in " in done.out
    assert f"'instance' has an object {last}, which may be -1" in done.out
    np.testing.assert_array_equal(read_ids(tmp_path), ids[1])


def test_a_label_that_is_nan_in_a_text_is_none(tmp_path):
    scan = ScanFile(tmp_path / "a.ply", np.zeros((3, 3)))
    (tmp_path / "a.labels.txt").write_text("4\nnan\n5\n")
    found = find_labels(scan)
    assert found.class_id.tolist() == [4, -1, 5]
    assert found.note == "1 points have NaN for a label, and count as -1"


def two_alike() -> ScanFile:
    fields = {"label": np.array([1, 2]), "scalar_label": np.array([3, 4])}
    return ScanFile(Path("a.ply"), np.zeros((2, 3)), fields=fields)


@pytest.mark.parametrize(("name", "ids"), [("label", [1, 2]), ("scalar_label", [3, 4])])
def test_of_properties_that_are_nearly_called_the_same_the_named_one_is_taken(name, ids):
    assert find_labels(two_alike(), name).class_id.tolist() == ids


def test_a_name_that_may_be_two_properties_is_refused():
    with pytest.raises(DataError, match="--label-field Label may be 'label' and 'scalar_label'; write one of them"):
        find_labels(two_alike(), "Label")
