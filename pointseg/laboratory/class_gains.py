"""Which classes a method gains and loses, and what these have in common: frequency, neighbours, mistakes."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from pointseg.laboratory.table import align
from pointseg.metrics import ConfusionMatrix, describe_classes, score
from pointseg.taxonomy import Taxonomy

NUM_SHOWN = 8
NUM_BINS = 4
_ABOUT_PURITY = "Purity: of the labelled voxels beside those of a class, the share that has the class, too."


class ClassGain(NamedTuple):
    """What a method changes for one class, on average over the seeds that both methods have."""

    name: str
    group: str
    train_points: int
    baseline_iou: float
    gain: float
    mistaken_for: str | None
    """The class that the baseline most often says instead; None: it makes no mistake."""
    mistaken_share: float
    """Of the class's labelled vertices that get that other class from the baseline."""
    purity: float
    """Of the labelled voxels beside its own, the share that has the class, too; NaN where there are none."""


def compare_classes(
    baseline: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    split: str,
    taxonomy: Taxonomy,
    purity: np.ndarray,
) -> list[ClassGain]:
    """The classes in the ground truth of ``split``, in label order.

    Args:
        baseline: results of its runs, as the laboratory writes them.
        other: of the method that is compared with it.
        split: whose confusions are compared.
        taxonomy: of both.
        purity: (K,) of :func:`pointseg.laboratory.neighbourhood.measure_purity`, of the split.

    Returns:
        nothing where the two have no seed in common, or results of before confusions were kept.
    """
    kept = [[result for result in results if "confusion" in result] for results in (baseline, other)]
    pairs = [(a, b) for a in kept[0] for b in kept[1] if a["seed"] == b["seed"]]
    if not pairs:
        return []
    before = [_read_confusion(result, split) for result, _ in pairs]
    after = [_read_confusion(result, split) for _, result in pairs]
    gain = np.mean([score(b).iou - score(a).iou for a, b in zip(before, after, strict=True)], axis=0)
    baseline_iou = np.mean([score(confusion).iou for confusion in before], axis=0)
    of_all_seeds = ConfusionMatrix(taxonomy.num_classes)
    for confusion in before:
        of_all_seeds.counts += confusion.counts
    train_points = _read_confusion(pairs[0][0], "train").totals[0]
    groups = taxonomy.groups or ("-",) * taxonomy.num_classes
    gains = []
    for label, (name, row) in enumerate(describe_classes(of_all_seeds, taxonomy).items()):
        if row["points"]:
            mistake = row["mostly_taken_for"]
            gains.append(
                ClassGain(
                    name=name,
                    group=groups[label],
                    train_points=int(train_points[label]),
                    baseline_iou=float(baseline_iou[label]),
                    gain=float(gain[label]),
                    mistaken_for=None if mistake is None else mistake["name"],
                    mistaken_share=0.0 if mistake is None else mistake["share"],
                    purity=float(purity[label]),
                )
            )
    return gains


def format_class_gains(gains: Sequence[ClassGain], about: str) -> str:
    """In Markdown: correlations, classes by how they are mistaken, and those that gain and lose most.

    Args:
        gains: of :func:`compare_classes`.
        about: what gains over what, and where; one line.
    """
    ordered = sorted(gains, key=lambda one: one.gain)
    lines = ["# Which classes gain", "", about, "", "Rank correlation of a class's gain with", ""]
    lines += [f"- {what}: {value:+.2f}" for what, value in _correlations(gains).items()]
    lines += ["", "By the share of a class's vertices that the baseline gives to one other class:", ""]
    lines += align(_bin_rows(gains))
    lines += ["", _ABOUT_PURITY]
    shown = [*reversed(ordered[-NUM_SHOWN:]), *reversed(ordered[:NUM_SHOWN])]
    lines += [
        "",
        "Those that gain most, and those that lose most:",
        "",
        *align(_class_rows(list(dict.fromkeys(shown)))),
    ]
    return "\n".join(lines)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's ρ of the pairs without NaN, equal values with their mean rank; NaN where x or y does not vary."""
    pairs = np.array([x, y], dtype=np.float64)
    ranks = [_ranks(values) for values in pairs[:, ~np.isnan(pairs).any(axis=0)]]
    if any(len(np.unique(rank)) < 2 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _correlations(gains: Sequence[ClassGain]) -> dict[str, float]:
    gain = [one.gain for one in gains]
    return {
        "its training vertices": rank_correlation([one.train_points for one in gains], gain),
        "the baseline's IoU": rank_correlation([one.baseline_iou for one in gains], gain),
        "the share that is mistaken for one other class": rank_correlation([one.mistaken_share for one in gains], gain),
        "the purity of its neighbourhood": rank_correlation([one.purity for one in gains], gain),
    }


def _bin_rows(gains: Sequence[ClassGain]) -> list[list[str]]:
    rows = [["mistaken share", "classes", "baseline IoU", "gain"]]
    ordered = sorted(gains, key=lambda one: one.mistaken_share)
    for part in np.array_split(np.arange(len(ordered)), NUM_BINS):
        of_bin = [ordered[index] for index in part.tolist()]
        if of_bin:
            low, high = of_bin[0].mistaken_share, of_bin[-1].mistaken_share
            iou, gain = fmean(one.baseline_iou for one in of_bin), fmean(one.gain for one in of_bin)
            share = f"{100 * low:.0f} to {100 * high:.0f} %"
            rows.append([share, str(len(of_bin)), f"{100 * iou:.1f}", f"{100 * gain:+.1f}"])
    return rows


def _class_rows(gains: Sequence[ClassGain]) -> list[list[str]]:
    rows = [["class", "group", "training vertices", "baseline IoU", "gain", "mistaken for"]]
    for one in gains:
        mistaken = f"{one.mistaken_for}, {100 * one.mistaken_share:.0f} %" if one.mistaken_for else "-"
        figures = [f"{one.train_points:,}", f"{100 * one.baseline_iou:.1f}", f"{100 * one.gain:+.1f}"]
        rows.append([one.name, one.group, *figures, mistaken])
    return rows


def _read_confusion(result: Mapping[str, Any], split: str) -> ConfusionMatrix:
    """Of a result, which has no column for what was given no class: a network gives each vertex one."""
    counts = np.array(result["confusion"][split], dtype=np.int64)
    confusion = ConfusionMatrix(len(counts))
    confusion.counts[:, :-1] = counts
    return confusion


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
