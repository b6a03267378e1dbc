"""A scene that one turns with the mouse: colours, truth, prediction and errors by a switch, classes in a legend.

plotly draws it. Each layer of the switch is a set of point clouds, one for each class, so that plotly's own legend
shows and hides a class, and its own buttons change the layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from pointseg.output.bare_points import mean_spacing_m
from pointseg.output.panels import CORRECT, PLAIN, UNANNOTATED, WRONG, Color, as_color
from pointseg.output.view import choose_view
from pointseg.pages.thinning import thin_points
from pointseg.scans.extent import extent_without_strays
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy

HOW_TO = (
    "Turn with the mouse, zoom with its wheel. The buttons switch what is shown; under the pointer stand class and "
    "confidence, where it is known. A click on a class of the legend hides it, a double click shows it alone. The "
    "slider cuts off what is above, as a ceiling."
)
HEIGHT_PX = 660
_SCENE_SHARE = 0.8  # of the width; the legend has the rest
_DISTANCE = 1.9  # of the eye, in sizes of the room
_DARKEST = 0.6  # of a colour where the light does not reach
_LIGHT = np.array([0.35, 0.25, 0.9])
_CUT_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25)  # of the room's height that is shown
_CEILING_SHARE = 0.04  # of the points: from so many on, what faces down above our heads is a ceiling
# Blue and orange: told apart with any colour vision.
_ONLY_FIRST: Color = (0, 114, 178)
_ONLY_SECOND: Color = (230, 159, 0)


@dataclass(frozen=True)
class ViewedPrediction:
    """What one network, or one file, says of the points."""

    name: str
    """Empty where there is no other."""
    label: np.ndarray
    """(N,) integer; IGNORE: no class."""
    confidence: np.ndarray | None = None
    """(N,) float, 0..1; None: not known."""


@dataclass(frozen=True)
class _Part:
    """The points of a layer that share a row of the legend."""

    name: str
    rows: np.ndarray
    color: Color | None
    """None: each point has its own."""


@dataclass(frozen=True)
class _Layer:
    title: str
    parts: list[_Part]
    confidence: np.ndarray | None = None
    """(N,) of the class that names the part; None: not known, or the part is no class."""
    by_class: bool = False
    """Whether a part is a class, so that its name says all: what stands beside the pointer is most of a page."""


def draw_scene(
    scene: Scene, predictions: Sequence[ViewedPrediction], taxonomy: Taxonomy, max_points: int
) -> tuple[Any, str]:
    """Draw a scene with all that is known of it.

    Args:
        scene: its ``label`` is the ground truth, where there is one.
        predictions: none, one, or two that are compared.
        taxonomy: names and colours of the classes.
        max_points: of larger scenes, as many are drawn, evenly spread.

    Returns:
        A figure of plotly, and a line for people on what is drawn.
    """
    rows, cell_m = thin_points(scene.xyz, max_points)
    drawn = f"{scene.num_points:,} points"
    if cell_m is not None:
        drawn = f"{len(rows):,} of {scene.num_points:,} points, one in each cell of {100 * cell_m:.1f} cm"
    scene = scene.select(rows)
    predictions = [
        replace(p, label=p.label[rows], confidence=None if p.confidence is None else p.confidence[rows])
        for p in predictions
    ]
    return _draw_layers(scene, _make_layers(scene, predictions, taxonomy), _hover(scene, predictions, taxonomy)), drawn


def _make_layers(scene: Scene, predictions: Sequence[ViewedPrediction], taxonomy: Taxonomy) -> list[_Layer]:
    """What the switch switches between, for what is known."""
    everything = np.arange(scene.num_points)
    layers = []
    if scene.rgb is not None:
        layers.append(_Layer("Colours", [_Part("scan", everything, None)]))
    if scene.label is not None:
        layers.append(_Layer("Truth", _parts_by_class(scene.label, taxonomy), by_class=True))
    for prediction in predictions:
        title = f"Prediction {prediction.name}".strip()
        parts = _parts_by_class(prediction.label, taxonomy)
        layers.append(_Layer(title, parts, prediction.confidence, by_class=True))
    if scene.label is not None and len(predictions) == 1:
        layers.append(_Layer("Errors", _errors(scene.label, predictions[0])))
    if scene.label is not None and len(predictions) == 2:
        layers.append(_Layer("Difference", _difference(scene.label, predictions[0], predictions[1])))
    return layers or [_Layer("Scan", [_Part("scan", everything, PLAIN)])]


def _parts_by_class(label: np.ndarray, taxonomy: Taxonomy) -> list[_Part]:
    """One for each class that occurs, the most frequent first; at last what has none."""
    count = np.bincount(label[label != IGNORE], minlength=taxonomy.num_classes)
    parts = [
        _Part(taxonomy.class_names[k], np.flatnonzero(label == k), as_color(taxonomy.colors[k]))
        for k in np.argsort(-count, kind="stable")
        if count[k]
    ]
    return [*parts, *_known([_Part("no class", np.flatnonzero(label == IGNORE), UNANNOTATED)])]


def _errors(label: np.ndarray, prediction: ViewedPrediction) -> list[_Part]:
    known, right = label != IGNORE, label == prediction.label
    return _known(
        [
            _Part("right", np.flatnonzero(known & right), CORRECT),
            _Part("wrong", np.flatnonzero(known & ~right), WRONG),
            _Part("not annotated", np.flatnonzero(~known), UNANNOTATED),
        ]
    )


def _difference(label: np.ndarray, first: ViewedPrediction, second: ViewedPrediction) -> list[_Part]:
    known, a, b = label != IGNORE, label == first.label, label == second.label
    return _known(
        [
            _Part("both right", np.flatnonzero(known & a & b), CORRECT),
            _Part(f"only {first.name} right", np.flatnonzero(known & a & ~b), _ONLY_FIRST),
            _Part(f"only {second.name} right", np.flatnonzero(known & ~a & b), _ONLY_SECOND),
            _Part("both wrong", np.flatnonzero(known & ~a & ~b), WRONG),
            _Part("not annotated", np.flatnonzero(~known), UNANNOTATED),
        ]
    )


def _known(parts: list[_Part]) -> list[_Part]:
    return [part for part in parts if len(part.rows)]


def _hover(scene: Scene, predictions: Sequence[ViewedPrediction], taxonomy: Taxonomy) -> np.ndarray:
    """(N,) str: what stands beside the pointer, over each point. It is HTML to plotly."""
    names = np.array([*map(escape, taxonomy.class_names), "no class"], dtype=object)
    truth = None if scene.label is None else np.append(names[:-1], "not annotated")[scene.label]
    said = [_say(prediction, names) for prediction in predictions]
    if len(said) == 1 and truth is not None and scene.label is not None:
        return said[0] + np.where(scene.label == predictions[0].label, "", " (truth: " + truth + ")")
    if len(said) > 1:
        said = [f"{escape(prediction.name)}: " + text for prediction, text in zip(predictions, said, strict=True)]
    parts = said if truth is None else ["truth: " + truth if said else truth, *said]
    lines = parts[0] if parts else np.full(scene.num_points, "", dtype=object)
    for part in parts[1:]:
        lines = lines + "; " + part
    return lines


def _say(prediction: ViewedPrediction, names: np.ndarray) -> np.ndarray:
    """(N,) str: class and confidence."""
    text = names[prediction.label]
    if prediction.confidence is None:
        return text
    percent = np.rint(100 * prediction.confidence).astype(int).clip(0, 100)
    return text + np.array([f", {number} %" for number in range(101)], dtype=object)[percent]


def _draw_layers(scene: Scene, layers: list[_Layer], hover: np.ndarray) -> Any:
    import plotly.graph_objects as go

    low, high = extent_without_strays(scene.xyz)
    millimetres = np.rint(1000 * (scene.xyz - low)).astype(np.int32)
    if np.abs(millimetres).max() < 2**15:
        millimetres = millimetres.astype(np.int16)  # half the size of the page
    shade = _shade(scene.normal, scene.num_points)
    diagonal_m = max(float(np.linalg.norm(high - low)), 1e-3)  # of a single point, none
    size_px = float(np.clip(1.5 * HEIGHT_PX * mean_spacing_m(scene.xyz) / diagonal_m, 1.5, 9))
    traces = []
    for index, layer in enumerate(layers):
        for part in layer.parts:
            # The legend has the colour of the first point: the lightest.
            rows = np.roll(part.rows, -int(shade[part.rows].argmax()))
            x, y, z = millimetres[rows].T
            traces.append(
                go.Scatter3d(
                    x=x,
                    y=y,
                    z=z,
                    mode="markers",
                    marker={
                        "size": size_px,
                        "symbol": "square",
                        "line": {"width": 0},
                        **_paint(part, rows, scene, shade),
                    },
                    name=escape(part.name),
                    showlegend=part.color is not None,
                    visible=index == 0,
                    **_tell(layer, part, rows, hover),
                )
            )
    figure = go.Figure(traces)
    _lay_out(figure, scene, layers, (high - low) * 1000)
    return figure


def _tell(layer: _Layer, part: _Part, rows: np.ndarray, hover: np.ndarray) -> dict[str, Any]:
    """What stands beside the pointer."""
    if not layer.by_class:
        return {"text": hover[rows], "hovertemplate": "%{text}<extra></extra>"}
    name = escape(part.name)
    if layer.confidence is None:
        return {"hovertemplate": f"{name}<extra></extra>"}
    percent = np.rint(100 * layer.confidence[rows]).clip(0, 100).astype(np.uint8)
    return {"customdata": percent, "hovertemplate": f"{name}, %{{customdata}} %<extra></extra>"}


def _paint(part: _Part, rows: np.ndarray, scene: Scene, shade: np.ndarray) -> dict[str, Any]:
    """The colours of a part's points, darker where the light does not reach."""
    if part.color is None:
        assert scene.rgb is not None, "only a scan with colours has this layer"
        return {"color": [_hex(row) for row in scene.rgb[rows].tolist()]}
    dark = [round(_DARKEST * channel) for channel in part.color]
    return {
        "color": shade[rows],
        "colorscale": [[0, _hex(dark)], [1, _hex(part.color)]],
        "cmin": 0,
        "cmax": 255,
        "showscale": False,
    }


