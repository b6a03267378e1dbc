"""How a trained network is run over a scene, each question in a file of its own.

``forward``: the network's call. ``coverings``: points as voxels, so that each is spoken for. ``views``: a scene turned
and mirrored. ``parts``: a scene in tiles. ``votes``: one class for the points of a segment. ``pointwise`` puts these
together for one part, and ``segmenter``, which is what others hold, for the whole scene.
"""

from pointseg.engine.inference.pointwise import Observer, PointArrays, PointOutput, Wanted
from pointseg.engine.inference.segmenter import Segmenter, load_segmenter
from pointseg.engine.inference.views import TTA

__all__ = ["TTA", "Observer", "PointArrays", "PointOutput", "Segmenter", "Wanted", "load_segmenter"]
