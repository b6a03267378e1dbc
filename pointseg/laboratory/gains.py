"""What one method gains over another: paired by seed, with a confidence interval.

Two runs of one seed begin with the same weights and see the same scenes in the same order, so their difference has less
noise than either. The interval is Student's t over the seeds' differences, at 95 %: it covers what another seed would
change, and not what other rooms would.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

# Quantile 0.975 of the normal distribution, and of Student's t for 1, 2, ... degrees of freedom.
_NORMAL = 1.960
_STUDENT_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Gain(NamedTuple):
    """A mean difference, in the unit of what is compared."""

    mean: float
    low: float | None
    """Ends of the interval; None with fewer than two seeds in common."""
    high: float | None
    num_seeds: int


def paired_gain(runs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], key: str) -> Gain | None:
    """How much more ``key`` is in ``runs`` than in ``others``.

    Args:
        runs: figures of each run, as :func:`pointseg.laboratory.table.run_figures`; at most one a seed.
        others: the same of what they are compared with.
        key: of the figure.

    Returns:
        over the seeds that both have; None where there is none.
    """
    other = {run["seed"]: run[key] for run in others}
    differences = [
        run[key] - other[run["seed"]] for run in runs if run[key] is not None and other.get(run["seed"]) is not None
    ]
    if not differences:
        return None
    mean, number = fmean(differences), len(differences)
    if number == 1:
        return Gain(mean, None, None, 1)
    half = _student_t(number - 1) * stdev(differences) / number**0.5
    return Gain(mean, mean - half, mean + half, number)


def _student_t(freedom: int) -> float:
    if freedom <= len(_STUDENT_T):
        return _STUDENT_T[freedom - 1]
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom)  # Cornish and Fisher's first term, right to 0.003
