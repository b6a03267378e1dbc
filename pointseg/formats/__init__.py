"""The files of scans, whatever program wrote them: in as a :class:`ScanFile`, out as a PLY.

``reading`` chooses the reader by the suffix; each format has a file.
"""

from pointseg.formats.mesh import Mesh
from pointseg.formats.ply import write_mesh
from pointseg.formats.reading import read_scan_file
from pointseg.formats.scan_file import ScanFile

__all__ = ["Mesh", "ScanFile", "read_scan_file", "write_mesh"]