def _shade(normal: np.ndarray | None, num_points: int) -> np.ndarray:
    """(N,) uint8: how light it is, from a lamp above."""
    if normal is None:
        return np.full(num_points, 255, dtype=np.uint8)
    cosine = normal @ (_LIGHT / np.linalg.norm(_LIGHT)).astype(np.float32)
    return np.rint(255 * (0.5 + 0.5 * np.clip(cosine, -1, 1))).astype(np.uint8)


def _lay_out(figure: Any, scene: Scene, layers: list[_Layer], size_mm: np.ndarray) -> None:
    of_layer = [index for index, layer in enumerate(layers) for _ in layer.parts]
    buttons = [
        {"label": escape(layer.title), "method": "restyle", "args": [{"visible": [k == index for k in of_layer]}]}
        for index, layer in enumerate(layers)
    ]
    hidden = {"visible": False, "showspikes": False}
    heights = [float(share * size_mm[2]) for share in _CUT_SHARES]
    active = 1 if _has_ceiling(scene) else 0
    steps = [
        {
            "label": "all of it" if index == 0 else f"below {height / 1000:.1f} m",
            "method": "relayout",
            "args": [{"scene.zaxis.range": _range(height, size_mm)}],
        }
        for index, height in enumerate(heights)
    ]
    eye = choose_view(scene.xyz, scene.normal).towards_viewer * _DISTANCE
    figure.update_layout(
        height=HEIGHT_PX,
        margin={"l": 0, "r": 0, "t": 44, "b": 78},
        uirevision="kept",
        scene={
            "domain": {"x": [0, _SCENE_SHARE]},
            "xaxis": hidden,
            "yaxis": hidden,
            "zaxis": {**hidden, "range": _range(heights[active], size_mm)},
            "aspectmode": "data",
            "dragmode": "orbit",
            "camera": {"eye": dict(zip("xyz", eye.tolist(), strict=True)), "center": {"x": 0, "y": 0, "z": -0.16}},
        },
        legend={"itemsizing": "constant", "x": _SCENE_SHARE + 0.01, "y": 1, "yanchor": "top"},
        hoverlabel={"bgcolor": "white", "bordercolor": "#555", "font": {"color": "#222"}, "align": "left"},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "buttons": buttons,
                "showactive": True,
                "x": 0,
                "xanchor": "left",
                "y": 1.01,
                "yanchor": "bottom",
                "pad": {"l": 4},
            }
        ],
        sliders=[
            {
                "active": active,
                "steps": steps,
                "currentvalue": {"prefix": "shown: "},
                "x": 0.02,
                "len": 0.5,
                "y": 0,
                "yanchor": "top",
                "pad": {"t": 4},
            }
        ],
    )


def _range(height_mm: float, size_mm: np.ndarray) -> list[float]:
    """Of the axis that points up, with a margin, which also keeps a flat scan from being no scene at all."""
    margin = max(0.01 * float(size_mm.max()), 1.0)
    return [-margin, height_mm + margin]


def _has_ceiling(scene: Scene) -> bool:
    """Whether much faces down in the uppermost part of the room: from above, it hides all else."""
    if scene.normal is None:
        return False
    low, high = extent_without_strays(scene.xyz)
    is_high = scene.xyz[:, 2] > high[2] - 0.12 * (high[2] - low[2])
    return float((is_high & (scene.normal[:, 2] < -0.7)).mean()) > _CEILING_SHARE


def _hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
