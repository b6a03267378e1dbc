"""Two runs beside each other: the groups that both are measured in, and what a reader has to know."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pointseg.engine.inference import Segmenter
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import KINDS, Row, read_history
from pointseg.taxonomy import GROUPS, load_taxonomy


def share_groups(segmenters: Sequence[Segmenter], names: Sequence[str]) -> list[str]:
    """Measure all runs in one head, common and tail: groups that were counted in training depend on its scenes.

    Args:
        segmenters: of the same classes; where their groups differ, all get those of the first that has any.
        names: of the runs.

    Returns:
        A line where they differ.
    """
    groups = [segmenter.taxonomy.groups for segmenter in segmenters]
    if len(set(groups)) == 1:
        return []
    index = next(index for index, of_run in enumerate(groups) if of_run is not None)
    chosen = segmenters[index].taxonomy
    for segmenter in segmenters:
        segmenter.taxonomy = replace(
            segmenter.taxonomy, groups=chosen.groups, groups_are_counted=chosen.groups_are_counted
        )
    return [
        "the runs have different groups of classes (head, common, tail): shown are those of "
        f"{names[index]}, and over training only its own scores and measures by group"
    ]


def read_comparable_history(segmenter: Segmenter, kinds: Sequence[str] = KINDS) -> dict[str, list[Row]]:
    """As :func:`read_history`, without values by group where :func:`share_groups` gave the run those of another."""
    assert segmenter.run is not None, "it was loaded from a run"
    history = read_history(RunDirectory(segmenter.run), kinds)
    if load_taxonomy(segmenter.config.taxonomy).groups == segmenter.taxonomy.groups:
        return history
    return {kind: [_without_groups(row) for row in rows] for kind, rows in history.items()}


def _without_groups(row: Row) -> Row:
    return {name: value for name, value in row.items() if name.rpartition("_")[2] not in GROUPS}


def describe_protocols(names: Sequence[str], evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line where runs were evaluated in different ways.

    Args:
        names: of the runs.
        evaluations: of each, as ``evaluate_scenes`` returns them.
    """
    (first, *others), (protocol, *protocols) = names, [evaluation["protocol"] for evaluation in evaluations]
    return [
        f"the runs were evaluated in different ways. {first}: {protocol}. {name}: {its}"
        for name, its in zip(others, protocols, strict=True)
        if its != protocol
    ]
