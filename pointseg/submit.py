"""``pointseg submit --predictions DIR --raw RAW --split test --out submission.zip``."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from pointseg.command_line import CommandParser
from pointseg.commands import called, complain, run_command
from pointseg.errors import UsageError
from pointseg.output.own_files import refuse_to_replace_other_zip
from pointseg.output.prediction_input import find_outdated
from pointseg.output.prediction_record import RECORD_NAME, read_taxonomy
from pointseg.output.submission import count_scene_vertices, inspect_folder, write_zip
from pointseg.scannet.splits import find_split_dir, read_split
from pointseg.scans.tree import SPLITS
from pointseg.taxonomy import NAMES, load_taxonomy


def main(argv: Sequence[str]) -> int:
    """Check every prediction of the split; write the zip only if all of them are as the benchmark wants them."""
    args = build_parser().parse_args(argv)
    if not args.predictions.is_dir():
        raise UsageError(f"{args.predictions}: there is no such folder; make it with: {called('predict')}")
    if args.out.suffix != ".zip":
        raise UsageError(f"{args.out}: the benchmark takes a zip; give a name that ends in .zip")
    refuse_to_replace_other_zip(args.out)
    taxonomy = load_taxonomy(choose_taxonomy(args))
    scenes = read_split(find_split_dir(args.raw, args.splits), args.split)
    num_vertices_of, problems = count_scene_vertices(args.raw, scenes, args.split)
    found = inspect_folder(args.predictions, num_vertices_of, taxonomy)
    problems += find_outdated(args.predictions, args.raw, found.ids_of_scene, args.split)
    left_out = [name for name in found.left_out if name.removesuffix(".txt") not in scenes]
    for line in problems + found.problems:
        complain(line)
    for name in left_out:
        complain(f"{args.predictions / name}: is not of the {args.split} split; left out")
    if problems or found.problems:
        return 1
    write_zip(args.out, found.ids_of_scene)
    classes = f"{found.num_classes} classes of {taxonomy.name} predicted"
    print(f"{args.out}: {len(scenes)} scenes, {found.num_vertices} vertices, {classes}")
    return 0


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser(
        "submit", description="Make the zip that the ScanNet benchmark takes from a folder of predictions."
    )
    parser.add_argument(
        "--predictions", type=Path, required=True, help="folder with <scene>.txt, one scannet_id a line"
    )
    parser.add_argument("--raw", type=Path, required=True, help="raw ScanNet folder, for the meshes")
    parser.add_argument("--split", choices=SPLITS, default="test", help="the scenes to hand in")
    parser.add_argument("--out", type=Path, required=True, help="the zip to write")
    parser.add_argument("--splits", type=Path, help="folder with scannetv2_<split>.txt, if not the published lists")
    parser.add_argument(
        "--taxonomy", choices=NAMES, help="the benchmark; default: what the predictions are for, or scannet200"
    )
    return parser


def choose_taxonomy(args: Namespace) -> str:
    """The benchmark: many ids are classes of both, and mean another class in each.

    Raises:
        UsageError: the predictions are for another one than the call says.
    """
    recorded = read_taxonomy(args.predictions)
    if recorded is None:
        return args.taxonomy or "scannet200"
    if not recorded.is_benchmark:
        raise UsageError(
            f"{args.predictions / RECORD_NAME}: these predictions are of own classes, and the benchmark takes "
            f"{' or '.join(NAMES)} alone; predict with a run of one of these"
        )
    if args.taxonomy not in (None, recorded.name):
        raise UsageError(
            f"{args.predictions / RECORD_NAME}: these predictions are for {recorded.name}; leave out --taxonomy, "
            f"or predict with a run of {args.taxonomy}"
        )
    return recorded.name


if __name__ == "__main__":
    run_command(main)
