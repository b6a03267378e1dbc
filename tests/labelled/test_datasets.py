"""Other data sets in their official layouts become prepared trees with their classes and splits."""

import json
import sys

import numpy as np
import pytest

from pointseg.taxonomy import read_class_table
from tests.labelled import official_layouts
from tests.labelled.test_import import check, import_scans

# Scenes of the lists that the small layouts lack, as an unfinished download does.
NOT_ON_THIS_DISK = {"scannetpp": 1, "3rscan": 1}

pytestmark = pytest.mark.needs("scenezoo")


def read(folder, part):
    return np.load(folder / f"{part}.npy")


@pytest.fixture
def imported(request, tmp_path):
    """The data set that the test is named after, imported."""
    name = request.param
    expected = getattr(official_layouts, f"write_{name}")(tmp_path / "source")
    done = import_scans(tmp_path / "source", tmp_path / "out", "--dataset", name)
    assert (done.status, done.err) == (0, "")
    missing = check(tmp_path / "out").error_lines
    assert len(missing) == NOT_ON_THIS_DISK.get(name, 0)
    assert all("is in the list, but not in the raw data; download it and run: " in line for line in missing)
    again = import_scans(tmp_path / "source", tmp_path / "out", "--dataset", name)
    assert " 0 failed" in again.out
    assert again.out.startswith("0 scenes prepared")
    return tmp_path / "out", expected, done


@pytest.mark.parametrize("imported", ["s3dis"], indirect=True)
def test_s3dis(imported):
    """Thirteen classes, id 0 among them; a folder an area; stairs are clutter; no faces, so no normals."""
    out, rooms, done = imported
    taxonomy = read_class_table(out / "classes.tsv")
    names = "ceiling floor wall beam column window door table chair sofa bookcase board clutter"
    assert taxonomy.class_names == tuple(names.split())
    assert (taxonomy.class_ids.tolist(), taxonomy.no_class_id) == (list(range(13)), -1)
    for room, points_of_object in rooms.items():
        coord, label, instance = (read(out / room, part) for part in ("coord", "segment", "instance"))
        assert not (out / room / "normal.npy").exists()
        for name, points in points_of_object.items():
            kind = name.split("_")[0]
            expected = taxonomy.class_names.index(kind if kind in taxonomy.class_names else "clutter")
            mine = np.flatnonzero(instance == sorted(points_of_object).index(name))
            np.testing.assert_allclose(coord[mine], points[:, :3], atol=1e-6)
            np.testing.assert_array_equal(read(out / room, "color")[mine], points[:, 3:])
            assert (label[mine] == expected).all()
    assert "Area_5" in done.out


@pytest.mark.parametrize("imported", ["scannetpp"], indirect=True)
def test_scannetpp(imported):
    """The benchmark's classes from its list, names mapped, the smaller object first, masked vertices without label."""
    out, _, _ = imported
    assert read_class_table(out / "classes.tsv").class_names == ("wall", "table", "monitor")
    assert read(out / "val" / "bb22", "segment").tolist() == [0, 0, 1, -1, -1]
    assert read(out / "val" / "bb22", "instance").tolist() == [1, 1, 2, 5, -1]
    assert read(out / "train" / "aa11", "segment").tolist() == [0, -1, 1, -1, -1]
    assert sorted(path.stem for path in (out / "test" / "cc33").glob("*.npy")) == ["color", "coord", "face", "normal"]
    report = json.loads((out / "preprocess_report.json").read_text())
    assert report["missing"] == {"train": ["zz99"], "val": [], "test": []}


@pytest.mark.parametrize("imported", ["3rscan"], indirect=True)
def test_3rscan(imported):
    """RIO's 27 classes; the colours of the annotated mesh are those of the objects, and left out."""
    out, _, _ = imported
    assert read_class_table(out / "classes.tsv").class_ids.tolist() == [2, 4]
    assert read(out / "train" / "ref-a", "segment").tolist() == [-1, 1, 1, 0, 0]
    assert read(out / "val" / "ref-b", "instance").tolist() == [-1, 7, 7, 8, 8]
    assert not (out / "train" / "ref-a" / "color.npy").exists()


@pytest.mark.parametrize("imported", ["multiscan"], indirect=True)
def test_multiscan(imported):
    """A vertex has the label of most of its faces."""
    out, _, _ = imported
    taxonomy = read_class_table(out / "classes.tsv")
    assert (taxonomy.class_names, taxonomy.class_ids.tolist()) == (("floor", "chair"), [1, 6])
    assert read(out / "train" / "scene_0", "segment").tolist() == [0, 0, 0, 0, 1]
    assert read(out / "val" / "scene_1", "instance").tolist() == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("imported", ["matterport3d"], indirect=True)
