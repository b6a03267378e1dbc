"""Pictures hold the panels, their colours and the legend; both engines draw the same thing."""

from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import UsageError
from pointseg.output import offscreen, picture
from pointseg.output.canvas import compose_picture, entry_width, legend_rows
from pointseg.output.drawing import Drawing
from pointseg.output.offscreen import OffscreenError, draw_offscreen
from pointseg.output.painter import draw_with_matplotlib
from pointseg.output.palette import distances
from pointseg.output.panels import CORRECT, LegendEntry, Panel, make_panels
from pointseg.output.picture import Picture, save_pictures
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy
from tests.output.drawings import plan_drawing

pytest.importorskip("matplotlib")
WIDTH = 200


@pytest.fixture(scope="module")
def prediction(room) -> np.ndarray:
    """Right but for the box, whose top is called a bed, and the ceiling, which is not in view."""
    label = room.scene.label.copy()
    label[label == 1] = 10
    label[label == 34] = 60
    return label


def _nearest_shade(pixel: np.ndarray, color: tuple[int, int, int]) -> float:
    """How far a pixel is from being a colour in some light (0.7 to 1): the largest difference of a channel."""
    shades = np.array(color)[None] * np.linspace(0.7, 1, 61)[:, None]
    return float(np.abs(shades - pixel).max(axis=1).min())


