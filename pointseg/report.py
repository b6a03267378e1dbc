"""``python -m pointseg.report --run RUN [--run RUN2] --out FILE.html``."""

from collections.abc import Sequence
from pathlib import Path

from pointseg.atomic import write_text
from pointseg.command_line import CommandParser
from pointseg.commands import complain, run_command
from pointseg.engine.comparison import describe_protocols, share_groups
from pointseg.errors import UsageError
from pointseg.output.own_files import check_output_file
from pointseg.output.plot_style import short_names
from pointseg.pages.libraries import check_page_libraries
from pointseg.pages.run_record import read_run_record, refuse_other_scenes
from pointseg.pages.run_report import choose_scenes_to_show, make_report
from pointseg.run_arguments import add_compared_runs, choose_scenes, load_compared_runs, refuse_many_runs
from pointseg.scans.prepared import check_labels, check_scenes, list_scenes


def main(argv: Sequence[str]) -> None:
    """Write one page about a run, or about what two differ in."""
    arguments = build_parser().parse_args(argv)
    runs, out = arguments.run, Path(arguments.out)
    refuse_many_runs(runs)
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a report is a page; give a name that ends in .html")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; give the name of a file in it")
    check_page_libraries(str(out))

    segmenters = load_compared_runs(arguments)
    names = short_names(runs)
    root, split = choose_scenes(segmenters, arguments.data_root, arguments.split)
    remarks = share_groups(segmenters, names)
    records = [read_run_record(*pair) for pair in zip(segmenters, names, strict=True)]
    check_output_file(out, "--out", [Path(path) for path in (*runs, root)])
    refuse_other_scenes(records)
    chosen = choose_scenes_to_show(records[0], list_scenes(root, split))
    folders = [folder for _, folder in chosen]
    for segmenter in segmenters:
        check_scenes(folders, segmenter.taxonomy, segmenter.config.data.features)
    check_labels(folders, segmenters[0].taxonomy)
    remarks += [remark for record in records for remark in record.remarks]
    remarks += describe_protocols(names, [record.evaluation for record in records])
    for remark in remarks:
        complain(remark)
    write_text(out, make_report(records, chosen, split, root, remarks))
    print(out)


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser(
        "report",
        description="One page about a run, to be opened in a browser: curves, scores, confusions, scenes in 3D.",
    )
    add_compared_runs(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE.html", help="the page; it needs nothing else, and no network"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
