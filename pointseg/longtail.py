"""``python -m pointseg.longtail --out DIR [--methods NAME ...] [--seeds 3] [--split test|val] [key.sub=value ...]``.

Or, for several comparisons at once, ``python -m pointseg.longtail --out DIR --plan FILE``.
"""

import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from pointseg.atomic import write_text
from pointseg.command_line import CommandParser
from pointseg.commands import run_command
from pointseg.config import find_config
from pointseg.cores import count_cores
from pointseg.errors import UsageError
from pointseg.folder_lock import hold_folder
from pointseg.laboratory.campaign import find_begun, order_runs, prepare
from pointseg.laboratory.comparison import Comparison, refuse_unused_overrides
from pointseg.laboratory.data import RoomSettings
from pointseg.laboratory.methods import BESIDE_THE_LOSS, COMBINATIONS, DEFAULT_NAMES, METHODS, choose_methods
from pointseg.laboratory.plan_file import Given, plan_comparisons, read_plan
from pointseg.laboratory.progress import describe_progress
from pointseg.laboratory.scheduler import do_runs
from pointseg.laboratory.table import format_table
from pointseg.laboratory.tables import Summary, Tables, as_json
from pointseg.output.own_files import check_output_file
from pointseg.rooms import FREQUENCY_LAWS
from pointseg.scans.tree import SPLITS

_METHODS_HELP = f"of {', '.join(method.name for method in METHODS)}; several at once with +; default: all of these but "
_METHODS_HELP += f"{', '.join(BESIDE_THE_LOSS)}; and besides, several at once: {', '.join(COMBINATIONS)}"
_OF_ONE_COMPARISON = {
    "methods": None,
    "seeds": 3,
    "split": "test",
    "cfg": "longtail.yaml",
    "law": "longtail",
    "rooms": (80, 20, 40),
    "vertices": 20_000,
    "data": None,
}
"""Options of a comparison, and what they are where nobody says it."""
_SAID_BY_PLAN = ("methods", "cfg", "law", "data")
"""Those of them that can't be given beside a plan; the others go before what it says."""


def main(argv: Sequence[str]) -> int:
    """Train every method with every seed, as far as that is not done, and write the table.

    Returns:
        1 where a run has failed.
    """
    arguments = build_parser().parse_with_overrides(argv)
    if arguments.only is not None and arguments.plan is None:
        raise UsageError("--only: chooses comparisons of a plan; give one with --plan")
    has_plan = arguments.plan is not None
    comparisons, split = _read_plan(arguments) if has_plan else _read_options(arguments)
    check_output_file(arguments.json, "--json", [Path(arguments.plan or comparisons[0].cfg)])
    refuse_unused_overrides(comparisons)
    chosen = [one for one in comparisons if arguments.only is None or one.name in arguments.only]
    num_threads = [comparison.shared_config.train.num_threads for comparison in chosen]
    num_at_once = min(choose_jobs(arguments.jobs, number) for number in num_threads)

    if arguments.status:
        print(describe_progress([(one.name, one.plan_runs(one.find_rooms())) for one in chosen], num_at_once))
        return 0
    prepared = find_begun(chosen, _say) if arguments.tables else prepare(chosen)
    if not prepared:
        raise UsageError("--tables: there is nothing to write; leave it out to train")
    remedy = "wait: it writes the tables itself" if arguments.tables else "choose another --out"
    with hold_folder(arguments.out, "compares methods", remedy):
        call = {"command": shlex.join(["python", "-m", "pointseg.longtail", *argv]), "jobs": num_at_once}
        summary = Summary(arguments.out, [one.name for one in comparisons], split, _say) if has_plan else None
        tables = Tables(prepared, split, call, summary, _say)
        if not arguments.tables:
            do_runs(order_runs(prepared), num_at_once, split, _say, tables.update)
        written = tables.write()
    content = list(written.values())
    texts = [f"\n{format_table(table)}\n" for table in content]
    paths = list(tables.paths)
    if summary is not None:
        texts.append(f"{summary.text}\n")
        paths += summary.paths
    _say("\n".join(texts))
    if arguments.json:
        write_text(arguments.json, as_json(content if has_plan else content[0]))
        paths.append(arguments.json)
    _say("\n".join(_list_by_folder(paths)))
    return 0 if arguments.tables or not any(table["missing"] for table in content) else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _list_by_folder(paths: Sequence[Path]) -> list[str]:
    folders = dict.fromkeys(path.parent for path in paths)
    return [
        f"written to {folder}: {' '.join(path.name for path in paths if path.parent == folder)}" for folder in folders
    ]


