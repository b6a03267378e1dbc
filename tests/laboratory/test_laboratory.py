"""A comparison from the rooms to the table: what it says is what the runs say, and nothing is done twice."""

import json
import shutil
import time
from pathlib import Path
from statistics import fmean, stdev
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from pointseg.engine.evaluation import evaluate_scenes
from pointseg.engine.inference import load_segmenter
from pointseg.errors import StoppedError, UsageError
from pointseg.folder_lock import hold_folder
from pointseg.laboratory import child, scheduler
from pointseg.laboratory.child import do_run
from pointseg.laboratory.data import RoomSettings, fingerprint_tree, make_rooms
from pointseg.laboratory.methods import choose_methods
from pointseg.laboratory.plan import PlannedRun, plan_runs
from pointseg.longtail import main
from pointseg.processes import Processes
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.taxonomy import load_taxonomy
from tests.conftest import TINY_NETWORK
from tests.laboratory.at_once import do_at_once

SETTINGS = RoomSettings("longtail", {"train": 2, "val": 1, "test": 1}, 2000)
ROOMS = ["--rooms", "2", "1", "1", "--vertices", "2000"]
OVERRIDES = [*TINY_NETWORK, "data.voxel_size_m=0.1", "data.scenes_per_batch=2", "train.passes=1", "train.log_every=1"]
METHODS = ["cross_entropy", "post_hoc", "collapse"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two training rooms and one each for val and test."""
    folder = tmp_path_factory.mktemp("rooms")
    make_rooms(folder, SETTINGS, workers=1)
    return folder


@pytest.fixture(scope="module")
def call(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a comparison that is done; in this process, which saves the time of starting others."""
    out = tmp_path_factory.mktemp("laboratory")
    arguments = ["--out", str(out), "--data", str(data), *ROOMS, "--seeds", "2", "--methods", *METHODS, *OVERRIDES]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "start_child", do_at_once)
        assert main(arguments) == 0
    return arguments


def _result(out: str, method: str, seed: int) -> dict:
    return json.loads((Path(out) / "runs" / method / f"seed{seed}" / "result.json").read_text())


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]


def test_rooms_of_before_there_were_segments_get_them_where_methods_vote(data: Path, tmp_path: Path) -> None:
    """They are the same rooms, by their fingerprint, and complete for all other methods."""
    folder = shutil.copytree(data, tmp_path / "data")
    rooms = make_rooms(folder, SETTINGS, workers=1)
    scenes = [scene for split in SETTINGS.num_scenes for scene in list_scenes(folder / "prepared", split)]
    for scene in scenes:
        (scene / "over_segment.npy").unlink()
        source = json.loads((scene / "source.json").read_text())
        del source["arrays"]["over_segment"]
        source["made_from"]["version"] -= 1
        (scene / "source.json").write_text(json.dumps(source))
    assert make_rooms(folder, SETTINGS, workers=1) == rooms
    assert not list(folder.rglob("over_segment.npy"))
    assert make_rooms(folder, SETTINGS, workers=1, needs_segments=True) == rooms
    assert all((scene / "over_segment.npy").exists() for scene in scenes)
    assert fingerprint_tree(folder / "prepared") == rooms.fingerprint


