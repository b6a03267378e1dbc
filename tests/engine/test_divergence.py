"""A training that diverges ends with a line, and the last checkpoint is of before."""

from pathlib import Path

import pytest
import torch

from pointseg.config import load_config
from pointseg.engine.divergence import find_not_finite
from pointseg.engine.trainer import Trainer
from pointseg.errors import DataError
from pointseg.processes import Processes
from pointseg.train import main as train

NAN, INF = float("nan"), float("inf")


def _checkpoint(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


@pytest.mark.parametrize(
    ("state", "part"),
    [
        ({"model": {"a": torch.zeros(3)}, "progress": {"step": 1}, "class_counts": {"n": torch.ones(2).long()}}, None),
        ({"model": {"a": torch.zeros(3)}, "collapse": None, "optimizer": {"state": {0: {"m": torch.ones(1)}}}}, None),
        ({"model": {"a": torch.zeros(3), "b": torch.tensor([0.0, NAN])}}, "model"),
        ({"model": {}, "optimizer": {"state": {0: {"m": torch.tensor(INF)}}}}, "optimizer"),
        ({"model": {"a": torch.zeros(0)}, "schedule": {"rates": [(torch.tensor([-INF]),)]}}, "schedule"),
    ],
)
def test_the_part_that_is_not_finite_is_found(state: dict, part: str | None) -> None:
    assert find_not_finite(state) == part


def test_weights_that_diverge_between_two_logged_steps_are_not_saved(
    tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The loss of no logged step is asked here: the weights go after the last step of the second pass."""
    overrides = [*tiny_overrides, "train.passes=4", "train.log_every=1000", "optimizer.grad_clip=null"]
    trainer = Trainer(load_config("demo", overrides), Processes(0, 1, torch.device("cpu")))
    train_pass = trainer.train_pass

    def diverge_in_the_second_pass() -> None:
        train_pass()
        if trainer.progress.pass_index == 2:
            with torch.no_grad():
                next(trainer.network.parameters()).mul_(INF)

    monkeypatch.setattr(trainer, "train_pass", diverge_in_the_second_pass)
    line = r"run: its model is not finite after step 6; lower optimizer.lr or set optimizer.grad_clip$"
    with pytest.raises(DataError, match=line):
        trainer.run()
    kept = _checkpoint(tmp_path / "run")
    assert kept["progress"]["step"] == 3
    assert find_not_finite(kept) is None


def test_a_rate_that_is_far_too_high_leaves_no_checkpoint_that_is_none(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    keys = ["optimizer.lr=1e12", "optimizer.grad_clip=null", "train.log_every=1000", "train.validate_every=1"]
    with pytest.raises(DataError, match="is not finite after step|the loss is"):
        train(["--cfg", "demo", *tiny_overrides, *keys])
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    assert not path.exists() or find_not_finite(_checkpoint(tmp_path / "run")) is None


def test_a_clipped_gradient_is_to_be_clipped_further(tiny_overrides: list[str]) -> None:
    with pytest.raises(DataError, match=r"lower optimizer\.lr or lower optimizer\.grad_clip$"):
        train(["--cfg", "demo", *tiny_overrides, "optimizer.name=sgd", "optimizer.lr=1e20", "optimizer.grad_clip=10"])
