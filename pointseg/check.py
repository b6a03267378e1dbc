"""``pointseg check PREPARED [--splits DIR] [--classes TSV] [--json FILE] [--tsv FILE] [--plot PNG]``."""

import csv
import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.atomic import atomic_file, write_text
from pointseg.command_line import CommandParser
from pointseg.commands import complain, run_command
from pointseg.errors import UsageError
from pointseg.labelled.origin import labelled_origin
from pointseg.output.class_frequency_plot import FrequencyChart, draw_class_frequency
from pointseg.output.own_files import check_output_file
from pointseg.output.plots import check_plot_path
from pointseg.preparation.class_statistics import (
    COUNTED,
    encode_inspection,
    grouped_taxonomy,
    histogram_rows,
    summarize_inspection,
)
from pointseg.preparation.inspection import TreeInspection, inspect_tree
from pointseg.scannet.origin import scannet_origin
from pointseg.scannet.splits import read_splits
from pointseg.taxonomy import CLASS_TABLE, GROUPS, read_class_table


def main(argv: Sequence[str]) -> int:
    """Print what is in the tree and every problem; return 1 if there is one."""
    args = build_parser().parse_args(argv)
    for option in ("json", "tsv", "plot"):
        inputs = [path for path in (args.prepared, args.classes, args.splits) if path is not None]
        check_output_file(getattr(args, option), f"--{option}", inputs)
    if args.plot:
        check_plot_path(args.plot)
    if (args.prepared / "checkpoints").is_dir() and (args.prepared / "config.yaml").is_file():
        raise UsageError(f"{args.prepared}: is the folder of a run; give the prepared tree that it was trained on")
    lists = None if args.splits is None else read_splits(args.splits)
    classes = None if args.classes is None else read_class_table(args.classes)
    is_own = classes is not None or (args.prepared / CLASS_TABLE).exists()
    tree = inspect_tree(
        args.prepared, labelled_origin() if is_own else scannet_origin(), args.workers, lists=lists, classes=classes
    )
    try:
        tell(tree)
    finally:  # also where nobody reads to the end, as before ``| head``
        write(tree, args)
    return 1 if tree.problems else 0


def tell(tree: TreeInspection) -> None:
    """Print what is in the tree and, on stderr, every problem."""
    print("\n".join(summarize_inspection(tree)))
    for note in tree.notes:
        print(f"note: {note}")
    for problem in tree.problems:
        complain(problem)
    print(f"{len(tree.scenes)} scenes checked, {len(tree.problems)} problems")


def write(tree: TreeInspection, args: Namespace) -> None:
    """Write and draw what the arguments ask for."""
    if args.json:
        write_text(args.json, json.dumps(encode_inspection(tree), indent=1) + "\n")
    if args.tsv:
        rows = histogram_rows(tree, grouped_taxonomy(tree))
        with atomic_file(args.tsv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0], delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if args.plot:
        draw_class_frequency(args.plot, find_frequency(tree))


def build_parser() -> CommandParser:
    """The options."""
    parser = CommandParser(
        "check",
        description="Is a prepared tree complete and sane? Checks every array of every scene and counts points, "
        "objects and scenes.",
    )
    parser.add_argument("prepared", type=Path, help="root of the prepared tree")
    parser.add_argument("--splits", type=Path, help="folder of split lists: their scenes have to be there")
    parser.add_argument(
        "--classes", type=Path, metavar="TSV", help="table of the tree's own classes; its classes.tsv if not given"
    )
    parser.add_argument("--workers", type=int, help="number of processes; one a core if not given")
    parser.add_argument("--json", type=Path, help="write everything found, points, objects and scenes a class included")
    parser.add_argument("--tsv", type=Path, help="write points, objects and scenes of each class and split")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the long tail of train (.png, .pdf or .svg)")
    return parser


def find_frequency(tree: TreeInspection) -> FrequencyChart:
    """What is drawn: the classes of the training split, or of val where that has no labels, or of all the splits."""
    taxonomy = grouped_taxonomy(tree)
    rows = histogram_rows(tree, taxonomy)
    labelled_splits = [split for split in tree.splits if any(row[f"{split}_points"] for row in rows)]
    chosen = next(([split] for split in ("train", "val") if split in labelled_splits), labelled_splits)
    counts = {what: np.array([sum(row[f"{s}_{what}"] for s in chosen) for row in rows]) for what in COUNTED}
    if taxonomy.groups is None:
        taxonomy = taxonomy.with_counted_groups(counts["points"].tolist())
    labelled = [scene for scene in tree.scenes if scene.split in chosen and scene.points]
    num_points = sum(scene.num_points for scene in labelled)
    return FrequencyChart(
        title=f"The {taxonomy.num_classes} classes in {len(labelled):,} scenes of {', '.join(chosen) or 'no split'}, "
        f"{num_points:,} points",
        names=[row["name"] for row in rows],
        groups=list(taxonomy.groups or GROUPS[:1] * taxonomy.num_classes),
        counts=counts,
    )


if __name__ == "__main__":
    run_command(main)
