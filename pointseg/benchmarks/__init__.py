"""The measurements of ``python -m pointseg.benchmark``: one file each, on voxels and scans that they make themselves.

A row is a frozen dataclass whose fields are the keys of the table and of the JSON.
"""