def _share_of(image: np.ndarray, color: tuple[int, int, int]) -> float:
    """Share of an image's coloured (not white) pixels that have a colour in some light."""
    pixels = image.reshape(-1, 3)
    pixels = pixels[(pixels < 250).any(axis=1)]
    return float(np.mean([_nearest_shade(pixel, color) < 4 for pixel in pixels[:: max(1, len(pixels) // 3000)]]))


@pytest.mark.parametrize("with_faces", [True, False])
def test_each_panel_shows_its_colours(room, prediction: np.ndarray, taxonomy: Taxonomy, with_faces: bool) -> None:
    faces = room.faces if with_faces else None
    panels = make_panels(room.scene, prediction, taxonomy)
    images = draw_with_matplotlib(plan_drawing(room.scene, faces, panels, WIDTH))
    assert len(images) == 4
    wall, chair, floor, bed = (tuple(taxonomy.colors[k].tolist()) for k in (0, 1, 2, 10))
    truth, guess, errors = images[1:]
    for color in (wall, floor):
        assert _share_of(truth, color) == pytest.approx(_share_of(guess, color), abs=0.02)
        assert _share_of(truth, color) > 0.15
    assert _share_of(truth, chair) > 0.02 > _share_of(guess, chair)
    assert _share_of(guess, bed) > 0.02 > _share_of(truth, bed)
    wrong = next(entry.color for entry in panels[-1].key if entry.name == "wrong")
    assert _share_of(errors, wrong) == pytest.approx(_share_of(guess, bed), abs=0.01)
    assert _share_of(errors, CORRECT) > 0.85


def test_what_is_near_hides_what_is_behind_it(room, taxonomy: Taxonomy) -> None:
    """The box stands before floor and wall: the middle of its top is in its colour, not in theirs."""
    panels = [Panel("only the top is black", np.where((room.part == "top")[:, None], 0, 255).repeat(3, 1).astype("u1"))]
    drawing = plan_drawing(room.scene, room.faces, panels, WIDTH)
    middle = drawing.surface.projected[room.part == "top"].mean(axis=0)
    column = (middle[0] - drawing.frame.left) / (drawing.frame.right - drawing.frame.left) * drawing.width_px
    row = (drawing.frame.top - middle[1]) / (drawing.frame.top - drawing.frame.bottom) * drawing.height_px
    assert draw_with_matplotlib(drawing)[0, int(row), int(column)].max() < 20


def test_a_drawing_survives_the_way_to_another_process(room, taxonomy: Taxonomy, tmp_path: Path) -> None:
    drawing = plan_drawing(room.scene, room.faces, make_panels(room.scene, None, taxonomy), WIDTH)
    np.savez(tmp_path / "drawing.npz", **drawing.as_arrays())
    with np.load(tmp_path / "drawing.npz") as arrays:
        back = Drawing.from_arrays(dict(arrays)).as_arrays()
    assert back.keys() == drawing.as_arrays().keys()
    assert all((back[name] == array).all() for name, array in drawing.as_arrays().items())


def test_the_picture_lists_exactly_the_classes_in_view(
    room, prediction: np.ndarray, taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ceiling faces away, so neither its class nor what it is taken for is in the legend."""
    seen: list[list[str]] = []

    def spy(name: str, panels: list, drawings: list, legend: list[LegendEntry], names: list) -> object:
        seen.append([entry.name for entry in legend])
        return compose_picture(name, panels, drawings, legend, names)

    monkeypatch.setattr(picture, "compose_picture", spy)
    path = tmp_path / "new" / "room.png"
    save_pictures([Picture(path, room.scene, taxonomy, room.faces, prediction)], "matplotlib", WIDTH)
    assert sorted(seen[0]) == sorted(taxonomy.class_names[k] for k in (0, 1, 2, 10))
    assert [child.name for child in path.parent.iterdir()] == ["room.png"]


def test_what_is_hidden_or_a_speck_is_not_in_the_legend_and_blues_are_told_apart(
    room, taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the top of the box the floor is hidden, and of a class at one corner of it one sees a few pixels."""
    seen: list[LegendEntry] = []
    panels_seen: list[Panel] = []

    def spy(name: str, panels: list, drawings: list, legend: list[LegendEntry], names: list) -> object:
        seen.extend(legend)
        panels_seen.extend(panels)
        return compose_picture(name, panels, drawings, legend, names)

    monkeypatch.setattr(picture, "compose_picture", spy)
    cabinet, doorframe, hidden, speck = (
        taxonomy.class_names.index(n) for n in ("cabinet", "doorframe", "bed", "sofa chair")
    )
    label = room.scene.label.copy()
    for side in "01":
        label[room.part == f"wall x{side}"], label[room.part == f"wall y{side}"] = cabinet, doorframe
    x, y = room.scene.xyz[:, 0], room.scene.xyz[:, 1]
    label[(room.part == "floor") & (np.abs(x - 2) < 0.06) & (np.abs(y - 1.5) < 0.06)] = hidden
    label[np.flatnonzero(room.part == "top")[0]] = speck
    scene = Scene("room", room.scene.xyz, room.scene.rgb, None, label)
    job = Picture(tmp_path / "room.png", scene, taxonomy, room.faces)
    with monkeypatch.context() as patched:
        patched.setattr(picture, "_FEWEST_SEEN", 0)
        save_pictures([job], "matplotlib", 640)
    found = {entry.name for entry in seen}
    assert taxonomy.class_names[speck] in found
    assert taxonomy.class_names[hidden] not in found
    seen.clear()
    save_pictures([job], "matplotlib", 640)
    names = {entry.name: entry.color for entry in seen}
    assert names.keys() == {taxonomy.class_names[k] for k in (1, 2)} | {"cabinet", "doorframe"}
    official = [tuple(taxonomy.colors[k].tolist()) for k in (cabinet, doorframe)]
    assert sum(names[name] == color for name, color in zip(("cabinet", "doorframe"), official, strict=True)) == 1
    shown = panels_seen[1].colors
    assert {tuple(row) for row in shown[label == doorframe].tolist()} == {names["doorframe"]}
    assert distances(np.array([names["cabinet"]]), np.array([names["doorframe"]])).min() > 0.04


def test_four_panels_are_in_two_rows_unless_they_are_high() -> None:
    def size_of(width: int, height: int, number: int) -> tuple[int, int]:
        drawings = [np.zeros((height, width, 3), np.uint8)] * number
        panels = [Panel("one", np.zeros((1, 3), np.uint8))] * number
        return compose_picture("scene", panels, drawings, []).size

    width, height = size_of(400, 400, 4)
    assert 800 < width < 1000
    assert 800 < height < 1100
    assert size_of(400, 1200, 4)[0] > 1600
    assert size_of(400, 400, 3)[0] > 1200  # no place is left empty
    assert 800 < size_of(400, 400, 2)[0] < 1000


def test_rows_of_the_legend_are_about_as_long_as_each_other() -> None:
    """With as many entries to a row as fit, the last of 13 would stand alone in its row."""
    entries = [LegendEntry(f"class {k:02d}", (20, 20, 200)) for k in range(13)]
    width = 6 * entry_width(entries[0], 16)
    rows = legend_rows(entries, width, 16)
    assert [len(row) for row in rows] == [5, 5, 3]
    named = legend_rows(entries, width, 16, last="scene0000_00")
    assert [entry for row in named for _, entry in row] == entries
    for row in rows:
        assert row[-1][0] + entry_width(row[-1][1], 16) <= width


def test_panels_stand_side_by_side_under_their_titles_and_over_the_legend() -> None:
    from PIL import Image

    colors = [(200, 10, 10), (10, 200, 10)]
    drawings = [np.full((80, 100, 3), color, dtype=np.uint8) for color in colors]
    panels = [Panel("one", np.zeros((1, 3), np.uint8)), Panel("two", np.zeros((1, 3), np.uint8))]
    legend = [LegendEntry(f"class {k}", (20, 20, 200)) for k in range(30)]
    image = compose_picture("scene0000_00", panels, drawings, legend)
    assert isinstance(image, Image.Image)
    pixels = np.asarray(image).astype(int)
    where = [np.argwhere((pixels == color).all(axis=2)) for color in colors]
    assert [len(positions) for positions in where] == [8000, 8000]  # whole and not covered
    assert where[0][:, 0].min() == where[1][:, 0].min()
    assert where[0][:, 1].max() < where[1][:, 1].min()
    top, bottom = where[0][:, 0].min(), where[0][:, 0].max()
    titles, swatches = pixels[:top], np.argwhere((pixels == (20, 20, 200)).all(axis=2))
    assert (titles < 128).any()
    assert swatches[:, 0].min() > bottom
    # Thirty entries don't fit into one row of two small panels: all are there, within the canvas.
    rows = np.unique(swatches[:, 0])
    assert np.count_nonzero(np.diff(rows) > 1) >= 3
    assert (pixels[:, -1] == 255).all()
    assert (pixels[-1] == 255).all()


def test_without_open3d_matplotlib_draws_and_one_line_says_why(
    room, taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> list:
        raise OffscreenError(f"Open3D can't draw here (signal 11); apt-get install {offscreen.SYSTEM_PACKAGES}")

    monkeypatch.setattr(picture, "draw_offscreen", fail)
    job = Picture(tmp_path / "room.png", room.scene, taxonomy, room.faces)
    save_pictures([job], "auto", WIDTH)
    assert job.path.is_file()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "libvulkan1" in lines[0]
    assert "matplotlib instead" in lines[0]
    with pytest.raises(UsageError, match="signal 11"):
        save_pictures([job], "open3d", WIDTH)
    with pytest.raises(UsageError, match="crayon"):
        save_pictures([job], "crayon", WIDTH)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("raise ImportError('libusb-1.0.so.0: no such file')", "ImportError: libusb-1.0.so.0"),
        ("import time; time.sleep(60)", "did not end within 1 s"),
    ],
)
def test_a_drawing_process_that_fails_in_any_way_is_one_line(
    room, taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, reason: str
) -> None:
    """A crash, a library that is missing, and a driver that never comes back."""
    module = tmp_path / "pointseg" / "output" / "offscreen.py"
    module.parent.mkdir(parents=True)
    module.write_text(program)
    for package in (module.parent, module.parent.parent):
        (package / "__init__.py").touch()
    monkeypatch.setattr(offscreen, "_PACKAGE_PARENT", tmp_path)
    monkeypatch.setattr(offscreen, "_START_TIMEOUT_S", 1.0)
    monkeypatch.setattr(offscreen, "_PANEL_TIMEOUT_S", 0.0 if "60" in program else 30.0)
    monkeypatch.setattr(offscreen.importlib.util, "find_spec", lambda _: object())
    drawing = plan_drawing(room.scene, room.faces, make_panels(room.scene, None, taxonomy), WIDTH)
    with pytest.raises(OffscreenError, match="apt-get install") as caught:
        draw_offscreen([drawing])
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_open3d_draws_what_matplotlib_draws(room, prediction: np.ndarray, taxonomy: Taxonomy) -> None:
    """The two share the geometry and the light, so their images differ at edges only. Twice, in one process."""
    panels = make_panels(room.scene, prediction, taxonomy)
    drawings = [plan_drawing(room.scene, faces, panels, WIDTH) for faces in (room.faces, None)]
    try:
        drawn = draw_offscreen(drawings)
    except OffscreenError as error:
        pytest.skip(str(error))
    for drawing, images in zip(drawings, drawn, strict=True):
        expected = draw_with_matplotlib(drawing)
        assert images.shape == expected.shape
        for image, other in zip(images[1:], expected[1:], strict=True):
            different = (np.abs(image.astype(int) - other).max(axis=2) > 24).mean()
            assert different < 0.06
