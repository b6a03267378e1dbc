"""A teacher's classes are learned by a second classifier; what predicts is the first, and the checkpoint is its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
from pointseg.config import load_config
from pointseg.data.batch import Batch
from pointseg.engine.objective import PointRecognition
from pointseg.engine.trainer import Trainer
from pointseg.errors import DataError, StoppedError, UsageError
from pointseg.processes import Processes
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import load_taxonomy
from pointseg.train import main as train
from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK

ALONE = Processes(0, 1, torch.device("cpu"))
RGB_AND_NORMAL = ("data.features=[rgb, normal]", "data.color_range=[-1, 1]")


@pytest.fixture(scope="module")
def teacher_run(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of other inputs and of another size than those that learn from it."""
    run = tmp_path_factory.mktemp("teacher") / "run"
    keys = [f"data.root={prepared_root}", f"run.dir={run}", "data.voxel_size_m=0.1", "data.scenes_per_batch=2"]
    keys += ["train.passes=10", "train.num_threads=1", "optimizer.lr=0.02", "model.stem_channels=16"]
    train(["--cfg", "demo", *TINY_NETWORK, *PLAIN_AUGMENTATION, *RGB_AND_NORMAL, *keys])
    return run


@pytest.fixture
def overrides(tiny_overrides: list[str], teacher_run: Path) -> list[str]:
    return [*tiny_overrides, f"distill.run={teacher_run}", "loss.lovasz=1", "loss.label_smoothing=0.1"]


def _rows(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "train"]


def _trainer(overrides: list[str]) -> tuple[Trainer, Batch]:
    trainer = Trainer(load_config("demo", overrides), ALONE)
    return trainer, next(iter(trainer.loader.batches(0)))


def test_it_labels_the_voxels_as_it_predicts_them(overrides: list[str], teacher_run: Path) -> None:
    """The inputs are its own: colours of -1 to 1 and normals, of the same drawn points."""
    trainer, batch = _trainer(overrides)
    assert batch.features.shape[1] == 9
    assert batch.teacher_features is not None and batch.teacher_features.shape == (len(batch.coords), 6)
    torch.testing.assert_close(batch.teacher_features[:, :3], batch.features[:, 3:6] * 2 - 1)
    torch.testing.assert_close(batch.teacher_features[:, 3:], batch.features[:, 6:])
    assert trainer.teacher is not None
    labels = trainer.teacher.label(batch)

    network = pointseg.load(teacher_run).network
    shape = network.spatial_shape(batch.extent)
    with torch.no_grad():
        logits = network(batch.teacher_features, batch.coords, batch.num_scenes, shape).logits
    assert torch.equal(labels, logits.argmax(dim=1))
    # It knows these rooms, and speaks also of what nobody has labelled.
    known = batch.labels >= 0
    assert (labels[known] == batch.labels[known]).float().mean() > 0.6
    assert (labels[~known] >= 0).all() and (~known).any()


def test_the_loss_is_half_of_the_labels_and_half_of_its_classes(overrides: list[str]) -> None:
    for weight in (0.5, 0.25):
        trainer, batch = _trainer([*overrides, f"distill.weight={weight}", "loss.collapse.weight=0.3"])
        assert trainer.teacher is not None
        labels = trainer.teacher.label(batch)
        objective = trainer.objective.train()
        with torch.no_grad():
            torch.manual_seed(0)
            losses = objective(batch, labels)
            torch.manual_seed(0)
            shape = trainer.network.spatial_shape(batch.extent)
            output = trainer.network(batch.features, batch.coords, batch.num_scenes, shape)
            classifier = objective.taught_classifier
            assert classifier is not None
            taught_logits = output.features @ classifier.weight.T + classifier.bias
            recognise = PointRecognition(trainer.config.loss, trainer.class_counts)
            recognition, taught = recognise(output.logits, batch.labels), recognise(taught_logits, labels)
        torch.testing.assert_close(losses.recognition, recognition)
        torch.testing.assert_close(losses.taught, taught)
        torch.testing.assert_close(losses.total, (1 - weight) * recognition + weight * taught + 0.3 * losses.collapse)


