"""A comparison: methods on the same rooms with the same budget and seeds, which become one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointseg.config import Config, load_config
from pointseg.laboratory.configuring import configure
from pointseg.laboratory.data import Rooms, RoomSettings, find_rooms, make_rooms
from pointseg.laboratory.methods import Method
from pointseg.laboratory.plan import PlannedRun, plan_runs


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it is kept."""

    out: Path
    """Gets the table."""
    runs: Path
    """Gets the runs. Comparisons on the same rooms that set the same keys share them: what both need is done once."""
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

    def check(self) -> None:
        """Build the config of every method.

        Raises:
            UsageError: a key or a value is wrong.
        """
        for method in self.methods:
            configure(self.cfg, self.overrides, method, 0, "", "")

    @property
    def needs_segments(self) -> bool:
        """Whether a method votes in the over-segments of the rooms."""
        return any("inference.vote" in {**method.overrides, **method.changes} for method in self.methods)

    def make_rooms(self) -> Rooms:
        """Make the rooms, or what is missing of them; raises as :func:`pointseg.laboratory.data.make_rooms`."""
        return make_rooms(self.data, self.room_settings, needs_segments=self.needs_segments)

    def find_rooms(self) -> Rooms:
        """The rooms as they are; where some are missing, such as no run was made on."""
        return find_rooms(self.data, self.room_settings) or Rooms(self.data / "prepared", self.room_settings, "")

    def plan_runs(self, rooms: Rooms) -> list[PlannedRun]:
        """All runs, seed by seed."""
        return plan_runs(self.name, self.runs, self.methods, range(self.num_seeds), self.cfg, self.overrides, rooms)
