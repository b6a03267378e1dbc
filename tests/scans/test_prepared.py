"""The prepared tree: ours and Pointcept's."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from pointseg.atomic_directory import atomic_directory
from pointseg.errors import DataError, UsageError
from pointseg.preparation.prepared_source import read_source, write_scene
from pointseg.scans import prepared
from pointseg.scans.prepared import (
    check_labels,
    check_scenes,
    geometry_files,
    list_scenes,
    load_array,
    read_scene,
    refuse_labels_of_other_classes,
)
from pointseg.taxonomy import Taxonomy, load_taxonomy, parse_class_table

SOURCE = {"facts": {}, "made_from": {}, "raw_folder": ""}


def scene_arrays(num_points: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "coord": rng.random((num_points, 3), dtype=np.float32),
        "color": rng.integers(0, 256, (num_points, 3), dtype=np.uint8),
        "normal": np.tile(np.float32([0, 0, 1]), (num_points, 1)),
        "segment20": np.arange(num_points) - 1,
        "segment200": np.arange(num_points) * 40 - 1,
        "instance": np.arange(num_points) % 3 - 1,
    }


def test_scene_reads_back(tmp_path):
    """What is written is what is read, with the labels of the benchmark that is asked for, -1 kept."""
    arrays = scene_arrays()
    write_scene(tmp_path / "train" / "a", arrays, SOURCE)
    scene = read_scene(tmp_path / "train" / "a", load_taxonomy("scannet200"))
    assert scene.name == "a"
    for part, name in (("xyz", "coord"), ("rgb", "color"), ("normal", "normal"), ("instance", "instance")):
        np.testing.assert_array_equal(getattr(scene, part), arrays[name])
    np.testing.assert_array_equal(scene.label, arrays["segment200"])
    np.testing.assert_array_equal(
        read_scene(tmp_path / "train" / "a", load_taxonomy("scannet20")).label, arrays["segment20"]
    )


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_published_tree_loads(tmp_path, dtype, shape):
    """Pointcept's own tree: plain .npy files, labels of any integer type, as a row or a column, no source.json."""
    arrays = scene_arrays()
    folder = tmp_path / "val" / "scene0011_00"
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        is_label = name in ("segment20", "segment200", "instance")
        np.save(folder / f"{name}.npy", array.astype(dtype).reshape(shape) if is_label else array)
    scene = read_scene(folder, load_taxonomy("scannet200"))
    np.testing.assert_array_equal(scene.label, arrays["segment200"])
    np.testing.assert_array_equal(scene.instance, arrays["instance"])
    assert scene.label.dtype == np.int64
    assert list_scenes(tmp_path, "val") == [folder]


def test_test_scene_has_no_labels(tmp_path):
    arrays = scene_arrays()
    for name in ("segment20", "segment200", "instance"):
        del arrays[name]
    write_scene(tmp_path / "test" / "a", arrays, SOURCE)
    scene = read_scene(tmp_path / "test" / "a", load_taxonomy("scannet200"))
    assert scene.label is None
    assert scene.instance is None


def spoil_with(name: str, array: np.ndarray | None):
    def spoil(folder):
        path = folder / f"{name}.npy"
        if array is None:
            path.unlink()
        else:
            np.save(path, array)

    return spoil


def truncate(folder):
    path = folder / "normal.npy"
    path.write_bytes(path.read_bytes()[:-7])


