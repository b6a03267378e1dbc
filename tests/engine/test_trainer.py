"""Training learns, stops and goes on without a trace, and means the same on two processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.config import load_config
from pointseg.engine.scene_warnings import warn_of_shared_scenes
from pointseg.errors import DataError, StoppedError, UsageError
from pointseg.runs.directory import RunDirectory
from pointseg.scans.prepared import read_scene
from pointseg.scans.scene import Scene
from pointseg.train import main as train

# All that draws: with it, too, a resumed run sees the same scenes.
RECIPE = [
    "augment.drop_points_probability=0.5",
    "augment.rotate_xy_probability=0.5",
    "augment.elastic_probability=0.95",
    "augment.mix_probability=0.8",
]


def _rows(run: Path, kind: str = "train") -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def _weights(run: Path, part: str = "model") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)[part]


def test_training_learns_and_leaves_a_whole_run(trained_run: Path) -> None:
    losses = [row["recognition"] for row in _rows(trained_run)]
    assert losses[-1] < 0.5 * losses[0]
    validation = _rows(trained_run, "val")
    assert validation[-1]["miou"] > 0.25  # four classes of equal size: chance is 1/7
    names = {path.name for path in trained_run.iterdir()}
    assert names == {"classes.tsv", "config.yaml", "metrics.jsonl", "surroundings.json", "checkpoints", "tensorboard"}
    assert {p.name for p in (trained_run / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    checkpoint = torch.load(trained_run / "checkpoints" / "last.pt", weights_only=True)
    assert checkpoint["progress"]["pass_index"] == 12
    assert load_config(str(trained_run / "config.yaml")).model_dump(mode="json") == checkpoint["config"]


def test_a_training_row_has_the_loss_its_parts_the_rate_and_the_speed(trained_run: Path) -> None:
    row = _rows(trained_run)[0]
    losses, batches = (
        "loss recognition collapse collapse_pull",
        "effective_batch_size cropped_scenes unaugmented_scenes",
    )
    assert row.keys() == set(f"kind step {losses} lr scenes_per_s {batches}".split())
    assert (row["effective_batch_size"], row["cropped_scenes"], row["unaugmented_scenes"]) == (2, 0, 0)
    weight = load_config(str(trained_run / "config.yaml")).loss.collapse.weight
    assert row["loss"] == pytest.approx(row["recognition"] + weight * row["collapse"], rel=1e-5)
    assert row["scenes_per_s"] > 0


def test_the_rate_of_a_row_is_that_of_its_step(trained_run: Path) -> None:
    """The one-cycle schedule of the run, computed anew: the highest rate is among them, and none stands twice."""
    config = load_config(str(trained_run / "config.yaml"))
    logged = [row["lr"] for row in _rows(trained_run)]
    from pointseg.engine.optimizer import build_schedule

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=config.optimizer.lr)
    schedule = build_schedule(optimizer, config.optimizer, len(logged))
    expected = []
    for step in range(len(logged)):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < len(logged):
            schedule.step()
    assert logged == pytest.approx(expected)


@pytest.mark.parametrize(
    "keys",
    [
        ["loss.collapse.preset=paper"],
        ["loss.collapse.preset=release"],
        ["loss.collapse.scope=scene", "data.scenes_per_batch=4", "train.passes=3", *RECIPE],
        ["train.ema_decay=0.9", "train.scenes_at_once=1"],
    ],
)
def test_a_run_that_was_stopped_in_a_pass_ends_where_one_that_was_not_ends(
    keys: list[str], tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit: weights, and every line of metrics but the speed. The release preset draws a dropout."""
    overrides = ["--cfg", "demo.yaml", *tiny_overrides, *keys]
    train([*overrides, f"run.dir={tmp_path / 'whole'}"])

    from pointseg.engine.trainer import Trainer

    step = Trainer.train_step

    def stop_after_the_fourth(self: Trainer, batch: object) -> object:
        if self.progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", stop_after_the_fourth)
    with pytest.raises(StoppedError, match="stopped after step 4; --resume goes on"):
        train(overrides)
    monkeypatch.undo()
    run = tmp_path / "run"
    assert len(_rows(run)) == 4
    # A crash later in the pass would have logged more than the checkpoint knows.
    RunDirectory(run).append_metrics({"kind": "train", "step": 5, "loss": 0.0})
    train([*overrides, "--resume"])

    for part in ("model", "newest_model") if "train.ema_decay=0.9" in keys else ("model",):
        whole, resumed = _weights(tmp_path / "whole", part), _weights(run, part)
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for a, b in zip(_rows(tmp_path / "whole"), _rows(run), strict=True):
        assert {**a, "scenes_per_s": 0} == {**b, "scenes_per_s": 0}