def test_votes_borrow_the_weights_and_have_other_scores(call: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def do_at_once(run: PlannedRun) -> scheduler.RunAtWork:
        assert not run.trains
        do_run(run)
        return scheduler.RunAtWork(run, Mock(**{"poll.return_value": 0}))

    monkeypatch.setattr(scheduler, "start_child", do_at_once)
    names = [*METHODS, "votes", "votes+collapse"]
    assert main([*call[: call.index("--methods")], "--methods", *names, *OVERRIDES]) == 0
    for name, trained_as in (("votes", "cross_entropy"), ("collapse+votes", "collapse")):
        accuracies = []
        for seed in (0, 1):
            voted, alone = (_result(call[1], method, seed) for method in (name, trained_as))
            assert (voted["trained_as"], voted["measures"]) == (trained_as, alone["measures"])
            assert "one label for each over-segment" in voted["scores"]["test"]["protocol"]
            accuracies.append([result["scores"]["train"]["accuracy"] for result in (voted, alone)])
        assert any(voted != alone for voted, alone in accuracies)


def test_the_table_is_mean_and_standard_deviation_of_the_results(call: list[str]) -> None:
    """Recomputed from ``result.json``, for both splits: the one shown is the one asked for."""
    for split in ("val", "test"):
        assert main([*call, "--split", split]) == 0
        table = json.loads((Path(call[1]) / "table.json").read_text())
        assert table["split"] == split
        assert [row["method"] for row in table["rows"]] == METHODS
        for row in table["rows"]:
            results = [_result(call[1], row["method"], seed) for seed in (0, 1)]
            wanted = {
                **{key: [r["scores"][split][key] for r in results] for key in ("miou", "head", "common", "accuracy")},
                "train_accuracy": [r["scores"]["train"]["accuracy"] for r in results],
                "within_class_variability": [r["measures"][split]["within_class_variability"]["all"] for r in results],
                "alignment": [r["measures"][split]["alignment"]["all"] for r in results],
            }
            for key, values in wanted.items():
                assert row["mean"][key] == pytest.approx(fmean(values)), key
                assert row["std"][key] == pytest.approx(stdev(values)), key
        text = (Path(call[1]) / "table.md").read_text()
        miou = table["rows"][0]
        assert f"{100 * miou['mean']['miou']:.1f} ± {100 * miou['std']['miou']:.1f}" in text
        assert f"split: {split}; seeds: 2; law: longtail; rooms: 2 train / 1 val / 1 test" in text
    assert (Path(call[1]) / "table.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_second_call_trains_nothing(call: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: object) -> None:
        raise AssertionError(f"{run} is done")

    monkeypatch.setattr(scheduler, "start_child", refuse)
    assert main(call) == 0


def test_scores_of_a_result_are_those_of_the_run_directory(call: list[str], data: Path) -> None:
    """A run directory is one that every command takes; post-hoc adjustment is cross-entropy's weights with τ = 1."""
    runs, alone = Path(call[1]) / "runs", Processes(0, 1, torch.device("cpu"))
    for split in ("train", "val", "test"):
        folders = list_scenes(data / "prepared", split)
        own = evaluate_scenes(load_segmenter(runs / "post_hoc" / "seed1"), folders, "none", alone, quiet=True)
        scores = _result(call[1], "post_hoc", 1)["scores"][split]
        assert 0 < scores.pop("voxel_accuracy") < 1
        assert own == scores
        plain = load_segmenter(runs / "cross_entropy" / "seed1", logit_adjustment=1.0)
        assert evaluate_scenes(plain, folders, "none", alone, quiet=True)["per_class"] == own["per_class"]
    assert _result(call[1], "post_hoc", 1)["training_minutes"] is None


def test_methods_begin_with_the_same_network_and_differ_in_what_they_learn(call: list[str]) -> None:
    """One step after the same start they are nearer to each other than another seed is."""
    names = ("cross_entropy/seed0", "collapse/seed0", "cross_entropy/seed1")
    weights = [_weights(Path(call[1]) / "runs" / name) for name in names]
    plain, collapse, other_seed = (
        torch.cat([tensor.flatten() for key, tensor in state.items() if key.endswith("weight")]) for state in weights
    )
    assert 0 < (plain - collapse).norm() < 0.5 * (plain - other_seed).norm()


def test_a_result_of_another_config_or_of_other_rooms_is_refused(call: list[str]) -> None:
    before = _result(call[1], "cross_entropy", 0)
    with pytest.raises(UsageError, match=r"cross_entropy/seed0: holds a run with another config, .*delete the run"):
        main([*call, "optimizer.lr=0.01"])
    with pytest.raises(UsageError, match=r"holds rooms of other settings \(train 2, asked for 3\)"):
        main([*call, "--rooms", "3", "1", "1"])
    assert _result(call[1], "cross_entropy", 0) == before


def test_two_laboratories_do_not_work_in_one_folder(call: list[str]) -> None:
    held = hold_folder(Path(call[1]), "compares methods", "wait")
    with held, pytest.raises(UsageError, match=r"PID \d+ on .* compares methods here since .* choose another --out"):
        main(call)


def test_a_comparison_that_is_cut_off_goes_on_to_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C once the first checkpoint is there; the run that was not interrupted is done in this process."""
    passes = ["train.passes=20"]
    arguments = ["--data", str(data), *ROOMS, "--seeds", "1", "--methods", "collapse", *OVERRIDES, *passes]
    run = tmp_path / "cut" / "runs" / "collapse" / "seed0"

    def interrupt(seconds: float) -> None:
        if (run / "checkpoints" / "last.pt").exists():
            raise KeyboardInterrupt
        wait(seconds)

    wait = time.sleep
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", interrupt)
        with pytest.raises(StoppedError, match="the same command goes on"):
            main(["--out", str(tmp_path / "cut"), *arguments])
    reached = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["progress"]["step"]
    assert 0 < reached < 20
    assert not (run / "result.json").exists()
    seconds = json.loads((run / "laboratory.json").read_text())["training_s"]
    assert seconds > 0

    assert main(["--out", str(tmp_path / "cut"), *arguments]) == 0
    rooms = make_rooms(data, SETTINGS)
    overrides = [*OVERRIDES, *passes]
    (whole,) = plan_runs("whole", tmp_path / "whole", choose_methods(["collapse"]), [0], "longtail", overrides, rooms)
    do_run(whole)
    for key, tensor in _weights(Path(whole.directory)).items():
        torch.testing.assert_close(_weights(run)[key], tensor, rtol=0, atol=0)
    cut = json.loads((run / "result.json").read_text())
    assert cut["scores"] == json.loads(whole.result_path.read_text())["scores"]
    assert cut["training_minutes"] > seconds / 60


def test_a_run_that_is_killed_is_told_of(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the system kills it where memory ends, here before it says a word; what an earlier call said is old."""
    run = tmp_path / "runs" / "collapse" / "seed0"
    run.mkdir(parents=True)
    (run / "log.txt").write_text("said long ago\n")
    children = []

    def start(planned: PlannedRun) -> scheduler.RunAtWork:
        children.append(start_child(planned))
        return children[0]

    def kill(seconds: float) -> None:
        children[0].process.kill()
        wait(seconds)

    start_child, wait = scheduler.start_child, time.sleep
    monkeypatch.setattr(scheduler, "start_child", start)
    monkeypatch.setattr(time, "sleep", kill)
    arguments = ["--out", str(tmp_path), "--data", str(data), *ROOMS, "--seeds", "1", "--methods", "collapse"]
    assert main([*arguments, *OVERRIDES]) == 1
    shown = capsys.readouterr().out
    assert "collapse, seed 0: failed: killed by signal 9, perhaps for want of memory; it said nothing" in shown
    assert "said long ago" not in shown


def test_the_time_of_a_run_is_counted_while_it_runs(
    call: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_COUNT_EVERY_S", 0.01)
    methods = choose_methods(["collapse"])
    (run,) = plan_runs("a", tmp_path, methods, [0], "longtail", OVERRIDES, make_rooms(data, SETTINGS))
    counted = []

    def look_and_stop(trainer: object) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and len(set(counted)) < 3:
            counted.append(json.loads(run.claim_path.read_text())["training_s"])
        raise StoppedError("stopped")

    monkeypatch.setattr(child.Trainer, "run", look_and_stop)
    with pytest.raises(StoppedError):
        do_run(run)
    assert len(set(counted)) >= 3 and counted == sorted(counted)


def test_a_result_is_that_of_its_own_run(call: list[str], tmp_path: Path) -> None:
    """A claim alone can be of this run and the result of another that was written meanwhile."""
    out = shutil.copytree(call[1], tmp_path / "out", ignore=shutil.ignore_patterns("checkpoints"))
    path = out / "runs" / "collapse" / "seed0" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "of another"}))
    with pytest.raises(UsageError, match=r"collapse/seed0: holds a run with another config"):
        main(["--out", str(out), *call[2:]])


