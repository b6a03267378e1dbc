"""Raw ScanNet scans to a prepared tree, with 20 and 200 labels in one pass. Run it again to go on or to update."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pointseg.command_line import CommandParser, run_command
from pointseg.scans.preparation import prepare
from pointseg.scans.prepared import REPORT_NAME
from pointseg.scans.report import summarize_report
from pointseg.scans.splits import find_split_dir

_SPLITS_OF_BENCHMARK = Path(__file__).resolve().parent / "splits"


def main(argv: Sequence[str]) -> int:
    """Prepare, say what was done, and return 1 if a scene is bad or in no split."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder with scans/ and scans_test/")
    parser.add_argument("--out", type=Path, required=True, help="where the prepared tree goes")
    parser.add_argument("--label-map", type=Path, help="table of raw categories; taken from RAW if not given")
    parser.add_argument("--splits", type=Path, help="folder of split lists; RAW/splits or the benchmark's if not given")
    parser.add_argument("--workers", type=int, help="number of processes; one a core if not given")
    parser.add_argument("--no-align", action="store_true", help="leave the scans as they stand, without axisAlignment")
    args = parser.parse_args(argv)

    split_dir = find_split_dir(args.raw, args.splits, _SPLITS_OF_BENCHMARK)
    report = prepare(
        args.raw,
        args.out,
        split_dir=split_dir,
        label_map=args.label_map,
        workers=args.workers,
        align=not args.no_align,
    )
    run = report["run"]
    print(f"{run['written']} scenes prepared, {run['skipped']} were done and still valid, {run['failed']} failed")
    print("\n".join(summarize_report(report)))
    print(f"report: {args.out / REPORT_NAME}")

    problems = [failure["reason"] for failure in report["failed"]]
    if report["unlisted"]:
        names = ", ".join(report["unlisted"][:3]) + (", ..." if len(report["unlisted"]) > 3 else "")
        problems.append(
            f"{args.raw}: {len(report['unlisted'])} scenes are in no list of {split_dir} that takes them ({names}); "
            "add them to a list or move them away"
        )
    for problem in problems:
        print(f"{parser.prog}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    run_command(main)
