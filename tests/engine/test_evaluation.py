"""Evaluation that gathers features on the way: the same scores, the same forward passes, any number of processes."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from pointseg import evaluate
from pointseg.collapse.metrics import FeatureStatistics
from pointseg.config import dump_config, load_config
from pointseg.engine.evaluation import (
    SplitCounts,
    describe_details,
    evaluate_scenes,
    gather_statistics,
    new_statistics,
)
from pointseg.engine.inference import Segmenter
from pointseg.errors import UsageError
from pointseg.metrics import ConfusionMatrix, describe_classes
from pointseg.models import build_network
from pointseg.processes import Processes, join_processes
from pointseg.run_arguments import warn_of_trained_splits
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.taxonomy import load_taxonomy
from tests.conftest import TINY_NETWORK, free_ports

ALONE = Processes(0, 1, torch.device("cpu"))


def _build_segmenter(vote: str = "none") -> Segmenter:
    torch.manual_seed(0)
    config = load_config("demo", [*TINY_NETWORK, "data.voxel_size_m=0.1", f"inference.vote={vote}"])
    return Segmenter(build_network(config, torch.device("cpu")), config, torch.device("cpu"))


@pytest.fixture
def segmenter() -> Segmenter:
    return _build_segmenter()


def test_gathering_changes_no_score_and_runs_the_network_once_a_scene(
    segmenter: Segmenter, prepared_root: Path
) -> None:
    folders = list_scenes(prepared_root, "val")
    expected = evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True)
    calls: list[object] = []
    handle = segmenter.network.register_forward_hook(lambda *_: calls.append(None))
    statistics = new_statistics(segmenter)
    assert evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True, statistics=statistics) == expected
    handle.remove()
    assert len(calls) == len(folders)

    features, labels = [], []
    for folder in folders:
        voxels, output = segmenter.forward_scene(read_scene(folder, load_taxonomy("scannet200")))
        features.append(output.features)
        labels.append(voxels.label)
    whole = new_statistics(segmenter)
    whole.update(torch.cat(features), torch.cat(labels))
    assert whole.present.sum() == 4
    _assert_same(statistics, whole)


def test_details_are_those_of_each_scene_alone(segmenter: Segmenter, prepared_root: Path) -> None:
    """A scene's row is the evaluation of that scene, and the whole matrix the sum over the scenes."""
    folders = list_scenes(prepared_root, "train")
    summary = evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True)
    detailed = evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True, detailed=True)
    details = {key: detailed.pop(key) for key in ("confusion", "classes", "scenes")}
    assert detailed == summary
    taxonomy, confusion = segmenter.taxonomy, ConfusionMatrix(segmenter.taxonomy.num_classes)
    assert list(details["scenes"]) == [folder.name for folder in folders]
    for folder in folders:
        alone = evaluate_scenes(segmenter, [folder], "none", ALONE, quiet=True)
        assert details["scenes"][folder.name] == {key: alone[key] for key in ("miou", "accuracy", "num_points")}
        scene = read_scene(folder, taxonomy)
        confusion.update(np.asarray(scene.label), segmenter.predict_scene(scene))
    assert details["confusion"] == confusion.counts[:, :-1].tolist()
    assert details["classes"] == describe_classes(confusion, taxonomy)


def test_scenes_of_one_name_in_two_splits_have_rows_of_their_own(segmenter: Segmenter, prepared_root: Path) -> None:
    counts = SplitCounts(ConfusionMatrix(200), np.zeros((2, 3, 200), dtype=np.int64))
    scenes = describe_details(counts, [Path("root/a/room"), Path("root/b/room")], segmenter.taxonomy)["scenes"]
    assert scenes == {name: {"miou": None, "accuracy": None, "num_points": 0} for name in ("a/room", "b/room")}


def test_a_second_evaluation_adds_to_the_statistics(segmenter: Segmenter, prepared_root: Path) -> None:
    folders = list_scenes(prepared_root, "val")
    once, twice = new_statistics(segmenter), new_statistics(segmenter)
    evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True, statistics=once)
    for _ in range(2):
        evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True, statistics=twice)
    assert torch.equal(twice.counts, 2 * once.counts)
    torch.testing.assert_close(twice.scatter, 2 * once.scatter)


