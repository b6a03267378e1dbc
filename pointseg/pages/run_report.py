"""The report of a run, or of two side by side, as one page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from pointseg.atomic import TEXT_ERRORS
from pointseg.config import dump_config, flatten_config
from pointseg.engine.analysis import ClassFrequency, read_class_frequency
from pointseg.engine.inference import Segmenter, Wanted
from pointseg.engine.machine import describe_surroundings
from pointseg.errors import DataError, UsageError
from pointseg.output.analysis_table import MEASURES, format_measure
from pointseg.output.evaluation_tables import percent
from pointseg.output.report import mean_rows
from pointseg.pages.charts import draw_collapse, draw_confusions, draw_frequency, draw_training
from pointseg.pages.class_table import class_table_html
from pointseg.pages.document import PageSection, paragraph, plain_table, render_page
from pointseg.pages.libraries import CREDITS, figure_html, plotly_script, tables_script
from pointseg.pages.run_record import RunRecord
from pointseg.pages.scene_view import HOW_TO, ViewedPrediction, draw_scene
from pointseg.scans.prepared import read_scene
from pointseg.scans.scene import Scene
from pointseg.scans.scene_segments import read_scene_segments
from pointseg.scans.tree import name_splits
from pointseg.taxonomy import GROUPS

NUM_SCENES = 3
MAX_BYTES = 15_000_000
_MAX_POINTS = 30_000  # of a scene, where the page is small enough with them
_TRIES = 6
_ORDER = ("the lowest mIoU", "the middle one", "the highest mIoU")
_NOT_MEASURED = "Not measured in training, where train.measure_collapse_every is 0. What measures it now: "


def make_report(
    records: Sequence[RunRecord],
    chosen: Sequence[tuple[str, Path]],
    split: str | tuple[str, ...],
    root: str,
    remarks: Sequence[str],
) -> str:
    """The page, as HTML of at most :data:`MAX_BYTES`.

    Args:
        records: one run, or two of the same classes and scenes.
        chosen: the scenes to show, as :func:`choose_scenes_to_show` returns them.
        split: of the tree.
        root: the tree.
        remarks: what a reader has to know, a line each, above all else.

    Raises:
        DataError: a scene, or the tree's report, can't be read; or the page would be larger.
    """
    views = []
    for reason, folder in chosen:
        scene = read_scene(folder, records[0].taxonomy)
        views.append((reason, scene, predict_views(scene, folder, records)))
    frequency = read_class_frequency(root, records[0].segmenter.config.data.train_split, records[0].taxonomy)
    above = [
        _about_runs(records, name_splits(split), root),
        _about_training(records),
        _about_scores(records),
        _about_confusions(records),
        _about_frequency(records, frequency),
        _about_collapse(records),
    ]
    title = " and ".join(record.name for record in records)
    lead = "".join(paragraph(remark, "remark") for remark in remarks)
    scripts = [plotly_script(), tables_script()]
    max_points = min(_MAX_POINTS, max(scene.num_points for _, scene, _ in views))
    for _ in range(_TRIES):
        scenes = _about_scenes(records, views, max_points)
        sections = [*above, scenes]
        page = render_page(f"{title}: 3D semantic segmentation", _tiles(records) + lead, sections, scripts, CREDITS)
        num_bytes, bytes_of_scenes = _num_bytes(page), _num_bytes(scenes.html)
        if num_bytes <= MAX_BYTES:
            return page
        room = MAX_BYTES - num_bytes + bytes_of_scenes
        max_points = int(0.95 * max_points * room / bytes_of_scenes)
        if max_points < 1:
            break
    largest = max(sections, key=lambda section: len(section.html))
    raise DataError(
        f"{title}: the page would be larger than {MAX_BYTES:,} bytes with few points of the scenes, too; the largest "
        f"of its parts is {largest.title!r}, {_num_bytes(largest.html):,} bytes: shorten the names that it shows, or "
        "report one run"
    )


def _num_bytes(text: str) -> int:
    return len(text.encode(errors=TEXT_ERRORS))


def choose_scenes_to_show(record: RunRecord, folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Three scenes, with why: those with the lowest, the middle and the highest mIoU.

    Raises:
        UsageError: the evaluation is of other scenes than the folders.
    """
    by_name = {name: folder for folder in folders for name in (folder.name, f"{folder.parent.name}/{folder.name}")}
    scenes = record.evaluation["scenes"]
    missing = [name for name in scenes if name not in by_name]
    if missing or not scenes:
        where = folders[0].parent if folders else "the split"
        what = f"evaluated scene {missing[0]} is not there" if missing else "no scene was evaluated"
        raise UsageError(f"{where}: {what}; choose the evaluated tree and split with --data-root and --split")
    ordered = sorted(scenes, key=lambda name: -1.0 if scenes[name]["miou"] is None else scenes[name]["miou"])
    places = np.unique(np.linspace(0, len(ordered) - 1, NUM_SCENES).round().astype(int)).tolist()
    reasons = _ORDER if len(places) == NUM_SCENES else [""] * len(places)
    return [(reason, by_name[ordered[place]]) for reason, place in zip(reasons, places, strict=True)]