def test_a_child_that_has_waited_does_nothing_again(
    call: list[str], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has done its run while it waited for the folder."""
    methods, rooms = choose_methods(["collapse"]), make_rooms(data, SETTINGS)
    (run,) = plan_runs("a", Path(call[1]) / "runs", methods, [0], "longtail", OVERRIDES, rooms)
    monkeypatch.setattr(child, "do_run", pytest.fail)
    child.do_alone(run)


def test_a_run_that_fails_is_shown_and_keeps_no_other_from_being_done(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 0 finds a checkpoint that is none; what uses its weights is not begun."""
    damaged = tmp_path / "runs" / "cross_entropy" / "seed0" / "checkpoints" / "last.pt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no checkpoint")
    arguments = ["--out", str(tmp_path), "--data", str(data), *ROOMS, "--seeds", "2", "--methods", "post_hoc"]
    assert main([*arguments, *OVERRIDES]) == 1
    shown = capsys.readouterr().out
    assert "last.pt: can't be read as a checkpoint" in shown
    assert "post_hoc, seed 0: failed: it needs " in shown
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["missing"] == ["cross_entropy, seed 0", "post_hoc, seed 0"]
    assert [len(row["runs"]) for row in table["rows"]] == [1, 1]
    assert "cross_entropy (1 of 2 seeds)" in (tmp_path / "table.md").read_text()


def test_rooms_of_every_split_have_labels_and_no_two_splits_share_one(data: Path) -> None:
    coordinates = set()
    for split, number in SETTINGS.num_scenes.items():
        folders = list_scenes(data / "prepared", split)
        assert len(folders) == number
        for folder in folders:
            scene = read_scene(folder, load_taxonomy("scannet200"))
            assert scene.label is not None
            assert len(np.unique(scene.label)) > 3
            coordinates.add(scene.xyz.tobytes())
    assert len(coordinates) == sum(SETTINGS.num_scenes.values())


def test_rooms_that_were_cut_off_become_what_they_would_have_been(data: Path, tmp_path: Path) -> None:
    """A room is missing and the folder says that it is not complete; what is there is kept."""
    shutil.copytree(data, tmp_path / "data", copy_function=shutil.copy2)
    settings = json.loads((data / "rooms.json").read_text())
    (tmp_path / "data" / "rooms.json").write_text(json.dumps({**settings, "fingerprint": None}))
    lost = list_scenes(tmp_path / "data" / "prepared", "test")[0]
    shutil.rmtree(lost)
    kept = list_scenes(tmp_path / "data" / "prepared", "train")[0] / "coord.npy"
    before = kept.stat().st_mtime_ns
    again = make_rooms(tmp_path / "data", SETTINGS, workers=1)
    assert again.fingerprint == settings["fingerprint"]
    assert lost.is_dir()
    assert kept.stat().st_mtime_ns == before
