"""The demo scans: their formats, their contents, and that they are the same every time."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from pointseg.errors import UsageError
from pointseg.rooms import write_demo_scans
from pointseg.rooms.layout import Layout, RoomObject, sample_layout
from pointseg.rooms.mesh import build_mesh, object_spacing_m
from pointseg.rooms.paint import load_materials
from pointseg.rooms.placing import Pose
from pointseg.rooms.primitives import unit_surface
from pointseg.rooms.recipes import load_recipes
from pointseg.rooms.room_kinds import NUM_REAL_SCANS, choose_room_kind, expected_objects, load_room_kinds
from pointseg.rooms.scan import DemoScan, make_scan
from pointseg.rooms.segments import connected_components, face_edges
from pointseg.rooms.shapes import load_shapes
from pointseg.taxonomy import load_taxonomy
from tests.scripts import run_script

NUM_SCENES = {"train": 3, "val": 1, "test": 2}
SETTINGS = {"seed": 3, "num_vertices": 4000}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "raw"
    write_demo_scans(folder, NUM_SCENES, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def scans() -> list[DemoScan]:
    return [make_scan(0, "train", i, 20_000) for i in range(6)]


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return [sample_layout(choose_room_kind(i, 0.1), 20_000, np.random.default_rng([5, i])) for i in range(600)]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def annotated_scenes(raw: Path) -> Iterator[Path]:
    scenes = sorted((raw / "scans").iterdir())
    assert len(scenes) == NUM_SCENES["train"] + NUM_SCENES["val"]
    yield from scenes


def aligned_xyz(scan: DemoScan) -> np.ndarray:
    return scan.xyz @ scan.axis_alignment[:3, :3].T + scan.axis_alignment[:3, 3]


def annotated_vertices(scan: DemoScan) -> np.ndarray:
    return np.isin(scan.segment_id, np.concatenate([a.segment_ids for a in scan.annotations]))


# --- files -----------------------------------------------------------------------------------------------------------


def test_train_and_val_scenes_have_all_raw_files(raw: Path) -> None:
    for folder in annotated_scenes(raw):
        assert {path.name for path in folder.iterdir()} == {
            f"{folder.name}_vh_clean_2.ply",
            f"{folder.name}_vh_clean_2.labels.ply",
            f"{folder.name}_vh_clean_2.0.010000.segs.json",
            f"{folder.name}.aggregation.json",
            f"{folder.name}.txt",
        }


def test_a_test_scene_is_its_mesh_and_nothing_else(raw: Path) -> None:
    folders = sorted((raw / "scans_test").iterdir())
    assert len(folders) == NUM_SCENES["test"]
    for folder in folders:
        assert [path.name for path in folder.iterdir()] == [f"{folder.name}_vh_clean_2.ply"]


def test_the_split_lists_name_the_scenes_and_do_not_overlap(raw: Path) -> None:
    lists = {split: (raw / "splits" / f"scannetv2_{split}.txt").read_text().split() for split in NUM_SCENES}
    assert {split: len(names) for split, names in lists.items()} == NUM_SCENES
    every_name = [name for names in lists.values() for name in names]
    assert len(set(every_name)) == len(every_name)
    assert sorted(lists["train"] + lists["val"]) == sorted(path.name for path in (raw / "scans").iterdir())
    assert lists["test"] == sorted(path.name for path in (raw / "scans_test").iterdir())


def test_the_mesh_has_the_properties_of_the_release_and_sound_triangles(raw: Path) -> None:
    """Every index is valid, no corner stands twice in a face, every vertex is used, no triangle is empty."""
    for path in sorted(raw.glob("scans*/*/*_vh_clean_2.ply")):
        ply = PlyData.read(path, known_list_len={"face": {"vertex_indices": 3}})
        assert not ply.text
        assert ply.byte_order == "<"
        properties = [(p.name, p.val_dtype) for p in ply["vertex"].properties]
        colors = [(name, "u1") for name in ("red", "green", "blue", "alpha")]
        assert properties == [("x", "f4"), ("y", "f4"), ("z", "f4"), *colors]
        (face_list,) = ply["face"].properties
        assert (face_list.name, face_list.len_dtype, face_list.val_dtype) == ("vertex_indices", "u1", "i4")
        faces = np.stack(ply["face"]["vertex_indices"])
        xyz = np.stack([ply["vertex"][axis] for axis in "xyz"], axis=1)
        assert np.isfinite(xyz).all()
        assert set(faces.ravel().tolist()) == set(range(len(xyz)))
        a, b, c = (xyz[faces[:, i]].astype(np.float64) for i in range(3))
        assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-9


def test_every_segment_of_an_aggregation_exists_and_has_one_owner(raw: Path) -> None:
    for folder in annotated_scenes(raw):
        name = folder.name
        segments = json.loads((folder / f"{name}_vh_clean_2.0.010000.segs.json").read_text())
        aggregation = json.loads((folder / f"{name}.aggregation.json").read_text())
        mesh = PlyData.read(folder / f"{name}_vh_clean_2.ply")
        assert segments["sceneId"] == name
        assert aggregation["sceneId"] == f"scannet.{name}"
        assert len(segments["segIndices"]) == mesh["vertex"].count
        groups = aggregation["segGroups"]
        assert [group["id"] for group in groups] == list(range(len(groups)))
        assert [group["objectId"] for group in groups] == list(range(len(groups)))
        owned = [segment for group in groups for segment in group["segments"]]
        assert len(set(owned)) == len(owned)
        assert set(owned) < set(segments["segIndices"])


def test_labels_mesh_holds_the_nyu40_ids_of_the_aggregation(raw: Path) -> None:
    with open(raw / "scannetv2-labels.combined.tsv", encoding="utf-8") as file:
        nyu40id = {row["raw_category"]: int(row["nyu40id"]) for row in csv.DictReader(file, delimiter="\t")}
    for folder in annotated_scenes(raw):
        name = folder.name
        segments = np.array(json.loads((folder / f"{name}_vh_clean_2.0.010000.segs.json").read_text())["segIndices"])
        expected = np.zeros(len(segments), dtype=np.int64)
        for group in json.loads((folder / f"{name}.aggregation.json").read_text())["segGroups"]:
            expected[np.isin(segments, group["segments"])] = nyu40id[group["label"]]
        labels = PlyData.read(folder / f"{name}_vh_clean_2.labels.ply")
        mesh = PlyData.read(folder / f"{name}_vh_clean_2.ply")
        assert labels["vertex"].properties[-1].val_dtype == "u2"
        np.testing.assert_array_equal(labels["vertex"]["label"], expected)
        np.testing.assert_array_equal(labels["vertex"]["x"], mesh["vertex"]["x"])


def test_the_scene_information_holds_a_turn_about_z_and_a_shift(raw: Path) -> None:
    for folder in annotated_scenes(raw):
        lines = (folder / f"{folder.name}.txt").read_text().splitlines()
        information = dict(line.split(" = ") for line in lines)
        matrix = np.array([float(number) for number in information["axisAlignment"].split()]).reshape(4, 4)
        rotation = matrix[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=3e-6)
        np.testing.assert_allclose(rotation[2], [0, 0, 1])
        np.testing.assert_allclose(rotation[:, 2], [0, 0, 1])
        np.testing.assert_allclose(matrix[3], [0, 0, 0, 1])
        assert np.linalg.det(rotation) > 0
        assert not np.allclose(rotation, np.eye(3), atol=0.05)


def test_the_label_table_maps_every_class_to_its_id(raw: Path) -> None:
    """All 200 classes by name; synonyms share an id; ``object`` twice; some ids are of no class; empty columns."""
    with open(raw / "scannetv2-labels.combined.tsv", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        rows = list(reader)
    assert reader.fieldnames is not None
    assert list(reader.fieldnames[:5]) == ["id", "raw_category", "category", "count", "nyu40id"]
    taxonomy = load_taxonomy("scannet200")
    id_of = {row["raw_category"]: int(row["id"]) for row in rows}
    for name, scannet_id in zip(taxonomy.class_names, taxonomy.class_ids, strict=True):
        assert id_of[name] == scannet_id
    duplicates = {name for name in id_of if sum(row["raw_category"] == name for row in rows) > 1}
    assert duplicates == {"object"}
    assert {row["id"] for row in rows if row["raw_category"] == "object"} == {"1163"}
    assert len(rows) > 1.5 * 200
    assert set(id_of.values()) - set(taxonomy.class_ids.tolist())
    assert all(1 <= int(row["nyu40id"]) <= 40 for row in rows)
    assert any(not row["ModelNet40"] for row in rows)


# --- the same every time ---------------------------------------------------------------------------------------------


def test_bytes_depend_on_the_seed_only_and_not_on_workers_or_how_many(raw: Path, tmp_path: Path) -> None:
    write_demo_scans(tmp_path / "more", {"train": 4, "val": 1, "test": 2}, **SETTINGS, workers=2)
    first, more = files_in(raw), files_in(tmp_path / "more")
    scenes = [name for name in first if name.startswith(("scans/", "scans_test/"))]
    assert scenes
    assert all(first[name] == more[name] for name in scenes)
    write_demo_scans(tmp_path / "other", {"train": 1, "val": 0, "test": 0}, seed=4, num_vertices=4000)
    mesh = "scans/scene0000_00/scene0000_00_vh_clean_2.ply"
    assert files_in(tmp_path / "other")[mesh] != first[mesh]


def test_the_same_call_again_keeps_what_is_there_and_fills_what_is_missing(tmp_path: Path) -> None:
    numbers = {"train": 2, "val": 0, "test": 0}
    assert write_demo_scans(tmp_path, numbers, 0, 3000) == 2
    before = files_in(tmp_path)
    assert write_demo_scans(tmp_path, numbers, 0, 3000) == 0
    for path in (tmp_path / "scans" / "scene0001_00").iterdir():
        path.unlink()
    (tmp_path / "scans" / "scene0001_00").rmdir()
    assert write_demo_scans(tmp_path, numbers, 0, 3000) == 1
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"num_vertices": 3001}, {"law": "longtail"}, {"num_scenes": {"train": 0, "val": 0, "test": 0}}],
    ids=["seed", "vertices", "law", "fewer"],
)
def test_a_folder_of_other_scans_is_refused_and_left_alone(tmp_path: Path, change: dict) -> None:
    settings = {"num_scenes": {"train": 1, "val": 0, "test": 0}, "seed": 0, "num_vertices": 3000}
    write_demo_scans(tmp_path, **settings)
    before = files_in(tmp_path)
    with pytest.raises(UsageError, match="choose another folder"):
        write_demo_scans(tmp_path, **(settings | change))
    assert files_in(tmp_path) == before


def test_a_folder_that_does_not_say_its_law_is_of_scannet200(tmp_path: Path) -> None:
    settings = {"num_scenes": {"train": 1, "val": 0, "test": 0}, "seed": 0, "num_vertices": 3000}
    write_demo_scans(tmp_path, **settings)
    notes = json.loads((tmp_path / "demo_scans.json").read_text())
    assert notes.pop("frequency_law") == "scannet200"
    (tmp_path / "demo_scans.json").write_text(json.dumps(notes))
    with pytest.raises(UsageError, match="choose another folder"):
        write_demo_scans(tmp_path, **settings, law="longtail")
    assert write_demo_scans(tmp_path, **settings) == 0


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    with pytest.raises(UsageError, match="not demo scans"):
        write_demo_scans(tmp_path, NUM_SCENES, **SETTINGS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train", "-1"],
        ["--val", "100000"],
        ["--vertices", "10"],
        ["--vertices", "5000000"],
        ["--seed", "-3"],
        ["--workers", "0"],
        ["--law", "flat"],
        ["--train", "many"],
        ["--scenes", "3"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_one_line_and_write_nothing(tmp_path: Path, arguments: list[str]) -> None:
    finished = run_script("make_demo_scans.py", "--out", tmp_path / "raw", *arguments)
    assert finished.status == 2
    assert len(finished.error_lines) == 1
    assert not (tmp_path / "raw").exists()


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    numbers = ["--train", 1, "--val", 0, "--test", 0, "--vertices", 3000, "--workers", 1]
    finished = run_script("make_demo_scans.py", "--out", tmp_path, *numbers)
    assert finished.status == 0
    assert finished.out == f"{tmp_path}: 1 scenes made\n"


# --- what is in a scan -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_vertices", [5_000, 20_000, 60_000])
def test_the_number_of_vertices_is_about_what_was_asked_for(num_vertices: int) -> None:
    counts = np.array([len(make_scan(1, "val", i, num_vertices).xyz) for i in range(2)])
    assert (np.abs(counts / num_vertices - 1) <= 0.25).all()


def test_more_vertices_are_a_larger_and_finer_room() -> None:
    def area_and_spacing(num_vertices: int) -> tuple[float, float]:
        scan = make_scan(0, "train", 3, num_vertices)
        edges = scan.xyz[face_edges(scan.faces)]
        extent = np.ptp(aligned_xyz(scan), axis=0)
        return float(extent[0] * extent[1]), float(np.median(np.linalg.norm(edges[:, 0] - edges[:, 1], axis=1)))

    small, large = area_and_spacing(20_000), area_and_spacing(100_000)
    assert large[0] > 1.2 * small[0]
    assert large[1] < 0.8 * small[1]


def test_vertices_are_two_to_four_centimetres_apart(scans: list[DemoScan]) -> None:
    """The distance to the nearest neighbour along an edge, by default settings; at least most vertices."""
    for scan in scans:
        edges = face_edges(scan.faces)
        length = np.linalg.norm(scan.xyz[edges[:, 0]] - scan.xyz[edges[:, 1]], axis=1)
        nearest = np.full(len(scan.xyz), np.inf)
        np.minimum.at(nearest, edges[:, 0], length)
        assert 0.02 <= np.median(nearest) <= 0.045


def test_alignment_makes_walls_parallel_to_the_axes_and_the_floor_zero(scans: list[DemoScan]) -> None:
    for scan in scans:
        xyz = aligned_xyz(scan)
        for annotation in scan.annotations:
            if annotation.class_name not in ("wall", "floor"):
                continue
            points = xyz[np.isin(scan.segment_id, annotation.segment_ids)]
            spread = points.std(axis=0)
            if annotation.class_name == "floor":
                assert abs(points[:, 2].mean()) < 0.02
                assert spread[2] < 0.03
            else:
                assert spread[:2].min() < 0.03 < spread[:2].max()


def test_a_few_vertices_have_no_annotation(scans: list[DemoScan]) -> None:
    share = 1 - np.mean([annotated_vertices(scan).mean() for scan in scans])
    assert 0.02 <= share <= 0.2


def test_large_objects_are_several_connected_segments(scans: list[DemoScan]) -> None:
    for scan in scans:
        edges = face_edges(scan.faces)
        within = edges[scan.segment_id[edges[:, 0]] == scan.segment_id[edges[:, 1]]]
        root = connected_components(len(scan.xyz), within)
        # Connected: a segment is one component.
        assert len(np.unique(np.stack([root, scan.segment_id]), axis=1).T) == len(np.unique(scan.segment_id))
        for annotation in scan.annotations:
            if np.isin(scan.segment_id, annotation.segment_ids).sum() > 300:
                assert len(annotation.segment_ids) >= 2, annotation.class_name


def test_hidden_sides_are_missing(scans: list[DemoScan]) -> None:
    """Almost nothing of a room looks down: the bottoms of furniture were not seen."""
    for scan in scans:
        a, b, c = (scan.xyz[scan.faces[:, i]].astype(np.float64) for i in range(3))
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal, axis=1)
        low = c[:, 2] < scan.xyz[:, 2].min() + 1.0
        assert area[low & (normal[:, 2] < -0.9 * area)].sum() < 0.02 * area.sum()


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_all_classes_have_a_recipe_and_others_are_outside() -> None:
    taxonomy = load_taxonomy("scannet200")
    recipes = load_recipes()
    assert tuple(recipes)[:200] == taxonomy.class_names
    outside = list(recipes.values())[200:]
    assert outside
    assert not {recipe.scannet_id for recipe in outside} & set(taxonomy.class_ids.tolist())


def test_tables_name_only_what_exists() -> None:
    recipes, kinds = load_recipes(), load_room_kinds()
    assert abs(sum(kind.share for kind in kinds) - 1) < 1e-9
    assert {m for kind in kinds for m in (*kind.wall_materials, *kind.floor_materials)} <= set(load_materials())
    for recipe in recipes.values():
        assert set(recipe.shapes) <= set(load_shapes()), recipe.name
        assert {m for tone in recipe.materials for m in tone} <= set(load_materials()), recipe.name
        assert {host for place in recipe.places for host in place.hosts} <= set(recipes), recipe.name
        assert set(recipe.rooms) <= {kind.name for kind in kinds}, recipe.name
    used = {shape for recipe in recipes.values() for shape in recipe.shapes}
    assert used == set(load_shapes())


def test_no_raw_category_is_two_classes() -> None:
    names = [name for recipe in load_recipes().values() for name in recipe.raw_categories]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [name for name, recipe in load_recipes().items() if recipe.shapes])
def test_a_recipe_builds_a_mesh_within_its_size(name: str) -> None:
    recipe = load_recipes()[name]
    for shape_name in dict.fromkeys(recipe.shapes):
        size = np.array(recipe.size_m).mean(axis=1)
        materials = tuple(tone[0] for tone in recipe.materials)
        thing = RoomObject(recipe, load_shapes()[shape_name], size, Pose(0, 0, 0, 0), materials)
        room = Layout(load_room_kinds()[0], np.array([4.0, 4.0, 2.5]), (), False, "white", "oak", [thing])
        mesh = build_mesh(room, 0.04)
        mesh = mesh.keep_faces(mesh.thing_of_vertex[mesh.faces[:, 0]] == 0)
        assert len(mesh.faces) >= 8
        assert np.linalg.norm(mesh.face_normals(), axis=1).min() > 0
        local = mesh.xyz + np.array([size[0] / 2, size[1] / 2, 0])
        low, high = local.min(axis=0), local.max(axis=0)
        assert (low >= -0.012).all(), (shape_name, low)
        assert (high <= size + 0.012).all(), (shape_name, high, size)
        assert (high - low >= 0.6 * size).all(), (shape_name, high - low, size)
        edges = mesh.xyz[face_edges(mesh.faces)]
        assert np.median(np.linalg.norm(edges[:, 0] - edges[:, 1], axis=1)) < 2.5 * object_spacing_m(0.04, size)


def test_objects_stand_in_the_room_and_do_not_overlap_by_much(layouts: list[Layout]) -> None:
    """Nothing leaves the room; what stands on the floor by itself shares no space with another such object."""
    for layout in layouts[:60]:
        boxes = layout.boxes()
        assert (boxes[:, :2] > -0.02).all()
        assert (boxes[:, 3:] < layout.size_m + 0.02).all()
        alone = boxes[[o.pose.host < 0 for o in layout.objects]]
        overlap = np.minimum(alone[:, None, 3:], alone[None, :, 3:]) - np.maximum(
            alone[:, None, :3], alone[None, :, :3]
        )
        overlap[np.arange(len(alone)), np.arange(len(alone))] = 0
        assert (overlap.min(axis=2) < 0.011).all()


def test_what_is_on_something_touches_it(layouts: list[Layout]) -> None:
    for layout in layouts[:60]:
        for o in layout.objects:
            hosts = {host for place in o.recipe.places if place.relation == "on" for host in place.hosts}
            if o.pose.host < 0 or o.pose.z == 0 or not hosts:
                continue
            host = layout.objects[o.pose.host]
            if host.recipe.name in hosts:
                relative = (o.pose.z - host.pose.z) / host.size_m[2]
                assert any(abs(relative - top[2, 0]) < 1e-6 for top in host.shape.tops)


# --- how often -------------------------------------------------------------------------------------------------------


def rank(values: np.ndarray) -> np.ndarray:
    """Average ranks: ties share theirs."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[inverse]


