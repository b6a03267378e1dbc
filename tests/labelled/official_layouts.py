"""Other data sets, small and in the layouts that they are published in."""

import json
from pathlib import Path

import numpy as np

from tests.labelled.labelled_scans import make_room

Properties = dict[str, tuple[str, list]]
FACES = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4]])
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, 1]], dtype=float)


def write_mesh(path: Path, vertex: Properties | None = None, face: Properties | None = None) -> None:
    """An ASCII PLY of five vertices and three faces, with more properties (PLY's type, values)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = {name: ("uchar", [10 * i for i in range(5)]) for name in ("red", "green", "blue")}
    vertex = {**{axis: ("float", VERTICES[:, i].tolist()) for i, axis in enumerate("xyz")}, **color, **(vertex or {})}
    face = face or {}
    lines = ["ply", "format ascii 1.0", "element vertex 5"]
    lines += [f"property {kind} {name}" for name, (kind, _) in vertex.items()]
    lines += ["element face 3", "property list uchar int vertex_indices"]
    lines += [f"property {kind} {name}" for name, (kind, _) in face.items()] + ["end_header"]
    lines += [" ".join(map(str, row)) for row in zip(*(values for _, values in vertex.values()), strict=True)]
    for i, corners in enumerate(FACES.tolist()):
        lines.append(" ".join(map(str, [3, *corners, *(values[i] for _, values in face.values())])))
    path.write_text("\n".join(lines) + "\n")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_s3dis(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """Stanford3dDataset_v1.2: a text file an object. Returns room -> object -> its points (N, 6)."""
    rooms = {}
    for seed, room in enumerate(("Area_1/office_1", "Area_2/office_1", "Area_5/hallway_6")):
        xyz, label = make_room(seed, 60)
        names = (
            {"floor_1": 1, "wall_1": 2, "chair_1": 3} if seed < 2 else {"ceiling_1": 1, "stairs_1": 2, "clutter_2": 3}
        )
        rooms[room] = {}
        for name, kind in names.items():
            rows = np.concatenate([xyz[label == kind].round(3), np.full(((label == kind).sum(), 3), 50 * kind)], axis=1)
            path = root / room / "Annotations" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [" ".join(f"{value:g}" for value in row) for row in rows]
            # In the published files a character of one line is no ASCII.
            path.write_bytes("\n".join(lines).replace(" ", "\u00a0", 1 if name == "ceiling_1" else 0).encode())
            rooms[room][name] = rows
        rows = np.concatenate(list(rooms[room].values()))
        np.savetxt(root / room / f"{Path(room).name}.txt", rows, fmt="%g")
    return rooms


def write_scannetpp(root: Path) -> None:
    """ScanNet++: two annotated scenes, a test scene, and a scene of the lists that is not downloaded."""
    lists = {"nvs_sem_train": ["aa11", "zz99"], "nvs_sem_val": ["bb22"], "sem_test": ["cc33"]}
    (root / "splits").mkdir(parents=True)
    for name, scenes in lists.items():
        (root / "splits" / f"{name}.txt").write_text("".join(f"{scene}\n" for scene in scenes))
    metadata = root / "metadata" / "semantic_benchmark"
    metadata.mkdir(parents=True)
    (metadata / "top100.txt").write_text("".join(f"{name}\n" for name in ("wall", "table", "monitor")))
    (metadata / "map_benchmark.csv").write_text(
        "class,count,semantic_map_to,instance_map_to\nwall,9,,\nTABLE,3,table,table\ndust,1,,\n"
    )
    for scene in ("aa11", "bb22", "cc33"):
        write_mesh(root / "data" / scene / "scans" / "mesh_aligned_0.05.ply")
    for scene in ("aa11", "bb22"):
        scans = root / "data" / scene / "scans"
        write_json(scans / "segments.json", {"segIndices": [0, 0, 1, 2, 3]})
        groups = [
            {"objectId": 1, "label": "wall", "segments": [0, 1]},
            {"objectId": 2, "label": "TABLE", "segments": [1]},  # smaller than the wall, and so before it
            {"objectId": 5, "label": "dust", "segments": [2]},
        ]
        write_json(scans / "segments_anno.json", {"segGroups": [{**g, "id": g["objectId"]} for g in groups]})
    (root / "data" / "aa11" / "scans" / "mesh_aligned_0.05_mask.txt").write_text("1\n")


_RIO_HEADER = "Global ID,Label,,NYU40 Mapping,,Eigen Mapping,,RIO27 Mapping,,RIO7 Mapping\n"


def write_3rscan(root: Path) -> None:
    """3RScan: labels in the properties of the vertices, colours that are those of the objects."""
    (root / "3RScan.json").parent.mkdir(parents=True)
    write_json(
        root / "3RScan.json",
        [
            {"reference": "ref-a", "type": "train", "scans": [{"reference": "re-a"}]},
            {"reference": "ref-b", "type": "validation", "scans": []},
        ],
    )
    (root / "3RScan.v2 Semantic Classes - Mapping.csv").write_text(
        "a first line that does not count,,,,,,,,,\n" + _RIO_HEADER + "1,chair,5,chair,2,Chair,4,chair,3,chair\n"
        "2,floor,2,floor,5,Floor,2,floor,1,floor\n3,dust,0,-,0,-,0,-,0,-\n"
    )
    for scene in ("ref-a", "ref-b"):
        fields = {"objectId": [0, 7, 7, 8, 8], "globalId": [0, 1, 1, 2, 2], "RIO27": [0, 4, 4, 2, 2]}
        vertex = {name: ("ushort", values) for name, values in fields.items()}
        write_mesh(root / scene / "labels.instances.annotated.v2.ply", vertex)
        groups = [{"objectId": 7, "label": "chair", "segments": []}, {"objectId": 8, "label": "floor", "segments": []}]
        write_json(root / scene / "semseg.v2.json", {"segGroups": groups})


def write_multiscan(root: Path) -> None:
    """MultiScan: labels on the faces."""
    root.mkdir(parents=True)
    (root / "scans_split.csv").write_text("scanId,split\nscene_0,train\nscene_1,val\nscene_2,test\n")
    (root / "object_semantic_label_map.csv").write_text(
        "objectName,objectSemanticName,objectSemanticId\nfloor,floor,1\nchair,chair,6\n"
    )
    (root / "part_semantic_label_map.csv").write_text("partName,partSemanticName,partSemanticId\nseat,seat,2\n")
    for scene in ("scene_0", "scene_1"):
        write_mesh(root / scene / f"{scene}.ply", face={"objectId": ("int", [1, 1, 2]), "partId": ("int", [1, 1, 2])})
        objects = [
            {"objectId": 1, "label": "floor.1", "partIds": [1]},
            {"objectId": 2, "label": "chair.1", "partIds": [2]},
        ]
        parts = [{"partId": i, "label": "seat.1"} for i in (1, 2)]
        write_json(root / scene / f"{scene}.annotations.json", {"objects": objects, "parts": parts})


def write_matterport3d(root: Path) -> None:
    """Matterport3D: regions of houses, labels on the faces."""
    root.mkdir(parents=True)
    for split, houses in {"train": ["h1"], "val": ["h2"], "test": ["h3"]}.items():
        (root / f"scenes_{split}.txt").write_text("".join(f"{house}\n" for house in houses))
    columns = [
        "index",
        "raw_category",
        "category",
        "count",
        "nyuId",
        "nyu40id",
        "nyu40class",
        "eigen13id",
        "eigen13class",
        "mpcat40index",
        "mpcat40",
    ]
    rows = [[1, "wall", "wall", 9, 21, 1, "wall", 12, "Wall", 1, "wall"]]
    rows += [[2, "seat", "chair", 3, 5, 5, "chair", 4, "Chair", 3, "chair"]]
    rows += [[3, "thing", "thing", 1, 7, 40, "otherprop", 7, "Objects", 41, "unlabeled"]]
    (root / "category_mapping.tsv").write_text("\n".join("\t".join(map(str, row)) for row in [columns, *rows]) + "\n")
    for house in ("h1", "h2"):
        for region in (0, 1):
            path = root / "v1" / "scans" / house / "region_segmentations" / f"region{region}.ply"
            write_mesh(path, face={"segment_id": ("int", [4, 4, 9]), "category_id": ("int", [1, 1, 2])})
