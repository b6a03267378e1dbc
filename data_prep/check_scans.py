"""Is a prepared tree complete and sane? Checks every array of every scene and counts points, objects and scenes."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pointseg.atomic import atomic_file, write_text
from pointseg.command_line import CommandParser, run_command
from pointseg.scans.inspection import encode_inspection, histogram_rows, inspect_tree, summarize_inspection


def main(argv: Sequence[str]) -> int:
    """Print what is in the tree and every problem; return 1 if there is one."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="root of the prepared tree")
    parser.add_argument("--workers", type=int, help="number of processes; one a core if not given")
    parser.add_argument("--json", type=Path, help="write everything found, points, objects and scenes a class included")
    parser.add_argument("--tsv", type=Path, help="write points, objects and scenes of each of the 200 classes")
    args = parser.parse_args(argv)

    tree = inspect_tree(args.prepared, args.workers)
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
        print(f"{parser.prog}: {problem}", file=sys.stderr)
    print(f"{len(tree.scenes)} scenes checked, {len(tree.problems)} problems")
    return 1 if tree.problems else 0


if __name__ == "__main__":
    run_command(main)
