"""Files cut off or changed anywhere: read, or refused in one line."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.formats.reading import READERS, read_scan_file
from tests.formats.scan_files import OBJ, TRIANGLE, glb, two_meshes


def damaged(content: bytes, seed: int) -> bytes:
    """Cut off anywhere, or a few bytes changed: in the header, or in digits, which is where numbers that matter are."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    digits = np.flatnonzero(np.isin(np.frombuffer(content[:2000], "u1"), np.frombuffer(b"0123456789", "u1")))
    for _ in range(rng.integers(1, 5)):
        if seed % 3 == 1 and len(digits):
            changed[rng.choice(digits)] = 48 + rng.integers(10)
        else:
            changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed)


@pytest.mark.needs("trimesh")
@pytest.mark.needs("laspy")
@pytest.mark.parametrize("suffix", [*READERS])
def test_damage_is_one_line(tmp_path, capfd, suffix):
    """Sixty damaged files of each kind: read, or refused in a line that begins with the path; nothing is printed."""
    content = example(suffix, tmp_path)
    messages = []
    for seed in range(60):
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(damaged(content, seed))
        try:
            assert read_scan_file(path).num_points > 0
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 5
    assert all(text.startswith(f"{path}: ") and "\n" not in text and ";" in text for text in messages)
    assert capfd.readouterr() == ("", "")


@pytest.mark.needs("lazrs")
@pytest.mark.parametrize("table_at_end", [False, True])
def test_a_laz_file_of_more_chunks_than_bytes_is_refused(tmp_path, table_at_end):
    """Memory for so many would end the process without a word. Where the table is says a number before or after all."""
    path = tmp_path / "a.laz"
    content = bytearray(example(".laz", tmp_path))
    (data_start,) = struct.unpack_from("<I", content, 96)
    (table_start,) = struct.unpack_from("<q", content, data_start)
    if table_at_end:
        struct.pack_into("<q", content, data_start, -1)
        content += struct.pack("<q", table_start)
    path.write_bytes(content)
    assert read_scan_file(path).num_points == 40
    struct.pack_into("<I", content, table_start + 4, 2**32 - 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match="announces 4294967295 chunks of points; fetch it again"):
        read_scan_file(path)


def example(suffix: str, folder: Path) -> bytes:
    """A whole file of each kind."""
    header, data = two_meshes()
    if suffix == ".glb":
        return glb(header, data)
    if suffix == ".gltf":
        (folder / "data.bin").write_bytes(data)
        return json.dumps({"asset": {"version": "2.0"}, "buffers": [{"uri": "data.bin"}], **header}).encode()
    if suffix in (".las", ".laz"):
        import laspy

        las = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
        las.x, las.y, las.z = np.random.default_rng(0).random((3, 40))
        las.write(folder / f"a{suffix}")
        return (folder / f"a{suffix}").read_bytes()
    if suffix == ".ply":
        write_mesh(folder / "a.ply", Mesh(TRIANGLE.astype(np.float32), np.int32([[0, 1, 2]] * 9)))
        return (folder / "a.ply").read_bytes()
    if suffix == ".stl":
        facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
        return f"solid a\n{facet * 4}endsolid a\n".encode()
    if suffix == ".pcd":
        header_text = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 40\nHEIGHT 1\nPOINTS 40\nDATA binary\n"
        return header_text.encode() + np.random.default_rng(0).random((40, 3)).astype("<f4").tobytes()
    texts = {".obj": OBJ, ".off": "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", ".pts": "2\n1 2 3\n4 5 6\n"}
    return texts.get(suffix, "1 2 3 4 5 6\n" * 5).encode()
