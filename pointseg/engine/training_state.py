"""Whether what a checkpoint holds beside the weights is the state of a training: asked before any of it is loaded.

A damaged file does not get here. What does is a file that was written or changed by other means than training, and
most of it would be taken without a word: momentum of another shape, a learning rate that is no number.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pointseg.errors import DataError

if TYPE_CHECKING:
    from pointseg.engine.trainer import Trainer

State = dict[str, Any]

_MOMENTS = {"sgd": {"momentum_buffer"}, "adamw": {"step", "exp_avg", "exp_avg_sq"}}
"""What each optimiser keeps of a parameter."""
# What changes from step to step, or with the device; all else follows from the config.
_MOVES_IN_GROUPS = {"lr", "momentum", "betas"}
_OF_THE_DEVICE = {"fused", "foreach"}
_MOVES_IN_SCHEDULE = {"last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"}
_LARGEST = 1e300


def check_training_state(state: State, trainer: "Trainer", path: Path) -> None:
    """Check that the parts of a checkpoint that resuming loads are what this training would have written.

    Args:
        state: what ``read_checkpoint`` returned, of this config and these scenes.
        trainer: as it is built at the beginning of a run.
        path: of the checkpoint, for the message.

    Raises:
        DataError: one is missing or something else; the line says which, and how.
    """
    own = trainer.state()
    problems: dict[str, Callable[[Any], str | None]] = {
        "progress": lambda found: _progress_problem(found, own["progress"], trainer),
        "optimizer": lambda found: _optimizer_problem(found, own["optimizer"], trainer),
        "schedule": lambda found: _schedule_problem(found, own["schedule"], trainer, state["progress"]["step"]),
        "scaler": lambda found: _scaler_problem(found, own["scaler"]),
        "collapse": lambda found: None if own["collapse"] is None else _form_problem(found, own["collapse"]),
    }
    for part in own.keys() & {"newest_model", "taught_classifier"}:
        problems[part] = partial(_form_problem, own=own[part])
    for part, find_problem in problems.items():
        problem = find_problem(state[part]) if part in state else "is missing"
        if problem is not None:
            raise unusable_part(path, part, problem)


def unusable_part(path: Path, part: str, problem: str) -> DataError:
    """The error of a part of a checkpoint that training can't go on from."""
    return DataError(
        f"{path}: its {part} {problem}, so training can't go on from it; give another copy of the file, or begin a new "
        f"run from its weights with model.init={path} run.dir=PATH"
    )


def _progress_problem(found: Any, own: State, trainer: "Trainer") -> str | None:
    place = ("pass_index", "batch_index", "step")
    # What training keeps since later than the checkpoint was written has the value of the beginning.
    problem = _settings_problem(found, own, needed=place, moving=own)
    if problem is not None:
        return problem
    pass_index, batch_index, step = (found[name] for name in place)
    per_pass, passes = trainer.loader.batches_per_pass, trainer.config.train.passes
    # A run that was stopped by its last batch has not yet begun the next pass.
    is_in_a_pass = 0 <= pass_index < passes and 0 <= batch_index <= per_pass
    is_at_the_end = (pass_index, batch_index) == (passes, 0)
    if not (is_in_a_pass or is_at_the_end) or step != pass_index * per_pass + batch_index:
        return (
            f"is step {step} in pass {pass_index}, batch {batch_index}, which does not fit {passes} passes of "
            f"{per_pass} batches"
        )
    return None