BAD = {
    "no coord": (spoil_with("coord", None), r"coord.npy: is missing"),
    "no labels in train": (spoil_with("segment200", None), r"segment200.npy: is missing"),
    "truncated": (truncate, r"normal.npy: is truncated"),
    "empty file": (lambda folder: (folder / "color.npy").write_bytes(b""), r"color.npy: is truncated"),
    "pickle": (spoil_with("instance", np.array([{}])), r"instance.npy: is truncated or no array"),
    "other length": (spoil_with("color", np.zeros((4, 3), np.uint8)), r"train/a: rgb is uint8 \(4, 3\), expected"),
    "float labels": (spoil_with("segment200", np.zeros(5)), r"segment200.npy: is float64 \(5,\), expected integers"),
    "wide coord": (spoil_with("coord", np.zeros((5, 4), np.float32)), r"coord.npy: is float32 \(5, 4\)"),
    "label 200": (spoil_with("segment200", np.array([0, 1, 2, 200, -1])), r"labels are -1..200, expected -1..199"),
    "label -100": (spoil_with("segment200", np.array([0, 1, 2, 3, -100])), r"labels are -100..3"),
    "NaN": (spoil_with("coord", np.full((5, 3), np.nan, np.float32)), r"train/a: the coordinates of point 0"),
    "NaN normal": (spoil_with("normal", np.full((5, 3), np.nan, np.float32)), r"the numbers of the normal of point 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_damaged_scene_is_one_line(tmp_path, case):
    """Each damage is a DataError of one line with the path and a remedy."""
    spoil, message = BAD[case]
    folder = tmp_path / "train" / "a"
    write_scene(folder, scene_arrays(), SOURCE)
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        read_scene(folder, load_taxonomy("scannet200"))
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


def own_classes(ids=(7, 3)) -> Taxonomy:
    return parse_class_table("id\tname\n" + "".join(f"{i}\tclass {i}\n" for i in ids), "own", "classes.tsv")


def test_labels_of_own_classes_are_none_of_the_benchmark(tmp_path):
    """To make the scene again would not help: what to do is to say which classes are meant."""
    arrays = scene_arrays()
    of_benchmark, of_own = tmp_path / "b" / "train" / "a", tmp_path / "o" / "train" / "a"
    write_scene(of_benchmark, arrays, SOURCE)
    rest = {name: array for name, array in arrays.items() if not name.startswith("segment")}
    write_scene(of_own, {**rest, "segment": arrays["segment200"]}, SOURCE)
    for folder, taxonomy, message in (
        (of_own, load_taxonomy("scannet200"), "has labels of own classes, not of scannet200; name them in"),
        (of_benchmark, own_classes(), "has labels of ScanNet's classes, not of own; choose another tree"),
    ):
        for call in (lambda: read_scene(folder, taxonomy), lambda: refuse_labels_of_other_classes([folder], taxonomy)):  # noqa: B023
            with pytest.raises(DataError, match=message):
                call()


@pytest.mark.parametrize("ours", [True, False])
def test_labels_of_another_table_are_refused(tmp_path, ours):
    """By what the scene was made from, or where another program made it, by the table of the tree."""
    folder = tmp_path / "train" / "a"
    made_from = {"classes": own_classes().ids_fingerprint} if ours else {}
    write_scene(folder, {"segment": np.zeros(3, np.int64)}, {**SOURCE, "made_from": made_from})
    if not ours:
        (tmp_path / "classes.tsv").write_text(own_classes().as_table())
    refuse_labels_of_other_classes([folder], own_classes())
    with pytest.raises(DataError, match=r"its labels are of another table of classes than this one \(own\); choose"):
        refuse_labels_of_other_classes([folder], own_classes((3, 7)))


def test_labels_of_before_the_tables_ids_were_changed_are_refused_with_the_command_that_makes_them_anew(tmp_path):
    """To choose the table of the tree would not help: it is the one that was changed."""
    folder = tmp_path / "train" / "a"
    source = {**SOURCE, "made_from": {"classes": own_classes().ids_fingerprint}}
    write_scene(folder, {"segment": np.zeros(3, np.int64)}, source)
    (tmp_path / "classes.tsv").write_text(own_classes((3, 7)).as_table())
    with pytest.raises(DataError) as caught:
        refuse_labels_of_other_classes([folder], own_classes((3, 7)))
    assert f"was made with another table of classes than {tmp_path / 'classes.tsv'} is now; run: " in str(caught.value)
    assert "pointseg import SCANS" in str(caught.value)


def test_nobody_is_told_to_delete_what_is_no_prepared_scene(tmp_path):
    """As a folder of raw scans, given in place of a prepared one."""
    folder = tmp_path / "scans" / "scene0000_00"
    folder.mkdir(parents=True)
    (folder / "scene0000_00_vh_clean_2.ply").write_bytes(b"ply")
    with pytest.raises(DataError, match="is this a folder of the prepared tree") as caught:
        read_scene(folder, load_taxonomy("scannet200"))
    assert "; delete" not in str(caught.value)


DAMAGED_SOURCES = {
    "no facts": {"facts": {}},
    "facts are null": {"facts": None},
    "no number of points": {"facts": {"alignment": "off"}},
    "text for a number": {"facts": {"num_points": "5"}},
    "counts are a list": {"facts": {"num_points": 5, "num_objects": 0, "points": [], "objects": {}}},
    "counts are text": {"facts": {"num_points": 5, "unknown_ids": {"7": "many"}}},
    "points without objects": {"facts": {"num_points": 5, "num_objects": 0, "points200": {}}},
    "labelled without objects": {"facts": {"num_points": 5, "points": {}, "objects": {}}},
    "notes are no list": {"facts": {"num_points": 5, "notes": 3}},
    "made from a list": {"made_from": []},
    "made from files of nothing": {"made_from": {"files": ["a"]}},
    "classes are a list": {"made_from": {"classes": []}},
    "folder is null": {"raw_folder": None},
    "arrays are a list": {"arrays": ["coord"]},
    "array without its size": {"arrays": {"coord": {"crc32": 0}}},
}


@pytest.mark.parametrize("case", DAMAGED_SOURCES)
def test_a_damaged_source_is_none(tmp_path, case):
    whole = {"facts": {"num_points": 5, "alignment": "off"}, "made_from": {}, "raw_folder": "raw"}
    write_scene(tmp_path, scene_arrays(), whole)
    source = read_source(tmp_path)
    assert source is not None
    (tmp_path / "source.json").write_text(json.dumps(source | DAMAGED_SOURCES[case]))
    assert read_source(tmp_path) is None


def test_listing(tmp_path):
    """Scenes come sorted; unfinished writes and files don't count; an absent split names the command that makes it."""
    for name in ("b", "a"):
        write_scene(tmp_path / "val" / name, scene_arrays(), SOURCE)
    (tmp_path / "val" / ".writing-c-12345678").mkdir()
    (tmp_path / "val" / "notes.txt").touch()
    assert [folder.name for folder in list_scenes(tmp_path, "val")] == ["a", "b"]
    with pytest.raises(UsageError, match="has no train scenes; it has the folders val: choose one of them"):
        list_scenes(tmp_path, "train")
    (tmp_path / "empty").mkdir()
    command = f"pointseg prepare --raw RAW --out {tmp_path / 'empty'}"
    with pytest.raises(UsageError, match=f"has no train scenes; prepare them with: {command}"):
        list_scenes(tmp_path / "empty", "train")
    with pytest.raises(UsageError, match="there is no such folder; prepare scans with: pointseg prepare --raw RAW"):
        list_scenes(tmp_path / "no", "train")


def test_a_split_is_any_folder_and_several_are_one_list(tmp_path):
    for split, name in (("Area_5", "hall"), ("Area_1", "office"), ("Area_1", "attic")):
        write_scene(tmp_path / split / name, scene_arrays(), SOURCE)
    scenes = list_scenes(tmp_path, ["Area_5", "Area_1"])
    assert [f"{folder.parent.name}/{folder.name}" for folder in scenes] == [
        "Area_5/hall",
        "Area_1/attic",
        "Area_1/office",
    ]
    with pytest.raises(UsageError, match="has no Area_2 scenes; it has the folders Area_1, Area_5"):
        list_scenes(tmp_path, ["Area_1", "Area_2"])
    (tmp_path / "pictures" / "old").mkdir(parents=True)  # no scenes
    with pytest.raises(UsageError, match="it has the folders Area_1, Area_5: choose"):
        list_scenes(tmp_path, "pictures2")
    with pytest.raises(UsageError, match="give each folder once"):
        list_scenes(tmp_path, ["Area_1", "Area_1"])


def test_a_tree_of_own_classes_has_one_segment_a_scene(tmp_path):
    """As Pointcept's trees of other data sets, which hold nothing of ours."""
    own = parse_class_table("id\tname\n1\tpipe\n5\tvalve\n", "plant", "x")
    arrays = {k: v for k, v in scene_arrays().items() if not k.startswith("segment")}
    label = np.arange(len(arrays["coord"])) % 3 - 1
    write_scene(tmp_path / "Area_1" / "a", {**arrays, "segment": label.reshape(-1, 1)}, SOURCE)
    (tmp_path / "Area_1" / "a" / "source.json").unlink()
    np.testing.assert_array_equal(read_scene(tmp_path / "Area_1" / "a", own).label, label)
    with pytest.raises(DataError, match="has labels of own classes, not of scannet200"):
        read_scene(tmp_path / "Area_1" / "a", load_taxonomy("scannet200"))
    write_scene(tmp_path / "train" / "b", {**arrays, "segment": label + 1}, SOURCE)
    with pytest.raises(DataError, match=r"segment\.npy: labels are -1\.\.2, expected -1\.\.1"):
        read_scene(tmp_path / "train" / "b", own)


def test_failed_write_leaves_the_old_scene(tmp_path, monkeypatch):
    """A disk that fills up after the first array leaves the old scene whole, and nothing beside it."""
    folder = tmp_path / "train" / "a"
    write_scene(folder, scene_arrays(5), SOURCE)
    written = []

    def write_bytes(path, content):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)

    monkeypatch.setattr("pathlib.Path.write_bytes", write_bytes)
    with pytest.raises(OSError, match="No space left") as caught:
        write_scene(folder, scene_arrays(7), SOURCE)
    assert caught.value.filename == str(folder)
    assert read_scene(folder, load_taxonomy("scannet200")).num_points == 5
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


def test_unfinished_folder_is_not_listed(tmp_path):
    """While a scene is being written, the listing doesn't show it."""
    write_scene(tmp_path / "val" / "a", scene_arrays(), SOURCE)
    with atomic_directory(tmp_path / "val" / "b"):
        assert [folder.name for folder in list_scenes(tmp_path, "val")] == ["a"]
    assert [folder.name for folder in list_scenes(tmp_path, "val")] == ["a", "b"]


def test_a_tree_may_lack_colours_and_normals(tmp_path):
    """Where another program's scene has none; of a scene that had one when we wrote it, it is lost."""
    arrays = scene_arrays()
    del arrays["color"], arrays["normal"], arrays["instance"]
    folder = tmp_path / "train" / "a"
    write_scene(folder, arrays, SOURCE)
    scene = read_scene(folder, load_taxonomy("scannet200"))
    assert (scene.rgb, scene.normal, scene.instance) == (None, None, None)
    assert geometry_files(folder) == [folder / "coord.npy"]
    write_scene(folder, scene_arrays(), SOURCE)
    (folder / "color.npy").unlink()
    with pytest.raises(DataError, match=r"color.npy: is missing; delete .* and run: pointseg prepare"):
        read_scene(folder, load_taxonomy("scannet200"))


def test_what_a_scene_was_written_with_is_read_once(tmp_path, monkeypatch):
    """Also where parts are absent, as for each sample of a training; anew only where the scene was made anew."""
    arrays = scene_arrays()
    color, normal = arrays.pop("color"), arrays.pop("normal")
    folder, reads, load = tmp_path / "train" / "a", [], prepared.load_source
    write_scene(folder, arrays, SOURCE)
    monkeypatch.setattr(prepared, "load_source", lambda path: reads.append(path) or load(path))
    for _ in range(3):
        assert read_scene(folder, load_taxonomy("scannet200")).normal is None
    assert len(reads) == 1
    write_scene(folder, {**arrays, "color": color, "normal": normal}, SOURCE)
    read_scene(folder, load_taxonomy("scannet200"))
    assert len(reads) == 1
    (folder / "normal.npy").unlink()
    with pytest.raises(DataError, match=r"normal.npy: is missing"):
        read_scene(folder, load_taxonomy("scannet200"))
    assert len(reads) == 2


def test_nobody_is_told_to_delete_what_we_did_not_make(tmp_path):
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    for name, array in scene_arrays().items():
        np.save(folder / f"{name}.npy", array)
    truncate(folder)
    with pytest.raises(
        DataError, match=r"normal.npy: is truncated .*; the scene is not of pointseg's making; get"
    ) as e:
        read_scene(folder, load_taxonomy("scannet200"))
    assert "; delete" not in str(e.value)


XYZ = np.float32([[0, 0, 0], [1, 1, 1], [2, 2, 2]])
UNREADABLE = {
    "no points": ("coord", lambda array: array[:0], "the scene has no points; take it out"),
    "other length": ("normal", lambda array: array[:2], r"normal\.npy: has 2 rows, coord\.npy has 5"),
    "other number of labels": ("segment200", lambda array: array[:4], r"segment200\.npy: has 4 rows, coord\.npy has 5"),
    "other number of instances": ("instance", lambda array: array[:1], r"instance\.npy: has 1 rows"),
    "other shape": ("color", lambda array: array[:, :2], r"color\.npy: is uint8 \(5, 2\), expected uint8 \(N, 3\)"),
    "other dtype": ("segment200", lambda array: array * 1.0, r"segment200\.npy: is float64 \(5,\), expected integers"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_scene_that_could_not_be_read_is_found_by_the_heads_of_its_files(tmp_path, case):
    part, change, message = UNREADABLE[case]
    folder = tmp_path / "val" / "a"
    write_scene(folder, scene_arrays(), SOURCE)
    taxonomy = load_taxonomy("scannet200")
    check_scenes([folder], taxonomy, ("xyz", "rgb", "normal"))
    np.save(folder / f"{part}.npy", change(np.load(folder / f"{part}.npy")))
    with pytest.raises(DataError, match=message):
        check_scenes([folder], taxonomy, ("xyz", "rgb", "normal"))


def test_a_scene_that_is_cut_or_lacks_an_input_is_found_by_the_heads(tmp_path):
    folder = tmp_path / "test" / "a"
    folder.mkdir(parents=True)
    np.save(folder / "coord.npy", XYZ)
    taxonomy = load_taxonomy("scannet200")
    check_scenes([folder], taxonomy, ("xyz",))
    with pytest.raises(DataError, match=r"a: has no color\.npy, and the network takes rgb as input; "):
        check_scenes([folder], taxonomy, ("xyz", "rgb"))
    np.save(folder / "color.npy", np.zeros((3, 3), np.uint8))
    (folder / "color.npy").write_bytes((folder / "color.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"color\.npy: is truncated or no array"):
        check_scenes([folder], taxonomy, ("xyz",))
    (folder / "coord.npy").unlink()
    with pytest.raises(DataError, match=r"coord\.npy: is missing"):
        check_scenes([folder], taxonomy, ("xyz",))


def test_labels_out_of_range_are_found_without_reading_the_scenes(tmp_path):
    folder = tmp_path / "val" / "a"
    write_scene(folder, {**scene_arrays(), "segment20": np.arange(5) + 17}, SOURCE)
    check_labels([folder], load_taxonomy("scannet200"))
    with pytest.raises(DataError, match=r"val/a/segment20\.npy: labels are -1\.\.21, expected -1\.\.19"):
        check_labels([folder, tmp_path / "val" / "b"], load_taxonomy("scannet20"))


def test_a_scene_whose_name_is_no_utf8_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    folders = [tmp_path / "val" / os.fsdecode(name) for name in (b"s\xe4", b"s\xfc")]
    for folder in folders:
        write_scene(folder, {**scene_arrays(), "segment20": np.zeros(5, np.int64)}, SOURCE)
    found = [check_labels([folder], load_taxonomy("scannet20")) for folder in folders]
    assert found[0].num_labelled == 5 and found[0].fingerprint != found[1].fingerprint


@pytest.mark.parametrize("reach", [1e30, -3e38, 1e9])
def test_coordinates_that_no_scan_has_are_refused_with_the_scene(tmp_path: Path, reach: float) -> None:
    arrays = scene_arrays()
    arrays["coord"][3, 1] = reach
    folder = write_scene(tmp_path / "train" / "a", arrays, SOURCE) or tmp_path / "train" / "a"
    with pytest.raises(DataError, match=rf"^{tmp_path}/train/a: coordinates reach .* m, which no scan does"):
        read_scene(folder, load_taxonomy("scannet200"))


@pytest.mark.parametrize("shape", [(10**11, 3), (10**22, 3), (3 * 10**9, 3)])
def test_an_array_that_announces_more_than_its_file_has_takes_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "coord.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(bytes(36))
    with pytest.raises(DataError, match=r"coord\.npy: is truncated .*it announces float32 .*, and has 36 bytes"):
        load_array(path, lambda: "fetch it again")


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    with open(tmp_path / "coord.npy", "wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(DataError, match="is truncated or no array"):
        load_array(tmp_path / "coord.npy", lambda: "fetch it again")


def test_the_head_alone_shows_that_an_array_announces_too_much(tmp_path: Path) -> None:
    """More elements than there are integers: NumPy would multiply them with a warning, and map what is not there."""
    path = tmp_path / "coord.npy"
    with open(path, "wb") as file:
        head = {"descr": "<f4", "fortran_order": False, "shape": (2**32, 2**32, 3)}
        np.lib.format.write_array_header_1_0(file, head)
        file.write(bytes(36))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"coord\.npy: is truncated .*it announces float32 .*, and has 36 bytes"):
            load_array(path, lambda: "get it again", "r")
