"""Trials: each has a name, a folder and random numbers of its own, so that it can be repeated alone."""

import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from tests.siege.process import DEADLINE_S, Outcome, Running
from tests.siege.verdict import BreachError, judge

VERDICTS = ("refused", "unharmed", "otherwise", "skipped", "FAILED")
_SHORT_SHARE = 1 / 40


@dataclass
class Row:
    """A line of the table: what was attacked, and how often it ended in which way."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)
    """Why trials were skipped, each reason once."""


class SkippedError(Exception):
    """What a trial needs is not there."""


class Trial:
    """One attack, as a context: a :class:`BreachError`, or any other error, makes it fail; its folder is kept then."""

    def __init__(self, siege: "Siege", assault: str, what: str, index: int) -> None:
        self.name = f"{assault}/{what}/{index}"
        self.folder = siege.folder / "trials" / self.name.replace("/", "-").replace(" ", "-")
        self.rng = np.random.default_rng([siege.seed, zlib.crc32(f"{assault}/{what}".encode()), index])
        self.verdict = "unharmed"
        self.attack = ""
        """What was done, for those who look into a failure."""
        self._siege, self._key = siege, (assault, what)

    def __enter__(self) -> "Trial":
        self._row = self._siege.rows.setdefault(self._key, Row())
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is not None and not isinstance(error, Exception):
            return False
        if isinstance(error, SkippedError):
            self.verdict = "skipped"
            self._row.reasons += [str(error)] if str(error) not in self._row.reasons else []
        elif error is not None:
            self.verdict = "FAILED"
            text = str(error) if isinstance(error, BreachError) else f"{type(error).__name__}: {error}"
            self._siege.fail(self, " ".join(text.split()))
        self._row.counts[self.verdict] += 1
        self._row.seconds += time.monotonic() - self._began
        if self.verdict != "FAILED":
            shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def start(
        self,
        *argv: object,
        environment: dict[str, str] | None = None,
        prelude: Callable[[], None] | None = None,
        fresh: bool = False,
    ) -> Running:
        """Begin ``pointseg ARGV``; arguments as of :class:`Running`."""
        return Running(tuple(map(str, argv)), self.folder, environment, prelude, fresh)

    def run(
        self,
        *argv: object,
        allowed: tuple[int, ...] = (0, 1, 2),
        prelude: Callable[[], None] | None = None,
        fresh: bool = False,
        deadline_s: float = DEADLINE_S,
    ) -> Outcome:
        """Run ``pointseg ARGV`` to its end, and judge it."""
        return judge(self.start(*argv, prelude=prelude, fresh=fresh).wait(deadline_s), allowed)

    def try_out(self, *argv: object) -> bool:
        """Run ``pointseg ARGV``: whether it was done; else the trial's verdict is that it was refused."""
        done = self.run(*argv).status == 0
        if not done:
            self.verdict = "refused"
        return done


class Siege:
    """All trials of a call.

    Args:
        seed: of everything that is drawn.
        short: whether to make few trials of each kind.
        folder: where the trials are made, and those that failed are kept.
        only: beginning of the names of the trials to make: ``kills``, ``kills/train``, ``kills/train/17``.
    """

    def __init__(self, seed: int, short: bool, folder: Path, only: str = "") -> None:
        self.seed = seed
        self.short = short
        self.folder = folder
        self.only = only
        self.rows: dict[tuple[str, str], Row] = {}
        self.failures: list[dict[str, str]] = []

    def trials(self, assault: str, what: str, count: int, least: int = 1) -> Iterator[Trial]:
        """Yield ``count`` trials; in a short siege a share of them, and not fewer than ``least``."""
        if self.short:
            count = min(count, max(least, round(count * _SHORT_SHARE)))
        for index in range(count):
            trial = Trial(self, assault, what, index)
            if _is_wanted(trial.name, self.only):
                yield trial

    def wants(self, assault: str, what: str = "") -> bool:
        """Whether any trial of this kind is to be made."""
        name = f"{assault}/{what}" if what else assault
        return not self.only or _is_wanted(name, self.only) or _is_wanted(self.only, name)

    def fail(self, trial: Trial, reason: str) -> None:
        """Keep what is known of a trial that failed."""
        attack = trial.attack.encode("utf-8", "backslashreplace").decode()
        self.failures.append({"trial": trial.name, "attack": attack, "reason": reason, "kept": str(trial.folder)})


def _is_wanted(name: str, only: str) -> bool:
    return not only or name == only or name.startswith(only + "/")
