"""``python -m pointseg.evaluate --run RUN [--split val] [--tta none|rot4|full] [--classes] [--scenes] [--json F]``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointseg.atomic import write_text
from pointseg.command_line import CommandParser
from pointseg.commands import run_command
from pointseg.engine.evaluation import evaluate_scenes
from pointseg.output.evaluation_tables import format_classes, format_scenes
from pointseg.output.json_text import format_json
from pointseg.output.own_files import check_output_file
from pointseg.output.report import format_evaluation
from pointseg.processes import join_processes
from pointseg.run_arguments import (
    add_run_arguments,
    add_split_argument,
    choose_root,
    choose_split,
    load_run,
    warn_of_absent_scenes,
    warn_of_trained_splits,
)
from pointseg.scans.prepared import check_labels, check_scenes, list_scenes
from pointseg.scans.scene_segments import check_segments
from pointseg.scans.tree import name_splits
from pointseg.taxonomy import Taxonomy


def main(argv: Sequence[str]) -> None:
    """Evaluate a run on every vertex of a split."""
    parser = CommandParser(
        "evaluate", description="Evaluate a run by the benchmark's rule. Under torchrun: on several processes."
    )
    add_run_arguments(parser)
    add_split_argument(parser)
    parser.add_argument("--brief", action="store_true", help="show the means, without a line for each class")
    parser.add_argument(
        "--classes", action="store_true", help="also show, for each class, its points and what it is mostly taken for"
    )
    parser.add_argument("--scenes", action="store_true", help="also show the scores of each scene, the lowest first")
    parser.add_argument("--json", metavar="FILE", help="write all of this here, with the confusion matrix")
    arguments = parser.parse_args(argv)

    segmenter = load_run(arguments)
    data = segmenter.config.data
    root, split = choose_root(arguments.data_root, data), choose_split(arguments.split, data)
    checkpoints = [Path(arguments.checkpoint)] if arguments.checkpoint else []
    check_output_file(arguments.json, "--json", [Path(arguments.run), Path(root), *checkpoints])
    folders = list_scenes(root, split)
    check_scenes(folders, segmenter.taxonomy, data.features)
    check_labels(folders, segmenter.taxonomy)
    if segmenter.votes:
        check_segments(folders)
    with join_processes(arguments.device) as processes:
        if processes.is_first:
            warn_of_trained_splits(root, split, [data])
            warn_of_absent_scenes(root, split)
        evaluation = evaluate_scenes(segmenter, folders, arguments.tta, processes, detailed=True)
    if processes.is_first:
        of = {"split": name_splits(split), "weights": segmenter.weights_sha256}
        tell({**evaluation, **of}, arguments, split, segmenter.taxonomy)


def tell(
    evaluation: dict[str, Any], arguments: argparse.Namespace, split: str | Sequence[str], taxonomy: Taxonomy
) -> None:
    """Print and write what the arguments ask for; where one of the two fails, the other is done all the same."""
    try:
        print(
            f"{arguments.run}, {name_splits(split)}: "
            + format_evaluation(evaluation, taxonomy, per_class=not (arguments.classes or arguments.brief))
        )
        if arguments.classes:
            print("\n" + format_classes(evaluation["classes"]))
        if arguments.scenes:
            print("\n" + format_scenes(evaluation["scenes"]))
    finally:
        if arguments.json:
            write_text(arguments.json, format_json(evaluation))


if __name__ == "__main__":
    run_command(main)
