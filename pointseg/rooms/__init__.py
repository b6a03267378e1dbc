"""Synthetic rooms with the classes of ScanNet200, written in ScanNet's raw file formats.

The way from a seed to a scan: ``room_kinds`` (which kind, how many objects of which class; by another frequency law
``laws`` and ``law_layout``), ``layout`` and ``placing`` (what stands where), ``shapes`` and ``mesh`` (surfaces),
``visibility`` (what a camera saw), ``paint``, ``segments``, all called by ``scan``; then ``raw_files`` and ``dataset``
write it. What the objects are is in ``recipes.tsv``.
"""

from pointseg.rooms.dataset import MAX_SCENES, VERTICES_RANGE, write_demo_scans
from pointseg.rooms.laws import FREQUENCY_LAWS

__all__ = ["FREQUENCY_LAWS", "MAX_SCENES", "VERTICES_RANGE", "write_demo_scans"]
