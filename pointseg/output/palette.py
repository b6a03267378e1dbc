"""Colours that can be told apart in one picture: of the classes in view, and of what is wrong."""

import numpy as np

WRONG_COLORS = ((214, 39, 40), (208, 0, 168), (40, 40, 40), (0, 60, 255), (255, 120, 0))
"""What can mean "wrong", the best first."""
# A surface is drawn in its colour or darker, so a colour has to differ from another in any light.
_LIGHTS = (1.0, 0.86, 0.72)
_APART = 0.045
"""In OKLab; from about 0.02 on two patches side by side differ."""
_WRONG_APART = 0.12  # what is wrong stands out
_STEPS = 9  # of each channel, for the colours that can take a colour's place

# Björn Ottosson's OKLab: https://bottosson.github.io/posts/oklab
_CONES_OF_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB_OF_CONES = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) float64: lightness 0..1 and two axes of hue, evenly spaced for the eye, of (..., 3) sRGB 0..255."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    cones: np.ndarray = np.cbrt(linear @ _CONES_OF_RGB.T) @ _LAB_OF_CONES.T
    return cones


def distances(colors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(A, B) how far apart (A, 3) and (B, 3) colours look in OKLab, in the lights in which they look most alike."""
    lit, dimmed = oklab(np.asarray(colors)[:, None]), oklab(_in_all_lights(others))
    one_way = np.linalg.norm(lit[:, :, None] - dimmed[None], axis=-1).min(axis=-1)
    lit, dimmed = oklab(np.asarray(others)[:, None]), oklab(_in_all_lights(colors))
    other_way = np.linalg.norm(lit[:, :, None] - dimmed[None], axis=-1).min(axis=-1)
    return np.minimum(one_way, other_way.T)


def tell_apart(colors: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The colours, but one that looks like an earlier one, or a fixed one, is replaced by the nearest that doesn't.

    Where there are so many that none is left, it is the one that differs most.

    Args:
        colors: (C, 3) uint8, the most important first.
        fixed: (F, 3) uint8: colours with other meanings.

    Returns:
        (C, 3) uint8.
    """
    channel = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(channel, channel, channel), axis=-1).reshape(-1, 3)
    room = np.full(len(candidates), np.inf)  # from each candidate to the nearest colour that is taken
    if len(fixed):
        room = distances(candidates, fixed).min(axis=1)
    result = np.array(colors, dtype=np.uint8)
    for index, color in enumerate(result):
        taken = np.concatenate([np.asarray(fixed, dtype=np.uint8).reshape(-1, 3), result[:index]])
        if len(taken) and distances(color[None], taken).min() < _APART:
            free = np.flatnonzero(room >= _APART)
            if len(free):
                away = np.linalg.norm(oklab(candidates[free]) - oklab(color), axis=1)
                result[index] = candidates[free[away.argmin()]]
            else:
                result[index] = candidates[room.argmax()]
        room = np.minimum(room, distances(candidates, result[index][None])[:, 0])
    return result


def choose_wrong_color(taken: np.ndarray) -> tuple[int, int, int]:
    """The first of :data:`WRONG_COLORS` that looks like none of the (C, 3) taken ones, or that differs most."""
    if not len(taken):
        return WRONG_COLORS[0]
    room = distances(np.array(WRONG_COLORS), taken).min(axis=1)
    return WRONG_COLORS[int((room >= _WRONG_APART).argmax() if (room >= _WRONG_APART).any() else room.argmax())]


def _in_all_lights(colors: np.ndarray) -> np.ndarray:
    """(C, L, 3)."""
    return np.asarray(colors, dtype=np.float64)[:, None] * np.array(_LIGHTS)[:, None]
