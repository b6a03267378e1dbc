"""Training on a GPU: mixed precision without NaN, and no waiting for the device but to log."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from pointseg.config import load_config
from pointseg.engine.distributed import Processes
from pointseg.engine.trainer import Trainer
from pointseg.train import main as train

pytestmark = pytest.mark.gpu
BACKENDS = ["torch", *(pytest.param(name, marks=pytest.mark.needs(name)) for name in ("spconv", "spconv_triton"))]


@pytest.mark.parametrize("amp", ["none", "fp16", "bf16"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_learns_and_stays_finite(backend: str, amp: str, tiny_overrides: list[str], tmp_path: Path) -> None:
    keys = [f"model.backend={backend}", f"train.amp={amp}", "run.device=cuda", "train.passes=12", "optimizer.lr=0.02"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == 36
    assert all(loss == loss and loss < float("inf") for loss in losses)
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])


@pytest.mark.parametrize("cache", ["none", "ram", "device"])
def test_scenes_that_are_made_ready_on_the_gpu_are_learned_from(
    cache: str, tiny_overrides: list[str], tmp_path: Path
) -> None:
    """By a thread beside the training loop, with the whole recipe."""
    keys = ["run.device=cuda", "data.device=cuda", f"data.cache={cache}", "train.passes=12", "optimizer.lr=0.02"]
    keys += ["augment.elastic_probability=0.95", "augment.drop_points_probability=0.2", "augment.mix_probability=0.5"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == 36
    assert all(loss == loss and loss < float("inf") for loss in losses)
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


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
