"""What a scene's figure holds: layers for what is known, all points or evenly fewer, words beside the pointer."""

from typing import Any

import numpy as np
import pytest

from pointseg.pages.scene_view import ViewedPrediction, draw_scene
from pointseg.pages.thinning import thin_points
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, load_taxonomy

pytestmark = pytest.mark.needs("itables")
TAXONOMY = load_taxonomy("scannet20")
WALL, FLOOR, CABINET = 0, 1, 2


def _room(height_m: float = 2.5, with_ceiling: bool = False) -> Scene:
    """A floor of 900 points and, above it, half a ceiling or a lamp."""
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(30), np.arange(30), indexing="ij"))
    floor = np.stack([i * 0.1, j * 0.1, np.zeros(900)], axis=1)
    above = floor[: 450 if with_ceiling else 10] + np.array([0, 0, height_m])
    xyz = np.concatenate([floor, above]).astype(np.float32)
    normal = np.zeros_like(xyz)
    normal[:, 2] = np.where(np.arange(len(xyz)) < 900, 1, -1)
    label = np.where(np.arange(len(xyz)) < 900, FLOOR, WALL)
    label[:100] = IGNORE
    return Scene("room", xyz, np.full(xyz.shape, 90, np.uint8), normal, label)


def _layers(figure: Any) -> dict[str, dict[str, int]]:
    """Title of a button -> name of a part -> its number of points, for the parts that the button shows."""
    return {
        button.label: {
            trace.name: len(trace.x)
            for trace, visible in zip(figure.data, button.args[0]["visible"], strict=True)
            if visible
        }
        for button in figure.layout.updatemenus[0].buttons
    }


def test_there_is_a_layer_for_all_that_is_known() -> None:
    scene = _room()
    label = np.where(np.arange(910) < 500, FLOOR, CABINET)
    label[-1] = IGNORE
    figure, drawn = draw_scene(scene, [ViewedPrediction("", label, np.full(910, 0.5))], TAXONOMY, 10_000)
    assert drawn == "910 points"
    assert _layers(figure) == {
        "Colours": {"scan": 910},
        "Truth": {"floor": 800, "wall": 10, "no class": 100},
        "Prediction": {"floor": 500, "cabinet": 409, "no class": 1},
        "Errors": {"right": 400, "wrong": 410, "not annotated": 100},
    }
    assert [trace.name for trace in figure.data if trace.visible] == ["scan"]
    bare = Scene("room", scene.xyz)
    assert _layers(draw_scene(bare, [], TAXONOMY, 10_000)[0]) == {"Scan": {"scan": 910}}
    assert list(_layers(draw_scene(bare, [ViewedPrediction("", label)], TAXONOMY, 10_000)[0])) == ["Prediction"]


def test_two_predictions_are_compared() -> None:
    scene = _room()
    first, second = (np.where(np.arange(910) < most, FLOOR, WALL) for most in (900, 600))
    views = [ViewedPrediction("a<b", first), ViewedPrediction("two", second)]
    layers = _layers(draw_scene(scene, views, TAXONOMY, 10_000)[0])
    assert list(layers) == ["Colours", "Truth", "Prediction a&lt;b", "Prediction two", "Difference"]
    assert layers["Difference"] == {"both right": 510, "only a&lt;b right": 300, "not annotated": 100}


def test_beside_the_pointer_stand_class_confidence_and_what_is_true() -> None:
    scene = _room()
    label = np.full(910, FLOOR)
    figure, _ = draw_scene(scene, [ViewedPrediction("", label, np.linspace(0, 1, 910))], TAXONOMY, 10_000)
    parts = {(trace.name, trace.hovertemplate): trace for trace in figure.data}
    everywhere = next(trace for trace in figure.data if trace.name == "scan").text
    said = set(everywhere)
    assert {"floor, 0 % (truth: not annotated)", "floor, 50 %", "floor, 100 % (truth: wall)"} <= said
    prediction = parts["floor", "floor, %{customdata} %<extra></extra>"]
    assert sorted(set(prediction.customdata.tolist())) == list(range(101))
    assert ("wall", "wall<extra></extra>") in parts


def test_a_large_scene_is_thinned_evenly() -> None:
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.random((20_000, 3)) * (1, 1, 0), rng.random((2_000, 3)) * (1, 1, 0) + (1, 0, 0)])
    rows, cell_m = thin_points(xyz.astype(np.float32), 2_000)
    assert cell_m is not None
    assert 1_000 < len(rows) <= 2_000
    assert (np.diff(rows) > 0).all()
    # As many in the half that was scanned ten times as densely.
    assert abs((rows < 20_000).mean() - 0.5) < 0.1
    kept, none = thin_points(xyz, len(xyz))
    assert (len(kept), none) == (len(xyz), None)
    figure, drawn = draw_scene(Scene("s", xyz.astype(np.float32)), [], TAXONOMY, 2_000)
    assert drawn.startswith(f"{len(rows):,} of 22,000 points, one in each cell of ")
    assert len(figure.data[0].x) == len(rows)


@pytest.mark.parametrize("xyz", [np.zeros((1, 3)), np.zeros((5, 3)), np.array([[0, 0, 0], [3e4, 0, 0], [0, 1, 0]])])
def test_odd_scenes_are_drawn(xyz: np.ndarray) -> None:
    """A point, points in one place, points far from each other."""
    figure, _ = draw_scene(Scene("odd", xyz.astype(np.float32)), [], TAXONOMY, 3)
    trace = figure.data[0]
    assert 0 < len(trace.x) <= 3
    assert np.isfinite(trace.marker.size)
    assert np.ptp(trace.x) == (1000 * np.ptp(xyz[:, 0]) if len(xyz) == 3 else 0)
    low, high = figure.layout.scene.zaxis.range
    assert low < high


def test_a_ceiling_is_cut_off_at_first() -> None:
    for with_ceiling in (False, True):
        figure, _ = draw_scene(_room(with_ceiling=with_ceiling), [], TAXONOMY, 10_000)
        (slider,) = figure.layout.sliders
        assert slider.active == int(with_ceiling)
        assert (figure.layout.scene.zaxis.range[1] < 2500) == with_ceiling
        assert slider.steps[slider.active].args[0]["scene.zaxis.range"] == list(figure.layout.scene.zaxis.range)
