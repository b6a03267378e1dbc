"""Colours of vertices from the picture or the material that lies on them."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.formats.libraries import require

_NO_COLOR = 128


@dataclass
class Material:
    """What gives a surface its colour."""

    rgb: np.ndarray | None = None
    """(3,) uint8, the plain colour; None where the material has none."""
    image: np.ndarray | None = None
    """(H, W, 3) uint8, the texture."""


def read_image(source: Path | bytes | Any, path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of a PNG, JPEG or any other picture that Pillow reads.

    Args:
        source: the file, its bytes, or an image that Pillow has opened.
        path: of the scan, for the message where Pillow is not installed.

    Raises:
        UsageError: Pillow is not installed.
        Exception: whatever Pillow raises on a picture that is damaged or of more than 178 million pixels.
    """
    pil = require("PIL.Image", path)
    if not isinstance(source, (Path, bytes)):
        return np.asarray(source.convert("RGB"))
    with pil.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.asarray(image.convert("RGB"))


def sample_texture(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The pixel under each place on a texture.

    Args:
        image: (H, W, 3) uint8.
        uv: (N, 2) float, u to the right and v up from the lower left corner, 1 at the other edge; the picture
            repeats beyond 0..1. What is not finite counts as 0.

    Returns:
        (N, 3) uint8.
    """
    uv = np.nan_to_num(np.asarray(uv, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    # 1 is the far edge of the picture, not the near edge of the next.
    uv = np.where((uv >= 0) & (uv <= 1), uv, uv - np.floor(uv))
    height, width = image.shape[:2]
    column = np.minimum((uv[:, 0] * width).astype(np.int64), width - 1)
    row = np.minimum(((1 - uv[:, 1]) * height).astype(np.int64), height - 1)
    return image[row, column]


def choose_colors(of_vertices: np.ndarray | None, of_texture: np.ndarray | None) -> np.ndarray | None:
    """(N, 3) uint8: colours of the vertices come first, unless all are one, as where a program wrote white for none."""
    if of_vertices is None or (of_texture is not None and (of_vertices == of_vertices[0]).all()):
        return of_texture if of_texture is not None else of_vertices
    return of_vertices


def fill_missing_colors(rgb: np.ndarray, is_known: np.ndarray, notes: list[str]) -> np.ndarray:
    """Grey where a vertex has no colour though others have, with a line in ``notes``.

    Args:
        rgb: (N, 3) uint8; changed in place.
        is_known: (N,) bool.
        notes: gets the line.
    """
    if not is_known.all():
        rgb[~is_known] = _NO_COLOR
        notes.append(f"{int((~is_known).sum()):,} vertices have no colour and count as grey")
    return rgb
