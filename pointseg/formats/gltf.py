"""glTF and GLB through trimesh: the meshes of a scene in the order of its nodes, placed by their transforms."""

import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from pointseg.errors import DataError, first_line
from pointseg.formats.libraries import require
from pointseg.formats.scan_file import (
    ScanFile,
    bytes_from_unit,
    finite_rows,
    rgb_from_values,
    unit_normals,
)
from pointseg.formats.texture import choose_colors, fill_missing_colors, read_image, sample_texture

_DRACO = "KHR_draco_mesh_compression"
# Required extensions that change neither where a vertex is nor its colour, or that trimesh reads.
_HARMLESS = {
    "KHR_materials_unlit",
    "KHR_materials_specular",
    "KHR_materials_ior",
    "KHR_materials_clearcoat",
    "KHR_materials_pbrSpecularGlossiness",
    "EXT_texture_webp",
    _DRACO,
}
_READ_MODES = (0, 1, 4, 5)  # points, lines, triangles, strips: trimesh leaves out the others
_FLOAT = 5126
_MOST_NODES = 1_000_000


def read_gltf(path: Path) -> ScanFile:
    """Read a glTF or GLB file: vertices of all meshes one after the other, y up and in metres by the standard.

    Nodes count from the roots down, children in their order, the parts of a mesh in theirs; a mesh that two nodes
    place is there twice. A colour comes from COLOR_0 (its bytes as they are), else from the base colour's picture
    at TEXCOORD_0, else from the base colour. Joints, morph targets and cameras are left out.

    Raises:
        DataError: the file is damaged, has no mesh, or needs an extension that is not read.
        UsageError: trimesh, Pillow or DracoPy is needed and not installed.
    """
    header = _read_header(path)
    _refuse_what_is_not_read(path, header)
    loader = require("trimesh.exchange.gltf", path)
    if header.get("images"):
        require("PIL.Image", path)  # without it trimesh leaves the pictures out
    with open(path, "rb") as file:
        loaded = (loader.load_glb if path.suffix.lower() == ".glb" else loader.load_gltf)(file, resolver=_Folder(path))
    geometries = list(loaded["geometry"].values())
    # Where DracoPy fails, trimesh leaves zeros.
    if _DRACO in header.get("extensionsUsed", []) and not all(np.any(part["vertices"]) for part in geometries):
        raise DataError(f"{path}: its Draco data can't be decoded; fetch it again or export it without compression")
    parts_of_mesh, start = [], 0
    for mesh in header.get("meshes", []):
        count = sum(part.get("mode", 4) in _READ_MODES for part in mesh["primitives"])
        parts_of_mesh.append(geometries[start : start + count])
        start += count
    notes: list[str] = []
    if skipped := sum(len(mesh["primitives"]) for mesh in header.get("meshes", [])) - start:
        notes.append(f"{skipped:,} parts of lines or fans were left out")
    if header.get("images") and not any(_base_image(part) is not None for part in geometries):
        notes.append("none of its pictures could be read as a base colour")
    placed = [(part, matrix) for mesh, matrix in _walk(path, header) for part in parts_of_mesh[mesh]]
    if not placed:
        raise DataError(f"{path}: its scene has no mesh; export the scan again")
    return _join(path, placed, notes)