def test_expected_objects_follow_the_annotated_objects_exactly() -> None:
    """Over all room kinds, each with its share, a class's mean is annotated_objects / 1513."""
    means = expected_objects()
    taxonomy = load_taxonomy("scannet200")
    assert taxonomy.annotated_objects is not None
    for name, count in zip(taxonomy.class_names, taxonomy.annotated_objects, strict=True):
        overall = sum(kind.share * means[kind.name][name] for kind in load_room_kinds())
        np.testing.assert_allclose(overall, count / NUM_REAL_SCANS, rtol=1e-9)


def test_sampled_rooms_have_the_long_tail(layouts: list[Layout]) -> None:
    """The law survives placing: what does not fit is left out, but the order of the classes and the imbalance stay."""
    taxonomy = load_taxonomy("scannet200")
    assert taxonomy.annotated_objects is not None
    names = [o.recipe.name for layout in layouts for o in layout.objects]
    free = np.array([not load_recipes()[name].is_shell for name in taxonomy.class_names])
    sampled = np.array([names.count(name) for name in taxonomy.class_names])
    real = taxonomy.annotated_objects
    correlation = np.corrcoef(rank(sampled[free]), rank(real[free]))[0, 1]
    assert correlation > 0.9

    def head_to_tail(counts: np.ndarray) -> float:
        return float(
            counts[free & taxonomy.group_mask("head")].mean() / counts[free & taxonomy.group_mask("tail")].mean()
        )

    assert 0.6 < head_to_tail(sampled) / head_to_tail(real) < 1.6
    chairs = sampled[taxonomy.class_names.index("chair")]
    assert chairs == sampled[free].max()


