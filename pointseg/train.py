"""``python -m pointseg.train --cfg scannet200.yaml [--resume] [key.sub=value ...]``."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from pointseg.command_line import CommandParser
from pointseg.commands import called, complain, run_command
from pointseg.config import Config, list_configs, load_config
from pointseg.engine.trainer import Trainer
from pointseg.processes import Processes, join_processes
from pointseg.runs.directory import RunDirectory
from pointseg.scans.tree import describe_absent_scenes

_BEGIN_ANEW = "begin another run from it with model.init=RUN run.dir=PATH"


def main(argv: Sequence[str]) -> None:
    """Train one run."""
    parser = CommandParser("train", description="Train a network. Under torchrun: on several processes.")
    parser.add_argument(
        "--cfg",
        required=True,
        metavar="NAME",
        help=f"a path, or the name of a config that comes with pointseg: {', '.join(list_configs())}",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    parser.add_overrides()
    arguments = parser.parse_with_overrides(argv)

    config = load_config(arguments.cfg, arguments.overrides)
    assert config.run.dir is not None
    directory = RunDirectory(config.run.dir)
    with join_processes(config.run.device) as processes, ExitStack() as held:
        if config.train.wandb is not None:
            from pointseg.runs.weights_and_biases import load_wandb

            processes.let_first(partial(load_wandb, config.train.wandb))
        processes.let_first(partial(directory.refuse_place_of_scans, config.data.root, "run.dir=PATH"))
        processes.let_first(lambda: held.enter_context(claim(directory, arguments.resume)))
        train_run(config, processes, arguments.resume)
        if processes.is_first:
            run = ("--run", str(directory.path))
            # Without a validation there may be no scene with labels that was not trained on.
            words = (
                ("evaluate", *run) if config.data.val_split else ("predict", *run, "--split", "test", "--out", "DIR")
            )
            print(f"done: {directory.find_checkpoint()}; next: {called(*words)}")


def train_run(config: Config, processes: Processes, resume: bool) -> None:
    """Train to the end. The trainer is this function's alone, so that nothing of it is left when the processes part."""
    line = describe_absent_scenes(config.data.root, config.data.train_split, config.data.val_split)
    if line and processes.is_first:
        complain(f"warning: {line}")
    trainer = Trainer(config, processes, resume)
    processes.let_first(partial(keep_surroundings, trainer.directory, processes.device, resume))
    trainer.run()


def keep_surroundings(directory: RunDirectory, device: torch.device, resumed: bool) -> None:
    """Write into the run which machine, which PyTorch and which commit it is trained with."""
    from pointseg.engine.machine import describe_surroundings

    directory.keep_surroundings(describe_surroundings(device), resumed)


@contextmanager
def claim(directory: RunDirectory, resume: bool) -> Iterator[None]:
    """Keep other processes out of the folder of a run for the time of the block.

    Raises:
        UsageError: another one trains there; or there is a checkpoint that would be written over.
    """
    from pointseg.folder_lock import hold_folder

    with hold_folder(directory.path, "trains", "choose another folder with run.dir=PATH"):
        if not resume:
            directory.refuse_overwriting()
        elif not directory.last_checkpoint.is_file():
            directory.refuse_overwriting(f"{directory.last_checkpoint} is not there to resume from; {_BEGIN_ANEW}")
        yield


if __name__ == "__main__":
    run_command(main)
