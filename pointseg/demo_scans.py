"""``pointseg demo-scans --out RAW [--train N --val N --test N --seed S --vertices V --law LAW]``."""

from collections.abc import Sequence
from pathlib import Path

from pointseg.command_line import CommandParser
from pointseg.commands import run_command
from pointseg.rooms import FREQUENCY_LAWS, write_demo_scans


def main(argv: Sequence[str]) -> None:
    """Make the scans."""
    parser = CommandParser(
        "demo-scans",
        description="Make synthetic rooms in ScanNet's raw file formats, to try everything without the real data.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RAW", help="folder to write to; a raw ScanNet tree")
    parser.add_argument("--train", type=int, default=24, metavar="N", help="number of training scenes")
    parser.add_argument("--val", type=int, default=8, metavar="N", help="number of validation scenes")
    parser.add_argument("--test", type=int, default=4, metavar="N", help="number of test scenes, which have no labels")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed makes other rooms")
    parser.add_argument("--vertices", type=int, default=20_000, metavar="V", help="vertices a scene, about")
    parser.add_argument(
        "--law",
        default="scannet200",
        metavar="LAW",
        help="frequency law, how many objects of each class a room has: scannet200 as in that benchmark, longtail 48 "
        "classes of which none is absent, lookalikes 100 of which the rare ones look like frequent ones; all: "
        f"{', '.join(FREQUENCY_LAWS)}",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes; one a core if not given")
    arguments = parser.parse_args(argv)
    num_scenes = {"train": arguments.train, "val": arguments.val, "test": arguments.test}
    made = write_demo_scans(
        arguments.out, num_scenes, arguments.seed, arguments.vertices, arguments.workers, arguments.law
    )
    kept = sum(num_scenes.values()) - made
    print(f"{arguments.out}: {made} scenes made" + (f", {kept} were there already" if kept else ""))


if __name__ == "__main__":
    run_command(main)