def test_adjusted_logits_decide_with_statistics_as_without(prepared_root: Path) -> None:
    """The shortcut through the network's output must not go past the post-hoc adjustment."""
    plain = _build_segmenter()
    config = plain.config.model_copy(
        update={"inference": plain.config.inference.model_copy(update={"logit_adjustment": 1.0})}
    )
    log_prior = 3 * torch.randn(200, generator=torch.Generator().manual_seed(1))
    adjusted = Segmenter(plain.network, config, plain.device, log_prior)
    folders = list_scenes(prepared_root, "val")
    expected = evaluate_scenes(adjusted, folders, "none", ALONE, quiet=True)
    assert expected != evaluate_scenes(plain, folders, "none", ALONE, quiet=True)
    assert "logits adjusted, tau 1.0" in expected["protocol"]
    assert expected == evaluate_scenes(
        adjusted, folders, "none", ALONE, quiet=True, statistics=new_statistics(adjusted)
    )


def test_views_have_no_one_feature(segmenter: Segmenter, prepared_root: Path) -> None:
    with pytest.raises(ValueError, match="expected tta none, got rot4"):
        evaluate_scenes(
            segmenter, list_scenes(prepared_root, "val"), "rot4", ALONE, statistics=new_statistics(segmenter)
        )


def _evaluate_share(rank: int, port: int, root: Path, folder: Path) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with join_processes("cpu") as processes:
        for name, folders in _scenes(root).items():
            segmenter = _build_segmenter(name)
            statistics = new_statistics(segmenter)
            evaluation = evaluate_scenes(
                segmenter, folders, "none", processes, quiet=True, statistics=statistics, detailed=True
            )
            torch.save([statistics.state_dict(), evaluation], folder / f"{name}_{rank}.pt")
        # Any numbers, and in the order of the ranks.
        gathered = processes.gather(torch.tensor([[rank + 0.5]]).expand(2, 3))
        assert [tensor.tolist() for tensor in gathered] == [[[0.5] * 3] * 2, [[1.5] * 3] * 2]


def _scenes(root: Path) -> dict[str, list[Path]]:
    """By what votes: shares of 3 and 2 scenes, and a process without any."""
    folders = list_scenes(root, "train")
    return {"segments": folders, "none": folders[:1]}