def test_nothing_of_the_teacher_changes_or_is_kept(overrides: list[str], teacher_run: Path, tmp_path: Path) -> None:
    trainer, batch = _trainer(overrides)
    assert trainer.teacher is not None
    network = trainer.teacher._network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer.train_step(batch)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    optimised = {id(p) for group in trainer.update.optimizer.param_groups for p in group["params"]}
    assert not optimised & {id(p) for p in network.parameters()}
    assert {id(p) for p in trainer.objective.taught_classifier.parameters()} <= optimised

    train(["--cfg", "demo", *overrides])
    last, best = (
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.pt", weights_only=True) for name in ("last", "best")
    )
    plain = trainer.network.state_dict()
    assert last["model"].keys() == best["model"].keys() == plain.keys()
    assert last["taught_classifier"].keys() == {"weight", "bias"}
    assert last["teacher"] == trainer.teacher.weights_sha256
    assert not best.keys() & {"taught_classifier", "teacher"}
    shutil.move(teacher_run, tmp_path / "gone")  # what was taught needs no teacher any more
    try:
        assert pointseg.load(tmp_path / "run").network.num_classes == 200
    finally:
        shutil.move(tmp_path / "gone", teacher_run)


def test_its_loss_falls_and_its_share_of_the_time_is_logged(overrides: list[str], tmp_path: Path) -> None:
    plain = ["loss.lovasz=0", "loss.label_smoothing=0", "optimizer.lr=0.02", "train.passes=8"]
    train(["--cfg", "demo", *overrides, *plain])
    rows = _rows(tmp_path / "run")
    assert rows[-1]["taught"] < 0.6 * rows[0]["taught"]
    assert all(0 < row["teacher_share"] < 1 for row in rows)
    for row in rows:
        expected = 0.5 * row["recognition"] + 0.5 * row["taught"] + 0.5 * row["collapse"]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_taught_run_that_was_stopped_ends_where_one_that_was_not_ends(
    overrides: list[str], teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(["--cfg", "demo", *overrides, f"run.dir={tmp_path / 'whole'}"])
    step = Trainer.train_step

    def stop_after_the_fourth(self: Trainer, batch: Batch) -> object:
        self.stop.requested = self.progress.step == 3
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stop_after_the_fourth)
        with pytest.raises(StoppedError):
            train(["--cfg", "demo", *overrides])
    moved = shutil.copytree(teacher_run, tmp_path / "moved")
    resume = ["--cfg", "demo", "--resume", *overrides]
    with pytest.raises(UsageError, match=r"began with a teacher, and the config has none; give distill\.run as it was"):
        train([*resume, "distill.run=null"])
    state = torch.load(RunDirectory(moved).best_checkpoint, weights_only=True)
    state["model"]["final.bias"] += 1
    (other := tmp_path / "other").mkdir()
    shutil.copytree(teacher_run, other, dirs_exist_ok=True)
    torch.save(state, RunDirectory(other).best_checkpoint)
    with pytest.raises(UsageError, match="began with another teacher"):
        train([*resume, f"distill.run={other}"])
    train([*resume, f"distill.run={moved}"])
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True) for name in ("whole", "run")
    )
    for part in ("model", "taught_classifier"):
        assert all(torch.equal(whole[part][name], resumed[part][name]) for name in whole[part])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["data.voxel_size_m=0.2"], r"was trained with data\.voxel_size_m=0\.1, and this config has 0\.2"),
        (["taxonomy=scannet20"], r"knows other classes \(scannet200, 200\) than taxonomy=scannet20"),
        (["distill.run=nowhere"], r"distill\.run: nowhere: is not the folder of a run"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_by_key(
    keys: list[str], message: str, overrides: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        train(["--cfg", "demo", *overrides, *keys])
    assert str(caught.value).startswith("distill.run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_scenes_without_what_it_takes_are_refused(
    overrides: list[str], prepared_root: Path, tmp_path: Path, teacher_run: Path
) -> None:
    """The network that learns does without normals; its teacher does not."""
    root = shutil.copytree(prepared_root, tmp_path / "tree")
    for folder in (root / "train").iterdir():
        (folder / "normal.npy").unlink()
        (folder / "source.json").unlink()
    keys = [f"data.root={root}", "data.features=[xyz, rgb]", "data.val_split=null"]
    with pytest.raises(UsageError, match=r"distill\.run=.*: takes normal as input, and .* has no normal\.npy"):
        train(["--cfg", "demo", *overrides, *keys])


def test_the_center_of_coordinates_is_compared_where_it_takes_them(
    tiny_overrides: list[str], trained_run: Path
) -> None:
    keys = [f"distill.run={trained_run}", "data.center=extremes"]
    with pytest.raises(UsageError, match=r"was trained with data\.center=robust, and this config has extremes"):
        train(["--cfg", "demo", *tiny_overrides, *keys])


def test_objects_are_pasted_with_what_only_the_teacher_takes(
    overrides: list[str], prepared_root: Path, tmp_path: Path
) -> None:
    """The network takes coordinates alone; pasted objects and cached scenes need colours and normals, too."""
    root = shutil.copytree(prepared_root, tmp_path / "tree")
    tail = int(np.flatnonzero(load_taxonomy("scannet200").group_mask("tail"))[0])
    for folder in sorted((root / "train").iterdir()):
        label = np.load(folder / "segment200.npy")
        label[label == 3] = tail
        np.save(folder / "segment200.npy", label)
        np.save(folder / "instance.npy", label)
        (folder / "source.json").unlink()
    keys = [f"data.root={root}", "data.features=[xyz]", "augment.copy_paste=2", "data.cache=ram", "data.num_workers=1"]
    train(["--cfg", "demo", *overrides, *keys, "augment.mix_probability=0.5"])
    assert len(_rows(tmp_path / "run")) == 6


def test_the_leaders_recipes_train_one_after_the_other(
    tiny_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that they turn on, on rooms of a few points: a convolutional teacher, then a transformer that it teaches."""
    own = ("augment", "model")
    shared = [key for key in tiny_overrides if not key.startswith((*own, "run.dir"))]
    shared += ["run.device=cpu", "data.num_workers=0", "train.amp=none", "train.validate_every=0"]
    teacher = [f"run.dir={tmp_path / 'teacher'}", *TINY_NETWORK]
    train(["--cfg", "scannet200_teacher", *shared, *teacher])
    volt = ["model.dim=64", "model.depth=2", "model.decoder_channels=32", f"distill.run={tmp_path / 'teacher'}"]
    train(["--cfg", "scannet200_volt", *shared, f"run.dir={tmp_path / 'volt'}", *volt])
    assert [row["step"] for row in _rows(tmp_path / "volt")] == [1, 2, 3, 4, 5, 6]
    assert "newest_model" in torch.load(tmp_path / "volt" / "checkpoints" / "last.pt", weights_only=True)
    assert pointseg.load(tmp_path / "volt").config.data.features == ("rgb", "normal")


def test_a_teacher_whose_logits_are_not_finite_is_noticed_when_figures_are_logged(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most likely of NaN would be class 0, and the loss of the network that learns it is finite."""
    trainer, batch = _trainer([*overrides, "loss.collapse.weight=0"])
    assert trainer.teacher is not None
    trainer.teacher.label(batch)
    trainer.teacher.refuse_not_finite()
    with torch.no_grad():
        for weight in trainer.teacher._network.parameters():
            weight.fill_(1e30)
    with pytest.raises(DataError, match=r"distill\.run=.*its logits are not finite, so it teaches nothing; choose"):
        trainer.run()


def test_a_teacher_may_be_one_checkpoint_of_a_run(overrides: list[str], teacher_run: Path, tmp_path: Path) -> None:
    """Where a run has two, what val found best and the last, a comparison says which."""
    run = shutil.copytree(teacher_run, tmp_path / "teacher")
    last = RunDirectory(run).last_checkpoint
    state = torch.load(last, weights_only=True)
    for value in state["model"].values():
        value.zero_()
    torch.save(state, last)
    sums = []
    for given in (run, last, RunDirectory(run).best_checkpoint):
        trainer, _ = _trainer([*overrides, f"distill.run={given}"])
        assert trainer.teacher is not None
        sums.append(trainer.teacher.weights_sha256)
    assert sums[0] == sums[2] != sums[1]
