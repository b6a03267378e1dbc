"""``python -m pointseg.visualize``: pictures and coloured meshes of all kinds of scenes, and what bad calls get."""

from pathlib import Path

import numpy as np
import pytest

from pointseg import visualize
from pointseg.errors import DataError, UsageError
from pointseg.formats.ply import Mesh, read_mesh, write_mesh
from pointseg.output.panels import UNANNOTATED
from pointseg.output.submission import write_prediction
from pointseg.preparation.prepared_source import write_scene
from pointseg.taxonomy import load_taxonomy
from pointseg.window.content import Content
from tests.labelled.labelled_scans import NAMES, write_rooms, write_table
from tests.labelled.test_import import import_scans

NUM_POINTS = 400
FAST = ["--engine", "matplotlib", "--size", "320"]


@pytest.fixture
def mesh() -> Mesh:
    """A bumpy floor of 20 x 20 vertices."""
    i, j = np.meshgrid(np.arange(20), np.arange(20), indexing="ij")
    xyz = np.stack([i * 0.1, j * 0.1, np.sin(i) * 0.02], axis=-1).reshape(-1, 3).astype(np.float32)
    corner = (i[:-1, :-1] * 20 + j[:-1, :-1]).ravel()
    faces = np.concatenate([[corner, corner + 20, corner + 21], [corner, corner + 21, corner + 1]], axis=1).T
    rgb = np.random.default_rng(0).integers(0, 255, (NUM_POINTS, 3)).astype(np.uint8)
    return Mesh(xyz, faces.astype(np.int32), rgb)


@pytest.fixture
def mesh_file(mesh: Mesh, tmp_path: Path) -> Path:
    path = tmp_path / "room.ply"
    write_mesh(path, mesh)
    return path


@pytest.fixture
def prepared(mesh: Mesh, tmp_path: Path) -> Path:
    assert mesh.rgb is not None
    label = np.repeat(np.arange(4), 100)
    label[:10] = -1
    arrays = {"coord": mesh.xyz, "color": mesh.rgb, "normal": np.tile(np.float32([0, 0, 1]), (NUM_POINTS, 1))}
    folder = tmp_path / "prepared" / "val" / "scene0011_00"
    write_scene(folder, {**arrays, "segment20": label, "segment200": label, "instance": label}, {})
    return folder


@pytest.fixture
def prediction(tmp_path: Path) -> Path:
    path = tmp_path / "prediction.txt"
    write_prediction(path, load_taxonomy("scannet200").class_ids[np.repeat([0, 1, 2, 5], 100)])
    return path


def _num_panels(path: Path, size: int = 320) -> int:
    """From the picture's width: panels with a gap before, between and behind them, and four are in two rows."""
    from PIL import Image

    with Image.open(path) as image:
        assert image.format == "PNG"
        num_columns = image.width // (size + 10)
        return num_columns * (2 if image.height > 1.6 * image.width / num_columns else 1)


