"""A picture of a scene's points in a moment and without a library for 3D: for the log of a training."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pointseg.output.panels import LegendEntry, make_panels, rank_classes, with_distinct_colors
from pointseg.output.picture import lay_out_scene
from pointseg.output.view import Frame
from pointseg.output.visibility import seen_points
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy

_WIDTH_PX = 400
_TITLE_PX = 22
_MOST_POINTS = 200_000
_BACKGROUND = (255, 255, 255)


def draw_prediction(scene: Scene, predicted: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """The scan, its labels, what was predicted, and where that is wrong: two by two, seen over a corner of the room.

    Args:
        scene: with labels.
        predicted: (N,) labels, IGNORE where there is none.
        taxonomy: whose colours are shown.

    Returns:
        (H, W, 3) uint8.
    """
    some = slice(None, None, -(-scene.num_points // _MOST_POINTS))
    scene, predicted = scene.select(some), predicted[some]
    labels = [label for label in (scene.label, predicted) if label is not None]
    surface, frame = lay_out_scene(scene, None)
    frame = _widen(frame)
    point = seen_points(surface, frame, _WIDTH_PX, max(1, round(_WIDTH_PX / frame.aspect)))
    taxonomy = with_distinct_colors(taxonomy, rank_classes(labels, taxonomy.num_classes))
    panels = make_panels(scene, predicted, taxonomy)
    shade = np.zeros(scene.num_points, dtype=np.float32)
    shade[surface.point_of_corner] = surface.shade
    drawn = []
    for panel in panels:
        colors = np.vstack([panel.colors * shade[:, None], [_BACKGROUND]]).astype(np.uint8)
        drawn.append(_add_title(panel.title, panel.key, colors[point]))  # -1: the background
    if len(drawn) % 2:  # a scan without colours has no panel of them
        drawn.insert(0, np.full_like(drawn[0], 255))
    return np.vstack([np.hstack(drawn[:2]), np.hstack(drawn[2:])])


def _widen(frame: Frame) -> Frame:
    """The frame, but not higher than wide: what is high and narrow stands in the middle."""
    half = max(frame.right - frame.left, frame.top - frame.bottom) / 2
    middle = (frame.left + frame.right) / 2
    return replace(frame, left=middle - half, right=middle + half)


def _add_title(title: str, key: tuple[LegendEntry, ...], picture: np.ndarray) -> np.ndarray:
    """The picture under its title, and under what its colours mean where they are no classes."""
    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + _TITLE_PX), _BACKGROUND)
    image.paste(Image.fromarray(picture), (0, _TITLE_PX))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    draw.text((6, 4), title, fill=(0, 0, 0), font=font)
    left = 6 + font.getlength(title) + 14
    for entry in key:
        draw.rectangle((left, 6, left + 11, 17), fill=entry.color)
        draw.text((left + 16, 4), entry.name, fill=(0, 0, 0), font=font)
        left += 16 + font.getlength(entry.name) + 12
    return np.asarray(image)
