"""Which classes were found: counted, and said in a few words."""

import textwrap
from collections import Counter
from collections.abc import Mapping

import numpy as np

from pointseg.taxonomy import Taxonomy

_SHOWN = 5
_WIDTH = 80


def count_ids(ids: np.ndarray) -> Counter[int]:
    """class_id -> number of points, of (N,) integer."""
    values, counts = np.unique(ids, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def count_classes(count: Counter[int], taxonomy: Taxonomy) -> dict[str, int]:
    """Class -> its number of points, for classes that have points; the most frequent first, then as in the table.

    Args:
        count: class_id -> number of points; ids that are no classes are left out.
        taxonomy: of the ids.
    """
    names = zip(taxonomy.class_ids.tolist(), taxonomy.class_names, strict=True)
    found = {name: count[class_id] for class_id, name in names if count[class_id]}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def name_shares(points_of_class: Mapping[str, int]) -> list[str]:
    """The first few classes, each with its share of all points, and how many others there are, with theirs.

    Args:
        points_of_class: as :func:`count_classes` returns it.
    """
    found, total = list(points_of_class.items()), sum(points_of_class.values())
    parts = [f"{name} {_percent(points, total)}" for name, points in found[:_SHOWN]]
    if rest := found[_SHOWN:]:
        more = "1 other" if len(rest) == 1 else f"{len(rest)} others"
        parts.append(f"{more} {_percent(sum(points for _, points in rest), total)}")
    return parts


def format_shares(count: Counter[int], taxonomy: Taxonomy) -> str:
    """The most frequent classes with their shares of the points that have one, in lines of at most 80 columns.

    Args:
        count: class_id -> number of points.
        taxonomy: of the ids.
    """
    found, without = count_classes(count, taxonomy), count[taxonomy.no_class_id]
    total = sum(found.values())
    points = "1 point" if total == 1 else f"{total:,} points"
    classes = "1 class" if len(found) == 1 else f"{len(found)} classes"
    text = f"{points} of {classes}: {', '.join(name_shares(found))}"
    lines = textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if without:
        lines.append(f"{without:,} {'point has' if without == 1 else 'points have'} no class")
    return "\n".join(lines)


def _percent(points: int, total: int) -> str:
    share = 100 * points / total
    return "<0.1%" if share < 0.05 else f"{share:.1f}%"
