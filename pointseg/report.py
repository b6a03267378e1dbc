"""``python -m pointseg.report --run RUN [--run RUN2] --out FILE.html``."""

from collections.abc import Sequence
from pathlib import Path

from pointseg.analyze import choose_scenes
from pointseg.atomic import write_text
from pointseg.command_line import CommandParser
from pointseg.commands import complain, run_command
from pointseg.engine.inference import load_segmenter
from pointseg.errors import UsageError
from pointseg.output.plot_style import short_names
from pointseg.pages.libraries import check_page_libraries
from pointseg.pages.run_record import read_run_record, refuse_other_scenes
from pointseg.pages.run_report import choose_scenes_to_show, make_report
from pointseg.scans.prepared import check_labels, check_scenes, list_scenes

_MAX_RUNS = 2


def main(argv: Sequence[str]) -> None:
    """Write one page about a run, or about what two differ in."""
    arguments = build_parser().parse_args(argv)
    runs, out = arguments.run, Path(arguments.out)
    if len(runs) > _MAX_RUNS:
        raise UsageError(f"--run: {len(runs)} runs; give one, or two to compare")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a report is a page; give a name that ends in .html")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; give the name of a file in it")
    check_page_libraries(str(out))

    segmenters = [load_segmenter(run, None, arguments.device) for run in runs]
    records = [read_run_record(*pair) for pair in zip(segmenters, short_names(runs), strict=True)]
    root, split = choose_scenes(segmenters, arguments.data_root, arguments.split)
    refuse_other_scenes(records)
    chosen = choose_scenes_to_show(records[0], list_scenes(root, split))
    folders = [folder for _, folder in chosen]
    for segmenter in segmenters:
        check_scenes(folders, segmenter.taxonomy, segmenter.config.data.features)
    check_labels(folders, segmenters[0].taxonomy)
    for record in records:
        for remark in record.remarks:
            complain(remark)
    write_text(out, make_report(records, chosen, split, root))
    print(out)


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser(
        "report",
        description="One page about a run, to be opened in a browser: curves, scores, confusions, scenes in 3D.",
    )
    parser.add_argument("--run", required=True, nargs="+", action="extend", help="folder of a run; two: compare them")
    parser.add_argument(
        "--out", required=True, metavar="FILE.html", help="the page; it needs nothing else, and no network"
    )
    parser.add_argument("--split", metavar="NAME", help="default: the split that the run was validated on, or val")
    parser.add_argument("--data-root", help="another prepared tree than the run's")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    return parser


if __name__ == "__main__":
    run_command(main)
