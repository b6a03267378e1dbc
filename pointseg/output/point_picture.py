"""A picture of a scene's points, in a fraction of a second and without a library for 3D: for the log of a training."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pointseg.output.view import choose_view, fit_frame
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy

_WIDTH_PX = 400
_LARGEST_HEIGHT_PX = 400
_TITLE_PX = 22
_MOST_POINTS = 300_000
_LARGEST_STAMP_PX = 6
_BACKGROUND = (255, 255, 255)
_RIGHT, _WRONG, _NOT_LABELLED = (176, 186, 196), (214, 39, 40), (70, 70, 70)
_DARKEST = 0.65
"""Of a surface seen from its side."""


def draw_prediction(scene: Scene, predicted: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """The scan, its labels, what was predicted, and where that is wrong: two by two, seen over a corner of the room.

    Args:
        scene: with labels.
        predicted: (N,) labels, IGNORE where there is none.
        taxonomy: whose colours are shown.

    Returns:
        (H, W, 3) uint8.
    """
    assert scene.label is not None
    gray = np.full((scene.num_points, 3), 160, dtype=np.uint8)
    state = np.where(scene.label == IGNORE, 2, predicted != scene.label)
    wrong = np.array([_RIGHT, _WRONG, _NOT_LABELLED], dtype=np.uint8)[state]
    panels = {
        "scan": gray if scene.rgb is None else scene.rgb,
        "truth": _color_labels(scene.label, taxonomy),
        "prediction": _color_labels(predicted, taxonomy),
        "wrong: red; no label: dark": wrong,
    }
    drawn = draw_points(scene, list(panels.values()))
    titled = [_add_title(title, panel) for title, panel in zip(panels, drawn, strict=True)]
    return np.vstack([np.hstack(titled[:2]), np.hstack(titled[2:])])


def draw_points(scene: Scene, colors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The points in parallel projection, the nearest before the others; once for each (N, 3) uint8 of colours.

    Points whose normals look away are left out, as ceilings and near walls seen from outside.

    Returns:
        (H, W, 3) uint8 each.
    """
    view = choose_view(scene.xyz, scene.normal)
    kept = np.arange(scene.num_points)
    shade = np.ones(scene.num_points)
    if scene.normal is not None:
        facing = scene.normal @ view.towards_viewer
        shade = _DARKEST + (1 - _DARKEST) * facing.clip(0, 1)
        kept = kept[facing > 0] if (facing > 0).any() else kept
    kept = kept[:: -(-len(kept) // _MOST_POINTS)]
    point_of_pixel = _find_nearest(view.project(scene.xyz[kept]))
    pictures = []
    for of_point in colors:
        shaded = np.vstack([of_point[kept] * shade[kept, None], [_BACKGROUND]]).astype(np.uint8)
        pictures.append(shaded[point_of_pixel])  # -1: the background
    return pictures


def _find_nearest(projected: np.ndarray) -> np.ndarray:
    """(H, W) int64: the point that each pixel shows, -1 where there is none.

    Args:
        projected: (N, 3) float32, metres: right, up, and towards the viewer.
    """
    frame = fit_frame(projected)
    metres_per_px = max((frame.right - frame.left) / _WIDTH_PX, (frame.top - frame.bottom) / _LARGEST_HEIGHT_PX)
    height = max(1, round((frame.top - frame.bottom) / metres_per_px))
    corner = np.array([frame.top, frame.left])
    pixel = (np.abs(projected[:, [1, 0]] - corner) / metres_per_px).astype(np.int64)
    outside = (projected[:, 1] > frame.top) | (projected[:, 0] < frame.left)
    far_to_near = np.argsort(projected[:, 2], kind="stable")
    far_to_near = far_to_near[~outside[far_to_near]]
    # So many pixels wide that little of the background shines through between the points.
    stamp = int(np.clip(np.ceil(1.8 * np.sqrt(_WIDTH_PX * height / len(projected))), 1, _LARGEST_STAMP_PX))
    nearest = np.full((height, _WIDTH_PX), -1)
    for shift in np.ndindex(stamp, stamp):
        y, x = (pixel[far_to_near] + shift - stamp // 2).T
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < _WIDTH_PX)
        layer = np.full_like(nearest, -1)
        layer[y[inside], x[inside]] = far_to_near[inside]  # of several on a pixel the last stays: the nearest
        is_nearer = (layer >= 0) & ((nearest < 0) | (projected[layer, 2] > projected[nearest, 2]))
        nearest[is_nearer] = layer[is_nearer]
    return nearest


def _color_labels(label: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    return np.vstack([taxonomy.colors, [_NOT_LABELLED]]).astype(np.uint8)[label]  # -1: the last


def _add_title(title: str, picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + _TITLE_PX), _BACKGROUND)
    image.paste(Image.fromarray(picture), (0, _TITLE_PX))
    ImageDraw.Draw(image).text((6, 4), title, fill=(0, 0, 0), font=ImageFont.load_default(14))
    return np.asarray(image)
