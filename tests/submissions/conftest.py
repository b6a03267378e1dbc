"""A raw ScanNet folder of three small test scenes, and good predictions for it."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pointseg.check_submission
import pointseg.submit
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.output.submission import write_prediction
from pointseg.taxonomy import load_taxonomy

NUM_VERTICES = {"scene0707_00": 5, "scene0708_00": 7, "scene0709_00": 6}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    for scene, num_vertices in NUM_VERTICES.items():
        xyz = np.arange(num_vertices * 3, dtype=np.float32).reshape(-1, 3)
        faces = np.array([[0, 1, 2]], dtype=np.int32)
        path = raw / "scans_test" / scene / f"{scene}_vh_clean_2.ply"
        path.parent.mkdir(parents=True)
        write_mesh(path, Mesh(xyz=xyz, faces=faces, rgb=np.zeros((num_vertices, 3), np.uint8)))
    splits = raw / "splits"
    splits.mkdir()
    (splits / "scannetv2_test.txt").write_text("\n".join(NUM_VERTICES) + "\n")
    (splits / "scannetv2_val.txt").write_text("scene0011_00\n")
    (splits / "scannetv2_train.txt").write_text("scene0000_00\n")
    return raw


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    folder = tmp_path / "predictions"
    ids = load_taxonomy("scannet200").class_ids
    for scene, num_vertices in NUM_VERTICES.items():
        write_prediction(folder / f"{scene}.txt", ids[-num_vertices:])
    return folder


@pytest.fixture(scope="session")
def format_submission() -> ModuleType:
    return pointseg.submit


@pytest.fixture(scope="session")
def check_submission() -> ModuleType:
    return pointseg.check_submission
