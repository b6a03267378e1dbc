"""``python -m pointseg.evaluate --run RUN [--split val] [--tta none|rot4|full] [--json FILE]``."""

import argparse
import json
from collections.abc import Sequence

from pointseg.atomic import write_text
from pointseg.command_line import CommandParser, number_or_none, run_command
from pointseg.engine.distributed import Processes, choose_device
from pointseg.engine.evaluation import evaluate_scenes
from pointseg.engine.inference import TTA, load_segmenter
from pointseg.output.report import format_evaluation
from pointseg.scans.prepared import list_scenes
from pointseg.scans.splits import SPLITS


def main(argv: Sequence[str]) -> None:
    """Evaluate a run on every vertex of a split."""
    parser = CommandParser(prog="pointseg.evaluate", description="Evaluate a run by the benchmark's rule.")
    parser.add_argument("--run", required=True, help="folder of the run")
    parser.add_argument("--split", choices=SPLITS, help="default: the split that the run was validated on, or val")
    parser.add_argument("--tta", choices=TTA, default="none", help="test-time augmentation")
    parser.add_argument("--checkpoint", help="a checkpoint file; default: the best of the run, or its last")
    parser.add_argument("--data-root", help="another prepared tree than the run's")
    parser.add_argument(
        "--logit-adjustment",
        type=float,
        default=argparse.SUPPRESS,
        metavar="TAU",
        help="post-hoc logit adjustment; default: as in the run's config",
    )
    parser.add_argument(
        "--max-voxels",
        type=number_or_none,
        default=argparse.SUPPRESS,
        metavar="N",
        help="voxels in memory at a time, larger scenes in tiles; none: no tiles; default: as in the run's config",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--json", metavar="FILE", help="write the scores here, too")
    arguments = parser.parse_args(argv)

    given = {key: value for key, value in vars(arguments).items() if key in ("logit_adjustment", "max_voxels")}
    segmenter = load_segmenter(arguments.run, arguments.checkpoint, arguments.device, **given)
    data = segmenter.config.data
    split = arguments.split or data.val_split or "val"
    folders = list_scenes(arguments.data_root or data.root, split)
    alone = Processes(0, 1, choose_device(arguments.device))
    evaluation = evaluate_scenes(segmenter, folders, arguments.tta, alone)
    if arguments.json:
        write_text(arguments.json, json.dumps(evaluation, indent=1) + "\n")
    print(f"{arguments.run}, {split}: " + format_evaluation(evaluation, segmenter.taxonomy))


if __name__ == "__main__":
    run_command(main)
