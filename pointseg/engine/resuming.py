"""Going on from a checkpoint: whether this run can, and what it has to forget first."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointseg.atomic import write_text
from pointseg.commands import complain
from pointseg.config import Config, config_from_dict, flatten_config
from pointseg.config.roles import keys_of
from pointseg.engine.training_state import check_training_state, unusable_part
from pointseg.errors import UsageError, first_line
from pointseg.runs.checkpoint import has_other_names, load_weights
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import parse_metrics

if TYPE_CHECKING:
    from pointseg.engine.trainer import Trainer

_FREE_ON_RESUME = keys_of("place", "pace", "means", "telling", "prediction", "classes")
"""What may differ between a run and its resumption: it changes where and how fast, not what is trained."""


def restore(trainer: "Trainer", state: dict[str, Any]) -> None:
    """Go on from the last checkpoint of the run.

    Args:
        trainer: as it is built at the beginning of a run.
        state: what ``read_checkpoint`` returned.

    Raises:
        UsageError: it is of another config or other scenes, or holds no training to go on with.
        DataError: a part of it is not what training writes.
    """
    directory, path = trainer.directory, trainer.directory.last_checkpoint
    check_resumable(state, trainer.config, trainer.scenes.train_names, path)
    refuse_other_teacher(state, None if trainer.teacher is None else trainer.teacher.weights_sha256, path)
    check_training_state(state, trainer, path)
    load_weights(trainer.predictor, state["model"], path)
    if trainer.average is not None:
        load_weights(trainer.network, state["newest_model"], path)
        trainer.average.go_on_from(state["progress"]["step"])
    try:
        if trainer.objective.collapse is not None:
            trainer.objective.collapse.load_state_dict(state["collapse"])
        if trainer.objective.taught_classifier is not None:
            trainer.objective.taught_classifier.load_state_dict(state["taught_classifier"])
        own_groups = trainer.update.optimizer.state_dict()["param_groups"]
        groups = [{**own, **saved} for own, saved in zip(own_groups, state["optimizer"]["param_groups"], strict=True)]
        trainer.update.load_state_dict({**state["optimizer"], "param_groups": groups}, state["scaler"])
        trainer.schedule.load_state_dict(state["schedule"])
    except Exception as error:  # PyTorch's own, of what is no more than looked through above
        raise unusable_part(path, "state of training", f"can't be loaded ({first_line(error)})") from error
    known = vars(trainer.progress).keys()
    vars(trainer.progress).update({name: value for name, value in state["progress"].items() if name in known})
    if trainer.scenes.val and state.get("validated_on", trainer.scenes.validated_on) != trainer.scenes.validated_on:
        choose_best_anew(trainer)
    keep_recorded_start(trainer, state)
    if trainer.processes.is_first:
        directory.clear_unfinished()
        drop_metrics_after(directory, trainer.progress.step, not trainer.progress.validation_is_due)
        if has_other_names(state, trainer.taxonomy):
            complain(f"note: {directory.path}: its classes have the names in {trainer.config.taxonomy} from here on")
        directory.keep_classes(trainer.taxonomy)
        directory.keep_config(trainer.config)


def choose_best_anew(trainer: "Trainer") -> None:
    """Forget the best score, which others can't be compared with.

    Where all passes are done, no validation would come: the last one is due again, and its weights are the best.
    """
    progress = trainer.progress
    progress.best_miou = -1.0
    if progress.pass_index == trainer.config.train.passes:
        progress.validation_is_due = True
    if trainer.processes.is_first:
        complain(
            f"note: {trainer.directory.path}: the validation scenes, their labels, inference.vote or logit_adjustment "
            "are others than before, and so are the scores; the best checkpoint is chosen anew, from here on"
        )


def keep_recorded_start(trainer: "Trainer", state: dict[str, Any]) -> None:
    """Let the config say with which weights the run began: ``model.init`` is not read again, and may be moved since."""
    config = trainer.config
    began_with = config_from_dict(state["config"], str(trainer.directory.last_checkpoint)).model.init
    if config.model.init == began_with:
        return
    if trainer.processes.is_first:
        complain(
            f"note: {trainer.directory.path}: began with model.init={began_with or 'null'}, which stays in its config; "
            f"to begin with {config.model.init or 'random weights'}, begin a new run with run.dir=PATH"
        )
    trainer.config = config.model_copy(update={"model": config.model.model_copy(update={"init": began_with})})


def check_resumable(state: dict[str, Any], config: Config, train_scenes: Sequence[str], path: Path) -> None:
    """Check that a checkpoint holds a training to go on with, of the same config on the same scenes.

    Args:
        state: what ``read_checkpoint`` returned.
        config: of now.
        train_scenes: names of the training scenes of now.
        path: of the checkpoint, for the message.

    Raises:
        UsageError: it does not; the line says what differs.
        DataError: it does not say which scenes it began with in the way in which training does.
    """
    if "optimizer" not in state:
        raise UsageError(
            f"{path}: holds weights alone, and there is no training to resume; begin a new run from them with "
            f"model.init={path.parents[1]} run.dir=PATH"
        )
    changed = _changed_keys(config_from_dict(state["config"], str(path)), config)
    if changed:
        raise UsageError(
            f"{path}: can't resume with another {', '.join(changed)}; leave the config as it was, "
            "or begin a new run with run.dir=PATH"
        )
    began_with = state.get("train_scenes", train_scenes)
    if not isinstance(began_with, list):
        raise unusable_part(path, "train_scenes", f"is {type(began_with).__name__}, expected names")
    if began_with != train_scenes:
        raise UsageError(
            f"{path}: began with {len(began_with)} training scenes, and {config.data.root} has "
            f"{len(train_scenes)}, not the same; give it those, or begin a new run with run.dir=PATH"
        )


def refuse_other_teacher(state: dict[str, Any], weights_sha256: str | None, path: Path) -> None:
    """Check that the teacher is the one that training began with, wherever its run is now.

    Raises:
        UsageError: it is another, or there was or is none.
    """
    before = state.get("teacher")
    if before == weights_sha256:
        return
    found = "began with a teacher, and the config has none" if weights_sha256 is None else "began with another teacher"
    if before is None:
        found = "began without a teacher, and the config has one"
    raise UsageError(f"{path}: {found}; give distill.run as it was, or begin a new run with run.dir=PATH")


def drop_metrics_after(directory: RunDirectory, step: int, keep_validation: bool = True) -> None:
    """Remove what was logged after the checkpoint that a resumed run goes on from: it will be logged again.

    Args:
        directory: of the run.
        step: of the checkpoint.
        keep_validation: False where the validation of that step is still due.
    """
    if not directory.metrics_path.is_file():
        return
    lines = directory.metrics_path.read_bytes().splitlines()
    kept = [line for line in lines if _place_of(line) <= (step, keep_validation)]
    write_text(directory.metrics_path, "".join(f"{line.decode()}\n" for line in kept))


def _changed_keys(old: Config, new: Config) -> list[str]:
    before, now = flatten_config(old.model_dump()), flatten_config(new.model_dump())
    return [key for key in now if key not in _FREE_ON_RESUME and now[key] != before[key]]


def _place_of(line: bytes) -> tuple[float, bool]:
    """Step, and whether the line came with its validation: after that of its training."""
    row = parse_metrics(line)
    if row is None:  # a line cut off by a crash
        return float("inf"), True
    return row["step"], row["kind"] != "train"