def test_a_row_counts_what_was_mixed_cropped_and_left_unaugmented_since_the_last(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """Five scenes are two steps of four: three rows of two steps each, over the ends of passes."""
    keys = ["augment.drop_points_probability=1.0", "augment.drop_points_share=0.99999999"]
    keys += ["augment.mix_probability=1.0", "data.scenes_per_batch=4", "data.max_voxels=300", "train.log_every=2"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys, "train.passes=3"])
    rows = _rows(tmp_path / "run")
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["effective_batch_size"] for row in rows] == [2, 2, 2]
    assert [row["unaugmented_scenes"] for row in rows] == [8, 8, 8]
    assert all(2 <= row["cropped_scenes"] <= 4 for row in rows)


def test_a_worker_that_is_killed_ends_the_run_with_one_line(
    tiny_overrides: list[str], prepared_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sorted((prepared_root / "train").iterdir())[2]

    def die(path: Path, taxonomy: str) -> Scene:
        if path == folder:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_scene(path, taxonomy)

    monkeypatch.setattr("pointseg.data.loader.read_scene", die)
    with pytest.raises(DataError, match=f"{folder.name}: the loading process .* is killed by signal") as caught:
        train(["--cfg", "demo.yaml", *tiny_overrides, "data.num_workers=1"])
    assert "\n" not in str(caught.value)


def test_a_finished_run_resumes_to_nothing(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained_run / "checkpoints" / "last.pt").read_bytes()
    train(["--cfg", str(trained_run / "config.yaml"), "--resume"])
    assert (trained_run / "checkpoints" / "last.pt").read_bytes() == before
    assert "done" in capsys.readouterr().out


def test_a_run_with_a_checkpoint_is_not_overwritten(trained_run: Path) -> None:
    with pytest.raises(UsageError, match="has a checkpoint already; go on with --resume"):
        train(["--cfg", str(trained_run / "config.yaml")])


def test_a_run_is_not_resumed_with_another_config(trained_run: Path) -> None:
    with pytest.raises(UsageError, match="can't resume with another optimizer.lr, train.passes"):
        train(["--cfg", str(trained_run / "config.yaml"), "--resume", "optimizer.lr=1", "train.passes=9"])


def test_missing_data_names_the_command_and_leaves_no_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UsageError, match="pointseg prepare --raw RAW"):
        train(["--cfg", "demo.yaml", f"data.root={tmp_path / 'nowhere'}", f"run.dir={run}"])
    assert not run.exists()