def test_matterport3d(imported):
    """Each region is a scene; what the 40 classes call unlabeled is none."""
    out, _, _ = imported
    assert read_class_table(out / "classes.tsv").class_names == ("wall", "chair")
    assert sorted(path.name for path in (out / "train").iterdir()) == ["h1_0", "h1_1"]
    assert read(out / "val" / "h2_1", "segment").tolist() == [0, 0, 0, 0, 1]


def refuse_to_fetch(path, *arguments, **options):
    raise OSError(f"no network for {path}")


def test_bad_scene_and_missing_tables(tmp_path, monkeypatch):
    """One line each, and the other rooms are done."""
    monkeypatch.setattr("scenezoo.io.cache.open_cached_file", refuse_to_fetch)
    official_layouts.write_s3dis(tmp_path / "s3dis")
    (tmp_path / "s3dis" / "Area_1" / "office_1" / "Annotations" / "wall_1.txt").write_text("1 2 three\n")
    done = import_scans(tmp_path / "s3dis", tmp_path / "out", "--dataset", "s3dis")
    assert done.status == 1
    (line,) = done.error_lines
    assert "wall_1.txt" in line
    assert "2 scenes prepared" in done.out
    official_layouts.write_scannetpp(tmp_path / "pp")
    (tmp_path / "pp" / "metadata" / "semantic_benchmark" / "top100.txt").unlink()
    (line,) = import_scans(tmp_path / "pp", tmp_path / "out2", "--dataset", "scannetpp").error_lines
    assert "top100.txt: is missing; download the data set's metadata" in line
    (line,) = import_scans(tmp_path / "pp", tmp_path / "out", "--dataset", "multiscan").error_lines
    assert "scans_split.csv" in line


def test_another_data_set_in_the_same_tree(tmp_path):
    official_layouts.write_s3dis(tmp_path / "s3dis")
    import_scans(tmp_path / "s3dis", tmp_path / "out", "--dataset", "s3dis")
    official_layouts.write_multiscan(tmp_path / "multi")
    (line,) = import_scans(tmp_path / "multi", tmp_path / "out", "--dataset", "multiscan").error_lines
    assert (
        f"classes.tsv: has other classes than multiscan in {tmp_path / 'multi'}; choose another folder by --out" in line
    )


def write_scannetpp(tmp_path):
    """The folder of the data set, and of its tables."""
    official_layouts.write_scannetpp(tmp_path / "pp")
    return tmp_path / "pp", tmp_path / "pp" / "metadata" / "semantic_benchmark"


def test_a_label_map_that_changed_makes_the_scenes_anew(tmp_path):
    """Old labels would count as done; the check says so before the import is run again."""
    source, tables = write_scannetpp(tmp_path)
    import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    label_map = tables / "map_benchmark.csv"
    label_map.write_text(label_map.read_text().replace("dust,1,,", "dust,1,monitor,"))
    lines = check(tmp_path / "out").error_lines
    assert sum(f"was made with another label mapping than {source} is now; run: " in line for line in lines) == 3
    again = import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    assert again.out.startswith("3 scenes prepared")
    assert read(tmp_path / "out" / "val" / "bb22", "segment").tolist() == [0, 0, 1, 2, -1]


def test_a_label_map_that_is_missing(tmp_path):
    """Objects of other names than the classes' would have no label without it, and nobody would notice."""
    source, tables = write_scannetpp(tmp_path)
    (tables / "map_benchmark.csv").unlink()
    (line,) = import_scans(source, tmp_path / "out", "--dataset", "scannetpp").error_lines
    assert "map_benchmark.csv: is missing" in line


def test_classes_in_another_order(tmp_path):
    """The ids are the same, and mean other classes: one tree can't hold both."""
    source, tables = write_scannetpp(tmp_path)
    import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    (tables / "top100.txt").write_text("table\nmonitor\nwall\n")
    (line,) = import_scans(source, tmp_path / "out", "--dataset", "scannetpp").error_lines
    assert f"classes.tsv: has other classes than scannetpp in {source}; choose another folder by --out" in line


def test_blanks_behind_names_in_lists(tmp_path):
    source, tables = write_scannetpp(tmp_path)
    (tables / "top100.txt").write_text("wall \n table\nmonitor\t\n")
    (source / "splits" / "nvs_sem_train.txt").write_text("aa11 \n")
    done = import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    assert (done.status, done.err) == (0, "")
    assert read(tmp_path / "out" / "train" / "aa11", "segment").tolist() == [0, -1, 1, -1, -1]


