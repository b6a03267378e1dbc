"""The config of a run: what all share, and what its method changes in it."""

import json
from collections.abc import Sequence
from typing import Any

from pointseg.config import CollapseConfig, Config, load_config
from pointseg.errors import UsageError
from pointseg.laboratory.methods import OFF, Method
from pointseg.runs.directory import RunDirectory

_OF_EACH_RUN = {
    "run.dir": "use --out",
    "run.seed": "use --seeds",
    "data.root": "use --data",
    "data.train_split": "leave it out",
    "data.val_split": "leave it out",
    "distill.run": "use --methods teacher",
    "model.init": "use --methods retrained",
}
# What else the config says of a loss or an augmentation.
_SETTINGS_OF = {
    "loss.effective_number": ("loss.effective_number_beta",),
    "loss.focal": ("loss.focal_gamma",),
    "loss.balanced_softmax": ("loss.balanced_softmax_tau",),
    "loss.collapse.weight": tuple(f"loss.collapse.{name}" for name in CollapseConfig.model_fields if name != "weight"),
    "augment.objects.shift_probability": ("augment.objects.shift_m",),
    "augment.objects.turn_probability": ("augment.objects.turn_deg",),
    "augment.objects.scale_probability": ("augment.objects.scale",),
    "distill.run": ("distill.weight",),
}


def configure(
    cfg: str,
    overrides: Sequence[str],
    method: Method,
    seed: int,
    run_dir: str,
    data_root: str,
    teacher_dir: str | None = None,
    start_dir: str | None = None,
) -> Config:
    """The config of one run: what all share, what the method changes, and where it is kept.

    Args:
        cfg: name of the config that all methods share.
        overrides: each ``key.sub=value``, shared by all methods, too.
        method: one of :func:`find_method`.
        seed: of the run.
        run_dir: folder of the run.
        data_root: the prepared tree.
        teacher_dir: folder of the run that teaches, where the method has one.
        start_dir: folder of the run whose weights its training begins with, where it does not with random ones.

    Raises:
        UsageError: as :func:`pointseg.config.load_config`, or an override sets what a run has of its own.
    """
    for override in overrides:
        _refuse_own_key(override.partition("=")[0])
    for key in method.changes:
        _refuse_own_key(key)
        if key == "taxonomy":
            raise UsageError(f"{method.name}: other classes have another IoU; taxonomy is the same for all")
    shared = load_config(cfg, list(overrides))
    values: dict[str, Any] = {"loss.cross_entropy": shared.loss.cross_entropy or 1.0}
    values |= OFF
    for key, value in method.overrides.items():
        is_given = key in OFF and not method.keeps_weights and value_of(shared, key) != OFF[key]
        values[key] = value_of(shared, key) if is_given else value
    if method.taught_by is not None:
        values["distill.run"] = None if teacher_dir is None else _last_checkpoint(teacher_dir)
    if method.begins_with is not None:
        # The weights of the last step, as they are scored: what val finds best depends on how often it is asked.
        values["model.init"] = "to be trained before" if start_dir is None else _last_checkpoint(start_dir)
    values |= method.changes
    # What is off is as in every other run without it: to tune one method is not to change the others.
    for key, settings in _SETTINGS_OF.items():
        if values[key] == OFF[key]:
            values |= {setting: value_of(Config(), setting) for setting in settings if setting not in method.changes}
    values |= {"run.seed": seed, "run.dir": run_dir, "data.root": data_root}
    values |= {"data.train_split": "train", "data.val_split": "val"}
    return load_config(cfg, [*overrides, *(f"{key}={json.dumps(value)}" for key, value in values.items())])


def _last_checkpoint(run_dir: str) -> str:
    return str(RunDirectory(run_dir).last_checkpoint)


def _refuse_own_key(key: str) -> None:
    if key in _OF_EACH_RUN:
        raise UsageError(f"{key}: each run of the laboratory has its own {key}; {_OF_EACH_RUN[key]}")


def value_of(config: Config, key: str) -> Any:
    """What a config has under ``key.sub``."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