def predict_views(scene: Scene, folder: Path, records: Sequence[RunRecord]) -> list[ViewedPrediction]:
    """What each run says of a scene, without test-time augmentation."""
    names = [""] if len(records) == 1 else [record.name for record in records]
    return [_predict(record.segmenter, scene, folder, name) for record, name in zip(records, names, strict=True)]


def _predict(segmenter: Segmenter, scene: Scene, folder: Path, name: str) -> ViewedPrediction:
    segments = read_scene_segments(folder, scene.xyz) if segmenter.votes else None
    output = segmenter.infer_scene(scene, "none", Wanted(confidence=True), segments=segments)
    assert output.confidence is not None, "it was asked for"
    return ViewedPrediction(name, output.label.numpy(), output.confidence.numpy())


def _tiles(records: Sequence[RunRecord]) -> str:
    """The means, large; of two runs with the difference."""
    evaluations = [record.evaluation for record in records]
    keys = [("mIoU", "miou"), *((f"mIoU {group}", group) for group in GROUPS), ("accuracy", "accuracy")]
    tiles = []
    for title, key in keys:
        values = [evaluation[key] for evaluation in evaluations]
        if None in values:
            continue
        shown = " → ".join(f"{100 * value:.1f}" for value in values)
        more = ""
        if len(values) == 2:
            difference = 100 * (values[1] - values[0])
            more = f'<span class="{"down" if difference < 0 else "up"}">{difference:+.1f}</span>'
        tiles.append(f'<div class="tile">{escape(title)}, %<b>{shown}</b>{more}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _about_runs(records: Sequence[RunRecord], split: str, root: str) -> PageSection:
    """Config, data, machine and commit of each run."""
    here = describe_surroundings(records[0].segmenter.device)
    rows: list[tuple[str, list[str]]] = [
        ("folder", [str(record.directory.path) for record in records]),
        ("network", [_describe_network(record.segmenter) for record in records]),
        ("classes", [f"{record.taxonomy.num_classes}, {record.taxonomy.name}" for record in records]),
        (
            "data",
            [
                f"{r.segmenter.config.data.root}, trained on {name_splits(r.segmenter.config.data.train_split)}"
                for r in records
            ],
        ),
        (
            "evaluated on",
            [f"{r.evaluation['num_scenes']} scenes, {r.evaluation['num_points']:,} labelled points" for r in records],
        ),
        ("trained with", ["; ".join(map(_describe_surroundings, r.surroundings)) or "not recorded" for r in records]),
        ("scenes below", [f"{root}, {split}; predicted with {_describe_surroundings(here)}"] * len(records)),
    ]
    header = ["", *(record.name for record in records)] if len(records) == 2 else []
    table = plain_table(header, [[title, *cells] for title, cells in rows], 9)
    return PageSection("run", "The run" if len(records) == 1 else "The runs", table + _configs(records))


def _configs(records: Sequence[RunRecord]) -> str:
    """Of one run the config, to be unfolded; of two, what differs."""
    texts = [dump_config(record.segmenter.config) for record in records]
    folded = "".join(
        f"<details><summary>config of {escape(record.name)}</summary><pre>{escape(text)}</pre></details>"
        for record, text in zip(records, texts, strict=True)
    )
    if len(records) == 1:
        return folded
    first, second = (flatten_config(record.segmenter.config.model_dump(mode="json")) for record in records)
    keys = [key for key in first | second if first.get(key) != second.get(key) and key != "run.dir"]
    rows = [[key, str(first.get(key, "-")), str(second.get(key, "-"))] for key in keys]
    table = plain_table(["key", *(record.name for record in records)], rows, 9)
    return f"<h3>What differs in the configs</h3>{table}{folded}"


def _describe_network(segmenter: Segmenter) -> str:
    model, data = segmenter.config.model, segmenter.config.data
    return (
        f"{model.name}, {segmenter.num_parameters:,} parameters; {', '.join(data.features)} in voxels of "
        f"{data.voxel_size_m} m"
    )


def _describe_surroundings(row: dict[str, str]) -> str:
    machine, torch, code, date = (row.get(key, "?") for key in ("machine", "torch", "code", "date"))
    return f"{machine}, PyTorch {torch}, commit {code}, {date}"


def _about_training(records: Sequence[RunRecord]) -> PageSection:
    figure = draw_training(records)
    html = (
        paragraph("Nothing was logged: the weights were not trained here.")
        if figure is None
        else figure_html(figure, "training-plot")
    )
    return PageSection("training", "Training", html)


def _about_scores(records: Sequence[RunRecord]) -> PageSection:
    """By group, and class by class."""
    rows = []
    for title, key in mean_rows(records[0].taxonomy):
        values = [record.evaluation[key] for record in records]
        known = len(values) == 2 and None not in values
        rows.append([title, *map(percent, values), *([f"{100 * (values[1] - values[0]):+.1f}"] if known else [])])
    header = ["%", *(record.name for record in records), *(["difference"] if len(records) == 2 else [])]
    groups = plain_table(header if len(records) == 2 else [], rows, 1)
    note = paragraph(
        f"Protocol: {records[0].evaluation['protocol']}. A click on a column sorts the classes by it; only those "
        "in the ground truth are listed.",
        "quiet",
    )
    return PageSection("scores", "Evaluation", groups + note + class_table_html(records))


def _about_confusions(records: Sequence[RunRecord]) -> PageSection:
    figure = draw_confusions(records)
    if figure is None:
        return PageSection("confusions", "Confusions", paragraph("No class is taken for another."))
    what = "Share of a class's points that are taken for another class."
    if len(records) == 2:
        what = f"By how many percent points that share is larger with {records[1].name} than with {records[0].name}."
    note = paragraph(f"{what} The classes with the most points in confusions.", "quiet")
    return PageSection("confusions", "Confusions", note + figure_html(figure, "confusion-plot"))


def _about_frequency(records: Sequence[RunRecord], frequency: ClassFrequency | None) -> PageSection:
    if frequency is None:
        frequency = ClassFrequency(records[0].points, "points evaluated")
    plot = figure_html(draw_frequency(records, frequency), "frequency-plot")
    return PageSection("frequency", "Class frequency and IoU", paragraph("A dot is a class.", "quiet") + plot)


def _about_collapse(records: Sequence[RunRecord]) -> PageSection:
    """The measures at the end of training, and over it."""
    from pointseg.commands import called

    figure = draw_collapse(records)
    if figure is None:
        command = called("analyze", "--run", *(str(record.directory.path) for record in records))
        return PageSection(
            "collapse", "Neural collapse", f"<p>{escape(_NOT_MEASURED)}<code>{escape(command)}</code>.</p>"
        )
    groups = ["", *(f"_{group}" for group in GROUPS)] if records[0].taxonomy.groups is not None else [""]
    rows = []
    for name, title, ideal in MEASURES:
        for record in records:
            last = record.history["collapse"][-1] if record.history["collapse"] else {}
            cells = [format_measure(last.get(f"{name}{group}")) for group in groups]
            rows.append([title, *([record.name] if len(records) == 2 else []), *cells, ideal])
    header = [
        "at the last measurement",
        *(["run"] if len(records) == 2 else []),
        "all",
        *(g[1:] for g in groups[1:]),
        "at collapse",
    ]
    table = plain_table(header, rows, 2 if len(records) == 2 else 1)
    return PageSection("collapse", "Neural collapse", figure_html(figure, "collapse-plot") + table)


def _about_scenes(
    records: Sequence[RunRecord], views: Sequence[tuple[str, Scene, list[ViewedPrediction]]], max_points: int
) -> PageSection:
    """The scenes in 3D."""
    html = paragraph(f"{HOW_TO} Predicted without test-time augmentation.", "quiet")
    for index, (reason, scene, predictions) in enumerate(views):
        figure, drawn = draw_scene(scene, predictions, records[0].taxonomy, max_points)
        told = ", ".join([f"mIoU {percent(_miou(record, scene))} %{_of(record, records)}" for record in records])
        html += f"<h3>{escape(scene.name)}</h3>" + paragraph(
            f"{told}{'; ' + reason if reason else ''}; {drawn}", "quiet"
        )
        html += figure_html(figure, f"scene-{index}")
    return PageSection("scenes", "Scenes", html)


def _miou(record: RunRecord, scene: Scene) -> float | None:
    scenes = record.evaluation["scenes"]
    found = [row["miou"] for name, row in scenes.items() if name.rpartition("/")[2] == scene.name]
    return found[0] if len(found) == 1 else None


def _of(record: RunRecord, records: Sequence[RunRecord]) -> str:
    return f" ({record.name})" if len(records) == 2 else ""
