"""Small scan files made by hand, for the tests of their readers."""

import io
import json
import struct
from pathlib import Path

import numpy as np

PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], dtype=np.uint8)
RED, GREEN, BLUE, YELLOW = PIXELS.reshape(4, 3).tolist()
GREY = [128, 128, 128]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def write_picture(path: Path) -> None:
    from PIL import Image

    Image.fromarray(PIXELS).save(path)


def glb(header: dict, data: bytes) -> bytes:
    """A GLB file packed by hand."""
    text = json.dumps({"asset": {"version": "2.0"}, "buffers": [{"byteLength": len(data)}], **header}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<2I", len(text), 0x4E4F534A) + text + struct.pack("<2I", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype="<f4")  # the last is the first again


def two_meshes() -> tuple[dict, bytes]:
    """A coloured mesh of four vertices, placed twice by nodes, and a textured one between them."""
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(PIXELS).save(picture, format="PNG")
    blocks = [
        TRIANGLE.tobytes(),
        np.array([[0, 1, 2], [1, 3, 2]], dtype="<u2").tobytes(),
        np.array([[1, 2, 3, 255], [4, 5, 6, 255], [7, 8, 9, 255], [0, 0, 1, 255]], dtype="u1").tobytes(),
        np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype="<f4").tobytes(),
        np.array([[0, 0, 1]] * 4, dtype="<f4").tobytes(),
        picture.getvalue(),
    ]
    views, data = [], b""
    for block in blocks:
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(block)})
        data += block + bytes(-len(block) % 4)
    kinds = [(5126, 4, "VEC3"), (5123, 6, "SCALAR"), (5121, 4, "VEC4"), (5126, 4, "VEC2"), (5126, 4, "VEC3")]
    accessors = [
        {"bufferView": i, "componentType": kind, "count": count, "type": shape}
        | ({"normalized": True} if i == 2 else {})
        for i, (kind, count, shape) in enumerate(kinds)
    ]
    header = {
        "bufferViews": views,
        "accessors": accessors,
        "images": [{"bufferView": 5, "mimeType": "image/png"}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 2, "NORMAL": 4}, "indices": 1}]},
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "TEXCOORD_0": 3, "NORMAL": 4}, "indices": 1, "material": 0}
                ]
            },
        ],
        "nodes": [
            {"mesh": 0, "translation": [10, 20, 30], "children": [2]},
            {"mesh": 0, "rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)]},
            {"mesh": 1, "scale": [-2, 1, 1]},
        ],
        "scenes": [{"nodes": [0, 1]}],
        "scene": 0,
    }
    return header, data


OBJ = """# Büro
mtllib room.mtl
v 689000.123456789 5335000.987654321 1.5
v 1 0 0
v 1 1 0
v 0 1 0
v 5 5 5
v 9 9 9
vt 0 0
vt 1 0
vt 0 1
vt 1 1
vn 0 0 2
vn 0 3 0
o first
usemtl on picture
f 1/1/1 2/2/1 3/3/2
g second
usemtl green
f 4//1 3//1 1//1 5//2
usemtl on picture
f -6/4 -5/3 -4/1
"""
