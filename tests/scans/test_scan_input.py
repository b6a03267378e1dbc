"""What is given to predict is a scan or a prepared scene."""

from pathlib import Path

import pytest

from pointseg.errors import DataError
from pointseg.scans.scan_input import read_scan_input
from pointseg.taxonomy import load_taxonomy


def test_a_folder_of_scans_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "room.ply").touch()
    with pytest.raises(
        DataError, match="is no prepared scene, which has coord.npy; give the files of scans, not their"
    ):
        read_scan_input(tmp_path, load_taxonomy("scannet20"), needs_normal=False)
