"""Other hues and saturations for a scene."""

import math
from dataclasses import replace

import torch

from pointseg.data.augment import draw_uniform
from pointseg.data.points import Points


def shift_hue_and_saturation(points: Points, hue: float, saturation: float, generator: torch.Generator) -> Points:
    """Turn all colours about the grey axis of the colour cube, and move them away from it or towards it.

    Args:
        points: with colours.
        hue: the turn is drawn evenly from ±``hue``, share of the whole circle; a third of it makes red green.
        saturation: the distance from grey is multiplied by 1 ± ``saturation``, drawn evenly. Clipped to 0..1.
        generator: the source of the draws.
    """
    assert points.rgb is not None
    turn, change = draw_uniform(2, -1, 1, generator).tolist()
    grey = torch.full((3, 3), 1 / 3)
    # Products with the unit vector of the grey axis: Rodrigues' formula.
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    angle = 2 * math.pi * hue * turn
    rotation = math.cos(angle) * (torch.eye(3) - grey) + math.sin(angle) * cross
    matrix = grey + (1 + saturation * change) * rotation
    return replace(points, rgb=(points.rgb @ matrix.T.to(points.rgb)).clamp_(0, 1))
