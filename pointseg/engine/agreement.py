"""What all processes of a job have to begin with: the same config, scenes and checkpoint."""

import hashlib
from typing import TYPE_CHECKING, Any

from pointseg.config import flatten_config
from pointseg.config.roles import keys_of
from pointseg.errors import UsageError
from pointseg.runs.checkpoint import fingerprint

if TYPE_CHECKING:
    from pointseg.engine.trainer import Trainer

_CHECKPOINT = "checkpoint"
_FREE = keys_of("place", "pace", "classes")
"""What may differ between processes: where and how fast each works."""


def refuse_unequal_starts(trainer: "Trainer", earlier: dict[str, Any] | None) -> None:
    """Compare what the processes are about to do; every process calls this.

    Training that differs would not end: one process waits for steps that another does not take.

    Args:
        trainer: whose config and scenes are known.
        earlier: the checkpoint that this process resumes from; None begins anew.

    Raises:
        UsageError: two processes differ, in each process of the job; the line says in what.
    """
    starts = trainer.processes.gather_objects(describe_start(trainer, earlier))
    first = starts[0]
    for rank, start in enumerate(starts):
        for key in first:
            if start[key] == first[key]:
                continue
            remedy = "give all processes the same"
            if key == _CHECKPOINT:
                remedy = "does every node see the same folder? Give all of them one that they share with run.dir=PATH"
            found = f"process 0 has {key} {first[key]} and process {rank} has {start[key]}"
            raise UsageError(f"{trainer.directory.path}: {found}; {remedy}")


def describe_start(trainer: "Trainer", earlier: dict[str, Any] | None) -> dict[str, str]:
    """Name -> value, in words, of all that has to be the same on every process."""
    start = {_CHECKPOINT: "none" if earlier is None else _describe_checkpoint(earlier)}
    val_scenes = [folder.name for folder in trainer.scenes.val]
    for split, scenes in (("training", trainer.scenes.train_names), ("validation", val_scenes)):
        start[f"{split} scenes:"] = f"{len(scenes)} (names {_digest(*scenes)})"
    start["teacher"] = "none" if trainer.teacher is None else f"with weights {trainer.teacher.weights_sha256[:8]}"
    start["classes"] = f"of table {trainer.taxonomy.fingerprint[:8]}"
    values = flatten_config(trainer.config.model_dump(mode="json"))
    return start | {key: str(value) for key, value in values.items() if key not in _FREE}


def _describe_checkpoint(state: dict[str, Any]) -> str:
    progress = state.get("progress", {})
    return f"of step {progress.get('step')} (weights {fingerprint(state)[:8]})"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]
