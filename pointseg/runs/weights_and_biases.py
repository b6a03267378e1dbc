"""A run on Weights & Biases (``train.wandb``): it shows what TensorBoard is given."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from pointseg.atomic import write_text
from pointseg.config import Config
from pointseg.errors import StoppedError, UsageError, first_line, missing_library
from pointseg.runs.directory import RunDirectory

_ID = re.compile("[0-9a-f]{8}")


def load_wandb(project: str) -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    wandb: Any = None
    with suppress(ImportError):
        wandb = import_module("wandb")
    # Without the library Python takes a folder of that name for it, as the library leaves one wherever it has run.
    if not hasattr(wandb, "init"):
        raise UsageError(missing_library(f"train.wandb={project}: logging there", "wandb", "wandb"))
    return wandb


@contextmanager
def logged_run(directory: RunDirectory, config: Config, goes_on: bool) -> Iterator[None]:
    """A run on the service for the time of a block; raises as :func:`begin`.

    It has failed where the block did. Somebody who asked training to stop has everything kept.
    """
    run = begin(directory, config, goes_on)
    exit_code = 1
    try:
        yield
        exit_code = 0
    except StoppedError:
        exit_code = 0
        raise
    finally:
        run.finish(exit_code=exit_code)


def begin(directory: RunDirectory, config: Config, goes_on: bool) -> Any:
    """Begin a run in the project that the config names, or go on with that of a resumed training.

    Whatever TensorBoard's writers are given from now on is shown there, too.

    Returns:
        ``wandb``'s run; its ``finish`` ends it.

    Raises:
        UsageError: the library is not installed, nobody is logged in, or the service can't be reached.
    """
    project = config.train.wandb
    assert project is not None
    wandb = load_wandb(project)
    run_id = _find_id(directory.path / "wandb" / "run_id", goes_on)
    try:
        return wandb.init(
            project=project,
            name=str(directory.path),
            id=run_id,
            resume="allow",
            dir=str(directory.path),
            config=config.model_dump(mode="json"),
            sync_tensorboard=True,
        )
    except wandb.Error as error:
        raise UsageError(
            f"train.wandb={project}: {first_line(error)}; type: wandb login, or set WANDB_MODE=offline"
        ) from None


def _find_id(path: Path, goes_on: bool) -> str:
    """The name of the run on the service: a training that is resumed keeps it."""
    if goes_on and path.is_file():
        run_id = path.read_text(encoding="utf-8", errors="replace").strip()
        if _ID.fullmatch(run_id):
            return run_id
    run_id = secrets.token_hex(4)
    write_text(path, f"{run_id}\n")
    return run_id
