"""Synthetic rooms with the classes of ScanNet200, written in ScanNet's raw file formats.

The way from a seed to a scan: ``room_kinds`` (which kind, how many objects of which class; by the other frequency law
``longtail_law``), ``layout`` and ``placing`` (what stands where), ``shapes`` and ``mesh`` (surfaces), ``visibility``
(what a camera saw), ``paint``, ``segments``, all called by ``scan``; then ``raw_files`` and ``dataset`` write it.
What the objects are is in ``recipes.tsv``.
"""

from pointseg.rooms.dataset import write_demo_scans

__all__ = ["write_demo_scans"]
