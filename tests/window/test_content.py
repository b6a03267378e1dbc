"""What is known is at its key, and a point is described by all that is known of it."""

import numpy as np
import pytest

from pointseg.output.palette import distances
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy
from pointseg.window.content import make_content
from pointseg.window.signs import KEYS, draw_side, draw_tag, side_width


@pytest.mark.parametrize(
    ("rgb", "truth", "prediction", "titles"),
    [
        (True, True, True, {1: "Scan", 2: "Ground truth", 3: "Prediction", 4: "Errors"}),
        (True, False, True, {1: "Scan", 3: "Prediction"}),
        (False, True, True, {2: "Ground truth", 3: "Prediction", 4: "Errors"}),
        (False, False, False, {1: "Scan"}),
    ],
)
def test_a_view_has_the_same_key_whatever_else_is_known(
    room, taxonomy: Taxonomy, rgb: bool, truth: bool, prediction: bool, titles: dict[int, str]
) -> None:
    label = room.scene.label
    scene = Scene("room", room.scene.xyz, room.scene.rgb if rgb else None, None, label if truth else None)
    content = make_content(scene, room.faces, label if prediction else None, taxonomy)
    assert {key: panel.title for key, panel in content.panels.items()} == titles


@pytest.mark.parametrize("with_faces", [True, False])
def test_a_corner_has_the_classes_of_its_point(room, taxonomy: Taxonomy, with_faces: bool) -> None:
    prediction = room.scene.label.copy()
    prediction[room.part == "top"] = 10
    label = room.scene.label.copy()
    label[room.part == "wall x0"] = IGNORE
    scene = Scene("room", room.scene.xyz, None, None, label)
    content = make_content(scene, room.faces if with_faces else None, prediction, taxonomy)

    def describe(part: str) -> list[str]:
        point = np.flatnonzero(room.part == part)[3]
        return content.describe(int(np.flatnonzero(content.room.point_of_corner == point)[0]))

    chair, bed, wall = (taxonomy.class_names[k] for k in (1, 10, 0))
    assert describe("top") == [f"Ground truth: {chair}", f"Prediction: {bed}"]
    assert describe("wall x0") == ["Ground truth: not annotated", f"Prediction: {wall}"]
    assert make_content(Scene("s", room.scene.xyz, None, None, None), None, None, taxonomy).describe(0) == [
        "no class is known; give a prediction by --pred"
    ]


def test_the_legend_has_the_colours_that_are_shown(room, taxonomy: Taxonomy) -> None:
    cabinet, doorframe = (taxonomy.class_names.index(name) for name in ("cabinet", "doorframe"))
    label = np.where(room.part == "floor", cabinet, doorframe)
    content = make_content(Scene("room", room.scene.xyz, None, None, label), room.faces, None, taxonomy)
    colors = content.panels[2].colors
    legend = {entry.name: entry.color for entry in content.legend}
    assert legend.keys() == {"cabinet", "doorframe"}
    assert {tuple(row) for row in colors[label == cabinet].tolist()} == {legend["cabinet"]}
    assert {tuple(row) for row in colors[label == doorframe].tolist()} == {legend["doorframe"]}
    assert distances(np.array([legend["cabinet"]]), np.array([legend["doorframe"]])).min() > 0.04


def _patches(image: np.ndarray, color: tuple[int, int, int]) -> int:
    """Rows of the image that begin a patch of this colour."""
    rows = (image == color).all(axis=2).sum(axis=1) > 8
    return int(np.count_nonzero(rows[1:] & ~rows[:-1]))


def test_the_side_has_the_colours_of_what_is_shown_as_far_as_there_is_room(room, taxonomy: Taxonomy) -> None:
    label = np.arange(room.scene.num_points) % 30
    content = make_content(Scene("room", room.scene.xyz, None, None, label), room.faces, label[::-1].copy(), taxonomy)
    colors = [entry.color for entry in content.legend]
    assert len(colors) == 30
    tall, low = (draw_side(content, 2, height, 14) for height in (1200, 500))
    assert tall.shape == (1200, side_width(14), 3)
    assert all(_patches(tall, color) == 1 for color in colors)
    shown = [_patches(low, color) for color in colors]
    assert 3 <= sum(shown) < 20
    assert shown == sorted(shown, reverse=True)  # the most frequent ones
    errors = draw_side(content, 4, 500, 14)
    assert [_patches(errors, entry.color) for entry in content.panels[4].key] == [1, 1]
    assert draw_side(content, 2, 30, 14).shape[0] == 30  # a window of no height at all
    assert len({draw_side(content, key, 500, 14).tobytes() for key in content.panels}) == 3
    # What the keys do is at the foot, whatever is above it.
    foot = (len(KEYS) - 1) * 23
    assert (low[-foot:] == tall[-foot:]).all()


@pytest.mark.parametrize("to_the_left", [False, True])
def test_a_tag_is_a_box_beside_a_mark(to_the_left: bool) -> None:
    one, two = (draw_tag(["Prediction: bed"] * number, 14, to_the_left) for number in (1, 2))
    assert two.shape[0] > one.shape[0]
    opaque = one[..., 3] == 255
    columns = np.flatnonzero(opaque.all(axis=0))
    assert 0.7 * one.shape[1] < np.ptp(columns) < one.shape[1] - 14
    mark = (one.shape[0] // 2, one.shape[1] - 7 if to_the_left else 7)
    assert opaque[mark]
    assert one[mark][:3].max() < 100