def test_a_run_takes_no_place_among_scans(tiny_overrides: list[str], prepared_root: Path, tmp_path: Path) -> None:
    """The check would take the tree for a run, the training a run for a scene."""
    tree, raw = shutil.copytree(prepared_root, tmp_path / "tree"), tmp_path / "raw"
    raw.mkdir()
    settings = {"command": "prepare", "command_options": ["--raw", str(raw)]}
    (tree / "preprocess_report.json").write_text(json.dumps({"settings": settings}))
    for root, run, message in (
        (tree, tree, "is a prepared tree"),
        (prepared_root, tree, "is a prepared tree"),
        (tree, tree / "val" / "run", f"lies among the scenes of the prepared tree {tree}"),
        (tree, tree / "splits", f"lies among the scenes of the prepared tree {tree}"),
        (tree, raw, f"is a folder of scans that {tree} was made of"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UsageError) as caught:
            train(["--cfg", "demo.yaml", *tiny_overrides, f"data.root={root}", f"run.dir={run}"])
        assert str(caught.value) == f"{run}: {message}; choose another folder for the run with run.dir=PATH"
        assert sorted(tmp_path.rglob("*")) == before


def test_a_loss_that_is_not_finite_ends_the_run_with_what_to_do(tiny_overrides: list[str]) -> None:
    with pytest.raises(DataError, match="the loss is .* at step .*; lower optimizer.lr"):
        train(
            [
                "--cfg",
                "demo.yaml",
                *tiny_overrides,
                "optimizer.name=sgd",
                "optimizer.lr=1000",
                "optimizer.weight_decay=10",
                "optimizer.grad_clip=null",
            ]
        )


def test_fine_tuning_starts_from_the_given_weights(
    trained_run: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    checkpoint = trained_run / "checkpoints" / "best.pt"
    train(["--cfg", "demo.yaml", *tiny_overrides, f"model.init={checkpoint}", "optimizer.lr=1e-12", "train.passes=1"])
    start = torch.load(checkpoint, weights_only=True)["model"]
    for name, tensor in _weights(tmp_path / "run").items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(tensor, start[name], atol=1e-8, rtol=0)


def test_a_run_is_a_start_too_and_a_resumed_run_no_longer_needs_it(
    trained_run: Path, tiny_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start"
    shutil.copytree(trained_run, start)
    arguments = ["--cfg", "demo.yaml", *tiny_overrides, f"model.init={start}", "optimizer.lr=1e-12", "train.passes=1"]
    train(arguments)
    best = torch.load(start / "checkpoints" / "best.pt", weights_only=True)["model"]
    torch.testing.assert_close(_weights(tmp_path / "run")["final.weight"], best["final.weight"], atol=1e-8, rtol=0)
    shutil.rmtree(start)
    train([*arguments, "--resume"])
    train([*arguments, "--resume", "model.init=another"])
    assert "began with model.init=" in capsys.readouterr().err
    assert load_config(str(tmp_path / "run" / "config.yaml")).model.init == str(start)
    with pytest.raises(UsageError, match=r"start\b.*: no such checkpoint; train first"):
        train([*arguments, f"run.dir={tmp_path / 'another'}"])


def test_two_processes_train_as_one(tiny_overrides: list[str], tmp_path: Path) -> None:
    """With synchronised batch norm and equal scenes, the cross-entropy alone: the same weights, one writer."""
    overrides = [*tiny_overrides, "loss.collapse.weight=0", "data.scenes_per_batch=2", "optimizer.name=sgd"]
    train(["--cfg", "demo.yaml", *overrides, f"run.dir={tmp_path / 'one'}"])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pointseg.train", "--cfg", "demo.yaml", *overrides, f"run.dir={tmp_path / 'two'}"]
    subprocess.run([*command, "train.sync_batch_norm=true"], check=True, capture_output=True, timeout=300)

    one, two = _rows(tmp_path / "one"), _rows(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    validation = [_rows(tmp_path / name, "val")[-1] for name in ("one", "two")]
    assert validation[1]["accuracy"] == pytest.approx(validation[0]["accuracy"], abs=0.05)
    for a, b in zip(_weights(tmp_path / "one").values(), _weights(tmp_path / "two").values(), strict=True):
        assert float((a.double() - b.double()).norm()) <= 0.05 * float(a.double().norm()) + 1e-3


def test_resuming_what_never_came_to_a_checkpoint_begins_anew(tiny_overrides: list[str], tmp_path: Path) -> None:
    """As after a full disk in the first pass. A best checkpoint without a last one is not trained over."""
    train(["--cfg", "demo.yaml", *tiny_overrides, "train.passes=1"])
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "last.pt").unlink()
    before = (checkpoints / "best.pt").read_bytes()
    with pytest.raises(UsageError, match=r"best\.pt: .*last\.pt is not there to resume from"):
        train(["--cfg", "demo.yaml", *tiny_overrides, "train.passes=1", "--resume"])
    assert (checkpoints / "best.pt").read_bytes() == before
    (checkpoints / "best.pt").unlink()
    train(["--cfg", "demo.yaml", *tiny_overrides, "train.passes=1", "--resume"])
    assert [row["step"] for row in _rows(tmp_path / "run")] == [1, 2, 3]


def test_resuming_clears_what_a_killed_write_left_and_nothing_else(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(trained_run, run)
    left = ["checkpoints/.writing-last-abcd1234.pt", "checkpoints/.writing-best-a_cd1234.pt"]
    left += [".writing-config-abcd1234.yaml", ".writing-metrics-abcd1234.jsonl"]
    others = ["checkpoints/.writing-mine.pt", ".writing-notes-abcd1234.txt", "checkpoints/last-abcd1234.pt"]
    for name in left + others:
        (run / name).write_bytes(b"half")
    train(["--cfg", str(run / "config.yaml"), f"run.dir={run}", "--resume"])
    assert [name for name in left if (run / name).exists()] == []
    assert [name for name in others if not (run / name).exists()] == []


def test_a_validation_that_fails_costs_no_training(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass is in the checkpoint; a resumed run validates first, and ends where one that never failed ends."""
    arguments = ["--cfg", "demo.yaml", *tiny_overrides, "train.validate_every=1"]
    train([*arguments, f"run.dir={tmp_path / 'whole'}"])

    def fail(*_: object, **__: object) -> dict:
        raise DataError("a broken scene")

    monkeypatch.setattr("pointseg.engine.validation.evaluate_scenes", fail)
    with pytest.raises(DataError, match="a broken scene"):
        train(arguments)
    monkeypatch.undo()
    train([*arguments, "--resume"])
    for kind in ("train", "val", "collapse"):
        steps = [[row["step"] for row in _rows(tmp_path / name, kind)] for name in ("whole", "run")]
        assert steps[0] == steps[1]
    whole, resumed = _weights(tmp_path / "whole"), _weights(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_val_split_without_labels_is_refused_before_training(tiny_overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no labels to evaluate against"):
        train(["--cfg", "demo.yaml", *tiny_overrides, "data.val_split=test"])
    assert not (tmp_path / "run").exists()


def test_a_val_split_in_which_no_point_has_a_label_is_refused(
    prepared_root: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    """Its score would be none, and the first weights the best for ever."""
    root = _copy_with_labels(prepared_root, tmp_path, lambda label: np.full_like(label, -1))
    with pytest.raises(UsageError, match=r"no point of its scenes in val has a label .* set data\.val_split=null"):
        train(["--cfg", "demo.yaml", *tiny_overrides, f"data.root={root}"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keys", [[], ["loss.class_balanced=1"]])
def test_a_train_split_in_which_no_point_has_a_label_is_refused(
    keys: list[str], prepared_root: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    root = _copy_with_labels(prepared_root, tmp_path, lambda label: np.full_like(label, -1), "train")
    with pytest.raises(UsageError, match=rf"^{root}: no point of its scenes in train has a label .* data\.train_split"):
        train(["--cfg", "demo.yaml", *tiny_overrides, f"data.root={root}", *keys])
    assert not (tmp_path / "run").exists()


def test_other_labels_to_validate_against_begin_the_choice_of_the_best_anew(
    prepared_root: Path, tiny_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cfg", "demo.yaml", *tiny_overrides, "train.validate_every=1"]
    train(arguments)
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    state["progress"] |= {"pass_index": 1, "step": 3, "best_miou": 0.99, "validation_is_due": False}
    state["schedule"]["last_epoch"], state["schedule"]["_step_count"] = 3, 4
    torch.save(state, last)
    best = (run / "checkpoints" / "best.pt").read_bytes()
    train([*arguments, "--resume"])
    assert "best checkpoint is chosen anew" not in capsys.readouterr().err
    assert (run / "checkpoints" / "best.pt").read_bytes() == best
    torch.save(state, last)
    root = _copy_with_labels(prepared_root, tmp_path, lambda label: np.roll(label, 1))
    train([*arguments, f"data.root={root}", "--resume"])
    assert "the best checkpoint is chosen anew" in capsys.readouterr().err
    assert (run / "checkpoints" / "best.pt").read_bytes() != best


def test_a_finished_run_is_validated_again_where_scores_are_others(trained_run: Path, tmp_path: Path) -> None:
    """Best and last checkpoint are of the config that validated them, and so is the score of the last step."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    arguments = ["--cfg", str(run / "config.yaml"), "--resume", f"run.dir={run}", "inference.logit_adjustment=1"]
    train(arguments)
    states = [torch.load(run / "checkpoints" / name, weights_only=True) for name in ("best.pt", "last.pt")]
    assert [state["config"]["inference"]["logit_adjustment"] for state in states] == [1, 1]
    *_, validation = _rows(run, "val")
    assert validation["step"] == states[0]["progress"]["step"] == states[1]["progress"]["step"]
    assert states[1]["progress"]["best_miou"] == validation["miou"]
    assert len(_rows(run, "val")) == len(_rows(trained_run, "val"))
    before = (run / "checkpoints" / "last.pt").read_bytes()
    train(arguments)
    assert (run / "checkpoints" / "last.pt").read_bytes() == before


def _copy_with_labels(
    prepared_root: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], split: str = "val"
) -> Path:
    root = tmp_path / "other"
    shutil.copytree(prepared_root, root)
    for path in (root / split).glob("*/segment200.npy"):
        np.save(path, change(np.load(path)))
    return root


def test_a_folder_that_was_moved_away_gets_nothing_more(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may stand there by then: neither its metrics nor its checkpoints are written over."""
    from pointseg.engine.trainer import Trainer

    step, run, moved = Trainer.train_step, tmp_path / "run", tmp_path / "moved"

    def move_away(self: Trainer, batch: object) -> object:
        if self.progress.step == 4:
            run.rename(moved)
            (run / "checkpoints").mkdir(parents=True)
            (run / "metrics.jsonl").write_text("another's\n")
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", move_away)
    with pytest.raises(UsageError, match=r"run: was moved away or replaced during the work"):
        train(["--cfg", "demo.yaml", *tiny_overrides])
    assert sorted(path.name for path in run.rglob("*")) == ["checkpoints", "metrics.jsonl"]
    assert (run / "metrics.jsonl").read_text() == "another's\n"
    assert (moved / "checkpoints" / "last.pt").is_file()


def test_a_run_is_not_resumed_with_other_scenes(
    trained_run: Path, prepared_root: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "more"
    shutil.copytree(prepared_root, root)
    shutil.copytree(next((root / "train").iterdir()), root / "train" / "scene9999_00")
    run = tmp_path / "copy"
    shutil.copytree(trained_run, run)
    arguments = ["--cfg", str(run / "config.yaml"), f"run.dir={run}", f"data.root={root}", "--resume"]
    with pytest.raises(UsageError, match="began with 5 training scenes, and .* has 6, not the same"):
        train(arguments)
    shutil.rmtree(root / "train" / "scene9999_00")
    train(arguments)
    assert load_config(str(run / "config.yaml")).data.root == str(root)


def test_a_signal_to_all_processes_stops_training_with_a_checkpoint(tiny_overrides: list[str], tmp_path: Path) -> None:
    """As torchrun and clusters send it: the loader's workers leave it to the trainer."""
    command = [sys.executable, "-m", "pointseg.train", "--cfg", "demo.yaml", *tiny_overrides]
    command += ["data.num_workers=2", "train.passes=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and len(_rows(tmp_path / "run")) > 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "--resume goes on" in stderr, stderr
    step = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["progress"]["step"]
    assert f"stopped after step {step}" in stderr


@pytest.mark.parametrize(
    "keys",
    [["train.amp=fp16", "optimizer.lr=0.02"], ["optimizer.name=sgd", "optimizer.schedule=poly", "optimizer.lr=0.3"]],
)
def test_other_ways_to_train_learn_too(keys: list[str], tiny_overrides: list[str], tmp_path: Path) -> None:
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys, "train.passes=6"])
    losses = [row["recognition"] for row in _rows(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


def test_only_a_second_ctrl_c_stops_at_once() -> None:
    """SIGTERM comes twice where both torchrun's agent and the cluster send it, and must not cost the checkpoint."""
    from pointseg.engine.trainer import StopRequest

    with StopRequest() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("split", "part", "change", "message"),
    [
        ("train", "segment200", lambda label: label + 198, r"labels are -1\.\.20\d, expected -1\.\.199"),
        ("val", "segment200", lambda label: label - 7, r"labels are -8\.\.-1, expected -1\.\.199"),
        ("train", "coord", lambda xyz: xyz[:0], "the scene has no points"),
        ("val", "normal", lambda normal: normal[:-1], r"normal\.npy: has 599 rows, coord\.npy has 600"),
    ],
)
def test_a_bad_scene_is_found_when_training_begins(
    tiny_overrides: list[str], prepared_root: Path, tmp_path: Path, split: str, part: str, change, message: str
) -> None:
    """And not when the scene's turn comes, hours later, or at the first validation."""
    root = Path(shutil.copytree(prepared_root, tmp_path / "tree"))
    path = sorted((root / split).iterdir())[-1] / f"{part}.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(DataError, match=message) as caught:
        train(["--cfg", "demo", *tiny_overrides, f"data.root={root}"])
    assert str(path.parent) in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_scenes_that_are_trained_and_validated_on_are_named(
    tiny_overrides: list[str], prepared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy in another split, and a split that is both; who trains for the test server may mean it."""
    root = Path(shutil.copytree(prepared_root, tmp_path / "tree"))
    first = sorted((root / "train").iterdir())[0]
    train(["--cfg", "demo", *tiny_overrides, f"data.root={root}", "train.passes=1"])
    assert "are trained on, too" not in capsys.readouterr().err
    shutil.copytree(first, root / "val" / first.name)
    for splits, message in (
        ("train", f"warning: 1 of 3 scenes to validate on are trained on, too ({first.name}): "),
        ("[train,val]", "warning: 3 of 3 scenes to validate on are trained on, too ("),
    ):
        run = f"run.dir={tmp_path / splits}"
        train(
            ["--cfg", "demo", *tiny_overrides, f"data.root={root}", "train.passes=1", run, f"data.train_split={splits}"]
        )
        assert message in capsys.readouterr().err


def test_a_name_that_a_terminal_would_obey_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    folders = [Path("tree/train/room\x1b[2J")]
    warn_of_shared_scenes(folders, folders)
    assert r"are trained on, too (room\x1b[2J): " in capsys.readouterr().err
