"""Drawn panels, their titles and the legend, put together on one white canvas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointseg.output.panels import LegendEntry, Panel

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_WHITE = (255, 255, 255)
_INK = (40, 40, 40)
_QUIET_INK = (110, 110, 110)
_OUTLINE = (150, 150, 150)


def compose_picture(name: str, panels: list[Panel], drawings: list[np.ndarray], legend: list[LegendEntry]) -> Image:
    """One picture: panels side by side under their titles, the classes in view below.

    Args:
        name: of the scene; stands at the right of the legend.
        panels: titles and keys.
        drawings: (H, W, 3) uint8 each, all of one size.
        legend: entries, most frequent first.
    """
    from PIL import Image, ImageDraw

    height, width, _ = drawings[0].shape
    unit = max(8, width // 40)  # the size of small text; all distances follow it
    gap, title_height = 2 * unit, 3 * unit
    total_width = len(drawings) * width + (len(drawings) + 1) * gap
    rows = _legend_rows(legend, name, total_width - 2 * gap, unit)
    row_height = int(1.7 * unit)
    total_height = gap + title_height + height + gap + len(rows) * row_height + gap
    image = Image.new("RGB", (total_width, total_height), _WHITE)
    draw = ImageDraw.Draw(image)
    for i, (panel, drawing) in enumerate(zip(panels, drawings, strict=True)):
        left = gap + i * (width + gap)
        _draw_title(draw, panel, left, gap, width, unit)
        image.paste(Image.fromarray(drawing), (left, gap + title_height))
    top = gap + title_height + height + gap
    for i, row in enumerate(rows):
        for left, entry in row:
            _draw_entry(draw, entry, gap + left, top + i * row_height, unit)
    font = load_font(unit)
    draw.text((total_width - gap - font.getlength(name), top), name, fill=_QUIET_INK, font=font)
    return image


def load_font(size_px: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that every machine writes alike."""
    import matplotlib
    from PIL import ImageFont

    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file, size_px)


def _draw_title(draw: ImageDraw, panel: Panel, left: int, top: int, width: int, unit: int) -> None:
    draw.text((left, top), panel.title, fill=_INK, font=load_font(int(1.4 * unit), bold=True))
    widths = [_entry_width(entry, unit) for entry in panel.key]
    right = left + width - sum(widths)
    for entry, entry_width in zip(panel.key, widths, strict=True):
        _draw_entry(draw, entry, right, top + int(0.2 * unit), unit)
        right += entry_width


def _legend_rows(legend: list[LegendEntry], name: str, width: int, unit: int) -> list[list[tuple[int, LegendEntry]]]:
    """Rows of (left edge, entry). The first row leaves room for the name at its right."""
    rows: list[list[tuple[int, LegendEntry]]] = [[]]
    left, limit = 0, width - int(load_font(unit).getlength(name)) - 2 * unit
    for entry in legend:
        entry_width = _entry_width(entry, unit)
        if left + entry_width > limit and rows[-1]:
            rows.append([])
            left, limit = 0, width
        rows[-1].append((left, entry))
        left += entry_width
    return rows


def _entry_width(entry: LegendEntry, unit: int) -> int:
    return int(1.6 * unit + load_font(unit).getlength(entry.name) + 1.4 * unit)


def _draw_entry(draw: ImageDraw, entry: LegendEntry, left: int, top: int, unit: int) -> None:
    if entry.color != _WHITE:
        draw.rounded_rectangle(
            (left, top + 0.1 * unit, left + 1.1 * unit, top + 1.2 * unit),
            radius=0.2 * unit,
            fill=entry.color,
            outline=_OUTLINE,
        )
    draw.text((left + 1.6 * unit, top), entry.name, fill=_INK, font=load_font(unit))
