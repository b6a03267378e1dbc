"""Training that has diverged: noticed before a checkpoint is written, so that the one on disk is of before."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from pointseg.errors import DataError

if TYPE_CHECKING:
    from pointseg.engine.trainer import Trainer


def find_not_finite(state: dict[str, Any]) -> str | None:
    """The first part of a training's state in which a number is infinite or NaN; None where there is none.

    The host waits for the device once for each part.
    """
    for part, content in state.items():
        finite = [torch.isfinite(tensor).all() for tensor in _float_tensors(content)]
        if finite and not torch.stack([flag.to(finite[0].device) for flag in finite]).all():
            return part
    return None


def diverged(trainer: "Trainer", what: str) -> DataError:
    """The error of a training that has diverged: what is not finite, and what would help with this config."""
    config = trainer.config
    helps = ["lower optimizer.lr", f"{'set' if config.optimizer.grad_clip is None else 'lower'} optimizer.grad_clip"]
    if config.train.amp != "none" and trainer.processes.device.type == "cuda":  # on a CPU there is no fp16
        helps.append("use train.amp=none")
    return DataError(f"{trainer.directory.path}: {what}; {', '.join(helps[:-1])} or {helps[-1]}")


def _float_tensors(content: Any) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        if content.is_floating_point():
            yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _float_tensors(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _float_tensors(value)
