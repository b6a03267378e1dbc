"""``python -m pointseg.analyze --run RUN [--run RUN] [--split val] [--json FILE] [--plot PNG]``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import write_text
from pointseg.collapse.metrics import pairwise_cosines
from pointseg.command_line import CommandParser
from pointseg.commands import complain, run_command
from pointseg.engine.analysis import Analysis, ClassFrequency, analyze_scenes, read_class_frequency, summarize_analysis
from pointseg.engine.comparison import describe_protocols, read_comparable_history, share_groups
from pointseg.errors import UsageError
from pointseg.output.analysis_table import format_analyses
from pointseg.output.json_text import format_json
from pointseg.output.own_files import check_output_file
from pointseg.output.plot_style import short_names
from pointseg.output.plots import ClassFigures, RunFigures, check_plot_path, draw_analysis, order_by_frequency
from pointseg.run_arguments import add_compared_runs, choose_scenes, load_compared_runs, refuse_many_runs
from pointseg.runs.history import Row
from pointseg.scans.prepared import check_labels, check_scenes, list_scenes
from pointseg.scans.tree import name_splits
from pointseg.taxonomy import Taxonomy


def main(argv: Sequence[str]) -> None:
    """Measure how far neural collapse has come in one run, or compare two."""
    parser = CommandParser("analyze", description="Neural-collapse measures, and IoU by class frequency.")
    add_compared_runs(parser)
    parser.add_argument(
        "--checkpoint", nargs="+", action="extend", help="a file for each run; default: its best, or its last"
    )
    parser.add_argument("--json", metavar="FILE", help="write the measures here, too")
    parser.add_argument("--plot", metavar="PNG", help="draw them here (.png, .pdf or .svg)")
    arguments = parser.parse_args(argv)
    refuse_many_runs(arguments.run)
    if arguments.checkpoint and len(arguments.checkpoint) != len(arguments.run):
        raise UsageError(
            f"--checkpoint: {len(arguments.checkpoint)} files for {len(arguments.run)} runs; give one each"
        )
    if arguments.plot:
        check_plot_path(arguments.plot)

    segmenters = load_compared_runs(arguments, arguments.checkpoint)
    root, split = choose_scenes(segmenters, arguments.data_root, arguments.split)
    inputs = [Path(path) for path in (*arguments.run, *(arguments.checkpoint or ()), root)]
    check_output_file(arguments.json, "--json", inputs)
    check_output_file(arguments.plot, "--plot", inputs)
    names = short_names(arguments.run)
    remarks = share_groups(segmenters, names)
    data, taxonomy = segmenters[0].config.data, segmenters[0].taxonomy
    folders = list_scenes(root, split)
    check_scenes(folders, taxonomy, data.features)
    check_labels(folders, taxonomy)
    frequency = read_class_frequency(root, data.train_split, taxonomy)
    analyses = [analyze_scenes(segmenter, folders) for segmenter in segmenters]
    histories = [read_comparable_history(segmenter) for segmenter in segmenters]

    classes = figures_of_classes(taxonomy, frequency, analyses[0])
    figures = [figures_of_run(*run) for run in zip(names, analyses, histories, strict=True)]
    results = [
        {
            "run": run,
            "split": name_splits(split),
            **summarize_analysis(analysis, segmenter, frequency),
            "cosines": cosines_by_frequency(figure, classes),
            "history": history,
        }
        for run, analysis, segmenter, figure, history in zip(
            arguments.run, analyses, segmenters, figures, histories, strict=True
        )
    ]
    for remark in [*remarks, *describe_protocols(names, [result["evaluation"] for result in results])]:
        complain(f"warning: {remark}")
    try:
        print(format_analyses(results, [f"{run}, {name_splits(split)}" for run in arguments.run]))
    finally:  # also where nobody reads to the end, as before ``| head``
        if arguments.json:
            write_text(arguments.json, format_json({"runs": results}))
        if arguments.plot:
            draw_analysis(arguments.plot, figures, classes)


def figures_of_run(name: str, analysis: Analysis, history: dict[str, list[Row]]) -> RunFigures:
    """What is drawn of a run."""
    statistics = analysis.statistics
    present = statistics.present
    return RunFigures(
        name=name,
        present=present.nonzero().flatten().numpy(),
        center_cosines=pairwise_cosines(statistics.centers[present]).numpy(),
        classifier_cosines=pairwise_cosines(analysis.classifier[present].double()).numpy(),
        iou=np.where(analysis.scores.in_ground_truth, analysis.scores.iou, np.nan),
        history=history,
    )


def figures_of_classes(taxonomy: Taxonomy, frequency: ClassFrequency | None, analysis: Analysis) -> ClassFigures:
    """The classes, with the voxels that were measured where nothing better is known of their frequency."""
    if frequency is None:
        frequency = ClassFrequency(analysis.statistics.counts.long().numpy(), "voxels measured")
    return ClassFigures(taxonomy.class_names, taxonomy.groups, frequency.count, frequency.unit)


def cosines_by_frequency(run: RunFigures, classes: ClassFigures) -> dict[str, Any]:
    """The matrices as they are drawn: the classes present, the most frequent first.

    Returns:
        ``ordered_by`` (what is counted), ``classes`` (P names), ``centers`` and ``classifier`` (P lists of P cosines of
        centred vectors, to six decimals).
    """
    order = order_by_frequency(run.present, classes.frequency)
    cell = np.ix_(order, order)
    return {
        "ordered_by": classes.frequency_unit,
        "classes": [classes.names[label] for label in run.present[order]],
        "centers": run.center_cosines[cell].round(6).tolist(),
        "classifier": run.classifier_cosines[cell].round(6).tolist(),
    }


if __name__ == "__main__":
    run_command(main)
