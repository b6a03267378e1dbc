"""PLY files as other programs write them: each was refused or misread once."""

import os
import struct
import tempfile
from functools import partial

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.errors import DataError
from pointseg.formats.ply import read_ply
from tests.formats.test_ply import CORNERS, XYZ, ascii_ply
from tests.scannet.raw_scans import grid_mesh, ply_bytes


def read_text(tmp_path, text, encoding="utf-8"):
    (tmp_path / "a.ply").write_bytes(text.encode(encoding))
    return read_ply(tmp_path / "a.ply")


COMMENT = b"comment VCGLIB generated"
HEADERS = {
    "UTF-8 comment": lambda b: b.replace(COMMENT, "comment Büro 3. Stock – 日本".encode()),
    "Latin-1 comment": lambda b: b.replace(COMMENT, "comment Büro".encode("latin-1")),
    "byte order mark": lambda b: b"\xef\xbb\xbf" + b,
    "space after ply": lambda b: b.replace(b"ply\n", b"ply \n", 1),
    "CRLF after end_header": lambda b: b.replace(b"end_header\n", b"end_header\r\n"),
    "space after end_header": lambda b: b.replace(b"end_header\n", b"end_header \n"),
    "CRLF in the header": lambda b: (
        b[: b.index(b"end_header\n")].replace(b"\n", b"\r\n") + b[b.index(b"end_header\n") :].replace(b"\n", b"\r\n", 1)
    ),
    "CR in the header": lambda b: (
        b[: b.index(b"end_header\n")].replace(b"\n", b"\r") + b[b.index(b"end_header\n") :].replace(b"\n", b"\r", 1)
    ),
    "obj_info after elements": lambda b: b.replace(b"end_header", b"obj_info num_cols 512\nend_header"),
    "name of two words": lambda b: b.replace(b"uchar alpha", b"uchar my alpha"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers(tmp_path, case):
    """Whatever stands around the same mesh, the same mesh is read; its data begin with a byte that is a line end."""
    xyz, rgb, faces = grid_mesh(5, 7)
    xyz[0] = np.frombuffer(b"\n\r\n\x00" * 3, "<f4")
    content = HEADERS[case](ply_bytes(xyz, rgb, faces))
    (tmp_path / "a.ply").write_bytes(content)
    scan = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(scan.xyz, xyz)
    np.testing.assert_array_equal(scan.rgb, rgb)
    np.testing.assert_array_equal(scan.faces, faces)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("is_binary", [False, True])
def test_names_that_are_not_ascii(tmp_path, is_binary, encoding):
    """Two that differ in such letters alone are two, as they are in the file; lists of faces have some, too."""
    kind = "binary_little_endian" if is_binary else "ascii"
    names = "property float x\nproperty float y\nproperty float z\nproperty int größe\nproperty int grüße\n"
    faces = "element face 1\nproperty list uchar int vertex_indices\nproperty list uchar int ecken_größe\n"
    header = f"ply\nformat {kind} 1.0\nelement vertex 3\n{names}{faces}end_header\n".encode(encoding)
    rows = b"0 0 0 1 2\n1 0 0 3 4\n0 1 0 5 6\n3 0 1 2 3 7 8 9\n"
    if is_binary:
        vertices = ((0, 0, 0, 1, 2), (1, 0, 0, 3, 4), (0, 1, 0, 5, 6))
        rows = b"".join(struct.pack("<3f2i", *row) for row in vertices) + 2 * struct.pack("<B3i", 3, 0, 1, 2)
    (tmp_path / "a.ply").write_bytes(header + rows)
    scan = read_ply(tmp_path / "a.ply")
    assert {name: values.tolist() for name, values in scan.fields.items()} == {"größe": [1, 3, 5], "grüße": [2, 4, 6]}
    assert scan.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("case", ["text", "unusual header"])
def test_a_full_temporary_folder_is_named(tmp_path, monkeypatch, case):
    """Not the disk of the scan, of which the copy is made."""
    text = ascii_ply(CORNERS, XYZ, ["3 0 1 2"])
    if case == "unusual header":
        xyz, rgb, faces = grid_mesh(5, 7)
        text = HEADERS["space after ply"](ply_bytes(xyz, rgb, faces)).decode("latin-1")
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    with pytest.raises(DataError) as caught:
        read_text(tmp_path, text, "latin-1")
    assert str(caught.value) == (
        f"{tempfile.gettempdir()}: a copy of {tmp_path / 'a.ply'}, made there to read it, has no space (No space left "
        "on device); free some, or name another folder for temporary files in the environment variable TMPDIR"
    )


def test_text_with_crlf(tmp_path):
    scan = read_text(tmp_path, ascii_ply(CORNERS, XYZ, ["3 0 1 2"]).replace("\n", "\r\n"))
    assert scan.xyz[4].tolist() == [0.5, 2, 0]
    assert scan.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("properties", "values", "expected"),
    [
        ("uchar diffuse_red, uchar diffuse_green, uchar diffuse_blue", "1 2 255", [1, 2, 255]),
        ("uchar r, uchar g, uchar b", "1 2 255", [1, 2, 255]),
        ("uchar Red, uchar Green, uchar Blue", "1 2 255", [1, 2, 255]),
        ("ushort red, ushort green, ushort blue", "256 514 65535", [1, 2, 255]),
        ("ushort red, ushort green, ushort blue", "1 2 255", [1, 2, 255]),
        ("float red, float green, float blue", "0 0.5 1", [0, 128, 255]),
        ("float red, float green, float blue", "1 2.4 255", [1, 2, 255]),
        ("float red, float green, float blue", "nan 2.4 255", [0, 2, 255]),
    ],
)
def test_colours(tmp_path, properties, values, expected):
    scan = read_text(tmp_path, ascii_ply([f"0 0 0 {values}"], f"{XYZ}, {properties}"))
    assert scan.rgb.tolist() == [expected]
    assert len(scan.notes) == ("nan" in values)


def test_normals(tmp_path):
    """Of any name; none where all are zero or NaN; single bad ones are up and counted; none where most are bad."""
    normals = f"{XYZ}, float normal_x, float normal_y, float normal_z"
    assert read_text(tmp_path, ascii_ply(["0 0 0 0 3 4"], normals)).normal.tolist() == [
        [0, np.float32(0.6), np.float32(0.8)]
    ]
    for bad in ("0 0 0", "nan nan nan"):
        assert read_text(tmp_path, ascii_ply([f"0 0 0 {bad}"] * 2, normals)).normal is None
    some = read_text(tmp_path, ascii_ply(["0 0 0 2 0 0"] * 3 + ["0 0 0 nan 0 0"], normals))
    assert some.normal.tolist() == [[1, 0, 0]] * 3 + [[0, 0, 1]]
    assert "1 of 4 normals" in some.notes[0]
    most = read_text(tmp_path, ascii_ply(["0 0 0 2 0 0"] + ["0 0 0 nan 0 0"] * 2, normals))
    assert most.normal is None
    assert "2 of 3 normals" in most.notes[0]


def test_triangle_strips(tmp_path):
    """A strip turns every second triangle, -1 begins another, and triangles of no area are left out."""
    text = ascii_ply(CORNERS, XYZ).replace(
        "end_header", "element tristrips 1\nproperty list int int vertex_indices\nend_header"
    )
    scan = read_text(tmp_path, text + "10 0 1 2 3 -1 1 2 3 3 4\n")
    assert scan.faces.tolist() == [[0, 1, 2], [2, 1, 3], [1, 2, 3]]


@pytest.mark.parametrize("binary", [False, True])
def test_faces_of_too_few_corners_are_dropped(tmp_path, binary):
    """Lines and points among the faces are counted; the triangle and the fan beside them stay in order."""
    polygons = [[0, 1], [0, 1, 2], [4], [0, 1, 2, 3]]
    text = ascii_ply(CORNERS, XYZ, [" ".join(map(str, [len(p), *p])) for p in polygons])
    if binary:
        head = text.split("end_header")[0].replace("ascii", "binary_little_endian") + "end_header\n"
        body = b"".join(struct.pack("<3f", *map(float, row.split())) for row in CORNERS)
        body += b"".join(struct.pack(f"<B{len(p)}i", len(p), *p) for p in polygons)
        (tmp_path / "a.ply").write_bytes(head.encode() + body)
        scan = read_ply(tmp_path / "a.ply")
    else:
        scan = read_text(tmp_path, text)
    assert scan.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    assert scan.notes == ["2 of 4 faces have fewer than three corners and were dropped"]
    assert scan.num_dropped_faces == 2


def test_texture_coordinates_beside_corners(tmp_path):
    """MeshLab's list of floats beside the corners does not make reading slow or wrong."""
    faces = np.empty(2, dtype=[("vertex_indices", object), ("texcoord", object)])
    faces["vertex_indices"] = [np.int32([0, 1, 2]), np.int32([0, 2, 3])]
    faces["texcoord"] = [np.zeros(6, np.float32)] * 2
    vertices = np.zeros(4, dtype=[(axis, "f4") for axis in "xyz"])
    elements = [PlyElement.describe(vertices, "vertex")]
    elements.append(PlyElement.describe(faces, "face", val_types={"texcoord": "f4"}))
    PlyData(elements, byte_order="<").write(tmp_path / "a.ply")
    assert read_ply(tmp_path / "a.ply").faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_points_without_a_place_stay(tmp_path):
    """An organised cloud keeps its rows, and says which of them have a place."""
    scan = read_text(tmp_path, ascii_ply(["0 0 0", "nan nan nan", "1 inf 0", "1 1 1"], XYZ))
    assert scan.num_points == 4
    assert scan.is_finite.tolist() == [True, False, False, True]
    with pytest.raises(DataError, match="vertex 1 are not finite"):
        scan.to_mesh()


def test_double_precision_and_whole_numbers_stay(tmp_path):
    """Map coordinates keep their millimetres; labels come along, as floats too where the name says so."""
    properties = "double x, double y, double z, int label, float scalar_Class, float height, uchar alpha"
    scan = read_text(tmp_path, ascii_ply(["689000.123456 5335000.654321 1.5 7 3 2 255"], properties))
    assert scan.xyz.tolist() == [[689000.123456, 5335000.654321, 1.5]]
    assert {name: values.tolist() for name, values in scan.fields.items()} == {"label": [7], "scalar_Class": [3]}
    with pytest.raises(DataError, match="coordinates reach 5.3"):
        scan.to_mesh()


def test_no_file_at_all(tmp_path):
    """A pipe is refused before it can block; so are a folder and nothing."""
    os.mkfifo(tmp_path / "pipe.ply")
    for name, message in (("pipe.ply", "pipe"), ("", "folder"), ("none.ply", "no such file")):
        with pytest.raises(DataError, match=message):
            read_ply(tmp_path / name)
