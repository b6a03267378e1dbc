"""Segmentation losses. They take tensors only, so that other projects can use them."""

from pointseg.losses.cross_entropy import cross_entropy

__all__ = ["cross_entropy"]
