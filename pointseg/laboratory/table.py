"""What came of the runs: one row a method, mean and standard deviation over the seeds, for people and programs."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pointseg.laboratory.data import Rooms
from pointseg.laboratory.gains import paired_gain
from pointseg.laboratory.methods import BASELINE, Method
from pointseg.laboratory.plan import PlannedRun, read_result


class Column(NamedTuple):
    """A figure of a run."""

    key: str
    title: str
    is_share: bool
    """Whether it is shown in percent."""


SCORE_COLUMNS = (
    Column("miou", "mIoU", True),
    Column("head", "head", True),
    Column("common", "common", True),
    Column("tail", "tail", True),
    Column("accuracy", "accuracy", True),
    Column("train_accuracy", "train acc", True),
    Column("train_voxel_accuracy", "of voxels", True),
    Column("train_tail", "train tail", True),
)
_MEASURE_COLUMNS = (
    Column("within_class_variability", "NC1 variability", False),
    Column("centers_equiangularity", "NC2 equiangular", False),
    Column("centers_separation", "NC2 separation", False),
    Column("classifier_separation", "NC2 classifier", False),
    Column("alignment", "NC3 alignment", False),
)
GEOMETRY_COLUMNS = (
    *_MEASURE_COLUMNS,
    Column("collapse_pull", "pull", False),
    Column("training_minutes", "minutes", False),
)
COLUMNS = (*SCORE_COLUMNS, *GEOMETRY_COLUMNS)
GAINS = ("miou", "head", "common", "tail")
_SCORES = (*GAINS, "accuracy")
_TABLE_WIDTH = 100
_SURROUNDINGS = ("machine", "torch", "code", "date")


def build_table(
    runs: Sequence[PlannedRun],
    methods: Sequence[Method],
    split: str,
    rooms: Rooms,
    call: Mapping[str, Any],
) -> dict[str, Any]:
    """The table as JSON-ready numbers.

    Args:
        runs: all that were wanted; those without a result are listed under ``missing``.
        methods: the rows.
        split: whose scores: ``val`` or ``test``.
        rooms: what all were trained on.
        call: what else to keep: ``command``, ``config``, ``jobs``.

    Returns:
        the call, ``split``, ``num_seeds``, ``law``, ``passes``, ``rooms``, ``vertices``, machine and versions, ``rows``
        (``method``, ``about``, ``trained_as``, ``runs``: the figures of each seed, ``mean`` and ``std``: key -> value,
        ``against``: the method that it is compared with, ``gain``: key -> :class:`pointseg.laboratory.gains.Gain`),
        ``missing``. Shares are 0..1; None: not defined, or a standard deviation of one value.
    """
    results = {(run.method, run.seed): read_result(run) for run in runs}
    done = [result for result in results.values() if result is not None]
    figures: dict[str, list[dict[str, Any]]] = {method.name: [] for method in methods}
    for (name, _), result in results.items():
        if result is not None:
            figures[name].append(run_figures(result, split))
    rows = []
    for method in methods:
        of_method = figures[method.name]
        against = method.of or (BASELINE if BASELINE in figures and method.name != BASELINE else None)
        others = figures[against] if against else []
        gains = {key: paired_gain(of_method, others, key) for key in GAINS}
        rows.append(
            {
                "method": method.name,
                "about": method.about,
                "trained_as": method.trained_as,
                "against": against,
                "gain": {key: gain._asdict() if gain else None for key, gain in gains.items()},
                "runs": of_method,
                "mean": {column.key: _mean(_values(of_method, column)) for column in COLUMNS},
                "std": {column.key: _std(_values(of_method, column)) for column in COLUMNS},
            }
        )
    return {
        **call,
        "split": split,
        "num_seeds": len({run.seed for run in runs}),
        "law": rooms.settings.law,
        "passes": runs[0].config["train"]["passes"],
        "rooms": dict(rooms.settings.num_scenes),
        "vertices": rooms.settings.num_vertices,
        **{key: "; ".join(sorted({result[key] for result in done})) for key in _SURROUNDINGS},
        "rows": rows,
        "missing": [run.title for run in runs if results[run.method, run.seed] is None],
    }


def run_figures(result: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The figures of one run: ``seed``, and a value for each of ``COLUMNS``."""
    scores, measures = result["scores"], result["measures"][split]
    return {
        "seed": result["seed"],
        **{key: scores[split][key] for key in _SCORES},
        "train_accuracy": scores["train"]["accuracy"],
        # Runs of before it was counted have none.
        "train_voxel_accuracy": scores["train"].get("voxel_accuracy"),
        "train_tail": scores["train"]["tail"],
        **{column.key: measures[column.key]["all"] for column in _MEASURE_COLUMNS},
        # Of the branch at the features, beside the labels; runs without a branch, and earlier ones, have none.
        "collapse_pull": result.get("collapse_pull"),
        "training_minutes": result["training_minutes"],
    }


