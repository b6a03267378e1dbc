"""The comparisons of one call: all rooms, then all runs, then a table each."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointseg.atomic import write_text
from pointseg.errors import UsageError
from pointseg.laboratory.class_gains import ClassGain, compare_classes, format_class_gains
from pointseg.laboratory.comparison import Comparison
from pointseg.laboratory.data import Rooms
from pointseg.laboratory.methods import BASELINE, COLLAPSE
from pointseg.laboratory.neighbourhood import measure_purity
from pointseg.laboratory.plan import PlannedRun, read_result
from pointseg.laboratory.scheduler import do_runs
from pointseg.laboratory.table import build_table, format_table
from pointseg.output.longtail_plot import draw_longtail
from pointseg.taxonomy import load_taxonomy

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A comparison whose rooms are there."""

    comparison: Comparison
    rooms: Rooms
    runs: list[PlannedRun]


def prepare(comparisons: Sequence[Comparison]) -> list[Prepared]:
    """Make the rooms of all comparisons, those that share them once, and plan the runs.

    Raises:
        UsageError, DataError: as :func:`pointseg.laboratory.data.make_rooms`.
    """
    prepared: list[Prepared] = []
    for comparison in comparisons:
        shared = [one.rooms for one in prepared if one.comparison.data == comparison.data]
        rooms = shared[0] if shared and not comparison.needs_segments else comparison.make_rooms()
        prepared.append(Prepared(comparison, rooms, comparison.plan_runs(rooms)))
    return prepared


def order_runs(prepared: Sequence[Prepared]) -> list[PlannedRun]:
    """All runs, seed by seed: a campaign that is cut off has few seeds, and neither few methods nor few budgets.

    One that several comparisons need is that of the first.
    """
    by_folder: dict[str, PlannedRun] = {}
    for one in prepared:
        for run in one.runs:
            by_folder.setdefault(run.directory, run)
    return sorted(by_folder.values(), key=lambda run: run.seed)


def do_campaign(
    prepared: Sequence[Prepared], num_at_once: int, split: str, call: Mapping[str, Any], say: Say
) -> list[dict[str, Any]]:
    """Do the runs that are missing, and write a table for each comparison, anew after each run of it that ends.

    Args:
        prepared: of :func:`prepare`.
        num_at_once: processes at a time.
        split: whose scores.
        call: what each table keeps of the call, as :func:`pointseg.laboratory.table.build_table` takes it.
        say: takes the lines that tell of the progress.

    Returns:
        the tables, in the order of the comparisons.
    """

    def write_after(run: PlannedRun) -> None:
        for one in prepared:
            if any(other.directory == run.directory for other in one.runs):
                write_table(one, split, call, say)

    do_runs(order_runs(prepared), num_at_once, split, say, write_after)
    return [write_table(one, split, call, say) for one in prepared]


def write_table(one: Prepared, split: str, call: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Write ``table.md``, ``table.json`` and, where matplotlib is installed, ``table.png`` of a comparison.

    And ``classes.md``, where it has center collapse beside cross-entropy.
    """
    comparison = one.comparison
    own = {"config": comparison.cfg, "overrides": list(comparison.overrides)}
    table = build_table(one.runs, comparison.methods, split, one.rooms, {**call, **own})
    write_text(comparison.out / "table.md", format_table(table) + "\n")
    write_text(comparison.out / "table.json", as_json(table))
    gains = _compare_classes(one.runs, split)
    if gains:
        write_text(comparison.out / "classes.md", format_class_gains(gains) + "\n")
    draw_if_possible(lambda: draw_longtail(comparison.out / "table.png", table, BASELINE), say)
    return table


def _compare_classes(runs: Sequence[PlannedRun], split: str) -> list[ClassGain]:
    """What center collapse changes of each class; nothing where it, or cross-entropy, has no result."""
    of_method: dict[str, list[dict[str, Any]]] = {BASELINE: [], COLLAPSE: []}
    for run in runs:
        result = read_result(run)
        if run.method in of_method and result is not None:
            of_method[run.method].append(result)
    if not all(of_method.values()):
        return []
    config = runs[0].read_config()
    purity = measure_purity(str(config.data.root), split, config.taxonomy, config.data.voxel_size_m)
    return compare_classes(of_method[BASELINE], of_method[COLLAPSE], split, load_taxonomy(config.taxonomy), purity)


def draw_if_possible(draw: Callable[[], None], say: Say) -> None:
    """Without matplotlib there is no picture, and a line that says so: the tables are what counts."""
    try:
        draw()
    except UsageError as error:
        say(str(error))


def as_json(content: Any) -> str:
    """As all JSON of the laboratory is written."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
