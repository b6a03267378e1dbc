"""Scans in every format: the points of the file in its order, with its digits."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError, UsageError
from pointseg.formats.companions import companion_files
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.formats.reading import read_scan_file
from pointseg.formats.scan_file import ScanFile, bytes_from_unit, rgb_from_values, scan_of_values
from tests.formats.scan_files import (
    BLUE,
    GREEN,
    GREY,
    OBJ,
    RED,
    TRIANGLE,
    YELLOW,
    glb,
    two_meshes,
    write,
    write_picture,
)


def test_a_colour_a_little_beyond_its_range_does_not_wrap_around():
    assert bytes_from_unit(np.array([-0.01, 0, 0.5, 1, 1.002])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("part", ["rgb", "normal"])
def test_a_scan_of_values_is_checked(tmp_path, part):
    values = {"rgb": None, "normal": None} | {part: np.ones((2, 3))}
    with pytest.raises(ValueError, match=rf"{part} is \(2, 3\)"):
        scan_of_values(tmp_path / "a.ply", np.zeros((3, 3)), notes=[], **values)


def test_selected_points_keep_all_that_is_known_of_them():
    scan = ScanFile(
        Path("a.las"),
        np.arange(12, dtype=np.float64).reshape(4, 3),
        np.array([[0, 1, 2], [1, 2, 3]]),
        np.arange(12, dtype=np.uint8).reshape(4, 3),
        np.tile(np.float32([0, 0, 1]), (4, 1)),
        fields={"classification": np.arange(4)},
        fields_with_unclassified_zero=frozenset({"classification"}),
        up_axis_hint="y",
        notes=["a note"],
    )
    kept = scan.select(np.array([False, True, True, True]))
    assert kept.faces.tolist() == [[0, 1, 2]]
    for ours, its in ((kept.xyz, scan.xyz), (kept.rgb, scan.rgb), (kept.normal, scan.normal)):
        np.testing.assert_array_equal(ours, its[1:])
    assert kept.fields["classification"].tolist() == [1, 2, 3]
    assert (kept.fields_with_unclassified_zero, kept.up_axis_hint, kept.notes) == ({"classification"}, "y", ["a note"])
    assert scan.select(np.ones(4, dtype=bool)) is scan


def check_two_meshes(path: Path) -> None:
    scan = read_scan_file(path)
    turned = np.stack([-TRIANGLE[:, 1], TRIANGLE[:, 0], TRIANGLE[:, 2]], axis=1)
    shift = np.array([10, 20, 30])
    np.testing.assert_allclose(scan.xyz, [*TRIANGLE + shift, *TRIANGLE * (-2, 1, 1) + shift, *turned], atol=1e-6)
    colors = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 1]]
    assert scan.rgb.tolist() == [*colors, RED, GREEN, BLUE, YELLOW, *colors]
    assert scan.faces.tolist() == [[0, 1, 2], [1, 3, 2], [6, 5, 4], [6, 7, 5], [8, 9, 10], [9, 11, 10]]
    np.testing.assert_allclose(scan.normal, [[0, 0, 1]] * 12, atol=1e-6)
    assert (scan.xyz.dtype, scan.up_axis_hint, scan.notes) == (np.float64, "y", [])


@pytest.mark.needs("trimesh")
def test_glb_of_two_meshes(tmp_path):
    """Vertices of nodes in the order of the tree, placed by all transforms above; a mirror turns its faces."""
    (tmp_path / "a.glb").write_bytes(glb(*two_meshes()))
    check_two_meshes(tmp_path / "a.glb")


@pytest.mark.needs("trimesh")
def test_glb_with_a_damaged_picture(tmp_path):
    """The mesh is read without it, and a note says so: its vertices are grey beside those that have colours."""
    (tmp_path / "a.glb").write_bytes(glb(*two_meshes()).replace(b"PNG", b"GNP"))
    scan = read_scan_file(tmp_path / "a.glb")
    assert scan.rgb.tolist()[4:8] == [GREY] * 4
    assert scan.notes[0] == "none of its pictures could be read as a base colour"


@pytest.mark.needs("trimesh")
def test_gltf_with_its_data_beside_it(tmp_path):
    header, data = two_meshes()
    buffer = {"uri": "the%20data.bin", "byteLength": len(data)}
    write(tmp_path / "a.gltf", json.dumps({"asset": {"version": "2.0"}, "buffers": [buffer], **header}))
    with pytest.raises(DataError, match=r"the%20data.bin is not beside it"):
        read_scan_file(tmp_path / "a.gltf")
    (tmp_path / "the data.bin").write_bytes(data)
    check_two_meshes(tmp_path / "a.gltf")


@pytest.mark.needs("trimesh")
def test_gltf_that_is_not_read_is_said(tmp_path):
    """What would come out as zeros or raw numbers is refused by name."""
    header, data = two_meshes()
    cases = [
        ({"extensionsRequired": ["EXT_meshopt_compression"]}, "needs EXT_meshopt_compression"),
        ({"accessors": [{**header["accessors"][0], "sparse": {}}, *header["accessors"][1:]]}, "sparse"),
        ({"nodes": [{"mesh": 0, "children": [1]}, {"children": [0]}]}, "two parents"),
        ({"scenes": [{"nodes": []}]}, "no mesh"),
    ]
    for change, message in cases:
        (tmp_path / "a.glb").write_bytes(glb({**header, **change}, data))
        with pytest.raises(DataError, match=message):
            read_scan_file(tmp_path / "a.glb")


@pytest.mark.needs("trimesh")
def test_glb_of_points_and_of_a_plain_colour(tmp_path):
    """Points have no faces; a base colour of 0.5 is linear, sRGB 188."""
    header, data = two_meshes()
    header["meshes"] = [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 2}, "mode": 0}]}]
    header["nodes"], header["scenes"] = [{"mesh": 0}], [{"nodes": [0]}]
    (tmp_path / "a.glb").write_bytes(glb(header, data))
    scan = read_scan_file(tmp_path / "a.glb")
    np.testing.assert_array_equal(scan.xyz, TRIANGLE)
    assert scan.faces is None
    assert scan.rgb.tolist()[0] == [1, 2, 3]
    header["meshes"] = [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}]
    header["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0, 1, 1]}}]
    (tmp_path / "a.glb").write_bytes(glb(header, data))
    np.testing.assert_allclose(read_scan_file(tmp_path / "a.glb").rgb, [[188, 0, 255]] * 4, atol=1)


@pytest.mark.needs("trimesh")
@pytest.mark.needs("DracoPy")
def test_draco(tmp_path):
    """Compressed meshes are read, to the precision they were written in; damaged ones never come out as zeros."""
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(subdivisions=2)
    content = trimesh.exchange.gltf.export_glb(trimesh.Scene(sphere), extension_draco=True)
    (tmp_path / "a.glb").write_bytes(content)
    scan = read_scan_file(tmp_path / "a.glb")
    assert (scan.num_points, len(scan.faces)) == (162, 320)
    np.testing.assert_allclose(np.linalg.norm(scan.xyz, axis=1), 1, atol=1e-3)
    (tmp_path / "a.glb").write_bytes(content.replace(b"DRACO", b"OCARD"))
    with pytest.raises(DataError, match="Draco data can't be decoded"):
        read_scan_file(tmp_path / "a.glb")


@pytest.mark.needs("PIL")
def test_obj_has_a_point_a_v_line(tmp_path):
    """Materials, groups and several texture coordinates split no vertex; the first picture or colour counts."""
    write_picture(tmp_path / "wall paper.png")
    write(
        tmp_path / "room.mtl", "newmtl on picture\nKd 0 0 0\nmap_Kd C:\\scans\\wall paper.png\nnewmtl green\nKd 0 1 0\n"
    )
    scan = read_scan_file(write(tmp_path / "a.obj", OBJ))
    assert scan.xyz[0].tolist() == [689000.123456789, 5335000.987654321, 1.5]
    assert scan.xyz[1:].tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5], [9, 9, 9]]
    assert scan.faces.tolist() == [[0, 1, 2], [3, 2, 0], [3, 0, 4], [0, 1, 2]]
    assert scan.rgb.tolist() == [BLUE, YELLOW, RED, [0, 255, 0], [0, 255, 0], GREY]
    assert scan.normal.tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert any("1 vertices have no colour" in note for note in scan.notes)


def test_obj_without_what_it_names(tmp_path):
    """A lost material file or picture is a note; the geometry is read all the same."""
    scan = read_scan_file(write(tmp_path / "a.obj", OBJ))
    assert scan.rgb is None
    assert scan.num_points == 6
    assert "room.mtl is not beside it" in scan.notes[0]
    write(tmp_path / "room.mtl", "newmtl green\nKd 0 1 0\nmap_Kd lost.png\n")
    scan = read_scan_file(tmp_path / "a.obj")
    assert scan.rgb.tolist() == [GREEN, GREY, GREEN, GREEN, GREEN, GREY]
    assert "lost.png is not beside it" in scan.notes[0]


@pytest.mark.parametrize("scale", ["1 0 0.5", "255 0 128"])
def test_obj_of_points_alone(tmp_path, scale):
    scan = read_scan_file(write(tmp_path / "a.obj", f"v 1 2 3 {scale}\nv 4 5 6 {scale}\nvn 0 0 1\nvn 0 1 0\n"))
    assert scan.xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert scan.rgb.tolist() == [[255, 0, 128]] * 2
    assert scan.normal.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert scan.faces is None


def test_obj_faces_are_checked(tmp_path):
    for face in ("1 2 3", "0 1 1", "-3 1 1", "1/1 1/1 1/1", "1 1 x"):
        with pytest.raises(DataError, match="face"):
            read_scan_file(write(tmp_path / "a.obj", f"v 0 0 0\nv 1 1 1\nf {face}\n"))


def test_off(tmp_path):
    text = "{}OFF # a comment\n4 2 0\n689000.123456789 0 0{}\n1 0 0{}\n1 1 0{}\n0 1 0{}\n4 0 1 2 3\n2 0 1\n"
    plain = read_scan_file(write(tmp_path / "a.off", text.format("", "", "", "", "")))
    assert plain.xyz.tolist() == [[689000.123456789, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert plain.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert (plain.rgb, plain.normal, len(plain.notes)) == (None, None, 1)
    both = read_scan_file(write(tmp_path / "a.off", text.format("CN", *[f" 0 0 2 {i} 0 255 255" for i in range(4)])))
    assert both.rgb.tolist() == [[i, 0, 255] for i in range(4)]
    assert both.normal.tolist() == [[0, 0, 1]] * 4


@pytest.mark.parametrize("face", ["4 0 1 2", "3", "-1 0 1 2", "3 0 1 x"])
def test_a_polygon_of_an_off_file_that_is_cut_is_refused(tmp_path, face):
    path = write(tmp_path / "a.off", f"OFF\n3 1 0\n0 0 0\n1 0 0\n1 1 0\n{face}\n")
    with pytest.raises(DataError, match="a line can't be read"):
        read_scan_file(path)


@pytest.mark.needs("trimesh")
def test_stl_has_three_vertices_a_face(tmp_path):
    corners = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0], [1, 1, 0.5]]], dtype="<f4")
    binary = bytes(80) + struct.pack("<I", 2) + b"".join(bytes(12) + face.tobytes() + bytes(2) for face in corners)
    (tmp_path / "a.stl").write_bytes(binary)
    rows = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in face)
        + "endloop\nendfacet\n"
        for face in corners
    )
    write(tmp_path / "b.stl", f"solid one\n{rows}endsolid one\n")
    for name in ("a.stl", "b.stl"):
        scan = read_scan_file(tmp_path / name)
        np.testing.assert_array_equal(scan.xyz, corners.reshape(6, 3))
        assert scan.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert "three vertices a face: 6 points" in scan.notes[0]


@pytest.mark.needs("laspy")
@pytest.mark.needs("lazrs")
@pytest.mark.parametrize(
    ("kind", "numbers", "notes"),
    [
        ("OFF", "9 8 7", ["3 numbers of a vertex that OFF does not name were left out; colours are in a COFF"]),
        ("NOFF", "0 0 1 9", ["1 numbers of a vertex that NOFF does not name were left out; colours are in a COFF"]),
        ("COFF", "9 8 7 255", []),
        ("COFF", "9 8 7", []),
    ],
)
def test_numbers_of_an_off_that_its_kind_does_not_name_are_told(tmp_path, kind, numbers, notes):
    assert read_scan_file(write(tmp_path / "a.off", f"{kind}\n1 0 0\n1 2 3 {numbers}\n")).notes == notes


@pytest.mark.parametrize(("suffix", "factor"), [(".las", 256), (".laz", 256), (".las", 1), (".las", 0)])
def test_las(tmp_path, suffix, factor):
    """Scale and offset are in the coordinates; colours of 16 bits, of 8 bits, and none; labels come along."""
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    header.offsets, header.scales = [689000, 5335000, 0], [0.001] * 3
    header.add_extra_dim(laspy.ExtraBytesParams("room", "int32"))
    las = laspy.LasData(header)
    xyz = np.array([[689000.123, 5335000.456, 1.5], [689001, 5335002, -3.25], [689000, 5335000, 0]])
    las.x, las.y, las.z = xyz.T
    rgb = np.array([[255, 0, 7], [1, 2, 3], [0, 0, 0]])
    las.red, las.green, las.blue = rgb.T * factor
    las.user_data, las.point_source_id = np.array([7, 8, 255]), np.array([9, 65535, 0])
    las.classification, las.room = np.array([2, 6, 30]), np.array([100, 200, -1])
    las.write(tmp_path / f"a{suffix}")
    scan = read_scan_file(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(scan.xyz, xyz, atol=1e-6, rtol=0)
    if factor:
        np.testing.assert_array_equal(scan.rgb, rgb)
    else:
        assert scan.rgb is None
    assert {name: values.tolist() for name, values in scan.fields.items()} == {
        "classification": [2, 6, 30],
        "user_data": [7, 8, 255],
        "point_source_id": [9, 65535, 0],
        "room": [100, 200, -1],
    }


@pytest.mark.needs("laspy")
def test_dimensions_of_a_las_file_may_be_called_as_ours(tmp_path):
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    for name in ("rgb", "xyz"):
        header.add_extra_dim(laspy.ExtraBytesParams(name, "int32"))
    las = laspy.LasData(header)
    las.x, las.red, las.rgb, las.xyz = [1, 2], [256, 512], [7, 8], [-1, 5]
    las.write(tmp_path / "a.las")
    scan = read_scan_file(tmp_path / "a.las")
    assert (scan.xyz[:, 0].tolist(), scan.rgb[:, 0].tolist()) == ([1, 2], [1, 2])
    assert {name: values.tolist() for name, values in scan.fields.items()} == {
        "classification": [0, 0],
        "user_data": [0, 0],
        "point_source_id": [0, 0],
        "rgb": [7, 8],
        "xyz": [-1, 5],
    }


@pytest.mark.needs("laspy")
@pytest.mark.needs("lazrs")
@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las_where_stderr_is_closed(tmp_path, suffix):
    import laspy

    las = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
    las.x = [1, 2, 3]
    las.write(tmp_path / f"a{suffix}")
    code = "import sys; from pointseg.formats.reading import *; print(read_scan_file(sys.argv[1]).num_points)"
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", code, tmp_path / f"a{suffix}"]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout == "3\n"


PCD = "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb _ normal_x normal_y normal_z label\nSIZE 8 8 8 4 1 4 4 4 2\n"
PCD += (
    "TYPE F F F F U F F F U\nCOUNT 1 1 1 1 3 1 1 1 1\nWIDTH 2\nHEIGHT 2\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 4\nDATA {}\n"
)


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path, encoding):
    """An organised cloud: packed colours, filling, a point without a place, a label; in every encoding."""
    kinds = [("xyz", "<f8", 3), ("rgb", "<u4"), ("_", "u1", 3), ("normal", "<f4", 3), ("label", "<u2")]
    table = np.zeros(4, dtype=kinds)
    table["xyz"] = [[689000.123456789, 1, 2], [np.nan] * 3, [3, 4, 5], [6, 7, 8]]
    table["rgb"], table["label"] = [0x0102FF, 0, 0xFF0000, 0x00FF00], [7, 0, 65535, 7]
    table["normal"] = [0, 0, 2]
    if encoding == "ascii":
        rows = [
            " ".join(
                map(str, [*map(repr, map(float, row["xyz"])), row["rgb"].view("<f4"), 0, 0, 0, 0, 0, 2, row["label"]])
            )
            for row in table
        ]
        body = "\n".join(rows).encode()
    elif encoding == "binary":
        body = table.tobytes()
    else:
        columns = [table["xyz"][:, i] for i in range(3)] + [table["rgb"], table["_"]]
        raw = b"".join(c.tobytes() for c in [*columns, *table["normal"].T, table["label"]])
        packed = lzf_literals(raw[:-8]) + lzf_literals(raw[-8:-6]) + lzf_literals(raw[-6:])
        body = struct.pack("<2I", len(packed), len(raw)) + packed
    (tmp_path / "a.pcd").write_bytes(PCD.format(encoding).encode() + body)
    scan = read_scan_file(tmp_path / "a.pcd")
    np.testing.assert_array_equal(scan.xyz, table["xyz"])
    assert scan.is_finite.tolist() == [True, False, True, True]
    assert scan.rgb.tolist() == [[1, 2, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0]]
    assert scan.normal.tolist() == [[0, 0, 1]] * 4
    assert {name: values.tolist() for name, values in scan.fields.items()} == {"label": [7, 0, 65535, 7]}


def pcd_text(path: Path, kind: str, *labels: str) -> Path:
    """An ASCII PCD with a label of this type (``U 1``) at each point."""
    letter, size = kind.split()
    header = f"FIELDS x y z label\nSIZE 4 4 4 {size}\nTYPE F F F {letter}\nCOUNT 1 1 1 1\nPOINTS {len(labels)}\n"
    return write(path, header + "DATA ascii\n" + "".join(f"1 2 3 {label}\n" for label in labels))


@pytest.mark.parametrize(
    ("kind", "label", "limits"),
    [
        ("U 1", "260", "0..255"),
        ("U 4", "nan", "0..4294967295"),
        ("U 2", "-1", "0..65535"),
        ("I 4", "1.7", "-2147483648..2147483647"),
    ],
)
def test_a_number_that_an_ascii_pcd_can_not_hold_is_refused(tmp_path, kind, label, limits):
    path = pcd_text(tmp_path / "a.pcd", kind, "3", label)
    with pytest.raises(DataError) as caught:
        read_scan_file(path)
    expected = f"'label' of point 2 is {label}, expected a whole number {limits}; export the cloud again"
    assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize(("kind", "label"), [("U 8", 2**64 - 1), ("I 8", 2**53 + 1), ("I 8", -(2**63)), ("U 8", 7)])
def test_whole_numbers_of_64_bits_of_an_ascii_pcd_are_exact(tmp_path, kind, label):
    path = pcd_text(tmp_path / "a.pcd", kind, "0", str(label))
    assert read_scan_file(path).fields["label"].tolist() == [0, label]


def lzf_literals(raw: bytes) -> bytes:
    """The simplest LZF: runs of up to 32 bytes as they are."""
    return b"".join(bytes([len(raw[i : i + 32]) - 1]) + raw[i : i + 32] for i in range(0, len(raw), 32))


def test_lzf_of_a_piece_that_overlaps_itself():
    """'ab' and then 200 bytes from two back: a long reference that reads what it writes."""
    from pointseg.formats.lzf import decompress

    packed = b"\x01ab" + bytes([0xE0, 191, 1])  # length 7 + 191 + 2, distance 1 + 1
    assert decompress(struct.pack("<2I", len(packed), 202) + packed + b"more", 202) == b"ab" * 101


ROWS = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.xyz", "1 2 3\n4 5 6\n", {}),
        ("a.xyz", "1 2 3 0.7\n4 5 6 0.1\n", {}),
        ("a.xyz", "1,2,3,9,8,255\n4,5,6,0,0,1\n", {"rgb": [[9, 8, 255], [0, 0, 1]]}),
        ("a.xyz", "1 2 3 0 0 -1\n4 5 6 1 0 0\n", {"normal": [[0, 0, -1], [1, 0, 0]]}),
        ("a.xyzn", "1 2 3 0 0 2\n4 5 6 2 0 0\n", {"normal": [[0, 0, 1], [1, 0, 0]]}),
        ("a.xyzrgb", "1 2 3 0 0.5 1\n4 5 6 1 1 1\n", {"rgb": [[0, 128, 255], [255, 255, 255]]}),
        ("a.pts", "2\r\n1 2 3 -5 1 2 3\r\n4 5 6 -9 4 5 6\r\n", {"rgb": ROWS}),
        ("a.pts", "2\n1 2 3 -5\n4 5 6 -9\n", {}),
        ("a.txt", "1 2 3 1 2 3 7\n4 5 6 4 5 6 8\n", {"rgb": ROWS, "label": [7, 8]}),
        ("a.txt", "// X Y Z R G B Label\n1 2 3 1 2 3 7\n4 5 6 4 5 6 8\n", {"rgb": ROWS, "Label": [7, 8]}),
        ("a.txt", '"id","x","y","z","r","g","b"\n9,1,2,3,1,2,3\n8,4,5,6,4,5,6\n', {"rgb": ROWS, "id": [9, 8]}),
        ("a.txt", "x y z i red green blue\n1 2 3 -9 1 2 3\n4 5 6 7 4 5 6\n", {"rgb": ROWS, "i": [-9, 7]}),
        ("a.xyz", "x\ty\tz\tlabel\n1\t2\t3\t7\n4\t5\t6\t8\n", {"label": [7, 8]}),
        ("a.txt", "x,y,z,label,\n1,2,3,7,\n4,5,6,8,\n", {"label": [7, 8]}),
        ("a.txt", "1;2;3;9;8;255;\n4;5;6;0;0;1; \n", {"rgb": [[9, 8, 255], [0, 0, 1]]}),
        ("a.txt", '"x","y","z","label"\n"1","2","3","7"\n"4","5","6","8"\n', {"label": [7, 8]}),
        ("a.txt", "//X Y Z Rf Gf Bf\n1 2 3 0 0.5 1\n4 5 6 1 0 0\n", {"rgb": [[0, 128, 255], [255, 0, 0]]}),
        ("a.txt", "x y z Größe\n1 2 3 7\n4 5 6 8\n", {"Größe": [7, 8]}),
        ("a.txt", "x y z Größe\n1 2 3 7\n4 5 6 8\n".encode("latin-1"), {"Größe": [7, 8]}),
        ("a.asc", "# metres, z up\n# Y X Z\n2 1 3\n5 4 6\n", {}),
        (
            "a.asc",
            "//X Y Z R G B Nx Ny Nz\n2\n1 2 3 1 2 3 0 0 1\n4 5 6 4 5 6 0 0 1\n",
            {"rgb": ROWS, "normal": [[0, 0, 1]] * 2},
        ),
        ("a.txt", "from the scanner of room 7\n1 2 3\n4 5 6\n", {}),
        ("a.txt", "# x y z label\n# by hand\n1 2 3 7\n4 5 6 8\n", {"label": [7, 8]}),
        ("a.txt", "#x\ty\tz\tmy label\n1\t2\t3\t7\n4\t5\t6\t8\n", {"my label": [7, 8]}),
        ("a.txt", "2\nx y z label\n1 2 3 7\n4 5 6 8\n", {"label": [7, 8]}),
        ("a.txt", "# by hand\n2\n# x y z label\n1 2 3 7\n4 5 6 8\n", {"label": [7, 8]}),
        ("a.txt", "x, y, z, label\n1 2 3 7\n4 5 6 8\n", {"label": [7, 8]}),
        ("a.txt", "#x;y;z;label\n1,2,3,7\n# between\n4,5,6,8\n", {"label": [7, 8]}),
        (
            "a.asc",
            "x;y;z;nx;ny;nz;r;g;b\n1;2;3;0;0;-1;1;2;3\n4;5;6;0;1;0;4;5;6\n",
            {"rgb": ROWS, "normal": [[0, 0, -1], [0, 1, 0]]},
        ),
    ],
)
def test_tables_of_text(tmp_path, name, text, expected):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    scan = read_scan_file(tmp_path / name)
    parts = {"rgb": scan.rgb, "normal": scan.normal, **scan.fields}
    assert scan.xyz.tolist() == ROWS
    assert {part: values.tolist() for part, values in parts.items() if values is not None} == expected


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("1 2 3 0.5", []),
        ("1 2 3 5", ["the fourth number of a line counts as an intensity and was left out; a first line with the"]),
        ("1 2 3 9 8 7", []),
        ("1 2 3 9 8 7 6", ["a line was read as x y z r g b label; a first line with the names of the columns says"]),
        ("1 2 3 9 8 7 0 0 1", ["a line was read as x y z r g b nx ny nz; a first line with the names of the columns"]),
        ("1 2 3 4 5 6 7 8", ["5 numbers after x y z are not known and were left out; a first line with the names of"]),
    ],
)
def test_what_a_table_without_names_is_taken_for(tmp_path, text, notes):
    found = read_scan_file(write(tmp_path / "a.txt", f"{text}\n")).notes
    assert [note[: len(notes[0]) if notes else None] for note in found] == notes


def test_colors_that_a_renderer_made_too_bright(tmp_path):
    """One of 600 above 1 does not make the others black; whole numbers up to 255 are what they were."""
    rows = [f"v {i} 0 0 0.5 0.25 1" for i in range(599)]
    scan = read_scan_file(write(tmp_path / "a.obj", "\n".join([*rows, "v 0 0 1 1.02 0 0"])))
    assert scan.rgb[[0, -1]].tolist() == [[128, 64, 255], [255, 0, 0]]
    assert scan.notes == ["1 colours are above 1, as far as 1.02, and count as 1"]
    dark = read_scan_file(write(tmp_path / "b.obj", "v 0 0 0 0 1 2\nv 1 1 1 0 0 0\n"))
    assert dark.rgb[0].tolist() == [0, 1, 2]


def many_colors(kind: str, usual: float, *others: float) -> tuple[np.ndarray, list[str]]:
    """(600, 3) bytes of colours of which a few are others, and the notes."""
    values = np.full((600, 3), usual, dtype=kind)
    values[: len(others)] = np.array(others)[:, None]
    notes: list[str] = []
    return rgb_from_values(Path("a.ply"), values, notes), notes


@pytest.mark.parametrize(
    ("kind", "usual", "high", "byte", "note"),
    [
        ("u2", 200, 65535, 200, "2 colours are above 255, as far as 65535, and count as 255"),
        ("i4", 200, 256, 200, "2 colours are above 255, as far as 256, and count as 255"),
        ("f4", 0.5, 99, 128, "2 colours are above 1, as far as 99, and count as 1"),
    ],
)
def test_a_few_colors_beyond_the_range_do_not_make_the_others_black(kind, usual, high, byte, note):
    rgb, notes = many_colors(kind, usual, high, high)
    assert rgb[[0, -1], 0].tolist() == [255, byte]
    assert notes == [note]


def test_colors_that_are_nearly_black_in_16_bits_are_told():
    rgb, notes = many_colors("u2", 1023)
    assert rgb.max() == 3
    assert notes == ["colours reach 1023, so they count as 16 bits; nearly all are black then"]
    assert many_colors("u2", 20_000, 65535)[1] == []


def test_a_label_that_is_missing_is_no_label(tmp_path):
    """CloudCompare writes NaN for a point without; a column that is all NaN says nothing."""
    rows = "x y z scalar_Label scalar_Empty\n1 2 3 7 nan\n4 5 6 nan nan\n"
    scan = read_scan_file(write(tmp_path / "a.txt", rows))
    assert {name: values.tolist() for name, values in scan.fields.items()} == {"scalar_Label": [7, -1]}
    assert scan.notes == ["1 points have no 'scalar_Label', and count as -1 there"]


@pytest.mark.parametrize("nan", ["-nan(ind)", "nan(snan)", "-1.#IND", "1.#QNAN00"])
def test_nan_as_windows_writes_it(tmp_path, nan):
    rows = f"1 2 3 0 0 1\n4 5 6 {nan} {nan} {nan}\n7 8 9 0 0 1\n"
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    write(tmp_path / "a.ply", f"ply\nformat ascii 1.0\nelement vertex 3\n{names}end_header\n{rows}")
    write(tmp_path / "a.xyzn", rows)
    for name in ("a.ply", "a.xyzn"):
        scan = read_scan_file(tmp_path / name)
        assert scan.xyz.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        assert scan.notes == ["1 of 3 normals are zero or not finite and count as (0, 0, 1)"]


@pytest.mark.parametrize(
    ("options", "is_told"), [("-s 2 2 1", True), ("-o 0.5", True), ("-s 1 1 1 -o 0 0 -clamp on", False), ("", False)]
)
def test_a_picture_that_an_obj_moves_is_told_of(tmp_path, options, is_told):
    write_picture(tmp_path / "a.png")
    write(tmp_path / "room.mtl", f"newmtl green\nmap_Kd {options} a.png\n")
    notes = read_scan_file(write(tmp_path / "a.obj", OBJ)).notes
    assert (
        "the offset or scale of a picture (-o, -s) was not applied, so its colours may be wrong" in notes
    ) == is_told


def test_a_gltf_without_positions_is_one_line(tmp_path):
    header = {"asset": {"version": "2.0"}, "meshes": [{"primitives": [{"attributes": {}}]}]}
    with pytest.raises(DataError, match="a part of a mesh has no POSITION, and so no points"):
        read_scan_file(write(tmp_path / "a.gltf", json.dumps(header)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xyz", "1 2 3\n4 5\n", "line 2: the number of columns changed from 3 to 2"),
        ("a.xyz", "# a\n\nx y z\n1 2 3\n# b\n1 2\n", "line 6: the number of columns changed from 3 to 2"),
        ("a.xyz", "# a\r\n\r\nx y z\r\n1 2 3\r\n1 b 3", "line 5: could not convert string 'b' to float64 in column 2"),
        ("a.xyz", '"1,5","2","3"\n', "line 1: could not convert string '1,5'"),
        ("a.xyz", "1 2\n", "has 2 numbers"),
        ("a.pts", "3\n1 2 3\n4 5 6\n", "announces 3 points and has 2"),
        ("a.xyz", "# nothing\n", "no points"),
        ("a.xyz", "x y z label\n1 2 3 4 5 6\n", "names 4 columns .x y z label. and a line has 6 numbers"),
        ("a.xyz", "# x y z label\n# by hand\n1 2 3 4 5 6\n", "names 4 columns .x y z label. and a line has 6 numbers"),
        ("a.xyz", "// X Y Z my label\n1 2 3 4\n", "names 5 columns .X Y Z my label. and a line has 4 numbers"),
        ("a.xyz", "x y z x\n1 2 3 4\n", "name each column once"),
        ("a.xyz", "\ufeff1 2 3\n".encode("utf-16-le"), "is a text in UTF-16; save it as UTF-8"),
        ("a.xyz", "east north up\n1 2 3\n", "names 3 columns .east north up."),
        ("a.blend", "BLENDER", "is of a kind that is not read; give one of .ply"),
        ("a.glb", "no", "not a GLB"),
        ("a.off", "OFF BINARY\n1 1 1\n", "not a text OFF"),
        ("a.las", "LASF", "truncated"),
        ("a.pcd", "x", "not a PCD"),
        ("a.obj", "hello", "no vertex lines"),
    ],
)
def test_what_is_no_scan_is_said(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_scan_file(tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "module", "name"),
    [
        (".glb", "trimesh", "trimesh"),
        (".stl", "trimesh", "trimesh"),
        (".las", "laspy", "laspy"),
        (".laz", "lazrs", "lazrs"),
    ],
)
def test_missing_library_is_one_line(tmp_path, monkeypatch, suffix, module, name):
    """It says what needs what, and what to type."""
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(glb(*two_meshes()) if suffix == ".glb" else b"LASF" + bytes(300))
    with pytest.raises(UsageError) as caught:
        read_scan_file(path)
    assert str(caught.value) == f"{path}: reading it needs {name}; type: pip install 'pointseg[formats]'"


def test_missing_pillow_is_one_line(tmp_path, monkeypatch):
    write_picture(tmp_path / "a.png")
    write(tmp_path / "room.mtl", "newmtl green\nmap_Kd a.png\n")
    write(tmp_path / "a.obj", OBJ)
    (tmp_path / "a.glb").write_bytes(glb(*two_meshes()))
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for name in ("a.obj", "a.glb"):
        with pytest.raises(UsageError, match=r"needs Pillow; type: pip install 'pointseg\[formats\]'"):
            read_scan_file(tmp_path / name)


def test_ply_by_its_suffix_in_any_case(tmp_path):
    write_mesh(tmp_path / "A.PLY", Mesh(TRIANGLE.astype(np.float32)))
    np.testing.assert_array_equal(read_scan_file(tmp_path / "A.PLY").xyz, TRIANGLE)


def test_letters_that_hold_an_end_of_line_in_latin_1(tmp_path):
    """The second byte of an A with a ring is such an end."""
    path = write(tmp_path / "a.asc", "# \u00c5land\n0 0 0 1 2 3\n# \u00c5\n1 1 1 4 5 6\n")
    assert read_scan_file(path).rgb.tolist() == [[1, 2, 3], [4, 5, 6]]


BOX = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 2 3 4\n"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + BOX,
        "o C:\\scans\\\n" + BOX,
        BOX.replace("v 1 0 0", "v 1 0 0 # from D:\\a\\", 1),
        BOX.replace("f 2 3 4", "g one \\\nf 2 \\\n 3 \\\n4 # four"),
    ],
)
def test_no_vertex_of_an_obj_is_lost(tmp_path, text):
    """Neither to a byte order mark nor to a name or comment that ends in a backslash."""
    scan = read_scan_file(write(tmp_path / "a.obj", text))
    assert (scan.num_points, scan.faces.tolist()) == (4, [[1, 2, 3]])


def test_a_byte_order_mark_is_no_part_of_what_is_read(tmp_path):
    write(tmp_path / "a.mtl", "\ufeffnewmtl m\nKd 1 0 0\n")
    obj = write(tmp_path / "a.obj", "mtllib a.mtl\nusemtl m\n" + BOX)
    assert read_scan_file(obj).rgb[1:].tolist() == [[255, 0, 0]] * 3
    assert read_scan_file(write(tmp_path / "a.off", "\ufeffOFF\n1 0 0\n1 2 3\n")).xyz.tolist() == [[1, 2, 3]]


def test_a_comment_of_an_obj_ends_with_its_line(tmp_path):
    path = write(tmp_path / "a.obj", "# from C:\\scans\\\nv 0 0 0\nv 1 0 \\\n0\nv 2 0 0\n")
    assert read_scan_file(path).xyz[:, 0].tolist() == [0, 1, 2]


def test_a_picture_with_options_and_a_name_of_words(tmp_path):
    write_picture(tmp_path / "my tex.png")
    write(tmp_path / "a.mtl", "newmtl m\nmap_Kd -s 1 1 1 my tex.png\n")
    path = write(tmp_path / "a.obj", "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 1\nusemtl m\nf 1/1 2/1 3/1\n")
    scan = read_scan_file(path)
    assert (scan.rgb.tolist(), scan.notes) == ([RED] * 3, [])


def test_files_that_a_scan_names(tmp_path):
    """Those that are there, wherever they are; what is damaged names none."""
    (tmp_path / "sub").mkdir()
    for name in ("sub/my tex.png", "b.mtl", "a bin", "p.png"):
        (tmp_path / name).write_bytes(b"1")
    write(tmp_path / "a.mtl", "map_Kd -s 1 1 1 sub/my tex.png\nmap_Kd gone.png\n")
    obj = write(tmp_path / "a.obj", "mtllib a.mtl\r\nmtllib b.mtl\nmtllib gone.mtl\nv 0 0 0\n")
    assert companion_files(obj) == [tmp_path / name for name in ("a.mtl", "b.mtl", "sub/my tex.png")]
    header = {"buffers": [{"uri": "a%20bin"}, {"uri": "data:,"}], "images": [{"uri": "p.png"}, {"bufferView": 0}]}
    gltf = write(tmp_path / "a.gltf", json.dumps(header))
    assert companion_files(gltf) == [tmp_path / "a bin", tmp_path / "p.png"]
    assert companion_files(write(tmp_path / "b.gltf", "[1")) == companion_files(tmp_path / "a.ply") == []


MATERIALS = {"a.mtl": "newmtl red\nKd 1 0 0\n", "b.mtl": "newmtl blue\nKd 0 0 1\n"}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("mtllib a.mtl b.mtl", ["a.mtl", "b.mtl"]),
        ("mtllib ./a.mtl ./b.mtl", ["a.mtl", "b.mtl"]),
        ('mtllib "a.mtl" "b.mtl"', ["a.mtl", "b.mtl"]),
        ("mtllib \\\na.mtl b.mtl", ["a.mtl", "b.mtl"]),
        ("mtllib a.mtl\rmtllib b.mtl\r", ["a.mtl", "b.mtl"]),
        ("# mtllib a.mtl\nmtllib gone.mtl b.mtl", ["b.mtl"]),
        ("mtllib my a.mtl", ["my a.mtl"]),
        ("mtllib a.mtl of b.mtl", ["a.mtl of b.mtl"]),
        ("mtllib a.mtl c.mtl", ["a.mtl c.mtl"]),
        ("mtllib C:\\my scans\\b.mtl", ["b.mtl"]),
    ],
)
def test_what_is_read_of_an_obj_is_what_it_is_made_from(tmp_path, line, names):
    """The colours of all files that a line of libraries names, whichever way it is written."""
    for name, text in {**MATERIALS, **dict.fromkeys(names, "".join(MATERIALS.values())), **MATERIALS}.items():
        write(tmp_path / name, text)
    body = "".join(f"v {i} {i % 2} 0\n" for i in range(6)) + "usemtl red\nf 1 2 3\nusemtl blue\nf 4 5 6\n"
    path = write(tmp_path / "a.obj", f"{line}\n{body}")
    assert companion_files(path) == [tmp_path / name for name in names]
    scan = read_scan_file(path)
    first = GREY if names == ["b.mtl"] else RED
    assert scan.rgb[[0, 3]].tolist() == [first, BLUE]
    assert [note for note in scan.notes if "beside" in note] == (
        ["gone.mtl is not beside it, so materials give no colours"] if "gone" in line else []
    )


def test_damaged_coordinates_are_no_place(tmp_path):
    path = write(tmp_path / "a.xyz", "0 0 0\n1e30 0 0\n689123456 5335765430 0\n0 -1e300 0\n")
    assert read_scan_file(path).is_finite.tolist() == [True, False, True, False]