def test_a_picture_has_a_panel_for_all_that_is_known(
    mesh_file: Path, prepared: Path, prediction: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    for scene, more, num_panels in [
        (mesh_file, [], 1),
        (mesh_file, ["--pred", str(prediction)], 2),
        (mesh_file, ["--pred", str(prediction), "--gt", str(prediction)], 4),
        (prepared, [], 2),
        (prepared, ["--pred", str(prediction)], 4),
    ]:
        assert visualize.main(["--scene", str(scene), "--save", str(out), *more, *FAST]) == 0
        assert _num_panels(out) == num_panels
        captured = capsys.readouterr()
        assert (captured.out.strip(), captured.err) == (str(out), "")


def test_a_coloured_mesh_holds_the_predictions_colours(
    mesh_file: Path, mesh: Mesh, prepared: Path, prediction: Path, tmp_path: Path
) -> None:
    colors = load_taxonomy("scannet200").colors
    out = tmp_path / "out.ply"
    visualize.main(["--scene", str(mesh_file), "--pred", str(prediction), "--save", str(out)])
    coloured = read_mesh(out)
    assert coloured.faces is not None
    assert (coloured.xyz == mesh.xyz).all()
    assert (coloured.faces == mesh.faces).all()
    assert (coloured.rgb == colors[np.repeat([0, 1, 2, 5], 100)]).all()
    visualize.main(["--scene", str(prepared), "--save", str(out)])  # no prediction: the ground truth
    points = read_mesh(out)
    assert points.faces is None
    assert points.rgb is not None
    assert (points.rgb[:10] == UNANNOTATED).all()
    assert (points.rgb[10:] == colors[np.repeat(np.arange(4), 100)[10:]]).all()


def test_bad_files_are_refused_in_one_line(mesh_file: Path, prediction: Path, tmp_path: Path) -> None:
    out = ["--save", str(tmp_path / "out.png"), *FAST]
    short, foreign, broken = tmp_path / "short.txt", tmp_path / "foreign.txt", tmp_path / "broken.ply"
    write_prediction(short, np.ones(399, int))
    write_prediction(foreign, np.full(400, 9999))
    broken.write_bytes(mesh_file.read_bytes()[:-50])
    for arguments, complaint in [
        ([str(mesh_file), "--pred", str(short)], r"short\.txt: has 399 lines, the mesh has 400"),
        ([str(mesh_file), "--pred", str(foreign)], r"foreign\.txt: line 1 is 9999, no class of scannet200"),
        ([str(mesh_file), "--pred", str(tmp_path / "no.txt")], r"no\.txt: there is no such file"),
        ([str(broken)], r"broken\.ply: is truncated"),
        ([str(tmp_path / "no.ply")], r"no\.ply: there is no such file"),
        ([str(tmp_path)], "is no prepared scene, which holds coord.npy"),
    ]:
        with pytest.raises(DataError, match=complaint):
            visualize.main(["--scene", *arguments, *out])
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("name", ["room.png", "room.html"])
def test_labels_of_another_table_than_the_trees_of_now_are_not_shown(name: str, tmp_path: Path) -> None:
    """Each would have the name of another class."""
    write_rooms(tmp_path / "scans", ["train/a"])
    tree, out = tmp_path / "tree", tmp_path / name
    import_scans(tmp_path / "scans", tree, "--classes", write_table(tmp_path / "classes.tsv"))
    write_table(tree / "classes.tsv", dict(reversed(NAMES.items())))
    with pytest.raises(DataError, match="a: was made with another table of classes than .* is now; run: .* import"):
        visualize.main(["--scene", str(tree / "train" / "a"), "--save", str(out), *FAST])
    assert not out.exists()


def test_wrong_calls_are_usage_errors(mesh_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    for more, complaint in [
        (["--save", "out.jpg"], r"out\.jpg: can't be written"),
        ([], "no screen.*--save"),
        (["--save", "out.png", "--size", "7"], "--size 7"),
        (["--save", "out.png", "--engine", "crayon"], "crayon"),
        (["--save", str(tmp_path / "out.ply")], "no labels to colour"),
    ]:
        with pytest.raises(UsageError, match=complaint):
            visualize.main(["--scene", str(mesh_file), *more])


def test_with_a_screen_the_room_is_shown_in_a_window(
    prepared: Path, prediction: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Content] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(visualize, "show_window", shown.append)
    assert visualize.main(["--scene", str(prepared), "--pred", str(prediction)]) == 0
    assert shown[0].name == "scene0011_00"
    assert {key: panel.title for key, panel in shown[0].panels.items()} == {
        1: "Scan",
        2: "Ground truth",
        3: "Prediction",
        4: "Errors",
    }


def test_a_picture_takes_the_place_of_no_input(prepared: Path, prediction: Path, mesh: Mesh, tmp_path: Path) -> None:
    """Neither of the scan nor of another file that this command has not written; nor does it lie in a scene."""
    scan, other = tmp_path / "scan.ply", tmp_path / "other.ply"
    alpha = {"alpha": np.full(NUM_POINTS, 255, np.uint8)}
    for path in (scan, other):
        write_mesh(path, mesh, alpha)
    before = scan.read_bytes()
    link = tmp_path / "link.ply"
    link.symlink_to(scan)
    for scene, out in [(scan, scan), (scan, link), (scan, other), (prepared, prepared / "room.ply")]:
        with pytest.raises(UsageError, match="choose another name with --save"):
            visualize.main(["--scene", str(scene), "--pred", str(prediction), "--save", str(out)])
    with pytest.raises(UsageError, match="choose another name with --save"):
        visualize.main(["--scene", str(prepared), "--save", str(prepared / "room.html")])
    assert scan.read_bytes() == other.read_bytes() == before
    assert not (prepared / "room.ply").exists()
    for _ in range(2):
        assert visualize.main(["--scene", str(scan), "--pred", str(prediction), "--save", str(tmp_path / "a.ply")]) == 0
