"""Tiny raw scans in ScanNet's formats, made by hand: what the tests of the readers read."""

import json
import math
import struct
from pathlib import Path

import numpy as np

# raw_category, id, nyu40id. "mat" is outside both benchmarks; "sign" is in the 200 alone.
CATEGORIES = [
    ("wall", 1, 1),
    ("chair", 2, 5),
    ("office chair", 2, 5),
    ("object", 1163, 40),
    ("object", 1163, 40),
    ("mat", 1299, 20),
    ("sign", 261, 40),
    ("twice", 2, 5),
    ("twice", 1, 1),
]
ROTATION = 0.3  # radians about z
ALIGNMENT = [
    [math.cos(ROTATION), -math.sin(ROTATION), 0, 1.5],
    [math.sin(ROTATION), math.cos(ROTATION), 0, -2.0],
    [0, 0, 1, 0.25],
    [0, 0, 0, 1],
]


def write_label_map(path: Path, rows: list[tuple] = CATEGORIES, columns: str = "id raw_category nyu40id") -> None:
    """The columns that count, among others that are empty as in the real table."""
    values = {"raw_category": 0, "id": 1, "nyu40id": 2}
    lines = ["\t".join(["empty", *columns.split()])]
    lines += ["\t".join(["", *(str(row[values[name]]) for name in columns.split())]) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def ply_bytes(xyz: np.ndarray, rgb: np.ndarray, faces: np.ndarray) -> bytes:
    """A mesh byte for byte as ScanNet writes it, without the help of the code under test."""
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment VCGLIB generated\n"
        f"element vertex {len(xyz)}\nproperty float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    vertices = b"".join(struct.pack("<fffBBBB", *p, *c, 255) for p, c in zip(xyz, rgb, strict=True))
    triangles = b"".join(struct.pack("<Biii", 3, *f) for f in faces)
    return header.encode() + vertices + triangles


def grid_mesh(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xyz, rgb and faces of a bumpy sheet of rows x columns vertices."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns] * 0.03
    xyz = np.stack([x, y, 0.01 * rng.standard_normal(x.shape)], axis=-1).reshape(-1, 3).astype(np.float32)
    rgb = rng.integers(0, 256, (len(xyz), 3), dtype=np.uint8)
    index = np.arange(len(xyz)).reshape(rows, columns)
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]).astype(np.int32)
    return xyz, rgb, faces


def write_raw_scan(
    folder: Path,
    objects: list[tuple[str, list[int]]] | None = None,
    shape: tuple[int, int] = (6, 8),
    labelled: bool = True,
    alignment: list[list[float]] | None = ALIGNMENT,
    seed: int = 0,
) -> None:
    """One scene: a sheet of which every column is a segment, 100 + its index; ``objects`` are label and segments."""
    scene = folder.name
    folder.mkdir(parents=True, exist_ok=True)
    xyz, rgb, faces = grid_mesh(*shape, seed=seed)
    (folder / f"{scene}_vh_clean_2.ply").write_bytes(ply_bytes(xyz, rgb, faces))
    if not labelled:
        return
    segments = np.tile(np.arange(shape[1]), shape[0]) + 100
    if objects is None:
        objects = [("wall", [100, 101]), ("office chair", [102, 103]), ("mat", [104]), ("sign", [105])]
    groups = [
        {"id": i, "objectId": i, "label": label, "segments": members} for i, (label, members) in enumerate(objects)
    ]
    text = json.dumps({"sceneId": scene, "segIndices": segments.tolist()})
    (folder / f"{scene}_vh_clean_2.0.010000.segs.json").write_text(text)
    (folder / f"{scene}.aggregation.json").write_text(json.dumps({"sceneId": f"scannet.{scene}", "segGroups": groups}))
    info = ["appVersionId = uploader-1.0", "sceneType = Office "]
    if alignment is not None:
        info.insert(1, "axisAlignment = " + " ".join(f"{x:.6f}" for row in alignment for x in row) + " ")
    (folder / f"{scene}.txt").write_text("\n".join(info) + "\n")


def write_raw_tree(raw: Path, scenes: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    """A whole download: label map, split lists, scans and test scans. Returns split -> scenes."""
    if scenes is None:
        scenes = {"train": ["scene0000_00", "scene0001_00"], "val": ["scene0002_00"], "test": ["scene0707_00"]}
    (raw / "splits").mkdir(parents=True)
    write_label_map(raw / "scannetv2-labels.combined.tsv")
    for split, names in scenes.items():
        (raw / "splits" / f"scannetv2_{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for i, name in enumerate(names):
            parent = raw / ("scans_test" if split == "test" else "scans")
            write_raw_scan(parent / name, labelled=split != "test", seed=i)
    return scenes
