"""Scans of any kind to a prepared tree, and the check of one: in parallel, again after a kill, with a report.

``jobs``: one scene, whole or not at all. ``tree_report``: what is in the tree. ``inspection`` and ``completeness``: the
check. What a job reads, and where the splits come from, is its own: ScanNet's in :mod:`pointseg.scannet`, labelled
scans of any format and other data sets in :mod:`pointseg.labelled`.
"""