def test_segments_that_do_not_fit_the_mesh(tmp_path):
    """A line for that scene, and the others are made."""
    source, _ = write_scannetpp(tmp_path)
    segments = source / "data" / "bb22" / "scans" / "segments.json"
    segments.write_text(segments.read_text().replace("[0, 0, 1, 2, 3]", "[0, 0, 1, 2]"))
    done = import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    (line,) = done.error_lines
    assert "bb22/scans: has 4 class ids for 5 points" in line
    assert done.out.startswith("2 scenes prepared")


def test_rooms_of_s3dis_that_are_not_read_are_named(tmp_path):
    """An area in small letters, and a room without its objects; of rooms of one name in two areas nothing is said."""
    source = tmp_path / "s3dis"
    official_layouts.write_s3dis(source)
    (source / "area_3" / "office_1" / "Annotations").mkdir(parents=True)
    (source / "Area_1" / "office_2").mkdir()
    done = import_scans(source, tmp_path / "out", "--dataset", "s3dis")
    first, second = done.error_lines
    assert f"{source / 'area_3'}: is read as no area; call it Area_3" in first
    assert f"{source / 'Area_1' / 'office_2'}: has no folder Annotations" in second
    assert done.out.startswith("3 scenes prepared")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("floor_1.txt", "floor_1.TXT", "floor_1.TXT: is not read as it is called; call it floor_1.txt"),
        ("chair_1.txt", "Chair_1.txt", "Chair_1.txt: is not read as it is called; call it chair_1.txt"),
    ],
)
def test_a_room_of_s3dis_that_would_lose_points(tmp_path, old, new, problem):
    """It has one line, and so has no room of its name in another area."""
    source = tmp_path / "s3dis"
    official_layouts.write_s3dis(source)
    objects = source / "Area_1" / "office_1" / "Annotations"
    (objects / old).rename(objects / new)
    done = import_scans(source, tmp_path / "out", "--dataset", "s3dis")
    (line,) = done.error_lines
    assert problem in line
    assert "office_1" in line
    assert "delete" not in line + done.out
    assert done.out.startswith("2 scenes prepared")


def test_of_a_room_of_s3dis_whose_objects_have_fewer_points_a_line_tells(tmp_path):
    """A file that is cut off at the end of a line shows nothing of it."""
    source = tmp_path / "s3dis"
    official_layouts.write_s3dis(source)
    path = source / "Area_1" / "office_1" / "Annotations" / "chair_1.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    done = import_scans(source, tmp_path / "out", "--dataset", "s3dis")
    assert done.out.startswith("3 scenes prepared")
    (note,) = [line for line in done.out.splitlines() if "the objects have" in line]
    assert "and office_1.txt has " in note
    assert "download the room again" in note


def test_out_in_the_folder_of_the_data_set(tmp_path):
    source = tmp_path / "s3dis"
    official_layouts.write_s3dis(source)
    for out in (source, source / "Area_1"):
        (line,) = import_scans(source, out, "--dataset", "s3dis").error_lines
        assert f"{out}: lies in the folder of the data set; choose another folder by --out" in line


def test_an_annotation_that_is_cut_off(tmp_path):
    """To download a table again would not help."""
    source = tmp_path / "multi"
    official_layouts.write_multiscan(source)
    path = source / "scene_0" / "scene_0.annotations.json"
    path.write_text(path.read_text()[:-20])
    (line,) = import_scans(source, tmp_path / "out", "--dataset", "multiscan").error_lines
    assert line.endswith("; download the scan scene_0 again")


def test_what_is_not_downloaded_yet_is_not_kept(tmp_path):
    """Of a tree that is made for the first time nothing is from before."""
    source, _ = write_scannetpp(tmp_path)
    done = import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    assert "listed, but not in the source: 1 scenes" in done.out
    assert "kept in the tree" not in done.out
    (source / "data" / "aa11").rename(tmp_path / "aa11")
    done = import_scans(source, tmp_path / "out", "--dataset", "scannetpp")
    assert "no longer in the source, kept in the tree: 1 scenes\nlisted, but not in the source: 1 scenes" in done.out


def test_the_library_is_missed_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scenezoo", None)
    (tmp_path / "source").mkdir()
    done = import_scans(tmp_path / "source", tmp_path / "out", "--dataset", "s3dis")
    assert done.status == 2
    assert "--dataset s3dis: reading it needs scenezoo; type: pip install 'pointseg[datasets]'" in done.err
