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

Runs lie in ``runs/``, in a folder for each kind of rooms and each set of keys: what two comparisons need is trained
once, and a plan that is changed finds what is done.
What a comparison says of ``law``, ``seeds``, ``rooms`` and ``vertices`` goes before what the plan says, and what is
given with the command before both: the same plan serves a larger machine.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from pointseg.config import load_config, read_yaml
from pointseg.config.sections import PositiveCount, Section
from pointseg.errors import UsageError
from pointseg.laboratory.comparison import Comparison
from pointseg.laboratory.data import RoomSettings
from pointseg.laboratory.methods import Method, choose_methods, is_method, vary
from pointseg.laboratory.plan import fingerprint_config
from pointseg.scans.tree import SPLITS

CAMPAIGN_NAME = "campaign"
"""Of the files that tell of the whole plan, without their endings."""
_ROOMS, _RUNS = "rooms", "runs"
_T = TypeVar("_T")


def _flatten(keys: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """``{train: {passes: 2}}`` is ``{train.passes: 2}``, and no section that takes the place of a whole one."""
    flat: dict[str, JsonValue] = {}
    for key, value in keys.items():
        if value == {}:
            raise ValueError(f"{key} is a section without a key; leave it out")
        inner = _flatten(value) if isinstance(value, dict) else {"": value}
        for rest, leaf in inner.items():
            each = f"{key}.{rest}" if rest else key
            if each in flat:
                raise ValueError(f"{each} stands in it twice; leave one of them")
            flat[each] = leaf
    return flat


def _check_name(name: str) -> str:
    if name in (_ROOMS, _RUNS) or name.split(".")[0] == CAMPAIGN_NAME:
        raise ValueError(f"{name} is a folder or a file of the whole plan; give the comparison another name")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")]
"""Of a folder."""
ComparisonName = Annotated[Name, AfterValidator(_check_name)]
Keys = Annotated[dict[str, JsonValue], AfterValidator(_flatten)]
"""Of the config, with their sections (``train.passes``) -> values."""
RoomCounts = tuple[PositiveCount, PositiveCount, PositiveCount]


class VariationSection(Section):
    """A method with other keys."""

    of: str
    set: Keys = Field(min_length=1)


class ComparisonSection(Section):
    """One table; None: as the plan says."""

    methods: list[str] = Field([])
    variations: dict[Name, VariationSection] = Field({})
    set: Keys = Field({})
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
    set: Keys = Field({})
    comparisons: dict[ComparisonName, ComparisonSection] = Field(min_length=1)


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

        raise UsageError(explain(error, PlanFile, str(path))) from None


def plan_comparisons(plan: PlanFile, path: Path, out: Path, given: Given = Given()) -> list[Comparison]:
    """The comparisons of a plan, each with its table in ``out/NAME``.

    Those on the same rooms share ``out/rooms/ROOMS``, those that set the same keys, too, ``out/runs/ROOMS-HASH``.

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
            _check_shared_names(comparison, comparisons)
        except UsageError as error:
            where = _find_place(error, plan, given, name)
            raise UsageError(f"{path}: {where}: {error}" if where else str(error)) from None
        comparisons.append(comparison)
    return comparisons


def _find_place(error: UsageError, plan: PlanFile, given: Given, name: str) -> str | None:
    """Where in the plan the mistake stands that a comparison has; None: in what is given with the command."""
    places: dict[str | None, list[str]] = {"cfg": [], "set": _as_overrides(plan.set), None: list(given.overrides)}
    for place, overrides in places.items():
        try:
            load_config(plan.cfg, overrides)
        except UsageError as alone:
            if str(alone) == str(error):
                return place
    return f"comparisons.{name}"


def _plan_comparison(plan: PlanFile, section: ComparisonSection, given: Given, out: Path, campaign: Path) -> Comparison:
    if not (section.methods or section.variations):
        raise UsageError("has no methods; name at least one")
    settings = RoomSettings(
        law=section.law or plan.law,
        num_scenes=dict(zip(SPLITS, _first_said(given.rooms, section.rooms, plan.rooms), strict=True)),
        num_vertices=_first_said(given.vertices, section.vertices, plan.vertices),
    )
    rooms = "-".join(map(str, (settings.law, *settings.num_scenes.values(), settings.num_vertices)))
    overrides = [*_as_overrides({**plan.set, **section.set}), *given.overrides]
    shared = fingerprint_config(load_config(plan.cfg, overrides))
    return Comparison(
        out=out,
        runs=campaign / _RUNS / f"{rooms}-{shared[:8]}",
        data=campaign / _ROOMS / rooms,
        room_settings=settings,
        methods=choose_methods([*section.methods, *_vary(section)]),
        num_seeds=_first_said(given.seeds, section.seeds, plan.seeds),
        cfg=plan.cfg,
        overrides=overrides,
    )


def _first_said(of_call: _T | None, of_comparison: _T | None, of_plan: _T) -> _T:
    return next((value for value in (of_call, of_comparison) if value is not None), of_plan)


def _vary(section: ComparisonSection) -> list[Method]:
    """The methods that a comparison makes of others.

    Raises:
        UsageError: as :func:`pointseg.laboratory.methods.vary`, or one is named where a method has to be.
    """
    for name in section.methods:
        if name in section.variations and not is_method(name):
            raise UsageError(f"methods: {name} is a variation, which is a row without that; leave it out")
    for name, variation in section.variations.items():
        if variation.of in section.variations and not is_method(variation.of):
            raise UsageError(
                f"variations.{name}: {variation.of} is a variation, too; say of which method, with the keys of both"
            )
    return [vary(variation.of, name, variation.set) for name, variation in section.variations.items()]


def _check_shared_names(comparison: Comparison, before: Sequence[Comparison]) -> None:
    """Two variations of one name that are different would lie in one folder.

    Raises:
        UsageError: there are such.
    """
    alike = [other for other in before if other.runs == comparison.runs]
    methods = {method.name: (other.name, method) for other in alike for method in other.methods}
    for method in comparison.methods:
        name, same = methods.get(method.name, ("", method))
        if replace(same, about=method.about) != method:  # 1 and 1.0 are told differently, and are the same
            raise UsageError(
                f"variations.{method.name}: {name} has another of that name on the same rooms with the same keys; "
                "give it another name"
            )


def _as_overrides(keys: Mapping[str, JsonValue]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in keys.items()]
