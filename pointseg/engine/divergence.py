"""Training that has diverged: noticed before a checkpoint is written, so that the one on disk is of before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pointseg.config import Config
from pointseg.errors import DataError


def find_not_finite(state: dict[str, Any]) -> str | None:
    """The first part of a training's state in which a number is infinite or NaN; None where there is none.

    The host waits for the device once for each part.
    """
    for part, content in state.items():
        finite = [torch.isfinite(tensor).all() for tensor in _float_tensors(content)]
        if finite and not torch.stack([flag.to(finite[0].device) for flag in finite]).all():
            return part
    return None


def diverged(run: Path, what: str, config: Config, device: torch.device) -> DataError:
    """The error of a training that has diverged.

    Args:
        run: its folder.
        what: is not finite, and since when.
        config: of the run, for what would help.
        device: on a CPU there is no fp16 to turn off.
    """
    helps = ["lower optimizer.lr", f"{'set' if config.optimizer.grad_clip is None else 'lower'} optimizer.grad_clip"]
    if config.train.amp != "none" and device.type == "cuda":
        helps.append("use train.amp=none")
    return DataError(f"{run}: {what}; {', '.join(helps[:-1])} or {helps[-1]}")


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
