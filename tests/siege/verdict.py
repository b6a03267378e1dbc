"""When a command has behaved: it ended by itself, and what it says is lines for people."""

import re

from tests.siege.process import Outcome

_LINE = re.compile(r"(pointseg( [a-z-]+)?: |warning: |note: )\S")
_COMPLAINT = re.compile(r"pointseg [a-z-]+: (?!warning: |note: )")
_LONGEST_LINE = 2000
# What Python says to programmers.
_INTERNAL = re.compile(
    r"NoneType|has no attribute|<class '|\[Errno|not subscriptable|unexpected keyword|0x[0-9a-f]{8,}"
)


class BreachError(Exception):
    """The product did what it must never do."""


def require(holds: object, what: str) -> None:
    """Raise a :class:`BreachError` that says ``what`` unless it holds."""
    if not holds:
        raise BreachError(what)


def judge(outcome: Outcome, allowed: tuple[int, ...] = (0, 1, 2)) -> Outcome:
    """Return the outcome of a command that has behaved.

    Args:
        outcome: of the command.
        allowed: its exit statuses; a negative one is a signal that we sent, of which it need not have said anything.

    Raises:
        BreachError: it hung, crashed, left processes behind, or said something that is no line for people.
    """
    called = f"pointseg {outcome.argv[0]}"
    last = outcome.err.strip().splitlines()[-1][:300] if outcome.err.strip() else "nothing said"
    require(outcome.status is not None, f"hangs: {called}: {last}")
    require("Traceback (most recent" not in outcome.out + outcome.err, f"traceback: {called}: {last}")
    require(outcome.status in allowed, f"ended with {outcome.status}: {called}: {last}")
    require(not outcome.orphans, f"left processes behind: {called}: {'; '.join(outcome.orphans)}")
    # Of one that was killed, Python's own processes say what they had to clear.
    lines = outcome.err.splitlines() if (outcome.status or 0) >= 0 else []
    for line in lines:
        require(_LINE.match(line), f"stray line: {called}: {line[:300]}")
        require(line.isprintable(), f"control characters in a line: {called}: {line[:300]!r}")
        require(not _INTERNAL.search(line), f"line for programmers: {called}: {line[:300]}")
        require(len(line) <= _LONGEST_LINE, f"line of {len(line)} characters: {called}: {line[:300]}")
    if (outcome.status or 0) > 0:
        require(complaints(outcome), f"status {outcome.status} without a word: {called}")
    return outcome


def complaints(outcome: Outcome) -> list[str]:
    """The lines in which a command says what is wrong."""
    return [line for line in outcome.err.splitlines() if _COMPLAINT.match(line)]
