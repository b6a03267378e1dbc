"""Whole runs on a GPU are what they are on the CPU, step by step.

On a pretended GPU (tests/pretended_gpu), which computes with the CPU's kernels and draws its numbers: so the losses are
equal but for the order of sums. It refuses what mixes devices; streams that race fail the test that they race in.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.config import load_config
from pointseg.engine.inference import Wanted, load_segmenter
from pointseg.engine.trainer import Trainer
from pointseg.preparation.prepared_source import write_scene
from pointseg.processes import Processes
from pointseg.scans.prepared import read_scene
from pointseg.taxonomy import load_taxonomy
from pointseg.train import main as train
from tests.conftest import HAS_GPU, TINY_NETWORK, free_ports

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        HAS_GPU, reason="held against the CPU to the last digits: a real GPU draws and rounds otherwise"
    ),
]
ROOT = Path(__file__).parents[2]
CUDA = torch.device("cuda", 0)
TAIL = int(np.flatnonzero(load_taxonomy("scannet200").group_mask("tail"))[0])
# What draws and what takes another way on a GPU. SGD: its update is one multiplication more than a sum.
RECIPE = [
    *TINY_NETWORK,
    "model.backend=torch",
    "data.voxel_size_m=0.1",
    "data.scenes_per_batch=2",
    "augment.copy_paste=2",
    "augment.drop_points_probability=0.5",
    "augment.elastic_probability=0.95",
    "augment.hue_saturation_probability=0.5",
    "augment.mix_probability=0.5",
    "optimizer.name=sgd",
    "optimizer.lr=0.02",
    "optimizer.grad_clip=10",
    "loss.lovasz=1",
    "train.log_every=1",
    "train.num_threads=1",
    "train.passes=2",
    "train.validate_every=0",
    "data.val_split=null",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared tree of four floors with a wall, on each of which a small object of a tail class stands."""
    made = tmp_path_factory.mktemp("floors")
    for index in range(4):
        rng = np.random.default_rng(index)
        xyz = rng.random((240, 3), dtype=np.float32) * np.array([1.6, 1.2, 0.01], dtype=np.float32)
        xyz[170:210] = xyz[170:210] * 0.1 + (0.8, 0.6, 0.02)
        xyz[210:] = xyz[210:, [2, 1, 0]]
        arrays = {
            "coord": xyz,
            "color": rng.integers(0, 256, (240, 3), dtype=np.uint8),
            "normal": np.tile(np.array([0, 0, 1], dtype=np.float32), (240, 1)),
            "segment200": np.r_[rng.integers(-1, 3, 170), np.full(40, TAIL), np.full(30, 4)],
            "segment20": rng.integers(-1, 20, 240),
            "instance": np.r_[np.full(170, -1), np.full(40, 7), np.full(30, -1)],
        }
        write_scene(made / "train" / f"scene000{index}_00", arrays, source={})
    return made


@pytest.fixture(scope="module")
def losses_on_cpu(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, ...]]:
    """Of each step of a run on the CPU."""
    return _train(tmp_path_factory.mktemp("cpu"), [*RECIPE, f"data.root={root}", "run.device=cpu"])


def _train(run: Path, keys: Sequence[str]) -> list[tuple[float, ...]]:
    resumed = ["--resume"] if (run / "checkpoints" / "last.pt").is_file() else []
    train(["--cfg", "demo.yaml", *resumed, *keys, f"run.dir={run}"])
    return _read_losses(run)


def _read_losses(run: Path) -> list[tuple[float, ...]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["loss"], row["recognition"], row["collapse"]) for row in rows if row["kind"] == "train"]