def _read_options(arguments: Namespace) -> tuple[list[Comparison], str]:
    """The one comparison that the options describe, and the split whose scores are shown."""
    for name, default in _OF_ONE_COMPARISON.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    # ``--methods a b key=value`` is one list for the parser.
    given = arguments.methods or []
    names = [name for name in given if "=" not in name]
    _check_seeds(arguments.seeds)
    comparison = Comparison(
        out=arguments.out,
        runs=arguments.out / "runs",
        data=arguments.data or arguments.out / "data",
        room_settings=RoomSettings(arguments.law, dict(zip(SPLITS, arguments.rooms, strict=True)), arguments.vertices),
        methods=choose_methods(names or DEFAULT_NAMES),
        num_seeds=arguments.seeds,
        cfg=arguments.cfg,
        overrides=[*arguments.overrides, *(name for name in given if "=" in name)],
    )
    comparison.check()  # what is wrong is said before any room is made
    return [comparison], arguments.split


def _read_plan(arguments: Namespace) -> tuple[list[Comparison], str]:
    """All comparisons of the plan, and the split whose scores are shown."""
    refused = [f"--{name}" for name in _SAID_BY_PLAN if getattr(arguments, name) is not None]
    if refused:
        raise UsageError(f"--plan: the plan says what is compared; leave out {', '.join(refused)}")
    _check_seeds(arguments.seeds)
    path = find_config(arguments.plan, "plan")
    plan = read_plan(path)
    rooms = None if arguments.rooms is None else tuple(arguments.rooms)
    given = Given(arguments.seeds, rooms, arguments.vertices, arguments.overrides)
    comparisons = plan_comparisons(plan, path, arguments.out, given)
    unknown = [name for name in arguments.only or () if name not in plan.comparisons]
    if unknown:
        known = ", ".join(plan.comparisons)
        raise UsageError(f"--only {unknown[0]}: is no comparison of {path}; it has {known}")
    return comparisons, arguments.split or plan.split


def _check_seeds(number: int | None) -> None:
    if number is not None and number < 1:
        raise UsageError(f"--seeds {number}: there must be at least one")


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
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="gets runs, table.md, .json and .png; with --plan a folder with these for each comparison, and "
        "campaign.md, .json and .png of all",
    )
    parser.add_argument("--plan", metavar="FILE", help="several comparisons, as this YAML says: a path, or collapse")
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="NAME", help="these comparisons of the plan; default: all"
    )
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--status", action="store_true", help="say what is done and what it will take, and no more")
    does.add_argument("--tables", action="store_true", help="write the tables of what is done, and train nothing")
    parser.add_argument("--methods", nargs="+", action="extend", metavar="NAME", help=_METHODS_HELP)
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N-1 for each method; default: 3")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once; default: cores / train.num_threads")
    parser.add_argument("--split", choices=("test", "val"), help="whose scores; default: test; val: for tuning")
    parser.add_argument("--cfg", metavar="NAME", help="what all methods share; default: longtail.yaml")
    parser.add_argument("--law", metavar="LAW", help=f"of the rooms: {', '.join(FREQUENCY_LAWS)}; default: longtail")
    parser.add_argument(
        "--rooms", type=int, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="number of rooms; default: 80 20 40"
    )
    parser.add_argument("--vertices", type=int, metavar="V", help="vertices a room, about; default: 20000")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the rooms here, for several --out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table here, too; of a plan, all of them")
    parser.add_overrides("set a key of the config, for all; what a method turns off stays off in it")
    return parser


if __name__ == "__main__":
    run_command(main)
