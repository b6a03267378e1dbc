"""``python -m pointseg.train --cfg scannet200.yaml [--resume] [key.sub=value ...]``."""

from collections.abc import Sequence

from pointseg.command_line import CommandParser
from pointseg.commands import called, run_command
from pointseg.config import load_config
from pointseg.engine.distributed import join_processes
from pointseg.engine.run_directory import RunDirectory
from pointseg.engine.trainer import Trainer

_BEGIN_ANEW = "begin another run from it with model.init=RUN run.dir=PATH"


def main(argv: Sequence[str]) -> None:
    """Train one run."""
    parser = CommandParser("train", description="Train a network. Under torchrun: on several processes.")
    parser.add_argument(
        "--cfg",
        required=True,
        metavar="NAME",
        help="a path, or the name of a config that comes with pointseg: scannet200.yaml, ...",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    parser.add_overrides()
    arguments = parser.parse_with_overrides(argv)

    config = load_config(arguments.cfg, arguments.overrides)
    assert config.run.dir is not None
    directory = RunDirectory(config.run.dir)
    with join_processes(config.run.device) as processes:
        if processes.is_first and not arguments.resume:
            directory.refuse_overwriting()
        elif processes.is_first and not directory.last_checkpoint.is_file():
            directory.refuse_overwriting(f"{directory.last_checkpoint} is not there to resume from; {_BEGIN_ANEW}")
        Trainer(config, processes, resume=arguments.resume).run()
        if processes.is_first:
            print(f"done: {directory.find_checkpoint()}; next: {called('evaluate', '--run', str(directory.path))}")


if __name__ == "__main__":
    run_command(main)
