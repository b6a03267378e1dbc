"""The picture in the log of a training: the nearest points, in the colours of their classes, and what is wrong."""

import numpy as np
import pytest

from pointseg.output.point_picture import draw_prediction
from pointseg.scans.scene import Scene
from pointseg.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy("scannet20")
UP = (0.0, 0.0, 1.0)


def make_floor(num_points: int = 20_000) -> Scene:
    """A floor of one class, and a table of another over its middle."""
    xyz = np.random.default_rng(0).random((2 * num_points, 3)) * (4.0, 3.0, 0.0)
    xyz[num_points:] = xyz[num_points:] * 0.5 + (1.0, 0.75, 0.8)
    label = np.repeat([1, 6], num_points)
    return Scene(
        "floor",
        xyz.astype(np.float32),
        rgb=np.full((2 * num_points, 3), 128, np.uint8),
        normal=np.tile(np.float32(UP), (2 * num_points, 1)),
        label=label,
    )


def share(picture: np.ndarray, color: np.ndarray, tolerance: int = 2) -> float:
    """Of the pixels that are not background."""
    drawn = (picture != 255).any(axis=2)
    return float((np.abs(picture.astype(int) - color).max(axis=2) <= tolerance)[drawn].mean())


def quarters(picture: np.ndarray) -> list[np.ndarray]:
    """Scan, truth, prediction and errors, below their titles."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return [picture[top + 24 : top + height, left : left + width] for top in (0, height) for left in (0, width)]


def test_what_is_nearer_hides_what_is_behind() -> None:
    """In whatever order the points come: the table covers a fourth of the floor."""
    scene = make_floor()
    assert scene.label is not None and scene.normal is not None
    truth = quarters(draw_prediction(scene, scene.label, TAXONOMY))[1]
    facing = truth[(truth != 255).any(axis=2)].max() / TAXONOMY.colors[[1, 6]].max()  # how bright all of it is
    table, floor = (share(truth, TAXONOMY.colors[label] * facing, 6) for label in (6, 1))
    assert table == pytest.approx(0.25, abs=0.05)
    assert floor == pytest.approx(0.75, abs=0.06)

    shuffled = scene.select(slice(None, None, -1))
    assert shuffled.label is not None
    again = quarters(draw_prediction(shuffled, shuffled.label, TAXONOMY))[1]
    assert share(again, TAXONOMY.colors[6] * facing, 6) == pytest.approx(table, abs=0.02)


def test_points_that_look_away_are_left_out() -> None:
    """A ceiling does not hide the room: of the table, turned over, nothing is seen."""
    scene = make_floor()
    assert scene.normal is not None and scene.label is not None
    scene.normal[20_000:] *= -1
    scene.rgb = np.where(np.arange(40_000)[:, None] < 20_000, (0, 100, 0), (200, 0, 0)).astype(np.uint8)
    scan = quarters(draw_prediction(scene, scene.label, TAXONOMY))[0]
    drawn = scan[(scan != 255).any(axis=2)]
    assert (drawn[:, 0] == 0).all() and (drawn[:, 1] > 0).all()


def test_what_is_wrong_is_red_and_what_has_no_label_is_neither_right_nor_wrong() -> None:
    scene = make_floor()
    assert scene.label is not None
    _, truth, predicted, errors = quarters(draw_prediction(scene, scene.label, TAXONOMY))
    assert (truth == predicted).all()

    def redness(picture: np.ndarray) -> float:
        drawn = picture[(picture != 255).any(axis=2)].astype(int)
        return float((drawn[:, 0] > 2 * drawn[:, 1]).mean())

    assert redness(errors) == 0
    as_floor = np.ones_like(scene.label)
    assert redness(quarters(draw_prediction(scene, as_floor, TAXONOMY))[3]) == pytest.approx(0.25, abs=0.05)
    scene.label[scene.label == 6] = -1
    assert redness(quarters(draw_prediction(scene, as_floor, TAXONOMY))[3]) == 0


@pytest.mark.parametrize("num_points", [1, 2, 50])
def test_few_points_without_colours_and_normals_are_a_picture(num_points: int) -> None:
    xyz = np.random.default_rng(0).random((num_points, 3)).astype(np.float32)
    picture = draw_prediction(Scene("few", xyz, label=np.zeros(num_points, int)), np.zeros(num_points, int), TAXONOMY)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (800, 3)
    assert (picture != 255).any()
