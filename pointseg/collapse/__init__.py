"""Center collapse: "Understanding Imbalanced Semantic Segmentation Through Neural Collapse" (CeCo, CVPR 2023).

Takes tensors only, so that other projects can use it:

- :func:`simplex_etf`: the fixed target, W* in the paper.
- :class:`ClassCenters`: features and labels to one center a class.
- :class:`CenterCollapse`: the loss L_CR on the centers; for points (M, D) and for images (B, D, H, W).
"""

from pointseg.collapse.centers import Centers, ClassCenters
from pointseg.collapse.etf import simplex_etf
from pointseg.collapse.regularizer import CenterCollapse

__all__ = ["CenterCollapse", "Centers", "ClassCenters", "simplex_etf"]
