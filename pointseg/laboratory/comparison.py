"""A comparison: methods on the same rooms with the same budget and seeds, which become one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from pointseg.config import Config, DataConfig, ModelConfig, load_config
from pointseg.config.sections import Feature
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.objective import build_collapse
from pointseg.errors import UsageError
from pointseg.laboratory.configuring import configure, value_of
from pointseg.laboratory.data import Rooms, RoomSettings, find_rooms, make_rooms
from pointseg.laboratory.methods import OFF, Method
from pointseg.laboratory.plan import PlannedRun, fingerprint_config, plan_runs
from pointseg.models import build_network
from pointseg.taxonomy import load_taxonomy


def _build_branch(config: Config) -> None:
    """What a run could not build is found before rooms are made and others are trained.

    Raises:
        UsageError: the keys of ``model`` or of ``loss.collapse`` do not fit each other.
    """
    # Tables are written on machines, too, that lack the libraries with which the runs were trained.
    model = config.model.model_copy(update={"backend": "torch"})
    collapse = config.loss.collapse.model_copy(update={"backend": "index_add"})
    channels = _count_feature_channels(model, config.data.features, config.taxonomy)
    if collapse.weight > 0:
        once = torch.ones(load_taxonomy(config.taxonomy).num_classes, dtype=torch.int64)
        try:
            build_collapse(channels, collapse, ClassCounts(once, once))
        except ValueError as error:
            raise UsageError(f"loss.collapse: {error}") from None


@lru_cache
def _count_feature_channels(model: ModelConfig, features: tuple[Feature, ...], taxonomy: str) -> int:
    """Of the network, which most methods share."""
    config = Config(model=model, data=DataConfig(features=features), taxonomy=taxonomy)
    return build_network(config, torch.device("cpu")).feature_channels


def refuse_unused_overrides(comparisons: Sequence["Comparison"]) -> None:
    """Refuse what is set for all and turned off again by every method: it would change nothing, and stand in the table.

    A plan sets for all of its comparisons what only some of them have.

    Raises:
        UsageError: of an override, all methods of all comparisons that it is given for turn it off.
    """
    used: dict[str, bool] = {}
    for comparison in comparisons:
        shared = comparison.shared_config
        for override in comparison.overrides:
            key = override.partition("=")[0]
            if key in OFF and value_of(shared, key) != OFF[key]:
                used[override] = used.get(override, False) or comparison.turns_on(key)
    for override, is_used in used.items():
        if not is_used:
            raise UsageError(
                f"{override}: every method that is compared turns it off, so it would change nothing; leave it out, or "
                "compare a method that has it (--methods, variations of a plan)"
            )


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it is kept."""

    out: Path
    """Gets the table."""
    runs: Path
    """Gets the runs; comparisons that are on the same rooms and set the same keys can share them."""
    data: Path
    """Gets the rooms; several comparisons can share them."""
    room_settings: RoomSettings
    methods: Sequence[Method]
    num_seeds: int
    cfg: str
    """Name of the config that all methods share."""
    overrides: Sequence[str]
    """Each ``key.sub=value``, for all methods."""

    @property
    def name(self) -> str:
        """What a line calls it: its folder's name."""
        return self.out.name

    @property
    def shared_config(self) -> Config:
        """What all methods share."""
        return load_config(self.cfg, list(self.overrides))

    @property
    def settings_but_budget(self) -> str:
        """A hash of what all methods share, whatever the number of passes."""
        return fingerprint_config(load_config(self.cfg, [*self.overrides, "train.passes=1"]))

    def check(self) -> None:
        """Build the config of every method, and its network with the center branch.

        Raises:
            UsageError: a key or a value is wrong, two do not go together, or a variation is the same as another row.
        """
        rows: dict[tuple[str, str | None, str | None], Method] = {}
        for method in self.methods:
            config = configure(self.cfg, self.overrides, method, 0, str(self.runs), str(self.data))
            try:
                _build_branch(config)
            except UsageError as error:
                raise UsageError(f"{method.name}: {error}") from None
            other = rows.setdefault((fingerprint_config(config), method.taught_by, method.begins_with), method)
            variation, twin = (method, other) if method.of is not None else (other, method)
            if other is not method and variation.of is not None:
                raise UsageError(f"{variation.name}: is the same as {twin.name}, to every key; leave it out")

    def turns_on(self, key: str) -> bool:
        """Whether a method has a key of :data:`OFF` with another value than off."""
        for method in self.methods:
            config = configure(self.cfg, self.overrides, method, 0, str(self.runs), str(self.data))
            if value_of(config, key) != OFF[key]:
                return True
        return False

    @property
    def needs_segments(self) -> bool:
        """Whether a method votes in the over-segments of the rooms."""
        return any("inference.vote" in {**method.overrides, **method.changes} for method in self.methods)

    def make_rooms(self) -> Rooms:
        """Make the rooms, or what is missing of them; raises as :func:`pointseg.laboratory.data.make_rooms`."""
        return make_rooms(self.data, self.room_settings, needs_segments=self.needs_segments)

    def find_rooms(self) -> Rooms:
        """The rooms as they are; without a fingerprint where some are missing."""
        return find_rooms(self.data, self.room_settings) or Rooms(self.data / "prepared", self.room_settings, None)

    def plan_runs(self, rooms: Rooms) -> list[PlannedRun]:
        """All runs, seed by seed."""
        return plan_runs(self.name, self.runs, self.methods, range(self.num_seeds), self.cfg, self.overrides, rooms)
