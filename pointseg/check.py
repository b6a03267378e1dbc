"""``pointseg check PREPARED [--splits DIR] [--json FILE] [--tsv FILE] [--plot PNG]``."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.atomic import atomic_file, write_text
from pointseg.command_line import CommandParser, complain, run_command
from pointseg.output.class_frequency_plot import ClassFrequency, draw_class_frequency
from pointseg.output.plots import check_plot_path
from pointseg.scannet.class_statistics import COUNTED, encode_inspection, histogram_rows, summarize_inspection
from pointseg.scannet.inspection import TreeInspection, inspect_tree


def main(argv: Sequence[str]) -> int:
    """Print what is in the tree and every problem; return 1 if there is one."""
    args = build_parser().parse_args(argv)
    if args.plot:
        check_plot_path(args.plot)
    tree = inspect_tree(args.prepared, args.workers, args.splits)
    print("\n".join(summarize_inspection(tree)))
    for note in tree.notes:
        print(f"note: {note}")
    if args.json:
        write_text(args.json, json.dumps(encode_inspection(tree), indent=1) + "\n")
    if args.tsv:
        rows = histogram_rows(tree, "scannet200")
        with atomic_file(args.tsv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0], delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for problem in tree.problems:
        complain(problem)
    print(f"{len(tree.scenes)} scenes checked, {len(tree.problems)} problems")
    if args.plot:
        draw_class_frequency(args.plot, find_frequency(tree))
    return 1 if tree.problems else 0


def build_parser() -> CommandParser:
    """The options."""
    parser = CommandParser(
        "check",
        description="Is a prepared tree complete and sane? Checks every array of every scene and counts points, "
        "objects and scenes.",
    )
    parser.add_argument("prepared", type=Path, help="root of the prepared tree")
    parser.add_argument("--splits", type=Path, help="folder of split lists: their scenes have to be there")
    parser.add_argument("--workers", type=int, help="number of processes; one a core if not given")
    parser.add_argument("--json", type=Path, help="write everything found, points, objects and scenes a class included")
    parser.add_argument(
        "--tsv", type=Path, help="write points, objects and scenes of each of the 200 classes and split"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the long tail of train (.png, .pdf or .svg)")
    return parser


def find_frequency(tree: TreeInspection) -> ClassFrequency:
    """What is drawn: the classes of the training split, or of val where that has no labels."""
    rows = histogram_rows(tree, "scannet200")
    split = "train" if any(row["train_points"] for row in rows) else "val"
    labelled = [scene for scene in tree.scenes if scene.split == split and scene.points]
    num_points = sum(scene.num_points for scene in labelled)
    return ClassFrequency(
        title=f"The 200 classes in {len(labelled):,} scenes of {split}, {num_points:,} points",
        names=[row["name"] for row in rows],
        groups=[row["group"] for row in rows],
        counts={what: np.array([row[f"{split}_{what}"] for row in rows]) for what in COUNTED},
    )


if __name__ == "__main__":
    run_command(main)