def test_two_processes_gather_what_one_gathers(prepared_root: Path, tmp_path: Path) -> None:
    """Statistics, and scores of the whole and of each scene; on both processes the same to the last bit."""
    (port,) = free_ports(1)
    root = shutil.copytree(prepared_root, tmp_path / "root")
    for folder in list_scenes(root, "train"):
        np.save(folder / "over_segment.npy", np.arange(600, dtype=np.int32) // 5)
    mp.spawn(_evaluate_share, args=(port, root, tmp_path), nprocs=2)
    for name, folders in _scenes(root).items():
        segmenter = _build_segmenter(name)
        expected = new_statistics(segmenter)
        evaluation = evaluate_scenes(segmenter, folders, "none", ALONE, quiet=True, statistics=expected, detailed=True)
        assert evaluation["scenes"].keys() == {folder.name for folder in folders}
        states = []
        for rank in range(2):
            state, scores = torch.load(tmp_path / f"{name}_{rank}.pt", weights_only=False)
            statistics = new_statistics(segmenter)
            statistics.load_state_dict(state)
            _assert_same(statistics, expected)
            assert scores == evaluation
            states.append(state)
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_one_process_gathers_itself(segmenter: Segmenter) -> None:
    own = new_statistics(segmenter)
    own.update(torch.randn(10, segmenter.network.feature_channels), torch.arange(10))
    (only,) = gather_statistics(own, ALONE)
    assert all(torch.equal(only.state_dict()[name], tensor) for name, tensor in own.state_dict().items())


def _assert_same(ours: FeatureStatistics, expected: FeatureStatistics) -> None:
    np.testing.assert_array_equal(ours.counts, expected.counts)
    for name in ("centers", "class_scatter", "scatter"):
        # The network's float32 features may differ in their last bits between two processes.
        torch.testing.assert_close(getattr(ours, name), getattr(expected, name), rtol=1e-5, atol=1e-6)


def test_scenes_that_are_not_there_are_told_of(
    trained_run: Path,
    prepared_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those that the preparation could not make, or has not yet; and a tree that is meant from another folder."""
    root = tmp_path / "tree"
    shutil.copytree(prepared_root, root)
    row = {"split": "val", "scene": "scene4001_00", "reason": "is truncated"}
    (root / "preprocess_report.json").write_text(json.dumps({"failed": [row], "pending": []}))
    num_scenes = len(list((root / "val").iterdir()))
    evaluate.main(["--run", str(trained_run), "--brief", "--data-root", str(root)])
    line = f"val/scene4001_00 failed in the preparation: {num_scenes} of {num_scenes + 1} scenes of val are there"
    assert line in capsys.readouterr().err
    evaluate.main(["--run", str(trained_run), "--brief", "--data-root", str(root), "--split", "train"])
    assert "scene4001_00" not in capsys.readouterr().err
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "config.yaml").write_text(dump_config(load_config(str(run / "config.yaml"), ["data.root=data/tree"])))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="data/tree: there is no such folder, .* say where that is by --data-root"):
        evaluate.main(["--run", str(run)])


def test_what_a_run_consists_of_is_not_written_over(trained_run: Path) -> None:
    before = (trained_run / "config.yaml").read_bytes()
    with pytest.raises(UsageError, match="choose another name with --json"):
        evaluate.main(["--run", str(trained_run), "--json", str(trained_run / "config.yaml")])
    assert (trained_run / "config.yaml").read_bytes() == before


def test_scores_on_scenes_that_were_trained_on_are_told_of(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the run was trained on val, which is then evaluated without being asked for."""
    evaluate.main(["--run", str(trained_run), "--brief"])
    assert capsys.readouterr().err == ""
    evaluate.main(["--run", str(trained_run), "--brief", "--split", "train"])
    assert "warning: a run was trained on train: scores there say nothing of new scenes" in capsys.readouterr().err
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    config = load_config(str(run / "config.yaml"), ["data.train_split=[train, val]", "data.val_split=null"])
    (run / "config.yaml").write_text(dump_config(config))
    evaluate.main(["--run", str(run), "--brief"])
    assert "warning: a run was trained on val: scores" in capsys.readouterr().err


def test_scenes_that_were_trained_on_are_known_by_any_path(
    prepared_root: Path, trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared_root.parent)
    data = load_config(str(trained_run / "config.yaml")).data
    for root in (f"{prepared_root}/", prepared_root.name, f"{prepared_root}/../{prepared_root.name}"):
        warn_of_trained_splits(root, "train/", [data])
        assert "warning: a run was trained on train" in capsys.readouterr().err
    warn_of_trained_splits(f"{prepared_root}/", "val", [data])
    assert capsys.readouterr().err == ""


def test_scores_are_printed_where_they_can_not_be_written(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And written where they can't be printed. What can be known is said before the work."""
    call = ["--run", str(trained_run), "--brief", "--json"]
    with monkeypatch.context() as patch, pytest.raises(IsADirectoryError):
        patch.setattr(evaluate, "evaluate_scenes", lambda *_, **__: pytest.fail("the work has begun"))
        evaluate.main([*call, str(tmp_path)])

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is full"):
        patch.setattr(evaluate, "write_text", fail)
        evaluate.main([*call, str(tmp_path / "a.json")])
    assert "mIoU, classes in the ground truth" in capsys.readouterr().out
    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is full"):
        patch.setattr(evaluate, "format_evaluation", fail)
        evaluate.main([*call, str(tmp_path / "a.json")])
    assert json.loads((tmp_path / "a.json").read_text())["split"] == "val"
