"""A plan: several comparisons in one YAML, written before the first run, for ``longtail --plan``.

::

    cfg: longtail.yaml                # what all methods share
    seeds: 3
    split: test
    law: lookalikes
    rooms: [60, 40, 120]              # train, val, test
    vertices: 15000
    set: {data.voxel_size_m: 0.08}    # keys of the config, for all
    comparisons:                      # each becomes a folder and a table
      short:
        set: {train.passes: 20}
        methods: [cross_entropy, collapse]
      long:
        set: {train.passes: 50}
        methods: [cross_entropy, collapse]
        variations:                   # a method with other keys, a row more each
          weak: {of: collapse, set: {loss.collapse.weight: 0.1}}

Comparisons on the same rooms that set the same keys share their runs: what two of them need is trained once.
What a comparison says of ``law``, ``seeds``, ``rooms`` and ``vertices`` goes before what the plan says, and what is
given with the command before both: the same plan serves a larger machine.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pointseg.config import read_yaml
from pointseg.config.sections import PositiveCount, Section
from pointseg.errors import UsageError
from pointseg.laboratory.comparison import Comparison
from pointseg.laboratory.data import RoomSettings
from pointseg.laboratory.methods import choose_methods, vary
from pointseg.scans.tree import SPLITS

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")]
"""Of a folder."""
RoomCounts = tuple[PositiveCount, PositiveCount, PositiveCount]


class VariationSection(Section):
    """A method with other keys."""

    of: str
    set: dict[str, Any] = Field(min_length=1)


class ComparisonSection(Section):
    """One table; None: as the plan says."""

    methods: list[str] = Field([])
    variations: dict[Name, VariationSection] = Field({})
    set: dict[str, Any] = Field({})
    law: str | None = None
    seeds: PositiveCount | None = None
    rooms: RoomCounts | None = None
    vertices: PositiveCount | None = None


class PlanFile(Section):
    """The whole plan."""

    cfg: str = "longtail.yaml"
    split: Literal["test", "val"] = "test"
    seeds: PositiveCount = 3
    law: str = "longtail"
    rooms: RoomCounts = (80, 20, 40)
    vertices: PositiveCount = 20_000
    set: dict[str, Any] = Field({})
    comparisons: dict[Name, ComparisonSection] = Field(min_length=1)


@dataclass(frozen=True)
class Given:
    """What goes before the plan, in all of its comparisons; None: as the plan says."""

    seeds: int | None = None
    rooms: tuple[int, int, int] | None = None
    vertices: int | None = None
    overrides: Sequence[str] = ()
    """Each ``key.sub=value``."""


def read_plan(path: Path) -> PlanFile:
    """Read a plan.

    Raises:
        UsageError: no YAML in it, an unknown key, or a wrong value.
    """
    try:
        return PlanFile.model_validate(read_yaml(path, "a plan begins with cfg, seeds and comparisons"))
    except ValidationError as error:
        from pointseg.config.mistakes import explain

        raise UsageError(f"{path}: {explain(error, PlanFile)}") from None


def plan_comparisons(plan: PlanFile, path: Path, out: Path, given: Given = Given()) -> list[Comparison]:
    """The comparisons of a plan, each in ``out/NAME``; those on the same rooms share ``out/rooms/...``.

    Those that set the same keys, too, have their runs in the folder of the first of them.

    Args:
        plan: of :func:`read_plan`.
        path: of its file, for messages.
        out: gets all of it.
        given: what goes before the plan.

    Raises:
        UsageError: an unknown method or key, or a wrong value; says in which comparison.
    """
    comparisons: list[Comparison] = []
    for name, section in plan.comparisons.items():
        try:
            comparison = _plan_comparison(plan, section, given, out / name, out)
            comparison.check()
            comparison = _share_runs(comparison, comparisons)
        except UsageError as error:
            raise UsageError(f"{path}: comparisons.{name}: {error}") from None
        comparisons.append(comparison)
    return comparisons


def _plan_comparison(plan: PlanFile, section: ComparisonSection, given: Given, out: Path, campaign: Path) -> Comparison:
    if not (section.methods or section.variations):
        raise UsageError("has no methods; name at least one")
    variations = [vary(variation.of, name, variation.set) for name, variation in section.variations.items()]
    law = section.law or plan.law
    num_vertices = given.vertices or section.vertices or plan.vertices
    counts = given.rooms or section.rooms or plan.rooms
    rooms = "-".join(map(str, (law, *counts, num_vertices)))
    return Comparison(
        out=out,
        runs=out / "runs",
        data=campaign / "rooms" / rooms,
        room_settings=RoomSettings(law, dict(zip(SPLITS, counts, strict=True)), num_vertices),
        methods=choose_methods([*section.methods, *variations]),
        num_seeds=given.seeds or section.seeds or plan.seeds,
        cfg=plan.cfg,
        overrides=[*_as_overrides({**plan.set, **section.set}), *given.overrides],
    )


def _share_runs(comparison: Comparison, before: Sequence[Comparison]) -> Comparison:
    """It, with its runs where one before it has them, if any is on the same rooms and sets the same keys.

    Raises:
        UsageError: two variations of one name are different, and would lie in one folder.
    """
    alike = [other for other in before if (other.data, other.overrides) == (comparison.data, comparison.overrides)]
    methods = {method.name: (other.name, method) for other in alike for method in other.methods}
    for method in comparison.methods:
        name, same = methods.get(method.name, ("", method))
        if same != method:
            raise UsageError(
                f"variations.{method.name}: {name} has another of that name on the same rooms with the same keys; "
                "give it another name"
            )
    return replace(comparison, runs=alike[0].runs) if alike else comparison


def _as_overrides(keys: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in keys.items()]
