"""A comparison: methods on the same rooms with the same budget and seeds, which become one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointseg.config import Config, load_config
from pointseg.errors import UsageError
from pointseg.laboratory.configuring import configure
from pointseg.laboratory.data import Rooms, RoomSettings, find_rooms, make_rooms
from pointseg.laboratory.methods import Method
from pointseg.laboratory.plan import PlannedRun, fingerprint_config, plan_runs


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
        """Build the config of every method.

        Raises:
            UsageError: a key or a value is wrong, or a variation is the same as another row.
        """
        rows: dict[tuple[str, str | None, str | None], Method] = {}
        for method in self.methods:
            config = configure(self.cfg, self.overrides, method, 0, "", "")
            other = rows.setdefault((fingerprint_config(config), method.taught_by, method.begins_with), method)
            variation, twin = (method, other) if method.of is not None else (other, method)
            if other is not method and variation.of is not None:
                raise UsageError(f"{variation.name}: is the same as {twin.name}, to every key; leave it out")

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
