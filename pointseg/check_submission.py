"""``pointseg check-submission ZIP --raw RAW --split test``."""

from collections.abc import Sequence
from pathlib import Path

from pointseg.command_line import CommandParser
from pointseg.commands import called, complain, run_command
from pointseg.errors import UsageError
from pointseg.output.submission import Inspection, count_scene_vertices, inspect_zip
from pointseg.scannet.splits import find_split_dir, read_split
from pointseg.scans.tree import SPLITS
from pointseg.taxonomy import NAMES, load_taxonomy


def main(argv: Sequence[str]) -> int:
    """Check the zip against the split and the meshes; all problems go to stderr."""
    args = build_parser().parse_args(argv)
    if args.zip.is_dir():
        raise UsageError(f"{args.zip}: is a folder; give the zip, which is made with: {called('submit')}")
    if not args.zip.is_file():
        raise UsageError(f"{args.zip}: there is no such file; make it with: {called('submit')}")
    scenes = read_split(find_split_dir(args.raw, args.splits), args.split)
    num_vertices_of, problems = count_scene_vertices(args.raw, scenes, args.split)
    found = Inspection(problems=problems)
    if not problems:  # without its mesh a scene can't be told from one that is unknown
        found = inspect_zip(args.zip, num_vertices_of, load_taxonomy(args.taxonomy))
    for line in found.problems:
        complain(line)
    if found.problems:
        return 1
    classes = f"{found.num_classes} classes of {args.taxonomy} predicted"
    print(f"{args.zip}: can be handed in: {len(scenes)} scenes, {found.num_vertices} vertices, {classes}")
    return 0


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser(
        "check-submission",
        description="Say what the ScanNet benchmark would refuse in a submission zip, one line each.",
    )
    parser.add_argument("zip", type=Path, help="the submission")
    parser.add_argument("--raw", type=Path, required=True, help="raw ScanNet folder, for the meshes")
    parser.add_argument("--split", choices=SPLITS, default="test", help="the scenes that have to be in it")
    parser.add_argument("--splits", type=Path, help="folder with scannetv2_<split>.txt, if not the published lists")
    parser.add_argument("--taxonomy", choices=NAMES, default="scannet200", help="the benchmark")
    return parser


if __name__ == "__main__":
    run_command(main)