class _Folder:
    """What trimesh asks for files that a .gltf names: those beside it, and only regular ones."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, name: str) -> bytes:
        file = self.path.parent / unquote(name)
        if not file.is_file():
            raise DataError(f"{self.path}: {name} is not beside it; copy it there")
        return file.read_bytes()

    __getitem__ = get


def _read_header(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        if path.suffix.lower() == ".glb":
            start = file.read(20)
            if len(start) < 20 or start[:4] != b"glTF":
                raise DataError(f"{path}: is not a GLB file; export the scan again")
            _, version, _, length, _ = struct.unpack("<5I", start)
            if version != 2:
                raise DataError(f"{path}: is glTF {version}, expected 2; export the scan again")
            content = file.read(length)
        else:
            content = file.read()
    try:
        header = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}: its JSON is damaged ({error}); fetch or export it again") from None
    if not isinstance(header, dict):
        raise DataError(f"{path}: is no glTF; export the scan again")
    return header


def _refuse_what_is_not_read(path: Path, header: dict[str, Any]) -> None:
    """Of these trimesh gives zeros or raw numbers, which would look like a scan."""
    if unknown := sorted(set(header.get("extensionsRequired", [])) - _HARMLESS):
        raise DataError(f"{path}: needs {unknown[0]}, which is not read; export it without compression or extensions")
    accessors = header.get("accessors", [])
    for mesh in header.get("meshes", []):
        for part in mesh["primitives"]:
            if part.get("mode", 4) not in _READ_MODES:
                continue
            if _DRACO in part.get("extensions", {}):
                require("DracoPy", path)
                continue
            wanted = [part["attributes"].get(name) for name in ("POSITION", "NORMAL", "COLOR_0", "TEXCOORD_0")]
            for index in (*wanted, part.get("indices")):
                if index is None:
                    continue
                if "sparse" in accessors[index] or "bufferView" not in accessors[index]:
                    raise DataError(f"{path}: has sparse or missing data, which is not read; export it again")
            position, _, _, place = wanted
            if position is None:
                raise DataError(f"{path}: a part of a mesh has no POSITION, and so no points; export the scan again")
            for index in (position, place):
                if index is not None and accessors[index]["componentType"] != _FLOAT:
                    raise DataError(
                        f"{path}: has positions or texture coordinates that are not float; export it unquantized"
                    )


def _walk(path: Path, header: dict[str, Any]) -> list[tuple[int, np.ndarray]]:
    """Mesh and (4, 4) transform of each node that places one, depth first."""
    nodes = header.get("nodes", [])
    scenes = header.get("scenes")
    if scenes:
        roots = scenes[header.get("scene", 0)].get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [i for i in range(len(nodes)) if i not in children]
    placed = []
    stack = [(root, np.eye(4)) for root in reversed(roots)]
    num_visited = 0
    while stack:
        index, above = stack.pop()
        num_visited += 1
        # By the standard each node has one parent; a circle would never end.
        if num_visited > min(len(nodes), _MOST_NODES):
            raise DataError(f"{path}: a node of the scene has two parents; export the scan again")
        node = nodes[index]
        matrix = above @ _local_matrix(node)
        if "mesh" in node:
            placed.append((int(node["mesh"]), matrix))
        stack += [(child, matrix) for child in reversed(node.get("children", []))]
    return placed


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    """(4, 4) float64: matrix, or translation x rotation x scale (glTF 2.0, section 3.5.3)."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _join(path: Path, placed: list[tuple[dict[str, Any], np.ndarray]], notes: list[str]) -> ScanFile:
    xyz, faces, rgb, normal, num_before = [], [], [], [], 0
    for part, matrix in placed:
        vertices = np.asarray(part["vertices"], dtype=np.float64).reshape(-1, 3)
        xyz.append(vertices @ matrix[:3, :3].T + matrix[:3, 3])
        if part.get("faces") is not None and len(part["faces"]):
            corners = np.asarray(part["faces"], dtype=np.int64)
            if corners.min() < 0 or corners.max() >= len(vertices):
                raise DataError(f"{path}: a face names a vertex that its mesh does not have; export the scan again")
            # A mirror turns a surface inside out, unless its faces turn with it.
            faces.append(num_before + (corners[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else corners))
        rgb.append(_part_colors(path, part, len(vertices), notes))
        normal.append(_part_normals(part, matrix))
        num_before += len(vertices)
    all_xyz = np.concatenate(xyz)
    all_rgb = None
    if any(colors is not None for colors in rgb):
        is_known = np.repeat([colors is not None for colors in rgb], [len(part) for part in xyz])
        filled = [np.zeros((len(a), 3), np.uint8) if b is None else b for a, b in zip(xyz, rgb, strict=True)]
        all_rgb = fill_missing_colors(np.concatenate(filled), is_known, notes)
    notes = list(dict.fromkeys(notes))
    given = [part for part, a in zip(normal, xyz, strict=True) if part is not None and len(part) == len(a)]
    return ScanFile(
        path,
        all_xyz,
        np.concatenate(faces) if faces else None,
        all_rgb,
        unit_normals(np.concatenate(given), finite_rows(all_xyz), notes) if len(given) == len(xyz) else None,
        up_axis_hint="y",
        notes=notes,
    )


def _base_image(part: dict[str, Any]) -> Any:
    """The picture of the base colour as trimesh has opened it; None where there is none, or it is damaged."""
    return getattr(getattr(part.get("visual"), "material", None), "baseColorTexture", None)


def _part_normals(part: dict[str, Any], matrix: np.ndarray) -> np.ndarray | None:
    """(n, 3) float64 by the inverse transpose; None where the part has none, or its transform is flat."""
    normal = part.get("vertex_normals")
    if normal is None or np.linalg.det(matrix[:3, :3]) == 0:
        return None
    return np.asarray(normal, dtype=np.float64).reshape(-1, 3) @ np.linalg.inv(matrix[:3, :3])


def _part_colors(path: Path, part: dict[str, Any], num_vertices: int, notes: list[str]) -> np.ndarray | None:
    """(n, 3) uint8; None where the part has neither colours nor a material."""
    visual = part.get("visual")
    values = part.get("vertex_colors")
    if values is None and visual is not None:
        values = visual.vertex_attributes.get("color")
    of_vertices = None
    if values is not None and values.ndim == 2 and values.shape[1] >= 3 and len(values) == num_vertices:
        # Bytes and shorts fill their range by the standard, so that dark ones stay dark.
        scaled = values[:, :3] >> 8 if values.dtype == np.uint16 else values[:, :3]
        is_float = np.issubdtype(scaled.dtype, np.floating)
        of_vertices = rgb_from_values(path, scaled if is_float else scaled.astype(np.uint8), notes)
    return choose_colors(of_vertices, None if visual is None else _material_colors(path, part, num_vertices, notes))


def _material_colors(path: Path, part: dict[str, Any], num_vertices: int, notes: list[str]) -> np.ndarray | None:
    """(n, 3) uint8 of the base colour: its picture, else its factor."""
    visual, image = part["visual"], _base_image(part)
    if image is not None and visual.uv is not None and len(visual.uv) == num_vertices:
        try:
            return sample_texture(read_image(image, path), visual.uv)
        except Exception as error:  # Pillow's own kinds, by the format of the picture
            notes.append(f"a picture can't be read ({first_line(error)}) and gives no colours")
    factor = visual.material.baseColorFactor
    if factor is None:
        return None
    # trimesh keeps the factor in bytes. It is linear by the standard, and colours of scans are sRGB.
    linear = np.asarray(factor, dtype=np.float64)[:3] / 255
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.tile(bytes_from_unit(srgb), (num_vertices, 1))
