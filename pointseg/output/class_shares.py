"""Which classes were found, in a few lines of at most 80 columns."""

import textwrap
from collections import Counter

import numpy as np

from pointseg.taxonomy import Taxonomy

_SHOWN = 5
_WIDTH = 80


def count_ids(ids: np.ndarray) -> Counter[int]:
    """class_id -> number of points, of (N,) integer."""
    values, counts = np.unique(ids, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def format_shares(count: Counter[int], taxonomy: Taxonomy) -> str:
    """The most frequent classes with their shares of the points that have one, how many others there are, and theirs.

    Args:
        count: class_id -> number of points.
        taxonomy: of the ids.
    """
    name_of = dict(zip(taxonomy.class_ids.tolist(), taxonomy.class_names, strict=True))
    found = [(name_of[i], points) for i, points in count.most_common() if i in name_of]
    total, without = sum(points for _, points in found), count[taxonomy.no_class_id]
    parts = [f"{name} {_percent(points, total)}" for name, points in found[:_SHOWN]]
    if rest := found[_SHOWN:]:
        more = "1 other" if len(rest) == 1 else f"{len(rest)} others"
        parts.append(f"{more} {_percent(sum(points for _, points in rest), total)}")
    points = "1 point" if total == 1 else f"{total:,} points"
    classes = "1 class" if len(found) == 1 else f"{len(found)} classes"
    text = f"{points} of {classes}: {', '.join(parts)}"
    lines = textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if without:
        lines.append(f"{without:,} {'point has' if without == 1 else 'points have'} no class")
    return "\n".join(lines)


def _percent(points: int, total: int) -> str:
    share = 100 * points / total
    return "<0.1%" if share < 0.05 else f"{share:.1f}%"
