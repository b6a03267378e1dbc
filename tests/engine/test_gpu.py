"""Training on a GPU: mixed precision without NaN, and no waiting for the device but to log."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from pointseg.config import load_config
from pointseg.engine.trainer import Trainer
from pointseg.models import SparseUNet
from pointseg.processes import Processes
from pointseg.train import main as train
from tests.conftest import HAS_GPU

pytestmark = pytest.mark.gpu
needs_a_real_gpu = pytest.mark.skipif(not HAS_GPU, reason="Triton's interpreter would take a quarter of an hour")
BACKENDS = [
    "torch",
    pytest.param("spconv", marks=pytest.mark.needs("spconv")),
    pytest.param("spconv_triton", marks=[pytest.mark.needs("spconv_triton"), pytest.mark.rehearsal]),
]
TRAINED = [*BACKENDS[:2], pytest.param("spconv_triton", marks=[pytest.mark.needs("spconv_triton"), needs_a_real_gpu])]
NUM_PASSES = 12 if HAS_GPU else 4
"""Of three steps each; fp16 may leave out the first to find its scale, and a pretended GPU takes a second for one."""
SHARE = NUM_PASSES // 2 + 1
"""Steps at the beginning and at the end whose losses are compared."""


@pytest.mark.parametrize("amp", ["none", "fp16", "bf16"])
@pytest.mark.parametrize("backend", TRAINED)
def test_training_learns_and_stays_finite(backend: str, amp: str, tiny_overrides: list[str], tmp_path: Path) -> None:
    keys = [f"model.backend={backend}", f"train.amp={amp}", "run.device=cuda", f"train.passes={NUM_PASSES}"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys, "optimizer.lr=0.02"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == 3 * NUM_PASSES
    assert all(loss == loss and loss < float("inf") for loss in losses)
    assert sum(losses[-SHARE:]) < 0.8 * sum(losses[:SHARE])


@pytest.mark.parametrize("cache", ["none", "ram", "device"])
def test_scenes_that_are_made_ready_on_the_gpu_are_learned_from(
    cache: str, tiny_overrides: list[str], tmp_path: Path
) -> None:
    """By a thread beside the training loop, with the whole recipe."""
    keys = ["run.device=cuda", "data.device=cuda", f"data.cache={cache}", "optimizer.lr=0.02", "model.backend=torch"]
    keys += ["augment.elastic_probability=0.95", "augment.drop_points_probability=0.2", "augment.mix_probability=0.5"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys, f"train.passes={NUM_PASSES}"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == 3 * NUM_PASSES
    assert all(loss == loss and loss < float("inf") for loss in losses)
    assert sum(losses[-SHARE:]) < 0.9 * sum(losses[:SHARE])


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_step_does_not_wait_for_the_gpu(backend: str, tiny_overrides: list[str]) -> None:
    """What the library needs to build its neighbour maps is its own; nothing else reads from the device."""
    keys = [f"model.backend={backend}", "train.amp=fp16", "optimizer.grad_clip=10"]
    trainer = Trainer(load_config("demo", [*tiny_overrides, *keys]), Processes(0, 1, torch.device("cuda", 0)))
    batches = [batch.to(torch.device("cuda", 0)) for batch in trainer.loader.batches(0)]
    trainer.train_step(batches[0])  # loads kernels
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            trainer.train_step(batches[1])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [f"{w.filename}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
    assert [place for place in waits if "spconv" not in place] == []


@pytest.mark.parametrize(
    ("backend", "amp"),
    [
        ("torch", "bf16"),
        *(pytest.param(name, "fp16", marks=pytest.mark.needs(name)) for name in ("spconv", "spconv_triton")),
    ],
)
def test_bf16_is_fp16_with_a_scaled_loss_where_a_library_has_no_bfloat16(
    backend: str, amp: str, tiny_overrides: list[str]
) -> None:
    """Convolutions in float16 without a scale lose their small gradients."""
    keys = [f"model.backend={backend}", "train.amp=bf16", "inference.amp=bf16"]
    trainer = Trainer(load_config("demo", [*tiny_overrides, *keys]), Processes(0, 1, torch.device("cuda", 0)))
    assert isinstance(trainer.network, SparseUNet) and trainer.network.backend_name == backend
    assert trainer.update.scaler.is_enabled() == (amp == "fp16")
    assert trainer.amp == amp
