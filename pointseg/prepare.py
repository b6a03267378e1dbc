"""``pointseg prepare --raw RAW --out PREPARED [--label-map TSV] [--splits DIR] [--workers N] [--shard I/N]``."""

from collections.abc import Sequence
from pathlib import Path

from pointseg.command_line import CommandParser
from pointseg.commands import complain, run_command
from pointseg.errors import and_more
from pointseg.folder_lock import hold_folder
from pointseg.scannet.raw_scan import LABEL_MAP_NAME
from pointseg.scannet.report import find_lost_classes, list_warnings, summarize_report
from pointseg.scannet.sharding import parse_shard
from pointseg.scannet.splits import find_split_dir
from pointseg.scannet.tree_preparation import prepare
from pointseg.scans.tree import REPORT_NAME


def main(argv: Sequence[str]) -> int:
    """Prepare, say what was done, and return 1 if a scene is bad or in no split."""
    args = build_parser().parse_args(argv)

    split_dir = find_split_dir(args.raw, args.splits)
    # Shards of one preparation share the tree; what they are made with has to be the same.
    share = f"{args.shard.count} shards, align {not args.no_align}" if args.shard else None
    with hold_folder(args.out, "prepares", "choose another folder with --out", share=share):
        report = prepare(
            args.raw,
            args.out,
            split_dir=split_dir,
            label_map=args.label_map,
            workers=args.workers,
            align=not args.no_align,
            shard=args.shard,
        )
    run = report["run"]
    counts = f"{run['written']} scenes prepared, {run['skipped']} were done and still valid, {run['failed']} failed"
    print(f"shard {args.shard}: {counts}" if args.shard else counts)
    print(f"splits by {report['settings']['splits']}")
    print("\n".join(summarize_report(report)))
    if args.shard and not report["pending"]:
        print(f"all {args.shard.count} shards are done, {len(report['failed'])} scenes failed in all")
    print(f"report: {args.out / REPORT_NAME}")

    problems = list(run["reasons"])
    if report["unlisted"]:
        names = ", ".join(report["unlisted"][:3]) + and_more(report["unlisted"], 3)
        unlisted = (
            f"{args.raw}: {len(report['unlisted'])} scenes are in no list of {split_dir} that takes them ({names}); "
            "add them to a list or move them away"
        )
        if args.shard:  # no shard is to fail for what concerns none of them; the check of the tree does
            print(f"note: {unlisted}")
        else:
            problems.append(unlisted)
    warnings = list_warnings(report)
    if lost := find_lost_classes(report):
        # Somebody's own map may mean it.
        (warnings if args.label_map else problems).append(
            _describe_lost(args.label_map or args.raw / LABEL_MAP_NAME, lost)
        )
    for warning in warnings:
        complain(f"warning: {warning}")
    for problem in problems:
        complain(problem)
    return 1 if problems else 0


def _describe_lost(label_map: Path, classes: Sequence[str]) -> str:
    names = ", ".join(classes[:5]) + and_more(classes, 5)
    return (
        f"{label_map}: has no row for {len(classes)} classes that scans are annotated with ({names}); "
        "download it again, or give them a row with an empty id"
    )


def build_parser() -> CommandParser:
    """The options."""
    parser = CommandParser(
        "prepare",
        description="Raw ScanNet scans to a prepared tree, with 20 and 200 labels in one pass. "
        "Run it again to go on or to update.",
    )
    parser.add_argument("--raw", type=Path, required=True, help="folder with scans/ and scans_test/")
    parser.add_argument("--out", type=Path, required=True, help="where the prepared tree goes")
    parser.add_argument("--label-map", type=Path, help="table of raw categories; taken from RAW if not given")
    parser.add_argument("--splits", type=Path, help="folder of split lists; RAW/splits or the benchmark's if not given")
    parser.add_argument("--workers", type=int, help="number of processes; one a core if not given")
    parser.add_argument("--no-align", action="store_true", help="leave the scans as they stand, without axisAlignment")
    parser.add_argument(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="prepare the I-th of N parts; they may run at the same time, and the last one completes the report",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
