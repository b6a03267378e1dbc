"""What is written in the window, as images: views, keys and legend at its right, and names where one clicks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointseg.output.canvas import INK, QUIET_INK, WHITE, draw_entry, load_font
from pointseg.output.panels import shorten_legend
from pointseg.window.content import Content

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

KEYS = (
    ("click", "class of a point"),
    ("drag", "turn"),
    ("right drag", "move"),
    ("wheel", "zoom"),
    ("B", "back of walls on, off"),
    ("R", "as at first"),
    ("Q", "close"),
)
_PAPER = (247, 247, 247)
_CHOSEN = (222, 232, 245)
_BORDER = (150, 150, 150)
_COLUMN = 5.6  # where the meaning of a key begins, in sizes of the text


def side_width(unit: int) -> int:
    """Pixels that the side takes, with text of this size."""
    return 18 * unit


def draw_side(content: Content, key: int, height_px: int, unit: int) -> np.ndarray:
    """(H, W, 3) uint8: the views with their keys, what the mouse does, and what the colours mean.

    Args:
        content: of the window.
        key: of the view that is shown.
        height_px: H; of the legend, as much is shown as there is room for.
        unit: size of the text, pixels.
    """
    from PIL import Image, ImageDraw

    width_px = side_width(unit)
    image = Image.new("RGB", (width_px, height_px), _PAPER)
    draw = ImageDraw.Draw(image)
    bold = load_font(unit, bold=True)
    line, left = int(1.7 * unit), unit
    draw.text((left, unit), _shorten(content.name, width_px - 2 * unit, unit), fill=QUIET_INK, font=load_font(unit))
    top = unit + int(1.3 * line)
    for number, panel in content.panels.items():
        if number == key:
            draw.rectangle((0, top - 0.25 * unit, width_px, top + 1.45 * unit), fill=_CHOSEN)
        draw.text((left, top), str(number), fill=INK, font=bold)
        draw.text((left + 1.6 * unit, top), panel.title, fill=INK, font=bold if number == key else load_font(unit))
        top += line
    bottom = height_px - len(KEYS) * line
    _draw_keys(draw, left, bottom, line, unit)
    top += line // 2
    shown = content.panels[key]
    entries = list(content.legend) if shown.label is not None else list(shown.key)
    most = max(0, (bottom - line // 2 - top) // line)
    entries = shorten_legend(entries, most - 1) if len(entries) > most > 0 else entries[:most]
    for entry in entries:
        draw_entry(draw, entry, left, top, unit)
        top += line
    return np.asarray(image)


def draw_tag(lines: Sequence[str], unit: int, to_the_left: bool = False) -> np.ndarray:
    """(H, W, 4) uint8: a mark, to lie on a point, and beside it a box with a few lines of text; else transparent.

    Args:
        lines: of text.
        unit: its size, pixels.
        to_the_left: the box is left of the mark, whose middle is ``unit / 2`` pixels from that edge, halfway up.
    """
    from PIL import Image, ImageDraw

    font = load_font(unit)
    width = int(max(font.getlength(line) for line in lines) + 1.2 * unit)
    height = int((1.4 * len(lines) + 0.6) * unit)
    gap = int(1.5 * unit)
    image = Image.new("RGBA", (width + gap, height))
    draw = ImageDraw.Draw(image)
    left, x, y = (0, width + gap - unit / 2, height / 2) if to_the_left else (gap, unit / 2, height / 2)
    draw.line((x, y, left + width / 2, y), fill=_BORDER, width=max(1, unit // 7))
    draw.rectangle((left, 0, left + width - 1, height - 1), fill=WHITE, outline=_BORDER)
    radius = unit / 3
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=INK, outline=WHITE, width=max(1, unit // 7))
    for index, line in enumerate(lines):
        draw.text((left + 0.6 * unit, (0.35 + 1.4 * index) * unit), line, fill=INK, font=font)
    return np.asarray(image)


def _draw_keys(draw: ImageDraw, left: int, top: int, line: int, unit: int) -> None:
    font, bold = load_font(int(0.9 * unit)), load_font(int(0.9 * unit), bold=True)
    for index, (key, meaning) in enumerate(KEYS):
        draw.text((left, top + index * line), key, fill=QUIET_INK, font=bold)
        draw.text((left + _COLUMN * unit, top + index * line), meaning, fill=QUIET_INK, font=font)


def _shorten(text: str, width_px: int, unit: int) -> str:
    """As much of the end of a text as fits."""
    font = load_font(unit)
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength("…" + text) > width_px:
        text = text[1:]
    return "…" + text
