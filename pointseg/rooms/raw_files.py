"""Writing a scan in the raw file formats of the ScanNet release."""

import json
from pathlib import Path

import numpy as np

from pointseg.rooms.label_table import load_nyu40
from pointseg.rooms.recipes import load_recipes
from pointseg.rooms.scan import DemoScan

SEGMENTER_PARAMETERS = {"kThresh": "0.0001", "segMinVerts": "20", "minPoints": "750", "maxPoints": "30000"}
"""What the real segmentation files say of how they were made; nothing reads it."""
_VERTEX_DTYPE = [("xyz", "<f4", 3), ("rgba", "u1", 4)]
_VERTEX_PROPERTIES = [f"float {axis}" for axis in "xyz"] + [f"uchar {c}" for c in ("red", "green", "blue", "alpha")]


def write_mesh(path: Path, scan: DemoScan) -> None:
    """``<scene>_vh_clean_2.ply``: binary little-endian vertices with colour, and triangles."""
    _write_ply(path, _colored_vertices(scan.xyz, scan.rgb), _VERTEX_PROPERTIES, scan.faces)


def write_annotated_scene(folder: Path, scene: str, scan: DemoScan, rng: np.random.Generator) -> None:
    """All files of a train or val scene into ``folder``; ``rng`` picks a raw category for each object."""
    write_mesh(folder / f"{scene}_vh_clean_2.ply", scan)
    write_label_mesh(folder / f"{scene}_vh_clean_2.labels.ply", scan)
    segments_name = f"{scene}_vh_clean_2.0.010000.segs.json"
    segments = {"params": SEGMENTER_PARAMETERS, "sceneId": scene, "segIndices": scan.segment_id.tolist()}
    _write_json(folder / segments_name, segments)
    groups = []
    for i, annotation in enumerate(scan.annotations):
        categories = load_recipes()[annotation.class_name].raw_categories
        # Mostly the plain name, sometimes a plural or a synonym.
        label = categories[0] if rng.random() < 0.75 else str(rng.choice(categories))
        groups.append({"id": i, "objectId": i, "segments": annotation.segment_ids.tolist(), "label": label})
    aggregation = {
        "sceneId": f"scannet.{scene}",
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{segments_name}",
    }
    _write_json(folder / f"{scene}.aggregation.json", aggregation)
    write_scene_information(folder / f"{scene}.txt", scan)


def write_label_mesh(path: Path, scan: DemoScan) -> None:
    """``<scene>_vh_clean_2.labels.ply``: the mesh coloured by NYU40 class, with that id as ``label``."""
    segments, segment_of_vertex = np.unique(scan.segment_id, return_inverse=True)
    nyu40id_of_segment = np.zeros(len(segments), dtype=np.uint16)
    for annotation in scan.annotations:
        position = np.searchsorted(segments, annotation.segment_ids)
        nyu40id_of_segment[position] = load_recipes()[annotation.class_name].nyu40id
    nyu40id = nyu40id_of_segment[segment_of_vertex.reshape(-1)]
    palette = np.zeros((41, 3), dtype=np.uint8)
    for entry in load_nyu40().values():
        palette[entry.nyu40id] = entry.rgb
    colored = _colored_vertices(scan.xyz, palette[nyu40id])
    vertices = np.empty(len(colored), dtype=[*_VERTEX_DTYPE, ("label", "<u2")])
    vertices["xyz"], vertices["rgba"], vertices["label"] = colored["xyz"], colored["rgba"], nyu40id
    _write_ply(path, vertices, [*_VERTEX_PROPERTIES, "ushort label"], scan.faces)


def write_scene_information(path: Path, scan: DemoScan) -> None:
    """``<scene>.txt``: ``key = value`` lines; ``axisAlignment`` is the 4 x 4 matrix, row by row."""
    lines = {
        "axisAlignment": " ".join(f"{value:.6f}" for value in scan.axis_alignment.ravel()) + " ",
        "colorHeight": "968",
        "colorWidth": "1296",
        "depthHeight": "480",
        "depthWidth": "640",
        "numDepthFrames": "0",
        "sceneType": scan.room_kind,
    }
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()), encoding="utf-8")


def _colored_vertices(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    vertices = np.empty(len(xyz), dtype=_VERTEX_DTYPE)
    vertices["xyz"] = xyz
    vertices["rgba"][:, :3] = rgb
    vertices["rgba"][:, 3] = 255
    return vertices


def _write_ply(path: Path, vertices: np.ndarray, properties: list[str], faces: np.ndarray) -> None:
    header = ["ply", "format binary_little_endian 1.0", "comment pointseg demo scan", f"element vertex {len(vertices)}"]
    header += [f"property {entry}" for entry in properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    path.write_bytes(("\n".join(header) + "\n").encode("ascii") + vertices.tobytes() + rows.tobytes())


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
