"""The runs of a comparison: for each method and seed a config, a folder, and whether it is done."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pointseg.config import Config, config_from_dict, flatten_config
from pointseg.config.roles import keys_of
from pointseg.errors import DataError, UsageError, regular_file
from pointseg.laboratory.configuring import configure
from pointseg.laboratory.data import Rooms
from pointseg.laboratory.methods import Method
from pointseg.runs.directory import RunDirectory

RESULT_VERSION = 2
"""Raised when the same config, or the same weights, get another result. 2: scenes that are not cropped are centred."""
RESULT_NAME = "result.json"
CLAIM_NAME = "laboratory.json"
_DELETE_RUN = "delete the folder of the run"
_NOT_IN_FINGERPRINT = keys_of("place", "pace", "means", "telling")
"""Of rooms and of other runs, their fingerprints count and not where they lie."""


@dataclass(frozen=True)
class PlannedRun:
    """One method with one seed."""

    comparison: str
    """The name of that which needs it."""
    method: str
    seed: int
    trained_as: str
    """The method whose run of the same seed trains the weights; its own where it trains them itself."""
    directory: str
    source: str
    """Folder of the run that trains the weights."""
    teacher: str | None
    """Folder of the run that it learns from; None: of none."""
    start: str | None
    """Folder of the run with whose weights its training begins; None: with random ones."""
    config: dict[str, Any]
    """A :class:`Config` as JSON."""
    fingerprint: str | None
    """Of config and data: another one, another result; None: the rooms are not there, and it can't be told."""
    num_visits: int
    """Training scenes that it sees, each counted as often as it does."""

    @property
    def trains(self) -> bool:
        """Whether it trains weights of its own."""
        return self.source == self.directory

    @property
    def needed(self) -> set[str]:
        """Folders of the runs that have to be done before."""
        return {folder for folder in (self.source, self.teacher, self.start) if folder not in (None, self.directory)}

    @property
    def title(self) -> str:
        """What a line calls it."""
        return f"{self.method}, seed {self.seed}"

    @property
    def result_path(self) -> Path:
        """What it is all for."""
        return Path(self.directory) / RESULT_NAME

    @property
    def claim_path(self) -> Path:
        """Says which run the folder is for, from the beginning on."""
        return Path(self.directory) / CLAIM_NAME

    def read_config(self) -> Config:
        """The config of the run."""
        return config_from_dict(self.config, self.directory)

    def to_json(self) -> str:
        """One line that :meth:`from_json` reads back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "PlannedRun":
        """What :meth:`to_json` wrote."""
        return cls(**json.loads(text))


def plan_runs(
    comparison: str,
    folder: Path,
    methods: Sequence[Method],
    seeds: Sequence[int],
    cfg: str,
    overrides: Sequence[str],
    rooms: Rooms,
) -> list[PlannedRun]:
    """All runs, seed by seed, so that a comparison that is cut off has few seeds and not few methods.

    Args:
        comparison: its name.
        folder: gets a folder for each method, with one for each seed in it.
        methods: what is compared.
        seeds: of each.
        cfg: the config that all share.
        overrides: each ``key.sub=value``, for all.
        rooms: what all are trained on.
    """
    runs: list[PlannedRun] = []
    for seed in seeds:
        for method in methods:
            directory = _run_folder(folder, method.name, seed)
            teacher = None if method.taught_by is None else _run_folder(folder, method.taught_by, seed)
            start = None if method.begins_with is None else _run_folder(folder, method.begins_with, seed)
            config = configure(cfg, overrides, method, seed, directory, str(rooms.root), teacher, start)
            learned_from = [run.fingerprint for other in (teacher, start) for run in runs if run.directory == other]
            runs.append(
                PlannedRun(
                    comparison=comparison,
                    method=method.name,
                    seed=seed,
                    trained_as=method.trained_as,
                    directory=directory,
                    source=_run_folder(folder, method.trained_as, seed),
                    teacher=teacher,
                    start=start,
                    config=config.model_dump(mode="json"),
                    fingerprint=fingerprint_run(config, rooms, learned_from),
                    num_visits=config.train.passes * rooms.settings.num_scenes["train"],
                )
            )
    return runs


def fingerprint_run(config: Config, rooms: Rooms, learned_from: Sequence[str | None] = ()) -> str | None:
    """A hash of all that decides the result of a run; None where the rooms are not there.

    Args:
        config: of the run.
        rooms: what it is trained on.
        learned_from: fingerprints of the runs that teach it or that it begins with.
    """
    if rooms.fingerprint is None:
        return None
    return _hash([RESULT_VERSION, rooms.fingerprint, _what_decides(config), *learned_from])


def fingerprint_config(config: Config) -> str:
    """A hash of what a config says of the result of a run."""
    return _hash(_what_decides(config))


def _what_decides(config: Config) -> dict[str, Any]:
    """What is not a default: a key that a later version adds makes no result obsolete."""
    set_keys = flatten_config(config.model_dump(mode="json", exclude_defaults=True))
    return {key: value for key, value in set_keys.items() if key not in _NOT_IN_FINGERPRINT}


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_result(run: PlannedRun) -> dict[str, Any] | None:
    """The result of a run; None where it has none yet.

    Raises:
        UsageError: the folder is for a run with another config or on other data, or not of the laboratory.
        DataError: the result is damaged.
    """
    claim = read_claim(run)
    if claim is None:
        if RunDirectory(run.directory).config_path.exists():
            raise UsageError(f"{run.directory}: holds a run that is not of the laboratory; choose another --out")
        return None
    result = read_json(run.result_path, _DELETE_RUN)
    held = {content.get("fingerprint") for content in (claim, result) if content is not None}
    if run.fingerprint is not None and held != {run.fingerprint}:
        raise UsageError(
            f"{run.directory}: holds a run with another config, on other rooms or of an older version; "
            "choose another --out, or delete the run"
        )
    return result


def read_claim(run: PlannedRun) -> dict[str, Any] | None:
    """What was noted of the run when it began; None where it has not."""
    return read_json(run.claim_path, _DELETE_RUN)


def _run_folder(folder: Path, method: str, seed: int) -> str:
    return str(folder / method / f"seed{seed}")


def read_json(path: Path, remedy: str) -> dict[str, Any] | None:
    """What the laboratory wrote earlier; None where it has not.

    Raises:
        DataError: it is damaged; says ``remedy``.
    """
    try:
        content: dict[str, Any] = json.loads(regular_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        content = {}
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: is damaged; {remedy}") from None
    return content
