"""Two processes with a scene each train as one with both, however unequal the scenes are."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from pointseg.collapse import CenterCollapse
from pointseg.config import LossConfig
from pointseg.data.batch import Batch
from pointseg.data.class_counts import ClassCounts
from pointseg.engine import accumulation, objective
from pointseg.engine.network import run_network
from pointseg.engine.objective import PointRecognition, count_labels
from pointseg.engine.trainer import Trainer
from pointseg.losses import lovasz_softmax
from pointseg.models import Network, NetworkOutput
from pointseg.preparation.prepared_source import write_scene
from pointseg.processes import join_processes
from pointseg.train import main as train
from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK, free_ports

# Points of each scene, and the share of them that has a label: none in one of them.
SCENES = ((600, 0.9), (90, 0.9), (900, 0.05), (400, 0.0), (700, 0.5), (150, 1.0))
CASES = {
    "cross-entropy, job": ["loss.cross_entropy=1", "loss.collapse.scope=job"],
    "class-balanced, bank": ["loss.class_balanced=1", "loss.collapse.scope=job", "loss.collapse.momentum=0.5"],
    "effective number, frozen maps": [
        "loss.effective_number=1",
        "loss.effective_number_beta=0.99",
        "loss.collapse.scope=job",
        "loss.collapse.projection=mlp",
        "loss.collapse.projection_trainable=false",
        "loss.collapse.dropout=0.3",
        "loss.collapse.log_prior=scenes",
    ],
    "focal, scene": ["loss.focal=1", "loss.collapse.scope=scene"],
    "balanced softmax, paper": [
        "loss.balanced_softmax=1",
        "loss.collapse.scope=scene",
        "loss.collapse.preset=paper",
        "loss.collapse.reduction=sum",
    ],
    # One process with a scene at a time is to batch norm what two processes with a scene each are.
    "in parts": ["loss.cross_entropy=1", "train.sync_batch_norm=false", "train.scenes_at_once=1"],
    "taught": ["loss.cross_entropy=1", "loss.label_smoothing=0.1", "distill.run={teacher}"],
}
COUNTED = [
    "data.scenes_per_batch=4",
    "augment.mix_probability=0.5",
    "augment.drop_points_probability=0.5",
    "augment.drop_points_share=0.99999999",
]
COUNTS = ClassCounts(torch.tensor([1000, 300, 40, 5, 0]), torch.tensor([10, 8, 3, 1, 0]))


def _write_scenes(root: Path) -> None:
    """Floor, wall, chair and table, as height and colour say."""
    for index, (num_points, labelled_share) in enumerate(SCENES):
        rng = np.random.default_rng(index)
        xyz = rng.random((num_points, 3)) * (2.0, 1.5, 1.0)
        label = (xyz[:, 2] * 4).astype(np.int64)
        color = np.clip(rng.normal(40 + 50 * label[:, None], 15, (num_points, 3)), 0, 255)
        normal = rng.normal(size=(num_points, 3))
        label[rng.random(num_points) >= labelled_share] = -1
        arrays = {
            "coord": xyz.astype(np.float32),
            "color": color.astype(np.uint8),
            "normal": (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        }
        labels = {"segment200": label, "segment20": label, "instance": label}
        write_scene(root / "train" / f"scene{index:04d}_00", arrays | labels, source={})


def _train(root: Path, run: Path, *keys: str) -> None:
    """18 steps of two scenes.

    In float64: a few steps at a high rate make much of the rounding of float32, which differs with the order of sums.
    """
    recipe = ["data.voxel_size_m=0.1", "data.scenes_per_batch=2", "data.val_split=null", "train.passes=6"]
    recipe += ["optimizer.name=sgd", "optimizer.lr=0.02", "loss.cross_entropy=0", "train.sync_batch_norm=true"]
    recipe += ["train.log_every=1", "train.num_threads=1", f"data.root={root}", f"run.dir={run}"]
    recipe += [key.format(teacher=_teacher(root)) for key in keys]
    build = Trainer.build_objective
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "build_objective", lambda self: build(self).double())
        for module in (objective, accumulation):
            patch.setattr(module, "run_network", _run_in_float64)
        train(["--cfg", "demo.yaml", *TINY_NETWORK, *PLAIN_AUGMENTATION, *recipe])


def _run_in_float64(network: Network, batch: Batch) -> NetworkOutput:
    return run_network(network, replace(batch, features=batch.features.double()))


def _teacher(root: Path) -> Path:
    return root.with_name(f"{root.name}_teacher")


def _train_teacher(root: Path) -> None:
    recipe = ["data.voxel_size_m=0.1", "data.scenes_per_batch=2", "data.val_split=null", "train.passes=2"]
    recipe += ["train.num_threads=1", f"data.root={root}", f"run.dir={_teacher(root)}"]
    train(["--cfg", "demo.yaml", *TINY_NETWORK, *PLAIN_AUGMENTATION, *recipe])


def _join(rank: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _train_on_two(rank: int, ports: list[int], root: Path, folder: Path, runs: dict[str, list[str]]) -> None:
    for port, (name, keys) in zip(ports, runs.items(), strict=True):
        _join(rank, port)
        _train(root, folder / name, *keys)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unequal")
    _write_scenes(root)
    _train_teacher(root)
    return root


@pytest.fixture(scope="module")
def on_two(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that two processes made, each named as its case."""
    folder = tmp_path_factory.mktemp("two")
    runs = {**CASES, "counted": ["loss.cross_entropy=1", *COUNTED]}
    mp.spawn(_train_on_two, args=(free_ports(len(runs)), root, folder, runs), nprocs=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_each_part_of_the_loss_is_that_of_one_process(case: str, root: Path, on_two: Path, tmp_path: Path) -> None:
    """To 1e-5 in each of 18 steps, with every loss that is a mean over points, and centers of the job or of scenes."""
    _train(root, tmp_path / "one", *CASES[case])
    one, two = _rows(tmp_path / "one"), _rows(on_two / case)
    assert len(one) == len(two) == 18
    for part in ("loss", "recognition", "collapse", *(("taught",) if case == "taught" else ())):
        assert [row[part] for row in two] == pytest.approx([row[part] for row in one], abs=1e-5, rel=0), part


@pytest.mark.slow
def test_counts_in_the_log_are_those_of_all_processes(root: Path, on_two: Path, tmp_path: Path) -> None:
    _train(root, tmp_path / "one", "loss.cross_entropy=1", *COUNTED)
    names = ("step", "effective_batch_size", "cropped_scenes", "unaugmented_scenes")
    one, two = ([[row[name] for name in names] for row in _rows(run)] for run in (tmp_path / "one", on_two / "counted"))
    assert one == two
    assert {size for _, size, *_ in one} == {2, 3, 4} and any(unaugmented for *_, unaugmented in one)


def _batches(kind: str) -> list[Batch]:
    """Of two processes: 4 and 60 voxels of two scenes each; their features are logits."""
    batches = []
    for rank, num_voxels in enumerate((4, 60)):
        generator = torch.Generator().manual_seed(rank)
        labels = torch.randint(-1, 5, (num_voxels,), generator=generator)
        scene = (torch.arange(num_voxels) >= 3).int()
        if kind == "no label" or (kind == "a process without a label" and rank == 1):
            labels[:] = -1
        if kind == "a scene without a label" and rank == 1:
            labels[:3] = -1
        logits = 2 * torch.randn(num_voxels, 5, generator=generator, dtype=torch.float64)
        coords = torch.zeros(num_voxels, 4, dtype=torch.int32)
        coords[:, 0] = scene
        batches.append(Batch(coords, logits, labels, (), (1, 1, 1), ("a", "b")))
    return batches


KINDS = ("labels everywhere", "a scene without a label", "a process without a label", "no label")
TERMS = ("cross_entropy", "class_balanced", "effective_number", "focal", "balanced_softmax", "lovasz")


def _losses(batch: Batch, counts: Any = None) -> dict[str, torch.Tensor]:
    """Every loss of logits that one matrix turns, each with the gradient of that matrix in its last row."""
    results = {}
    for name in (*TERMS, "scene"):
        torch.manual_seed(0)
        matrix = torch.eye(5, dtype=torch.float64, requires_grad=True)
        logits = batch.features @ matrix
        if name == "scene":
            branch = CenterCollapse.paper(5, 5, scope="scene", subtract_mean=True)
            scenes = None if counts is None else counts.scenes
            loss = branch(logits, batch.labels, batch.coords[:, 0], batch.num_scenes, scenes)
        else:
            config = LossConfig(**{"cross_entropy": 0.0, name: 1.0})
            loss = PointRecognition(config, COUNTS)(logits, batch.labels, counts)
        loss.backward()
        assert matrix.grad is not None
        results[name] = torch.cat([loss.detach().view(1), matrix.grad.flatten()])
    return results


def _compute_losses(rank: int, port: int, folder: Path) -> None:
    _join(rank, port)
    with join_processes("cpu") as processes:
        for kind in KINDS:
            batch = _batches(kind)[rank]
            losses = _losses(batch, count_labels(batch, 5))
            torch.save({name: processes.mean(loss) for name, loss in losses.items()}, folder / f"{kind} {rank}.pt")


@pytest.fixture(scope="module")
def averages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averages")
    mp.spawn(_compute_losses, args=(*free_ports(1), folder), nprocs=2)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_over_processes_is_the_loss_of_all_points(kind: str, averages: Path) -> None:
    """Value and gradient. The Lovász loss is that of each process, averaged over those that have a label."""
    first, second = _batches(kind)
    moved = second.coords + torch.tensor([2, 0, 0, 0], dtype=torch.int32)
    together = replace(
        first,
        coords=torch.cat([first.coords, moved]),
        features=torch.cat([first.features, second.features]),
        labels=torch.cat([first.labels, second.labels]),
        names=("a", "b", "c", "d"),
    )
    expected = _losses(together)
    labelled = [batch for batch in (first, second) if bool((batch.labels >= 0).any())]
    alone = [_losses(batch)["lovasz"] for batch in labelled]
    expected["lovasz"] = torch.stack(alone).mean(0) if alone else torch.zeros_like(expected["lovasz"])
    for rank in range(2):
        average = torch.load(averages / f"{kind} {rank}.pt", weights_only=True)
        for name, value in expected.items():
            # The counts are kept in float32.
            torch.testing.assert_close(average[name], value, rtol=1e-6, atol=1e-12, msg=name)
    if kind == "labels everywhere":
        assert float(lovasz_softmax(together.features, together.labels)) != pytest.approx(float(expected["lovasz"][0]))