def test_context_correlates_as_in_homes(layouts: list[Layout]) -> None:
    def share_in(name: str, kind: str) -> float:
        kinds = [layout.kind.name for layout in layouts for o in layout.objects if o.recipe.name == name]
        return kinds.count(kind) / len(kinds)

    assert share_in("toilet", "bathroom") == 1
    assert share_in("bed", "bedroom") > 0.9
    assert share_in("refrigerator", "kitchen") > 0.8
    assert share_in("monitor", "office") > 0.7


def test_any_run_of_scenes_holds_the_room_kinds_in_their_shares() -> None:
    kinds = [choose_room_kind(i, 0.37).name for i in range(600)]
    for kind in load_room_kinds():
        for start in (0, 100, 200):
            assert abs(kinds[start : start + 100].count(kind.name) / 100 - kind.share) <= 0.03


# --- building blocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["", "-x", "-y"])
@pytest.mark.parametrize(
    "kind", ["box", "pad", "ball", "cyl", "shade", "cup", "bowl", "bottle", "wave", "drape", "foliage", "ring"]
)
def test_a_primitive_is_closed_and_looks_outward(kind: str, axis: str) -> None:
    """Every edge has two faces that run along it in opposite directions, and the enclosed volume is positive."""
    points, faces = unit_surface(kind + axis, (5, 6, 4))
    assert points.min() > -1e-9
    assert points.max() < 1 + 1e-9
    directed = {(int(a), int(b)) for a, b in face_edges(faces)}
    assert len(directed) == 3 * len(faces)
    assert all((b, a) in directed for a, b in directed)
    a, b, c = (points[faces[:, i]] for i in range(3))
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 > 0.02


def test_connected_components_are_those_of_a_literal_search() -> None:
    rng = np.random.default_rng(0)
    for num_edges in (0, 20, 60, 150):
        edges = rng.integers(0, 100, size=(num_edges, 2))
        neighbours: dict[int, set[int]] = {i: set() for i in range(100)}
        for a, b in edges.tolist():
            neighbours[a].add(b)
            neighbours[b].add(a)
        expected = np.full(100, -1)
        for start in range(100):
            waiting = [start] if expected[start] < 0 else []
            while waiting:
                vertex = waiting.pop()
                if expected[vertex] < 0:
                    expected[vertex] = start
                    waiting.extend(neighbours[vertex])
        np.testing.assert_array_equal(connected_components(100, edges), expected)
