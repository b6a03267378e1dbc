"""``pointseg import SOURCE --out PREPARED [--classes TSV] [--dataset NAME] [--label-field NAME] [--val-share S]``."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from pointseg.command_line import CommandParser
from pointseg.commands import called, complain, run_command
from pointseg.errors import UsageError
from pointseg.folder_lock import hold_folder
from pointseg.labelled.dataset_job import import_dataset
from pointseg.labelled.datasets import DATASETS
from pointseg.labelled.import_report import find_problems, summarize_report
from pointseg.labelled.import_tree import DEFAULT_VAL_SHARE, ImportedTree, import_scans
from pointseg.labelled.scan_job import Reading
from pointseg.scan_arguments import add_scan_arguments, scan_options
from pointseg.scannet.raw_scan import is_annotated_mesh
from pointseg.scans.predicted_files import RECORD_NAME
from pointseg.scans.tree import REPORT_NAME
from pointseg.taxonomy import CLASS_TABLE

# Ids that may be classes as well.
_MAYBE_NO_CLASS = {0: "", 255: " (-1 in 8 bits)", 65535: " (-1 in 16 bits)"}


def main(argv: Sequence[str]) -> int:
    """Import, say what was done, and return 1 if a scan is bad or the tree can't be trained on."""
    args = build_parser().parse_args(argv)
    reading = Reading(scan_options(args), args.label_field, args.estimate_normals)
    with hold_folder(args.out, "imports", "choose another folder with --out"):
        tree = import_source(args, reading)
    _describe(tree, args.out)
    if tree.earlier_options is not None:
        complain(
            f"{args.out}: scans were read with {tree.earlier_options or 'no options'} before, so their scenes were "
            "made anew; give the same options again if that was not meant"
        )
    for remark in tree.remarks:
        complain(remark)
    problems = tree.reasons + find_problems(tree.report, tree.taxonomy, args.source, args.out)
    for problem in problems:
        complain(problem)
    return 1 if problems else 0


def import_source(args: Namespace, reading: Reading) -> ImportedTree:
    """Import what the arguments of :func:`build_parser` mean."""
    if args.dataset is None:
        _refuse_raw_scannet(args.source, args.out)
        share = DEFAULT_VAL_SHARE if args.val_share is None else args.val_share
        return import_scans(args.source, args.out, reading, classes=args.classes, val_share=share, workers=args.workers)
    if args.classes or args.val_share is not None or reading.command_options:
        raise UsageError(
            f"--dataset {args.dataset}: has its own classes, splits and axes; leave out --classes, --val-share, "
            "--label-field, --unit, --up, --fill-color and --estimate-normals"
        )
    return import_dataset(args.dataset, args.source, args.out, args.workers)


def _refuse_raw_scannet(source: Path, out: Path) -> None:
    """Raises: UsageError where a folder is ScanNet's ``scans``, or the one above: its labels are in files apart."""
    for scans in (source / "scans", source):
        for folder in scans.iterdir() if scans.is_dir() else ():
            if is_annotated_mesh(folder / f"{folder.name}_vh_clean_2.ply"):
                command = called("prepare", "--raw", str(scans.parent), "--out", str(out))
                raise UsageError(f"{source}: holds raw scans of ScanNet; prepare them with: {command}")


def build_parser() -> CommandParser:
    """The options."""
    parser = CommandParser(
        "import",
        description="Labelled scans of any format, or another data set, to a prepared tree. "
        "Run it again to go on or to update.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with the scans, or of the data set")
    parser.add_argument("--out", type=Path, required=True, metavar="PREPARED", help="where the prepared tree goes")
    parser.add_argument(
        "--classes", type=Path, metavar="TSV", help="table with the columns id and name; if not given: made of the ids"
    )
    parser.add_argument("--dataset", choices=DATASETS, help="SOURCE is this data set in its official layout")
    parser.add_argument(
        "--label-field", metavar="NAME", help="property of the points that holds the labels; one of the usual names"
    )
    parser.add_argument(
        "--val-share",
        type=float,
        metavar="S",
        help=f"share of the scans to validate on, where SOURCE has no folder val (default: {DEFAULT_VAL_SHARE})",
    )
    parser.add_argument(
        "--estimate-normals", action="store_true", help="of scans with neither faces nor normals; needs Open3D"
    )
    parser.add_argument("--workers", type=int, help="number of processes; one a core if not given")
    add_scan_arguments(parser)
    return parser


def _describe(tree: ImportedTree, out: Path) -> None:
    counts = tree.counts
    print(
        f"{counts['written']} scenes prepared, {counts['skipped']} were done and still valid, {counts['failed']} failed"
    )
    print("\n".join(summarize_report(tree.report, tree.taxonomy)))
    if tree.other_files:
        names = ", ".join(f"{number} {suffix}" for suffix, number in sorted(tree.other_files.items())[:8])
        print(f"files that are no scans: {names}")
    if tree.num_predicted:
        print(f"predictions, left out: {tree.num_predicted} files, as {RECORD_NAME} beside them says")
    if tree.made_table:
        doubts = "".join(
            f"; id {i} is one of them: if it means 'not labelled'{why}, delete its row"
            for i, why in _MAYBE_NO_CLASS.items()
            if i in tree.taxonomy.class_ids
        )
        print(
            f"{out / CLASS_TABLE} was made of the {tree.taxonomy.num_classes} ids that the scans have{doubts}. "
            f"Give the classes their names in it, then run the same command again"
        )
    print(f"report: {out / REPORT_NAME}")
    print(f"next: {called('check', str(out))}")


if __name__ == "__main__":
    run_command(main)
