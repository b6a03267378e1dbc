"""``python -m pointseg.longtail --out DIR [--methods NAME ...] [--seeds 3] [--split test|val] [key.sub=value ...]``."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from pointseg.atomic import write_text
from pointseg.command_line import CommandParser
from pointseg.commands import run_command
from pointseg.config import load_config
from pointseg.errors import UsageError
from pointseg.folder_lock import hold_folder
from pointseg.laboratory.data import make_rooms
from pointseg.laboratory.methods import (
    BASELINE,
    BESIDE_THE_LOSS,
    COMBINATIONS,
    DEFAULT_NAMES,
    METHODS,
    choose_methods,
    configure,
)
from pointseg.laboratory.plan import plan_runs
from pointseg.laboratory.scheduler import do_runs
from pointseg.laboratory.table import build_table, format_table
from pointseg.output.longtail_plot import draw_longtail
from pointseg.preparation.parallel import count_cores
from pointseg.scans.tree import SPLITS

_METHODS_HELP = f"of {', '.join(method.name for method in METHODS)}; several at once with +; default: all but "
_METHODS_HELP += f"{', '.join(BESIDE_THE_LOSS)}, and {', '.join(COMBINATIONS)}"


def main(argv: Sequence[str]) -> int:
    """Train every method with every seed, as far as that is not done, and write the table; 1 if a run is missing."""
    arguments = build_parser().parse_with_overrides(argv)
    given = arguments.methods or []
    # ``--methods a b key=value`` is one list for the parser.
    names = [name for name in given if "=" not in name]
    overrides = [*arguments.overrides, *(name for name in given if "=" in name)]
    if arguments.seeds < 1:
        raise UsageError(f"--seeds {arguments.seeds}: there must be at least one")
    methods = choose_methods(names or DEFAULT_NAMES)
    for method in methods:  # what is wrong with the config is said before any room is made
        configure(arguments.cfg, overrides, method, 0, "", "")
    num_at_once = choose_jobs(arguments.jobs, load_config(arguments.cfg, overrides).train.num_threads)

    num_scenes = dict(zip(SPLITS, arguments.rooms, strict=True))
    votes = any("inference.vote" in method.overrides for method in methods)
    folder = arguments.data or arguments.out / "data"
    rooms = make_rooms(folder, num_scenes, arguments.vertices, needs_segments=votes)
    runs = plan_runs(arguments.out, methods, range(arguments.seeds), arguments.cfg, overrides, rooms)
    with hold_folder(arguments.out, "compares methods", "choose another --out"):
        do_runs(runs, num_at_once, arguments.split, lambda line: print(line, flush=True))

    command = shlex.join(["python", "-m", "pointseg.longtail", *argv])
    call = {"command": command, "config": arguments.cfg, "overrides": overrides, "jobs": num_at_once}
    table = build_table(runs, methods, arguments.split, rooms, call)
    text = format_table(table)
    content = json.dumps(table, indent=1, allow_nan=False) + "\n"
    write_text(arguments.out / "table.md", text + "\n")
    for path in (arguments.out / "table.json", *([arguments.json] if arguments.json else [])):
        write_text(path, content)
    print(f"\n{text}\n")
    try:
        draw_longtail(arguments.out / "table.png", table, BASELINE)
    except UsageError as error:  # without matplotlib: the table is what counts
        print(error)
    print("written:", *sorted(map(str, arguments.out.glob("table.*"))))
    return 1 if table["missing"] else 0


def choose_jobs(asked: int | None, num_threads: int) -> int:
    """How many runs at once: as asked, or as many as have cores of their own."""
    if asked is None:
        return max(1, count_cores() // num_threads) if num_threads else 1
    if asked < 1:
        raise UsageError(f"--jobs {asked}: there must be at least one")
    return asked


def build_parser() -> CommandParser:
    """The options."""
    parser = CommandParser(
        "longtail",
        description="What each way of handling the long tail is worth: the same rooms, network, budget and seeds.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets runs, table.md, .json and .png")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help=_METHODS_HELP)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 for each method")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once; default: cores / train.num_threads")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="whose scores; val: for tuning")
    parser.add_argument("--cfg", default="longtail.yaml", metavar="NAME", help="what all methods share")
    parser.add_argument(
        "--rooms", type=int, nargs=3, default=(80, 20, 40), metavar=("TRAIN", "VAL", "TEST"), help="number of rooms"
    )
    parser.add_argument("--vertices", type=int, default=20_000, metavar="V", help="vertices a room, about")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the rooms here, for several --out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table here, too")
    parser.add_overrides("set a key of the config, for all")
    return parser


if __name__ == "__main__":
    run_command(main)
