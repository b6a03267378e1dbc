"""A scan predicts the same in every format, unit and axis: only the file is another one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pointseg
from pointseg.formats import Mesh, write_mesh
from pointseg.formats.ply import read_mesh
from pointseg.rooms import write_demo_scans
from pointseg.scans.frame import METRES_OF_UNIT, UP_AXES
from pointseg.train import main as train
from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
UTM_M = (689_000.0, 5_335_000.0, 500.0)


@pytest.fixture(scope="module")
def segmenter(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> pointseg.Segmenter:
    """A network that takes coordinates and colours: what every format of the table but STL holds."""
    run = tmp_path_factory.mktemp("runs") / "xyzrgb"
    keys = ["data.features=[xyz,rgb]", "data.voxel_size_m=0.1", "data.scenes_per_batch=2", "train.passes=6"]
    config = [*TINY_NETWORK, *PLAIN_AUGMENTATION, *keys, "optimizer.lr=0.02", "loss.collapse.weight=0"]
    train(["--cfg", "demo", f"data.root={prepared_root}", f"run.dir={run}", *config])
    return pointseg.load(run)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Points:
    """Coordinates, colours and faces of a demo room. In steps of 2**-10 m, which float32 keeps in every unit."""
    raw = tmp_path_factory.mktemp("raw")
    write_demo_scans(raw, {"train": 1, "val": 0, "test": 0}, 3, 2_000, 1)
    mesh = read_mesh(next(raw.glob("scans/*/*_vh_clean_2.ply")))
    assert mesh.rgb is not None
    assert mesh.faces is not None
    return np.round(mesh.xyz.astype(np.float64) * 1024) / 1024, mesh.rgb, mesh.faces


@pytest.fixture(scope="module")
def expected(segmenter: pointseg.Segmenter, room: Points) -> np.ndarray:
    ids = segmenter.predict(*room[:2])
    assert len(np.unique(ids)) >= 3
    return ids


def _turn(xyz: np.ndarray, up: str) -> np.ndarray:
    """The room as a program with another axis upward has it: left stays left; the turn about the vertical is ours."""
    x, y, z = xyz.T
    axes = {"z": (x, y, z), "y": (x, z, -y), "x": (z, x, y), "-z": (x, -y, -z), "-y": (x, -z, y), "-x": (-z, y, x)}
    return np.stack(axes[up], axis=1)


def write_ply(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    write_mesh(path, Mesh(xyz.astype(np.float32), faces, rgb))


def write_ply_of_doubles(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    from plyfile import PlyData, PlyElement

    types = [(name, "f8") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertex = np.array([(*p, *c) for p, c in zip(xyz.tolist(), rgb.tolist(), strict=True)], dtype=types)
    PlyData([PlyElement.describe(vertex, "vertex")]).write(path)


def write_obj(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    colors = (rgb / 255).tolist()
    rows = [f"v {x} {y} {z} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(xyz.tolist(), colors, strict=True)]
    path.write_text("\n".join([*rows, *(f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist())]))


def write_off(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    rows = [f"{x} {y} {z} {r} {g} {b} 255" for (x, y, z), (r, g, b) in zip(xyz.tolist(), rgb.tolist(), strict=True)]
    path.write_text("\n".join(["COFF", f"{len(xyz)} {len(faces)} 0", *rows, *(f"3 {a} {b} {c}" for a, b, c in faces)]))


def write_gltf(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    trimesh = pytest.importorskip("trimesh")
    trimesh.Trimesh(xyz, faces, vertex_colors=rgb, process=False).export(path)


def write_las(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.offsets, header.scales = np.floor(xyz.min(axis=0)), np.full(3, 2.0**-10)
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    las.red, las.green, las.blue = (rgb.astype(np.uint16) * 257).T
    las.write(path)


def write_pcd(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    header = f"""# .PCD v0.7
VERSION 0.7
FIELDS x y z rgb
SIZE 8 8 8 4
TYPE F F F U
COUNT 1 1 1 1
WIDTH {len(xyz)}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {len(xyz)}
DATA ascii
"""
    rows = [f"{x} {y} {z} {c}" for (x, y, z), c in zip(xyz.tolist(), packed.tolist(), strict=True)]
    path.write_text(header + "\n".join(rows) + "\n")


def write_text(path: Path, xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> None:
    rows = [f"{x} {y} {z} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(xyz.tolist(), rgb.tolist(), strict=True)]
    path.write_text("\n".join([str(len(rows))] * (path.suffix == ".pts") + rows))


Writer = Callable[[Path, np.ndarray, np.ndarray, np.ndarray], None]
WRITERS: dict[str, Writer] = {
    "room.ply": write_ply,
    "doubles.ply": write_ply_of_doubles,
    "room.obj": write_obj,
    "room.off": write_off,
    "room.glb": write_gltf,
    "room.gltf": write_gltf,
    "room.las": write_las,
    "room.pcd": write_pcd,
    "room.xyzrgb": write_text,
    "room.pts": write_text,
}


@pytest.mark.parametrize("name", WRITERS)
def test_in_every_format(
    name: str, segmenter: pointseg.Segmenter, room: Points, expected: np.ndarray, tmp_path: Path
) -> None:
    """And of glTF with y up, as its standard says, which nobody has to."""
    xyz, rgb, faces = room
    WRITERS[name](tmp_path / name, _turn(xyz, "y") if "gl" in name else xyz, rgb, faces)
    np.testing.assert_array_equal(segmenter.predict_scan(tmp_path / name).ids, expected)


@pytest.mark.parametrize("up", UP_AXES)
@pytest.mark.parametrize("unit", METRES_OF_UNIT)
def test_in_every_unit_and_axis(
    unit: str, up: str, segmenter: pointseg.Segmenter, room: Points, expected: np.ndarray, tmp_path: Path
) -> None:
    xyz, rgb, faces = room
    for name in ("doubles.ply", "room.xyzrgb"):
        WRITERS[name](tmp_path / name, _turn(xyz, up) / METRES_OF_UNIT[unit], rgb, faces)
        np.testing.assert_array_equal(segmenter.predict_scan(tmp_path / name, unit=unit, up=up).ids, expected)


@pytest.mark.parametrize("name", ["doubles.ply", "room.obj", "room.off", "room.las", "room.pcd", "room.xyzrgb"])
def test_with_the_offset_of_a_map_grid(
    name: str, segmenter: pointseg.Segmenter, room: Points, expected: np.ndarray, tmp_path: Path
) -> None:
    """Steps of 2**-10 m are exact in float64 there, and lost in float32."""
    xyz, rgb, faces = room
    WRITERS[name](tmp_path / name, xyz + UTM_M, rgb, faces)
    np.testing.assert_array_equal(segmenter.predict_scan(tmp_path / name).ids, expected)
    np.testing.assert_array_equal(segmenter.predict(xyz + UTM_M, rgb), expected)


def test_stl_has_each_corner_of_each_face(segmenter: pointseg.Segmenter, room: Points, tmp_path: Path) -> None:
    """Without colours: they are said."""
    trimesh = pytest.importorskip("trimesh")
    xyz, _, faces = room
    trimesh.Trimesh(xyz, faces, process=False).export(tmp_path / "room.stl")
    corners = xyz[faces.reshape(-1)]
    expected = segmenter.predict(corners, np.full(corners.shape, 200, np.uint8))
    ids = segmenter.predict_scan(tmp_path / "room.stl", fill_color=(200, 200, 200)).ids
    np.testing.assert_array_equal(ids, expected)
