"""Test-time augmentation: the views of a scene whose predictions are averaged."""

from math import pi

import torch

from pointseg.data.augment import rotation_about

TTA = ("none", "rot4", "full")


def view_matrices(tta: str) -> list[torch.Tensor]:
    """The (3, 3) matrices of the views of ``none``, ``rot4`` (turns about z) or ``full`` (these, and mirrored)."""
    if tta == "none":
        return [torch.eye(3)]
    rotations = [rotation_about("z", quarter * pi / 2) for quarter in range(4)]
    if tta == "rot4":
        return rotations
    if tta == "full":
        mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
        return [rotation @ flip for flip in (torch.eye(3), mirror) for rotation in rotations]
    raise ValueError(f"tta is one of {', '.join(TTA)}, got {tta!r}")
