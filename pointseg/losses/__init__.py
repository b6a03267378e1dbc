"""Segmentation losses. They take tensors only, so that other projects can use them.

- :func:`cross_entropy`, with class weights from :func:`inverse_frequency_weight` or :func:`effective_number_weight`.
- :func:`focal_loss`: less of what is already right.
- :func:`logit_adjusted_cross_entropy`: the class prior in the loss; :func:`adjust_logits`: out of the prediction.
- :func:`lovasz_softmax`: a surrogate of the mean IoU.

All take finite logits (M, K) and labels (M,), leave points with label IGNORE = -1 out, compute in at least float32
under any autocast, and give zero with a zero gradient where no point has a label. None makes the host wait for a
device. All but Lovász-softmax are means over points, and take ``counts`` where the mean is over more points than are
given.
"""

from pointseg.losses.class_weight import effective_number_weight, inverse_frequency_weight
from pointseg.losses.cross_entropy import cross_entropy
from pointseg.losses.focal import focal_loss
from pointseg.losses.logit_adjustment import adjust_logits, logit_adjusted_cross_entropy
from pointseg.losses.lovasz import lovasz_softmax

__all__ = [
    "adjust_logits",
    "cross_entropy",
    "effective_number_weight",
    "focal_loss",
    "inverse_frequency_weight",
    "logit_adjusted_cross_entropy",
    "lovasz_softmax",
]