def format_table(table: Mapping[str, Any]) -> str:
    """The table in Markdown: scores, gains and geometry, their columns aligned, with all that it takes to read it."""
    rooms, seeds = table["rooms"], table["num_seeds"]
    counts = " / ".join(f"{rooms[split]} {split}" for split in ("train", "val", "test"))
    spread = "mean ± sample standard deviation over seeds" if seeds > 1 else "one seed, so no spread"
    lines = [
        f"# Ways of handling the long tail: {table['split']} split",
        "",
        f"{spread}; IoU and accuracy in percent; the weights of the last step.",
        "",
        *_format_columns(table["rows"], seeds, SCORE_COLUMNS),
        *_format_gains(table["rows"], seeds),
        "",
        *_format_columns(table["rows"], seeds, GEOMETRY_COLUMNS),
        "",
        *(f"- `{row['method']}`: {row['about']}" for row in table["rows"]),
        "",
        f"- split: {table['split']}; seeds: {seeds}; law: {table['law']}; rooms: {counts}, of {table['vertices']:,} "
        "vertices",
        f"- config: {table['config']}; code: {table['code']}; torch {table['torch']}",
        f"- machine: {table['machine']}; {table['jobs']} runs at once; {table['date']}",
        f"- command: `{table['command']}`",
        "- train acc: on the training rooms, without augmentation: of all vertices, and of voxels by their majority. "
        "train tail: IoU of tail classes there. NC1, NC2, NC3: neural collapse of the last features "
        f"on the {table['split']} split; at collapse 0, 0, 0, 0 and 1. pull: the center "
        "branch's gradient at the features over that of the labels, in the last tenth of the training. minutes: of "
        "training, a run.",
    ]
    if table["missing"]:
        lines += ["", f"Missing: {'; '.join(table['missing'])}."]
    return "\n".join(lines)


def _format_columns(rows: Sequence[Mapping[str, Any]], num_seeds: int, columns: Sequence[Column]) -> list[str]:
    cells = [["method", *(column.title for column in columns)]]
    for row in rows:
        name = row["method"] + _describe_seeds(len(row["runs"]), num_seeds)
        cells.append([name, *(_cell(row["mean"][c.key], row["std"][c.key], c) for c in columns)])
    return align(cells)


def _describe_seeds(number: int, planned: int) -> str:
    """What a name says of seeds that are missing."""
    return f" ({number} of {planned} seeds)" if 0 < number < planned else ""


def _format_gains(rows: Sequence[Mapping[str, Any]], num_seeds: int) -> list[str]:
    """What each row gains over the one that it is compared with; no lines where nothing is compared."""
    compared = [row for row in rows if any(row["gain"].values())]
    if not compared:
        return []
    references = {row["against"] for row in compared}
    names_each = len(references) > 1
    cells = [["gain", *(["over"] if names_each else []), *(c.title for c in SCORE_COLUMNS if c.key in GAINS)]]
    for row in compared:
        paired = max(gain["num_seeds"] for gain in row["gain"].values() if gain)
        names = [row["method"] + _describe_seeds(paired, num_seeds), *([row["against"]] if names_each else [])]
        cells.append([*names, *(format_gain(row["gain"][key]) for key in GAINS)])
    what = "Gains" if names_each else f"Gains over {references.pop()}"
    about = f"{what}, paired by seed; in brackets the 95 % interval over seeds."
    return ["", about, "", *align(cells, num_kept=1 + names_each)]


def format_gain(gain: Mapping[str, Any] | None) -> str:
    """A gain in points: ``+1.4 [0.2, 2.6]``; without brackets where there is one seed."""
    if gain is None:
        return "-"
    text = f"{100 * gain['mean']:+.1f}"
    return text if gain["low"] is None else f"{text} [{100 * gain['low']:.1f}, {100 * gain['high']:.1f}]"


def align(cells: Sequence[Sequence[str]], num_kept: int = 1) -> list[str]:
    """A table in Markdown: the first line is its head, the first column is set left and the others right.

    It has 100 columns of text at most: what does not fit goes on in another table, which begins with the same
    ``num_kept`` columns.
    """
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    kept = list(range(num_kept))
    tables = [kept]
    for index in range(num_kept, len(widths)):
        width = sum(widths[other] + len(" | ") for other in (*tables[-1], index)) + 1
        if width > _TABLE_WIDTH and len(tables[-1]) > num_kept:
            tables.append(kept)
        tables[-1] = [*tables[-1], index]
    lines: list[str] = []
    for columns in tables:
        lines += [""] * bool(lines) + _align_columns([[line[index] for index in columns] for line in cells])
    return lines


def _align_columns(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    lines = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |" for line in cells
    ]
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [lines[0], f"|{rule}|", *lines[1:]]


def _cell(mean: float | None, std: float | None, column: Column) -> str:
    if mean is None:
        return "-"
    if column.is_share:
        return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")
    digits = 1 if column.key == "training_minutes" else 3
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def _values(figures: Sequence[Mapping[str, Any]], column: Column) -> list[float]:
    return [run[column.key] for run in figures if run[column.key] is not None]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _std(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