def _optimizer_problem(found: Any, own: State, trainer: "Trainer") -> str | None:
    groups, own_groups = found.get("param_groups") if isinstance(found, dict) else None, own["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own_groups):
        return "has no groups of parameters as those of this run"
    for group, own_group in zip(groups, own_groups, strict=True):
        lasting = {name: value for name, value in own_group.items() if name not in _OF_THE_DEVICE}
        problem = _settings_problem(group, lasting, needed=("lr", "params"), moving=_MOVES_IN_GROUPS)
        if problem is not None:
            return problem
        if not 0 <= group["lr"] <= trainer.config.optimizer.lr * 1.001:
            return f"has a lr of {group['lr']}"
        if not all(0 <= share < 1 for share in (group.get("momentum", 0), *group.get("betas", ()))):
            return "has a momentum that is not between 0 and 1"
    if not isinstance(found.get("state"), dict):
        return "has no state of the parameters"
    parameters = [p for group in trainer.update.optimizer.param_groups for p in group["params"]]
    names = _MOMENTS[trainer.config.optimizer.name]
    for index, moments in found["state"].items():
        if not isinstance(index, int) or not 0 <= index < len(parameters) or not isinstance(moments, dict):
            return f"has a state of {index!r}, which is no parameter"
        kept = {name: value for name, value in moments.items() if value is not None}
        if kept.keys() != names and (kept or names != _MOMENTS["sgd"]):  # SGD without momentum keeps nothing
            return f"has {', '.join(map(str, kept)) or 'nothing'} of a parameter, expected {', '.join(sorted(names))}"
        scalar = torch.zeros((), device=parameters[index].device)
        problem = _form_problem(kept, {name: scalar if name == "step" else parameters[index] for name in kept})
        if problem is not None:
            return problem
    return None


def _schedule_problem(found: Any, own: State, trainer: "Trainer", step: int) -> str | None:
    problem = _settings_problem(found, own, needed=("last_epoch",), moving=_MOVES_IN_SCHEDULE)
    if problem is not None:
        return problem
    due = min(step, trainer.num_steps - 1)
    return None if found["last_epoch"] == due else f"is at step {found['last_epoch']}, and training at {due}"


def _scaler_problem(found: Any, own: State) -> str | None:
    # A run that went from one kind of device to another has a scaler without a state, here or there.
    if found == {} or not own:
        return None if isinstance(found, dict) else "is no dict"
    problem = _form_problem(found, {name: float(value) for name, value in own.items()})
    return problem or (None if found["scale"] > 0 else f"has a scale of {found['scale']}")


def _settings_problem(found: Any, own: State, needed: Collection[str], moving: Collection[str]) -> str | None:
    """Which of the settings is not that of this run, but for those that move. Versions of PyTorch differ in names."""
    if not isinstance(found, dict):
        return "is no dict"
    shared = {name: value for name, value in own.items() if name in found or name in needed}
    problem = _form_problem(found, shared)
    if problem is not None:
        return problem
    changed = [name for name, value in shared.items() if name not in moving and found[name] != value]
    return f"has another {changed[0]} than this run" if changed else None


def _form_problem(found: Any, own: Any, name: str = "") -> str | None:
    """In which way it is not of the same form: kinds, lengths, shapes, the keys that are there; all numbers finite."""
    what = f"has a {name} that is" if name else "is"
    if isinstance(own, torch.Tensor):
        if not isinstance(found, torch.Tensor):
            return f"{what} {_shown(found)}, expected a tensor"
        if found.shape != own.shape or found.dtype.is_floating_point != own.dtype.is_floating_point:
            return f"{what} {tuple(found.shape)} {found.dtype}, expected {tuple(own.shape)} {own.dtype}"
        if found.layout != torch.strided or found.is_quantized or found.is_meta or found.is_complex():
            return f"{what} a tensor of another kind than {own.dtype}"
        return None if bool(torch.isfinite(found).all()) else f"{what} not finite"
    parts: list[tuple[Any, Any, str]] = []
    if isinstance(own, dict):
        if not isinstance(found, dict) or not own.keys() <= found.keys():
            lacking = sorted(map(str, own.keys() - found.keys()))[0] if isinstance(found, dict) else ""
            return f"lacks {lacking}" if lacking else f"{what} {_shown(found)}, expected names and values"
        parts = [(found[key], value, str(key)) for key, value in own.items()]
    elif isinstance(own, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(own):
            return f"{what} {_shown(found)}, expected {len(own)} values"
        parts = [(a, b, name) for a, b in zip(found, own, strict=True)]
    elif isinstance(own, float):
        is_number = type(found) in (int, float) and abs(found) <= _LARGEST
        return None if is_number else f"{what} {_shown(found)}, expected a number"
    elif type(found) is not type(own):
        return f"{what} {_shown(found)}, expected {type(own).__name__}"
    return next(filter(None, (_form_problem(*part) for part in parts)), None)


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, (bool, int, float, str, type(None))) else f"a {type(value).__name__}"
