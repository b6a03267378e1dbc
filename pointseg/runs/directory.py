"""The folder of a run: config, checkpoints and what was measured."""

import json
import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from pointseg.atomic import errors_name, remove_unfinished, write_text
from pointseg.config import Config, dump_config, load_config
from pointseg.errors import DataError, UsageError, regular_file
from pointseg.folder_lock import refuse_if_lost
from pointseg.scans.tree import describe_scans_at
from pointseg.taxonomy import CLASS_TABLE, NAMES, Taxonomy


class RunDirectory:
    """Where everything of one run is.

    ``config.yaml``, ``classes.tsv``, ``surroundings.json`` (what it was trained on), ``metrics.jsonl``,
    ``checkpoints/{last,best}.pt``, ``tensorboard/``. It needs nothing else: the classes are those of the run, whatever
    becomes of the table that they were read from.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.classes_path = self.path / CLASS_TABLE
        self.surroundings_path = self.path / "surroundings.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.last_checkpoint = self.path / "checkpoints" / "last.pt"
        self.best_checkpoint = self.path / "checkpoints" / "best.pt"
        self.tensorboard_path = self.path / "tensorboard"

    def read_config(self) -> Config:
        """The config that the run was trained with.

        Raises:
            UsageError: this is not the folder of a run.
        """
        if not self.config_path.is_file():
            raise UsageError(f"{self.path}: is not the folder of a run, it has no config.yaml; give one of runs/")
        return load_config(str(self.config_path))

    def find_checkpoint(self) -> Path:
        """The best checkpoint, or the last one where none was validated yet."""
        return self.best_checkpoint if self.best_checkpoint.is_file() else self.last_checkpoint

    def refuse_overwriting(
        self, remedy: str = "go on with --resume, or choose another folder with run.dir=PATH"
    ) -> None:
        """A run that has a checkpoint is never begun anew.

        Args:
            remedy: what the caller's user can do.

        Raises:
            UsageError: there is a checkpoint already.
        """
        for checkpoint in (self.last_checkpoint, self.best_checkpoint):
            if checkpoint.is_file():
                raise UsageError(f"{checkpoint}: this run has a checkpoint already; {remedy}")

    def refuse_place_of_scans(self, root: str, option: str) -> None:
        """A run has a folder of its own: among scans, it and its files would be taken for theirs.

        Args:
            root: the prepared tree that it is trained on.
            option: with which the run's folder is chosen.

        Raises:
            UsageError: its folder is a prepared tree, lies among the scenes of one, or is that of the raw scans.
        """
        if (found := describe_scans_at(self.path, root)) is not None:
            raise UsageError(f"{self.path}: {found}; choose another folder for the run with {option}")

    def clear_unfinished(self) -> None:
        """Remove what a killed process had begun to write, and nothing else: only one may write here at a time."""
        written = (
            *(self.config_path, self.classes_path, self.surroundings_path, self.metrics_path),
            *(self.last_checkpoint, self.best_checkpoint),
        )
        remove_unfinished(written)

    def begin(self, config: Config, taxonomy: Taxonomy) -> None:
        """Make the folder of a new run, and keep the config and the classes."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.clear_unfinished()
        self.keep_classes(taxonomy)
        self.keep_config(config)
        write_text(self.metrics_path, "")

    def keep_classes(self, taxonomy: Taxonomy) -> None:
        """Write the classes of now: a resumed run may have other names for them."""
        write_text(self.classes_path, taxonomy.as_table())

    def keep_config(self, config: Config) -> None:
        """Write the config of now: a resumed run may have its data and its threads elsewhere."""
        taxonomy = config.taxonomy if config.taxonomy in NAMES else CLASS_TABLE
        write_text(self.config_path, dump_config(config.model_copy(update={"taxonomy": taxonomy})))

    def keep_surroundings(self, surroundings: Mapping[str, str], resumed: bool) -> None:
        """Write what the run is trained on; what it began on stays where it is resumed."""
        before = self.read_surroundings() if resumed else []
        if before[-1:] != [surroundings]:
            write_text(self.surroundings_path, json.dumps([*before, surroundings], indent=1) + "\n")

    def read_surroundings(self) -> list[dict[str, str]]:
        """What the run was trained on (machine, torch, code, date), in order; empty where nobody can say."""
        try:
            rows = json.loads(regular_file(self.surroundings_path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, DataError):
            return []
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return [{str(key): str(value) for key, value in row.items()} for row in rows]

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one JSON object to ``metrics.jsonl``: a whole line, or none. What is not finite is null.

        Raises:
            OSError: the disk is full or can't be written.
            UsageError: the folder was moved away meanwhile.
        """
        refuse_if_lost(self.path)
        known = {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in row.items()}
        line = (json.dumps(known, allow_nan=False) + "\n").encode()
        path = regular_file(self.metrics_path)
        with errors_name(path, path), open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                file.truncate(end)  # the next line would be joined to what there was room for
                raise