def _assert_equal(losses: list[tuple[float, ...]], expected: list[tuple[float, ...]]) -> None:
    assert len(losses) == len(expected) > 0
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "keys",
    [
        ["data.device=cpu", "data.num_workers=2"],
        ["data.device=cpu", "data.cache=ram", "model.checkpoint_activations=true"],
        ["data.device=cuda", "data.cache=none"],
        ["data.device=cuda", "data.cache=ram"],
        ["data.device=cuda", "data.cache=device"],
    ],
    ids=" ".join,
)
def test_losses_are_those_of_the_cpu(
    keys: list[str], root: Path, losses_on_cpu: list[tuple[float, ...]], tmp_path: Path
) -> None:
    """Wherever scenes are kept, augmented, mixed, given pasted objects and voxelised."""
    _assert_equal(_train(tmp_path / "run", [*RECIPE, f"data.root={root}", "run.device=cuda", *keys]), losses_on_cpu)


def test_a_teacher_an_average_and_parts_of_a_batch_are_on_a_gpu_as_on_the_cpu(
    root: Path, losses_on_cpu: list[tuple[float, ...]], tmp_path: Path
) -> None:
    """The teacher takes normals alone; its time is that of the device."""
    teacher = tmp_path / "teacher"
    _train(teacher, [*RECIPE, f"data.root={root}", "run.device=cpu", "data.features=[normal]"])
    keys = [*RECIPE, f"data.root={root}", f"distill.run={teacher}", "train.ema_decay=0.9", "train.scenes_at_once=1"]
    losses = {
        device: _train(tmp_path / device, [*keys, f"run.device={device}", "data.device=auto"])
        for device in ("cpu", "cuda")
    }
    _assert_equal(losses["cuda"], losses["cpu"])
    assert losses["cpu"] != losses_on_cpu
    on_cpu, on_gpu = (
        torch.load(tmp_path / device / "checkpoints" / "last.pt", weights_only=True) for device in ("cpu", "cuda")
    )
    for part in ("model", "newest_model", "taught_classifier"):
        for name, value in on_gpu[part].items():
            torch.testing.assert_close(value, on_cpu[part][name], rtol=1e-4, atol=1e-5, msg=name)
    rows = [json.loads(line) for line in (tmp_path / "cuda" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < row["teacher_share"] < 1 for row in rows if row["kind"] == "train")


class _PowerCutError(Exception):
    pass


def test_a_run_goes_on_on_another_device(
    root: Path, losses_on_cpu: list[tuple[float, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the CPU to the GPU after the first pass, and back in the second."""
    step = Trainer.train_step
    keys = [*RECIPE, f"data.root={root}"]
    for device, num_steps in (("cpu", 2), ("cuda", 3)):

        def stop(self: Trainer, batch: object, num_steps: int = num_steps) -> object:
            if self.progress.step == num_steps:
                self.save_last()
                raise _PowerCutError
            return step(self, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(Trainer, "train_step", stop)
        with pytest.raises(_PowerCutError):
            _train(tmp_path / "run", [*keys, f"run.device={device}"])
        monkeypatch.undo()
    _assert_equal(_train(tmp_path / "run", [*keys, "run.device=cpu"]), losses_on_cpu)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_first_update_that_overflows_is_left_out(name: str, root: Path, tmp_path: Path) -> None:
    """Weights stay, and what the optimiser remembers is fit for the second, which is done."""
    keys = [*RECIPE, f"data.root={root}", f"run.dir={tmp_path}", "train.amp=fp16", f"optimizer.name={name}"]
    trainer = Trainer(load_config("demo", keys), Processes(0, 1, CUDA))
    trainer.update.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**60, backoff_factor=2.0**-50)
    batches = [batch.to(CUDA) for batch in trainer.loader.batches(0)]
    first = [parameter.detach().cpu().clone() for parameter in trainer.objective.parameters()]
    for is_done, batch in zip((False, True), batches, strict=True):
        trainer.train_step(batch)
        parameters = [parameter.detach().cpu() for parameter in trainer.objective.parameters()]
        assert all(bool(parameter.isfinite().all()) for parameter in parameters)
        assert all(map(torch.equal, first, parameters)) != is_done
    assert trainer.update.scaler.get_scale() == 2.0**10


def test_two_processes_with_shared_batch_norm_are_two_on_the_cpu(root: Path, tmp_path: Path) -> None:
    """A GPU each, as on two nodes."""
    losses = {}
    for device in ("cpu", "cuda"):
        run = tmp_path / device
        keys = [*RECIPE, f"data.root={root}", f"run.dir={run}", f"run.device={device}", "train.sync_batch_norm=true"]
        keys += ["data.scenes_per_batch=4"]
        command = [sys.executable, "-m", "tests.pretended_gpu", "-m", "pointseg.train", "--cfg", "demo.yaml", *keys]
        (port,) = free_ports(1)
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
        processes = [
            subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **job, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True
            )
            for rank in range(2)
        ]
        reports = [process.communicate(timeout=300)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], reports
        assert not any(line.startswith("race") for report in reports for line in report.splitlines()), reports
        losses[device] = _read_losses(run)
    _assert_equal(losses["cuda"], losses["cpu"])


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of our engine on the CPU."""
    made = tmp_path_factory.mktemp("runs") / "run"
    _train(made, [*RECIPE, f"data.root={root}", "run.device=cpu", "train.passes=1"])
    return made


TRITON = pytest.param("spconv_triton", marks=[pytest.mark.needs("spconv_triton"), pytest.mark.rehearsal])


@pytest.mark.parametrize("amp", ["none", "fp16", "bf16"])
@pytest.mark.parametrize("backend", ["torch", TRITON])
def test_a_gpu_predicts_what_the_cpu_does(backend: str, amp: str, run: Path, root: Path, tmp_path: Path) -> None:
    scene = read_scene(root / "train" / "scene0000_00", load_taxonomy("scannet200"))
    expected = load_segmenter(run, device="cpu").forward_scene(scene)[1].logits
    of_backend = shutil.copytree(run, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    assert config.count("backend: torch\n") == 1
    (of_backend / "config.yaml").write_text(config.replace("backend: torch\n", f"backend: {backend}\n"))
    logits = load_segmenter(of_backend, device="cuda", amp=amp).forward_scene(scene)[1].logits
    # The libraries have no bfloat16.
    half = torch.bfloat16 if backend == "torch" else torch.float16
    assert logits.dtype == {"none": torch.float32, "fp16": torch.float16, "bf16": half}[amp]
    error = float((logits.cpu().float() - expected).abs().max() / expected.abs().max())
    assert error < {"none": 1e-5, "fp16": 1e-2, "bf16": 5e-2}[amp]


@pytest.mark.parametrize("tta", ["none", "rot4"])
def test_a_gpu_votes_as_the_cpu_does(tta: str, run: Path, root: Path) -> None:
    scene = read_scene(root / "train" / "scene0000_00", load_taxonomy("scannet200"))
    segments = np.arange(scene.num_points) // 7
    got, expected = (
        load_segmenter(run, device=device).infer_scene(scene, tta, Wanted(True, True, True), segments=segments)
        for device in ("cuda", "cpu")
    )
    for name, value in vars(got).items():
        assert value.device.type == "cpu"
        torch.testing.assert_close(value, getattr(expected, name), rtol=1e-2, atol=1e-3)


@pytest.mark.needs("spconv_triton")
@pytest.mark.rehearsal
@pytest.mark.parametrize(("amp", "tolerance"), [("none", 1e-4), ("fp16", 2e-2), ("bf16", 2e-2)])
def test_spconv_triton_trains_as_our_engine_does(
    amp: str, tolerance: float, run: Path, root: Path, tmp_path: Path
) -> None:
    """Its own kernels, interpreted."""
    keys = [*RECIPE, f"data.root={root}", "run.device=cuda", "train.passes=1", f"train.amp={amp}"]
    losses = _train(tmp_path / "run", [*keys, "model.backend=spconv_triton"])
    np.testing.assert_allclose(losses, _read_losses(run), rtol=tolerance)
