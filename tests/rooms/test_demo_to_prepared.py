"""From demo scans to a checked tree: the real reader on whole scans, held against the raw files read by plain means."""

import csv
import json

import numpy as np
import pytest
from plyfile import PlyData

from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.taxonomy import load_taxonomy
from tests.scripts import run_script


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A raw tree and the prepared one, made and checked by the three scripts."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("prepared")
    counts = ("--train", 2, "--val", 1, "--test", 1, "--vertices", 3000)
    made = run_script("make_demo_scans.py", "--out", raw, *counts)
    prepared = run_script("preprocess_scannet.py", "--raw", raw, "--out", out, "--workers", 1)
    checked = run_script("check_scans.py", out, "--workers", 1)
    for done in (made, prepared, checked):
        assert (done.status, done.err) == (0, "")
    return raw, out


@pytest.mark.parametrize(("taxonomy_name", "column"), [("scannet200", "id"), ("scannet20", "nyu40id")])
def test_labels_by_the_official_rule(trees, taxonomy_name, column):
    """Every vertex of every scan: as the official rule gives it, object by object from the raw files."""
    raw, out = trees
    class_ids = load_taxonomy(taxonomy_name).class_ids.tolist()
    with open(raw / "scannetv2-labels.combined.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for folder in [*list_scenes(out, "train"), *list_scenes(out, "val")]:
        scan = raw / "scans" / folder.name
        segments = np.array(json.loads((scan / f"{scan.name}_vh_clean_2.0.010000.segs.json").read_text())["segIndices"])
        expected_ids, instances = np.zeros(len(segments), int), np.full(len(segments), -1)
        for group in json.loads((scan / f"{scan.name}.aggregation.json").read_text())["segGroups"]:
            matches = [int(row[column]) for row in rows if row["raw_category"] == group["label"]]
            inside = np.isin(segments, group["segments"])
            expected_ids[inside] = matches[0] if matches and matches[0] in class_ids else 0
            instances[inside] = group["id"]
        scene = read_scene(folder, load_taxonomy(taxonomy_name))
        expected = [class_ids.index(i) if i else -1 for i in expected_ids]
        assert scene.label.tolist() == expected
        assert scene.instance.tolist() == instances.tolist()
        assert max(expected) > 0


def test_vertices_are_the_mesh_turned(trees):
    """Every vertex, in order: the raw mesh turned by axisAlignment; test scans, which have none, as they are."""
    raw, out = trees
    for split, parent in (("train", "scans"), ("val", "scans"), ("test", "scans_test")):
        for folder in list_scenes(out, split):
            scan = raw / parent / folder.name
            vertices = PlyData.read(scan / f"{scan.name}_vh_clean_2.ply")["vertex"]
            xyz = np.stack([vertices[axis] for axis in "xyz"] + [np.ones(vertices.count)])
            info = scan / f"{scan.name}.txt"
            lines = info.read_text().splitlines() if info.exists() else []
            numbers = [line.split(" = ")[1] for line in lines if line.startswith("axisAlignment")]
            matrix = np.array(numbers[0].split(), dtype=float).reshape(4, 4) if numbers else np.eye(4)
            assert (split == "test") or not np.allclose(matrix, np.eye(4))
            scene = read_scene(folder, load_taxonomy("scannet200"))
            np.testing.assert_allclose(scene.xyz, (matrix @ xyz)[:3].T, atol=1e-5)
            np.testing.assert_array_equal(scene.rgb[:, 0], vertices["red"])
            np.testing.assert_allclose(np.linalg.norm(scene.normal, axis=1), 1, atol=1e-5)
