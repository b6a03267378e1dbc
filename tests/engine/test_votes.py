"""Votes in segments: against a literal version, over parts and views, from every place that segments come from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
from pointseg import evaluate, predict
from pointseg.engine.evaluation import evaluate_scenes, new_statistics
from pointseg.engine.inference import PointOutput, Segmenter, Wanted, load_segmenter
from pointseg.engine.inference.views import view_matrices
from pointseg.engine.inference.votes import Votes
from pointseg.errors import DataError, UsageError
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.preparation.prepared_source import write_scene
from pointseg.processes import Processes
from pointseg.runs.directory import RunDirectory
from pointseg.scans.over_segments import segment_mesh
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, load_taxonomy
from pointseg.train import main as train
from tests.scannet.raw_scans import grid_mesh, write_raw_scan

ALL = Wanted(True, True, True)
ALONE = Processes(0, 1, torch.device("cpu"))
MESH, SEGMENTS = "scene0000_00_vh_clean_2.ply", "scene0000_00_vh_clean_2.0.010000.segs.json"


@pytest.fixture(scope="module")
def corridor() -> Scene:
    """Points of the other tests' boxes along 20 m."""
    rng = np.random.default_rng(0)
    xyz = (rng.random((6000, 3)) * (20.0, 1.5, 1.0)).astype(np.float32)
    rgb = np.clip(rng.normal(40 + 50 * (xyz[:, 2:] * 4 // 1), 15, xyz.shape), 0, 255).astype(np.uint8)
    normal = rng.normal(size=xyz.shape)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return Scene("corridor", xyz, rgb, normal.astype(np.float32), (xyz[:, 2] * 4).astype(np.int64))


@pytest.fixture(scope="module")
def segments(corridor: Scene) -> np.ndarray:
    """Of 1 to some 40 points each, across tiles."""
    drawn = np.random.default_rng(1).zipf(1.2, corridor.num_points) % 400
    return np.unique(drawn, return_inverse=True)[1].astype(np.int64)


@pytest.fixture
def voting_root(prepared_root: Path, tmp_path: Path) -> Path:
    """The boxes, train and val with segments of ten points, made without a source as another program might."""
    root = tmp_path / "voting"
    for folder in (*list_scenes(prepared_root, "train"), *list_scenes(prepared_root, "val")):
        arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        arrays["over_segment"] = np.random.default_rng(0).permutation(600).astype(np.int32) // 10
        write_scene(root / folder.parent.name / folder.name, arrays, source={})
    return root


def vote_literally(segments: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N, K): the mean of each point's segment, gathered one point after the other."""
    of_segment: dict[int, list[np.ndarray]] = {}
    for segment, row in zip(segments.tolist(), probabilities.astype(np.float64), strict=True):
        of_segment.setdefault(segment, []).append(row)
    mean = {segment: np.mean(rows, axis=0) for segment, rows in of_segment.items()}
    return np.array([mean[segment] for segment in segments.tolist()])


@pytest.mark.parametrize("tta", ["none", "rot4", "full"])
@pytest.mark.parametrize("change", [{}, {"max_voxels": 3000}, {"logit_adjustment": 1.0}], ids=["whole", "tiles", "tau"])
def test_votes_are_those_of_the_literal_version(
    trained_run: Path, corridor: Scene, segments: np.ndarray, tta: str, change: dict
) -> None:
    segmenter = load_segmenter(trained_run, device="cpu", **change)
    passes: list[None] = []
    handle = segmenter.network.register_forward_hook(lambda *_: passes.append(None))
    alone = segmenter.infer_scene(corridor, tta, ALL)
    num_passes = len(passes)
    voted = segmenter.infer_scene(corridor, tta, ALL, segments=segments)
    handle.remove()
    assert len(passes) == 2 * num_passes  # the same forward passes
    assert num_passes > len(view_matrices(tta)) or "max_voxels" not in change

    assert alone.probabilities is not None
    expected = vote_literally(segments, alone.probabilities.numpy())
    np.testing.assert_allclose(voted.probabilities, expected, atol=1e-3)
    # Probabilities come in half precision: where two classes are as good as even, either is right.
    second, first = np.sort(expected, axis=1)[:, -2:].T
    is_clear = first - second > 2e-3
    assert is_clear.mean() > 0.9
    np.testing.assert_array_equal(voted.label.numpy()[is_clear], expected.argmax(axis=1)[is_clear])
    assert (voted.label != alone.label).float().mean() > 0.1

    for part in (voted.label, voted.confidence):
        assert part is not None
        np.testing.assert_array_equal(part, part.numpy()[np.unique(segments, return_index=True)[1]][segments])
    chosen = voted.probabilities.gather(1, voted.label[:, None])[:, 0]
    assert torch.equal(chosen, voted.probabilities.amax(dim=1))
    torch.testing.assert_close(chosen.float(), voted.confidence, atol=1e-3, rtol=0)
    torch.testing.assert_close(voted.features, alone.features)


def test_each_point_a_segment_is_no_vote(trained_run: Path, corridor: Scene) -> None:
    segmenter = load_segmenter(trained_run, device="cpu")
    voted = segmenter.predict_scene(corridor, segments=np.arange(corridor.num_points))
    np.testing.assert_array_equal(voted, segmenter.predict_scene(corridor))


def test_points_are_counted_whatever_the_order_of_their_parts() -> None:
    """Three points of segment 0 in two parts, one of segment 2; nobody is in 1."""
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    votes = Votes(torch.tensor([0, 0, 2, 0]))
    votes.add(torch.tensor([2, 0]), torch.tensor([1, 1]), logits)
    votes.add(torch.tensor([0, 0]), torch.tensor([0, 1]), logits)
    voxel = logits.double().softmax(dim=1)
    expected = torch.stack([(voxel[0] + 2 * voxel[1]) / 3, torch.zeros(2).double(), voxel[1]])
    torch.testing.assert_close(votes.mean(1), expected, rtol=1e-6, atol=1e-6)


def test_what_are_no_segments_of_the_points_is_refused(trained_run: Path, corridor: Scene) -> None:
    segmenter = load_segmenter(trained_run, device="cpu")
    for bad in (np.arange(5), np.full(6000, -1), np.zeros(6000, np.int32)):
        with pytest.raises(ValueError, match="segments are"):
            segmenter.predict_scene(corridor, segments=bad)


def test_bare_arrays_have_no_segments(trained_run: Path, corridor: Scene) -> None:
    arrays = (corridor.xyz[:50], corridor.rgb[:50], corridor.normal[:50])
    with pytest.raises(UsageError, match=r'the run votes in segments.*load the run with vote="none"') as caught:
        pointseg.load(trained_run, vote="segments").predict(*arrays)
    assert "\n" not in str(caught.value)
    assert pointseg.load(trained_run, vote="none").predict(*arrays).shape == (50,)
    with pytest.raises(UsageError, match=r"inference\.vote: .*got 'planes'"):
        pointseg.load(trained_run, vote="planes")


def test_evaluation_votes_and_gathers_the_same_statistics(
    trained_run: Path, voting_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores are those of the voted labels, and features are gathered as without votes."""
    plain, voting = (load_segmenter(trained_run, device="cpu", vote=vote) for vote in ("none", "segments"))
    folders = list_scenes(voting_root, "val")
    statistics, expected = new_statistics(voting), new_statistics(plain)
    scores = evaluate_scenes(voting, folders, "none", ALONE, quiet=True, statistics=statistics, detailed=True)
    without = evaluate_scenes(plain, folders, "none", ALONE, quiet=True, statistics=expected)
    assert scores["miou"] != without["miou"]
    assert all(torch.equal(statistics.state_dict()[name], value) for name, value in expected.state_dict().items())
    assert scores["protocol"] == without["protocol"] + "; one label for each over-segment, by the mean probability"
    right = total = 0
    for folder in folders:
        scene = read_scene(folder, plain.taxonomy)
        label = plain.predict_scene(scene, segments=np.load(folder / "over_segment.npy").astype(np.int64))
        right += int((label == scene.label).sum())
        total += int((np.asarray(scene.label) >= 0).sum())
    assert scores["accuracy"] == pytest.approx(right / total)

    out = voting_root.parent / "evaluation.json"
    words = ["--run", str(trained_run), "--data-root", str(voting_root), "--device", "cpu", "--json", str(out)]
    evaluate.main([*words, "--vote", "segments"])
    told = json.loads(out.read_text())
    assert {key: told[key] for key in scores} == scores


def test_a_tree_without_segments_is_refused_by_name_before_any_work(
    trained_run: Path, voting_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of Pointcept's: the second scene of val lacks them, and the first is not begun."""
    lacks = list_scenes(voting_root, "val")[1]
    (lacks / "over_segment.npy").unlink()
    (lacks / "source.json").unlink()
    monkeypatch.setattr(Segmenter, "infer_scene", lambda *_, **__: pytest.fail("the work has begun"))
    words = ["--run", str(trained_run), "--data-root", str(voting_root), "--vote", "segments"]
    said = rf"^{lacks}: has no faces .*; use --vote none \(inference.vote=none\), or prepare"
    with pytest.raises(DataError, match=said):
        evaluate.main(words)
    with pytest.raises(DataError, match=said):
        predict.main([*words, "--split", "val", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    keys = [f"data.root={voting_root}", f"run.dir={tmp_path / 'new'}", "inference.vote=segments"]
    with pytest.raises(DataError, match=said):
        train(["--cfg", str(trained_run / "config.yaml"), *keys])
    assert not (tmp_path / "new" / "checkpoints").exists()


def test_validation_votes_and_a_run_may_change_its_mind(
    tiny_overrides: list[str], voting_root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    keys = [*tiny_overrides, f"data.root={voting_root}", "train.passes=1"]
    train(["--cfg", "demo.yaml", *keys, "inference.vote=segments"])
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    (logged,) = (row for row in rows if row["kind"] == "val")
    last = RunDirectory(run).last_checkpoint
    folders = list_scenes(voting_root, "val")
    accuracy = {}
    for vote in ("segments", "none"):
        segmenter = load_segmenter(run, last, "cpu", vote=vote)
        accuracy[vote] = evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True)["accuracy"]
    assert load_segmenter(run).votes
    assert logged["accuracy"] == accuracy["segments"] != accuracy["none"]
    train(["--cfg", "demo.yaml", *keys, "inference.vote=none", "--resume"])
    assert not load_segmenter(run).votes


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A raw scan of 600 vertices, each of its 30 columns a segment."""
    write_raw_scan(tmp_path / "scene0000_00", shape=(20, 30))
    return tmp_path / "scene0000_00"


def test_a_scan_votes_in_its_published_segments_before_those_of_its_faces(trained_run: Path, scan: Path) -> None:
    """Without the file, and under another name than its release's, a mesh has the segments of its faces."""
    segmenter = pointseg.load(trained_run, vote="segments", device="cpu")
    xyz, _, faces = grid_mesh(20, 30)
    columns, pieces = np.tile(np.arange(30), 20), segment_mesh(xyz, faces)
    plain = pointseg.load(trained_run, device="cpu").predict_scan(scan / MESH, probabilities=True, features=True)
    shutil.copy(scan / MESH, scan / "sheet.ply")
    for name, segments in ((MESH, columns), ("sheet.ply", pieces)):
        voted = segmenter.predict_scan(scan / name, probabilities=True, features=True)
        np.testing.assert_allclose(voted.probabilities, vote_literally(segments, plain.probabilities), atol=1e-3)
        np.testing.assert_array_equal(voted.features, plain.features)
    (scan / SEGMENTS).unlink()
    np.testing.assert_array_equal(segmenter.predict_scan(scan / MESH).confidence, voted.confidence)


def test_points_without_a_place_have_no_vote(trained_run: Path, scan: Path) -> None:
    """In published segments as in those of the faces that are left."""
    xyz, rgb, faces = grid_mesh(20, 30)
    lost = np.arange(0, 600, 11)
    xyz[lost, 1] = np.nan
    write_mesh(scan / MESH, Mesh(xyz, faces, rgb))
    segmenter = pointseg.load(trained_run, vote="segments", device="cpu")
    for _ in range(2):
        voted = segmenter.predict_scan(scan / MESH)
        assert (voted.labels[lost] == IGNORE).all()
        assert (np.delete(voted.labels, lost) >= 0).all()
        if (scan / SEGMENTS).exists():
            of_columns = voted.confidence.reshape(20, 30)
            assert all(len(np.unique(column[column > 0])) == 1 for column in of_columns.T)
            (scan / SEGMENTS).unlink()


def test_published_segments_of_another_mesh_are_refused(trained_run: Path, scan: Path) -> None:
    segmenter = pointseg.load(trained_run, vote="segments", device="cpu")
    content = json.loads((scan / SEGMENTS).read_text())
    (scan / SEGMENTS).write_text(json.dumps({**content, "segIndices": content["segIndices"][:-1]}))
    with pytest.raises(DataError, match=rf"^{scan / SEGMENTS}: segIndices are 599, the mesh has 600 vertices; "):
        segmenter.predict_scan(scan / MESH)
    (scan / SEGMENTS).write_text(json.dumps({**content, "sceneId": "scannet.scene0004_01"}))
    with pytest.raises(DataError, match=r"segs\.json: is of scene0004_01, by its sceneId, not of scene0000_00"):
        segmenter.predict_scan(scan / MESH)
    # All scans in one folder, whatever it is called.
    (scan / SEGMENTS).write_text(json.dumps(content))
    assert len(segmenter.predict_scan(scan.rename(scan.with_name("scans")) / MESH)) == 600


def test_a_cloud_without_faces_is_refused_and_the_others_are_done(
    trained_run: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xyz, rgb, _ = grid_mesh(20, 30)
    cloud = tmp_path / "cloud.ply"
    write_mesh(cloud, Mesh(xyz, None, rgb, np.tile(np.float32([0, 0, 1]), (600, 1))))
    words = ["--run", str(trained_run), "--out", str(tmp_path / "out"), "--vote", "segments", "--input"]
    assert predict.main([*words, str(cloud), str(scan / MESH)]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "cloud.ply: has no" in line)
    assert line.endswith(
        f"{cloud}: has no faces, so there are no segments to vote in; use --vote none (inference.vote=none), or give a "
        "mesh"
    )
    assert {path.name for path in (tmp_path / "out").glob("*.txt")} == {"scene0000_00.txt"}


def test_predictions_are_made_again_where_votes_or_segments_changed(
    trained_run: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted: list[str] = []
    original = Segmenter.infer_scene

    def count(segmenter: Segmenter, scene: Scene, *arguments, **named) -> PointOutput:
        predicted.append(scene.name)
        return original(segmenter, scene, *arguments, **named)

    monkeypatch.setattr(Segmenter, "infer_scene", count)
    words = ["--run", str(trained_run), "--out", str(tmp_path / "out"), "--input", str(scan / MESH)]
    expected = 0
    for more, is_new in (
        ([], True),
        (["--vote", "none"], False),
        (["--vote", "segments"], True),
        (["--vote", "segments"], False),
    ):
        assert predict.main([*words, *more]) == 0
        expected += is_new
        assert len(predicted) == expected, more
    assert "earlier ones differ in vote" in capsys.readouterr().out
    (scan / SEGMENTS).write_text((scan / SEGMENTS).read_text().replace("100", "101"))
    assert predict.main([*words, "--vote", "segments"]) == 0
    assert len(predicted) == expected + 1
    # Who does not vote does not read them.
    assert predict.main(words) == 0
    (scan / SEGMENTS).write_text("damaged")
    assert predict.main(words) == 0
    assert len(predicted) == expected + 2


def test_a_prepared_scene_votes_in_what_it_has(trained_run: Path, voting_root: Path) -> None:
    folder = list_scenes(voting_root, "val")[0]
    segmenter = pointseg.load(trained_run, vote="segments", device="cpu")
    scene = read_scene(folder, load_taxonomy("scannet200"))
    segments = np.load(folder / "over_segment.npy").astype(np.int64)
    np.testing.assert_array_equal(
        segmenter.predict_scan(folder).labels, segmenter.predict_scene(scene, segments=segments)
    )


def test_arrays_are_voted_on_in_segments_of_any_numbers(
    trained_run: Path, corridor: Scene, segments: np.ndarray
) -> None:
    segmenter = load_segmenter(trained_run, device="cpu", vote="segments")
    assert corridor.normal is not None
    arrays = (corridor.xyz, corridor.rgb, corridor.normal)
    expected = segmenter.predict_scene(corridor, segments=segments)
    ids = segmenter.predict(*arrays, segments=2**40 - 7 * segments)
    np.testing.assert_array_equal(ids, segmenter.taxonomy.class_id_from_label(expected))
    with pytest.raises(UsageError, match="the run votes in segments"):
        segmenter.predict(*arrays)
    for wrong in (segments[:-1], segments.astype(float)):
        with pytest.raises(DataError, match=rf"segments is \w+ \(\d+,\), expected integers \({len(segments)},\)"):
            segmenter.predict(*arrays, segments=wrong)
