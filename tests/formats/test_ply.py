"""PLY files in and out."""

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.errors import DataError
from pointseg.formats.ply import Mesh, count_vertices, read_mesh, read_mesh_header, read_ply, write_mesh
from tests.scannet.raw_scans import grid_mesh, ply_bytes


def ascii_ply(vertices: list[str], properties: str, faces: list[str] = ()) -> str:
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {p}" for p in properties.split(", ")]
    if faces:
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header", *vertices, *faces]) + "\n"


XYZ = "float x, float y, float z"
CORNERS = ["0 0 0", "1 0 0", "1 1 0", "0 1 0", "0.5 2 0"]


def test_scannet_mesh_reads_exactly(tmp_path):
    """A file packed by hand in ScanNet's layout gives the very numbers that were packed."""
    xyz, rgb, faces = grid_mesh(5, 7)
    (tmp_path / "a.ply").write_bytes(ply_bytes(xyz, rgb, faces))
    mesh = read_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.xyz, xyz)
    np.testing.assert_array_equal(mesh.rgb, rgb)
    np.testing.assert_array_equal(mesh.faces, faces)
    assert mesh.normal is None
    assert (mesh.xyz.dtype, mesh.rgb.dtype, mesh.faces.dtype) == (np.float32, np.uint8, np.int32)
    assert count_vertices(tmp_path / "a.ply") == 35


@pytest.mark.parametrize("parts", ["", "faces", "rgb", "normal", "faces rgb normal"])
def test_written_mesh_reads_back(tmp_path, parts):
    """write_mesh then read_mesh is the identity, and plyfile alone reads the file too."""
    xyz, rgb, faces = grid_mesh(4, 6)
    normal = np.random.default_rng(0).standard_normal(xyz.shape)
    normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)
    values = {"faces": faces, "rgb": rgb, "normal": normal}
    mesh = Mesh(xyz, **{part: values[part] for part in parts.split()})
    write_mesh(tmp_path / "a.ply", mesh)
    back = read_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(back.xyz, xyz)
    for part in values:
        if part in parts:
            np.testing.assert_allclose(getattr(back, part), values[part], atol=1e-7)
        else:
            assert getattr(back, part) is None
    assert PlyData.read(tmp_path / "a.ply")["vertex"].count == len(xyz)
    assert read_mesh_header(tmp_path / "a.ply").encoding == "binary_little_endian"


def test_ascii_and_polygons(tmp_path):
    """A pentagon becomes a fan of three triangles that share its first corner; a triangle stays."""
    (tmp_path / "a.ply").write_text(ascii_ply(CORNERS, XYZ, ["5 0 1 2 4 3", "3 0 1 2"]))
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 4], [0, 4, 3], [0, 1, 2]]
    assert mesh.xyz[4].tolist() == [0.5, 2, 0]


def test_binary_polygons_big_endian(tmp_path):
    """Quads in a binary file take the slow way and give the same fan; byte order doesn't matter."""
    vertices = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], dtype=[(a, "f8") for a in "xyz"])
    quads = np.empty(1, dtype=[("vertex_index", object)])
    quads["vertex_index"][0] = np.array([0, 1, 2, 3], dtype="i4")
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(quads, "face")]
    PlyData(elements, byte_order=">").write(tmp_path / "a.ply")
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.xyz.dtype == np.float32


def test_float_colours_are_scaled(tmp_path):
    """Float colours 0..1 become 0..255, rounded."""
    text = ascii_ply(["0 0 0 0 0.5 1"], f"{XYZ}, float red, float green, float blue")
    (tmp_path / "a.ply").write_text(text)
    assert read_mesh(tmp_path / "a.ply").rgb.tolist() == [[0, 128, 255]]


def test_normals_get_unit_length(tmp_path):
    """Normals of any length become unit; a single zero becomes up; all zeros count as none."""
    properties = f"{XYZ}, float nx, float ny, float nz"
    (tmp_path / "a.ply").write_text(ascii_ply(["0 0 0 3 0 4", "0 0 0 0 0 0"], properties))
    np.testing.assert_allclose(read_mesh(tmp_path / "a.ply").normal, [[0.6, 0, 0.8], [0, 0, 1]])
    (tmp_path / "b.ply").write_text(ascii_ply(["0 0 0 0 0 0"], properties))
    assert read_mesh(tmp_path / "b.ply").normal is None


