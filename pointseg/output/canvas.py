"""Drawn panels, their titles and the legend, put together on one white canvas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointseg.output.object_names import ObjectName
from pointseg.output.panels import LegendEntry, Panel

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

WHITE = (255, 255, 255)
INK = (40, 40, 40)
QUIET_INK = (110, 110, 110)
_OUTLINE = (150, 150, 150)


def compose_picture(
    name: str,
    panels: Sequence[Panel],
    drawings: Sequence[np.ndarray],
    legend: Sequence[LegendEntry],
    object_names: Sequence[Sequence[ObjectName]] = (),
) -> Image:
    """One picture: panels under their titles, the classes in view below.

    Four panels stand in two rows, unless the room is so much higher than wide that they are larger in one.

    Args:
        name: of the scene; stands at the right of the legend.
        panels: titles and keys.
        drawings: (H, W, 3) uint8 each, all of one size.
        legend: entries, most frequent first.
        object_names: names in the drawings, a list for each panel; none: no panel has names.
    """
    from PIL import Image, ImageDraw

    height, width, _ = drawings[0].shape
    unit = text_size(width)  # all distances follow it
    gap, title_height, row_height = 2 * unit, 3 * unit, int(1.7 * unit)
    num_columns = _choose_columns(len(drawings), width, height + title_height)
    num_rows = -(-len(drawings) // num_columns)
    total_width = num_columns * (width + gap) + gap
    rows = legend_rows(legend, total_width - 2 * gap, unit, last=name)
    panel_height = title_height + height + gap
    total_height = gap + num_rows * panel_height + len(rows) * row_height + gap
    image = Image.new("RGB", (total_width, total_height), WHITE)
    draw = ImageDraw.Draw(image)
    for index, (panel, drawing) in enumerate(zip(panels, drawings, strict=True)):
        left = gap + index % num_columns * (width + gap)
        top = gap + index // num_columns * panel_height
        _draw_title(draw, panel, left, top, width, unit)
        picture = Image.fromarray(drawing)
        for object_name in object_names[index] if object_names else ():
            _draw_name(ImageDraw.Draw(picture), object_name, unit)
        image.paste(picture, (left, top + title_height))
    top = gap + num_rows * panel_height
    for row_index, row in enumerate(rows):
        for left, entry in row:
            draw_entry(draw, entry, gap + left, top + row_index * row_height, unit)
    font = load_font(unit)
    corner = (total_width - gap - font.getlength(name), top + (len(rows) - 1) * row_height)
    draw.text(corner, name, fill=QUIET_INK, font=font)
    return image


def text_size(panel_width_px: int) -> int:
    """Of small text in a panel of this width, pixels."""
    return max(8, panel_width_px // 36)


def load_font(size_px: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that every machine writes alike."""
    import matplotlib
    from PIL import ImageFont

    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file, size_px)


def measure_name(text: str, panel_width_px: int) -> tuple[float, float]:
    """Width and height, pixels, of an object's name in a panel of this width, with its halo."""
    unit = text_size(panel_width_px)
    return load_font(unit).getlength(text) + 2 * _halo(unit), 1.2 * unit + 2 * _halo(unit)


def legend_rows(
    legend: Sequence[LegendEntry], width: int, unit: int, last: str = ""
) -> list[list[tuple[int, LegendEntry]]]:
    """Rows of (left edge, entry), as few as there have to be, and about as long as each other.

    Args:
        legend: entries.
        width: that a row may have, pixels.
        unit: the size of the text.
        last: a text that stands at the right end of the last row.
    """
    entries = [*legend, LegendEntry(last, WHITE)] if last else legend
    # The smallest width that needs no more rows: else the last one may hold a single entry.
    fewest = len(_fill_rows(entries, width, unit))
    while width > unit and len(_fill_rows(entries, width - unit, unit)) == fewest:
        width -= unit
    rows = _fill_rows(entries, width, unit)
    return [*rows[:-1], rows[-1][:-1]] if last else rows


def entry_width(entry: LegendEntry, unit: int) -> int:
    """Pixels that an entry takes, with the gap behind it."""
    return int(1.6 * unit + load_font(unit).getlength(entry.name) + 1.4 * unit)


def draw_entry(draw: ImageDraw, entry: LegendEntry, left: int, top: int, unit: int) -> None:
    """A patch of the colour and the name; white has no patch."""
    if entry.color != WHITE:
        draw.rounded_rectangle(
            (left, top + 0.1 * unit, left + 1.1 * unit, top + 1.2 * unit),
            radius=0.2 * unit,
            fill=entry.color,
            outline=_OUTLINE,
        )
    draw.text((left + 1.6 * unit, top), entry.name, fill=INK, font=load_font(unit))


def _choose_columns(num_panels: int, width: int, height: int) -> int:
    """In how many columns panels are largest on a page as wide as high; two or more, and no place is empty."""
    choices = [columns for columns in range(num_panels, 1, -1) if num_panels % columns == 0]
    return max(choices, default=1, key=lambda columns: min(1 / (columns * width), columns / (num_panels * height)))


def _draw_title(draw: ImageDraw, panel: Panel, left: int, top: int, width: int, unit: int) -> None:
    draw.text((left, top), panel.title, fill=INK, font=load_font(int(1.4 * unit), bold=True))
    widths = [entry_width(entry, unit) for entry in panel.key]
    right = left + width - sum(widths)
    for entry, entry_width_px in zip(panel.key, widths, strict=True):
        draw_entry(draw, entry, right, top + int(0.2 * unit), unit)
        right += entry_width_px


def _draw_name(draw: ImageDraw, name: ObjectName, unit: int) -> None:
    """Dark on a light halo, so that it can be read on any colour."""
    halo = _halo(unit)
    width, height = load_font(unit).getlength(name.text) + 2 * halo, 1.2 * unit + 2 * halo
    if name.target is not None:
        x, y = name.target
        start = (min(max(x, name.left), name.left + width), min(max(y, name.top), name.top + height))
        draw.line((*start, x, y), fill=WHITE, width=2 * halo + 1)
        draw.line((*start, x, y), fill=INK, width=max(1, halo // 2))
        draw.ellipse((x - halo, y - halo, x + halo, y + halo), fill=INK, outline=WHITE)
    draw.text(
        (name.left + halo, name.top + halo),
        name.text,
        fill=INK,
        font=load_font(unit),
        stroke_width=halo,
        stroke_fill=WHITE,
    )


def _halo(unit: int) -> int:
    return max(1, unit // 7)


def _fill_rows(legend: Sequence[LegendEntry], width: int, unit: int) -> list[list[tuple[int, LegendEntry]]]:
    rows: list[list[tuple[int, LegendEntry]]] = [[]]
    left = 0
    for entry in legend:
        entry_width_px = entry_width(entry, unit)
        if left + entry_width_px > width and rows[-1]:
            rows.append([])
            left = 0
        rows[-1].append((left, entry))
        left += entry_width_px
    return rows
