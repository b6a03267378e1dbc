"""What is said of the runs while they are done: what begins, what ends, and how long is left about."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from pointseg.laboratory.plan import PlannedRun, read_result


class Pace:
    """How many minutes a training scene takes, by the runs that have a result."""

    def __init__(self) -> None:
        self._minutes = self._visits = 0.0

    def count(self, run: PlannedRun, result: dict[str, Any]) -> None:
        """Learn from a run that is done."""
        if run.trains:
            self._minutes += result["training_minutes"]
            self._visits += run.num_visits

    def minutes_of(self, runs: Sequence[PlannedRun]) -> float | None:
        """Minutes of training, one run after the other; None: no run has shown how long one takes."""
        if not self._visits:
            return None
        return self._minutes / self._visits * sum(run.num_visits for run in runs if run.trains)


def describe_progress(comparisons: Sequence[tuple[str, Sequence[PlannedRun]]], num_at_once: int) -> str:
    """What is done of each comparison, and what the rest will take."""
    pace, lines, known, all_missing = Pace(), [], set[str](), []
    for name, runs in comparisons:
        results = [(run, read_result(run)) for run in runs]
        missing = [run for run, result in results if result is None]
        for run, result in results:
            if result is not None:
                pace.count(run, result)
        visits = sum(run.num_visits for run in missing if run.trains)
        lines.append(f"{name}: {len(runs) - len(missing)} of {len(runs)} runs done, {visits:,} training scenes to see")
        all_missing += [run for run in missing if run.directory not in known]
        known |= {run.directory for run in runs}  # one that several need is done once
    minutes = pace.minutes_of(all_missing)
    left = "the first run will tell how long" if minutes is None else f"about {_duration(minutes / num_at_once)}"
    lines.append(f"in all: {len(known) - len(all_missing)} of {len(known)} done; {left}, {num_at_once} at once")
    return "\n".join(lines)


def _duration(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


class ProgressBoard:
    """Says how far the runs are.

    How long is left is judged by the minutes that a training scene took in the runs that have a result.

    Args:
        runs: all that are wanted.
        missing: those that have no result.
        num_at_once: processes at a time.
        split: whose mIoU a line says.
        say: takes the lines.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        missing: Sequence[PlannedRun],
        num_at_once: int,
        split: str,
        say: Callable[[str], None],
    ) -> None:
        self._total, self._num_done = len(runs), len(runs) - len(missing)
        self._num_at_once, self._split, self._say = num_at_once, split, say
        self._is_one_comparison = len({run.comparison for run in runs}) == 1
        self._pace = Pace()
        for run in runs:
            result = read_result(run)
            if result is not None:
                self._pace.count(run, result)
        if self._num_done:
            left = self._describe_left(missing)
            say(f"{self._num_done} of {self._total} runs are done already{left}")

    def tell_begin(self, run: PlannedRun) -> None:
        """A run begins."""
        self._say(f"{self._title(run)}: begins" + ("" if run.trains else f", with the weights of {run.trained_as}"))

    def tell_end(self, run: PlannedRun, began: float, result: dict[str, Any], left: Sequence[PlannedRun]) -> None:
        """A run has its result.

        Args:
            run: which.
            began: when, as ``time.monotonic`` has it.
            result: of it.
            left: runs that wait or are at work.
        """
        self._num_done += 1
        self._pace.count(run, result)
        miou = result["scores"][self._split]["miou"]
        shown = "-" if miou is None else f"{100 * miou:.1f}"
        minutes = (time.monotonic() - began) / 60
        self._say(
            f"{self._title(run)}: {self._split} mIoU {shown} after {minutes:.1f} min; "
            f"{self._num_done} of {self._total} done{self._describe_left(left)}"
        )

    def tell_failure(self, run: PlannedRun, reason: str) -> None:
        """A run has ended without a result."""
        self._say(f"{self._title(run)}: failed: {reason}")

    def _title(self, run: PlannedRun) -> str:
        return run.title if self._is_one_comparison else f"{run.comparison}: {run.title}"

    def _describe_left(self, left: Sequence[PlannedRun]) -> str:
        """Empty where nothing is left, or it is not known how long it takes."""
        minutes = self._pace.minutes_of(left)
        return f", about {_duration(minutes / self._num_at_once)} left" if minutes else ""