BAD = {
    "no ply": (b"solid cube\n", "is not a PLY"),
    "nothing": (b"", "is empty"),
    "header without end": (b"ply\nformat ascii 1.0\n", "header does not end"),
    "broken header": (b"ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "header is broken"),
    "no vertex element": (b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "no vertices"),
    "empty": (ascii_ply([], XYZ).encode(), "no vertices"),
    "no z": (ascii_ply(["0 0"], "float x, float y").encode(), "no x, y and z"),
    "NaN": (ascii_ply(["0 0 0", "0 nan 0"], XYZ).encode(), "vertex 1 are not finite"),
    "infinite": (ascii_ply(["0 0 inf"], XYZ).encode(), "vertex 0 are not finite"),
    "kilometres": (ascii_ply(["4500000 0 0"], "double x, double y, double z").encode(), "coordinates reach 4.5"),
    "words": (ascii_ply(["a b c"], XYZ).encode(), "can't be read"),
    "ASCII truncated": (ascii_ply(CORNERS, XYZ).encode()[:-10], "truncated|can't be read"),
    "face beyond": (ascii_ply(CORNERS, XYZ, ["3 0 1 5"]).encode(), "names a vertex"),
    "face below": (ascii_ply(CORNERS, XYZ, ["3 0 1 -1"]).encode(), "names a vertex"),
    "two corners": (ascii_ply(CORNERS, XYZ, ["2 0 1", "3 0 1 2"]).encode(), "fewer than three"),
    "float 0..999": (ascii_ply(["0 0 0 1 2 999"], f"{XYZ}, float red, float green, float blue").encode(), "colours"),
    "negative": (ascii_ply(["0 0 0 1 2 -1"], f"{XYZ}, short red, short green, short blue").encode(), "colours"),
    "x is a list": (ascii_ply(["1 0 0 0"], "list uchar float x, float y, float z").encode(), "x of a vertex is a list"),
    "splats": (
        ascii_ply(["0 0 0 1 1 1 1"], f"{XYZ}, float f_dc_0, float opacity, float scale_0, float rot_0").encode(),
        "Gaussian splats",
    ),
    "a vertex less": (ascii_ply(CORNERS, XYZ).replace("vertex 5", "vertex 6").encode(), "truncated"),
    "a large lie": (
        ascii_ply(CORNERS, XYZ)
        .replace("ascii", "binary_little_endian")
        .replace("vertex 5", "vertex 1000000000000")
        .encode(),
        "truncated",
    ),
    "a list without end": (
        ascii_ply(CORNERS, XYZ, ["3 0 1 2"])
        .split("end_header")[0]
        .replace("ascii", "binary_little_endian")
        .encode()
        .replace(b"uchar int", b"uint int")
        + b"end_header\n"
        + bytes(60)
        + b"\xff" * 8,
        "truncated",
    ),
    "a lie": (b"ply\nformat ascii 1.0\nelement vertex 999999999999\nproperty float x\nend_header\n0\n", "truncated"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_one_line(tmp_path, case):
    """Each kind of broken file is a DataError of one line that starts with the path and says what to do."""
    content, message = BAD[case]
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_mesh(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert ";" in text


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_truncated_anywhere(tmp_path, keep):
    """Wherever a binary mesh is cut, in the header, the vertices or the faces, it is refused."""
    content = ply_bytes(*grid_mesh(9, 9))
    path = tmp_path / "bad.ply"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError):
        read_mesh(path)


def test_missing_file():
    with pytest.raises(DataError, match="no such file"):
        count_vertices("/nowhere/a.ply")


def test_mesh_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"rgb is \(3, 3\) uint8, expected \(4, 3\) uint8"):
        Mesh(np.zeros((4, 3), np.float32), rgb=np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        Mesh(np.zeros((4, 3)))


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """A disk that fills up during the write leaves what was there, and no temporary file."""
    path = tmp_path / "a.ply"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_mesh(path, Mesh(np.zeros((4, 3), np.float32)))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_extra_properties_are_written(tmp_path):
    """Labels, a probability and colours beside the first ones come back in type and value; 64 bits become 32."""
    xyz, rgb, faces = grid_mesh(3, 3)
    extra = {"label": np.arange(9), "confidence": np.linspace(0, 1, 9, dtype=np.float32), "scan_red": rgb[:, 0]}
    write_mesh(tmp_path / "a.ply", Mesh(xyz, faces, rgb), extra)
    vertices = PlyData.read(tmp_path / "a.ply")["vertex"].data
    for name, values in extra.items():
        np.testing.assert_array_equal(vertices[name], values)
    assert [vertices[name].dtype.str for name in extra] == ["<i4", "<f4", "|u1"]
    np.testing.assert_array_equal(read_mesh(tmp_path / "a.ply").faces, faces)
    assert read_ply(tmp_path / "a.ply").fields["label"].tolist() == list(range(9))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("red", np.zeros(4), "taken"),
        ("two words", np.zeros(4), "one ASCII word"),
        ("label", np.zeros(3), "expected"),
        ("label", np.full(4, 2**40), "32 bits"),
        ("label", np.zeros(4, complex), "complex"),
    ],
)
def test_extra_properties_that_ply_does_not_hold(tmp_path, name, values, message):
    with pytest.raises(ValueError, match=message):
        write_mesh(tmp_path / "a.ply", Mesh(np.zeros((4, 3), np.float32)), {name: values})
    assert not (tmp_path / "a.ply").exists()
