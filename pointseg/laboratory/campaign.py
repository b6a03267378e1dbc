"""The comparisons of one call: what they need of rooms and runs, and in which order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pointseg.laboratory.comparison import Comparison
from pointseg.laboratory.data import Rooms
from pointseg.laboratory.plan import PlannedRun, read_result


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


def find_begun(comparisons: Sequence[Comparison], say: Callable[[str], None]) -> list[Prepared]:
    """Those of the comparisons that have their rooms and a result; nothing is made.

    Args:
        comparisons: all that are wanted.
        say: takes a line for each of the others.

    Raises:
        UsageError, DataError: as :func:`pointseg.laboratory.plan.read_result`.
    """
    begun = []
    for comparison in comparisons:
        rooms = comparison.find_rooms()
        runs = comparison.plan_runs(rooms)
        if rooms.fingerprint is None:
            say(f"{comparison.name}: left out, its rooms are not there; without --tables they are made")
        elif not any(read_result(run) for run in runs):
            say(f"{comparison.name}: left out, none of its runs has a result")
        else:
            begun.append(Prepared(comparison, rooms, runs))
    return begun


def order_runs(prepared: Sequence[Prepared]) -> list[PlannedRun]:
    """All runs, seed by seed: a campaign that is cut off has few seeds, and neither few methods nor few budgets.

    One that several comparisons need is that of the first.
    """
    by_folder: dict[str, PlannedRun] = {}
    for one in prepared:
        for run in one.runs:
            by_folder.setdefault(run.directory, run)
    return sorted(by_folder.values(), key=lambda run: run.seed)
