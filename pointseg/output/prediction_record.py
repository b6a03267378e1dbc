"""What made the predictions in a folder: a finished scene is not predicted again, an outdated one is not kept.

``predictions.json`` lies beside the predictions: ``settings``, all that decided them but the scenes; ``classes``, the
table of the classes that their ids are of, in the order of the columns of probabilities; and ``scenes``, for each
finished one the SHA-256 of its input, of its prediction, and of each further file that was asked for. A prediction
counts as finished while all files that are wanted and all settings are what they were. ``superseded`` are scenes that
were finished with other settings, and never count as finished: of which scan a prediction in the folder is, and which
files go with it, is known from them. ``files`` are the names of all that predictions were ever written to, or were
about to be: nothing else in the folder is written over.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pointseg.atomic import write_text
from pointseg.errors import DataError, UsageError, regular_file
from pointseg.folder_lock import LOCK_NAME, hold_folder
from pointseg.scans.predicted_files import ENDINGS, RECORD_NAME, SUFFIXES, read_record
from pointseg.taxonomy import NAMES, Taxonomy, load_taxonomy, parse_class_table

_CHUNK_BYTES = 1 << 20


class PredictionRecord:
    """The record of one folder, as a call with these settings sees it.

    Args:
        folder: of the predictions; it need not exist.
        settings: what JSON can hold; where any of them is another one than before, no prediction counts as finished.
        taxonomy: the classes of the ids.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], taxonomy: Taxonomy) -> None:
        self.folder = folder
        self.classes = taxonomy.as_table()
        self.settings = json.loads(json.dumps(settings))
        stored = read_record(folder)
        before = stored["settings"]
        self.changed = sorted(key for key in before | self.settings if before.get(key) != self.settings.get(key))
        """Names of the settings that differ from those of the predictions in the folder."""
        if not before:
            self.changed = []
        self.scenes: dict[str, Any] = stored["scenes"] if before == self.settings else {}
        self._earlier: dict[str, Any] = stored["superseded"] | stored["scenes"]
        self._files: set[str] = stored["files"]

    def is_finished(self, scene: str, input_sha256: str | None, further: Iterable[str] = ()) -> bool:
        """Whether the scene's prediction is what these settings make of this input.

        Args:
            scene: its name.
            input_sha256: of its input; None: can't be read.
            further: keys of ``SUFFIXES``: files that have to be there, too, and of the same prediction.
        """
        recorded = self.scenes.get(scene, {})
        if input_sha256 is None or recorded.get("input") != input_sha256:
            return False
        return all(
            recorded.get(key) is not None and self._hash(scene, key) == recorded[key]
            for key in ("prediction", *further)
        )

    def refuse_other_files(self, scenes: Iterable[str], further: Iterable[str] = ()) -> None:
        """Check that no prediction would take the place of a file that is none, such as a scan or labels in a text.

        Raises:
            UsageError: one is there, and the record does not know it.
        """
        for path in self._paths(scenes, further):
            if os.path.lexists(path) and path.name not in self._files:
                raise UsageError(
                    f"{path}: is there already, and {RECORD_NAME} does not name it as a prediction; move it away, or "
                    "choose another folder with --out"
                )

    def claim(self, scene: str, further: Iterable[str] = ()) -> None:
        """Note, before they are written, that the files of a scene are this folder's: a killed call leaves some.

        Raises:
            OSError: the disk is full or can't be written.
        """
        names = {path.name for path in self._paths([scene], further)}
        if names <= self._files:
            return
        with self._hold():
            stored = read_record(self.folder)
            if not stored["settings"]:
                stored = {**stored, "settings": self.settings, "classes": self.classes.splitlines()}
            self._write(stored, names)

    def refuse_other_source(self, scene: str, source: Path) -> None:
        """Check that a prediction that is there is not of another scan that is called the same, as in S3DIS's areas.

        A scan that was moved is the same one: what is refused lies in two places.

        Raises:
            DataError: both scans are there.
        """
        before = self._earlier.get(scene, {}).get("source")
        if isinstance(before, str) and Path(before) != source.resolve() and Path(before).exists():
            raise DataError(
                f"{source}: is called as {before}, whose prediction is in {self.folder}; predict it with another --out"
            )

    def add(
        self, scene: str, input_sha256: str | None, further: Iterable[str] = (), source: Path | None = None
    ) -> list[Path]:
        """Record a prediction that was written. The record is replaced whole: an interruption leaves the old one.

        Files of ``SUFFIXES`` that an earlier call wrote beside another prediction of the scene are removed, unless
        they were changed since: probabilities of an old prediction would lie beside a new one.

        Args:
            scene: its name.
            input_sha256: of its input.
            further: keys of ``SUFFIXES``: files that were written with it.
            source: the scan's file or folder.

        Returns:
            What was removed.

        Raises:
            OSError: the disk is full or can't be written.
        """
        finished = {"input": input_sha256, **{key: self._hash(scene, key) for key in ("prediction", *further)}}
        if source is not None:
            finished["source"] = str(source.resolve())
        earlier = self._earlier.get(scene, {})
        removed = []
        if self.scenes.get(scene, {}).items() >= {key: finished[key] for key in ("input", "prediction")}.items():
            finished = self.scenes[scene] | finished
        else:
            removed = [path for key in SUFFIXES if key not in further and (path := self._remove(scene, key, earlier))]
        with self._hold():
            # Another call with the same settings may have finished scenes meanwhile.
            stored = read_record(self.folder)
            is_same = stored["settings"] == self.settings
            self.scenes = {**self.scenes, **(stored["scenes"] if is_same else {}), scene: finished}
            superseded = stored["superseded"] | ({} if is_same else stored["scenes"])
            content = {
                "settings": self.settings,
                "classes": self.classes.splitlines(),
                "scenes": self.scenes,
                "superseded": {name: row for name, row in superseded.items() if name not in self.scenes},
                "files": stored["files"],
            }
            self._write(content, {path.name for path in self._paths([scene], further)})
        return removed

    def path(self, scene: str, key: str = "prediction") -> Path:
        """Of a scene's prediction, or of a file beside it: a key of ``SUFFIXES``."""
        return self.folder / f"{scene}{ENDINGS[key]}"

    def _paths(self, scenes: Iterable[str], further: Iterable[str]) -> list[Path]:
        return [self.path(scene, key) for scene in scenes for key in ("prediction", *further)]

    def _hold(self) -> AbstractContextManager[None]:
        return hold_folder(self.folder, "keeps the record", "predict again", wait=True, name=f"{LOCK_NAME}-record")

    def _write(self, content: Mapping[str, Any], names: set[str]) -> None:
        """Replace the record by one with more files."""
        self._files = content["files"] | names
        ordered = {
            "settings": content["settings"],
            "classes": content["classes"],
            "scenes": dict(sorted(content["scenes"].items())),
            "superseded": dict(sorted(content["superseded"].items())),
            "files": sorted(self._files),
        }
        write_text(self.folder / RECORD_NAME, json.dumps(ordered, indent=1) + "\n")

    def _remove(self, scene: str, key: str, earlier: Mapping[str, str]) -> Path | None:
        """Remove a file of an earlier prediction, if it is still the one that was recorded."""
        path = self.path(scene, key)
        if key not in earlier or not path.is_file() or self._hash(scene, key) != earlier[key]:
            return None
        path.unlink()
        return path

    def _hash(self, scene: str, key: str) -> str | None:
        return hash_files([self.path(scene, key)])


def hash_files(paths: Iterable[Path], kind: str = "") -> str | None:
    """The SHA-256, in hex, of files one after the other, read as a ``kind``; None where one can't be read."""
    sha256 = hashlib.sha256(kind.encode(errors="surrogateescape"))
    try:
        for path in paths:
            with open(regular_file(path), "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    sha256.update(chunk)
    except OSError:
        return None
    return sha256.hexdigest()


def fingerprint(settings: Mapping[str, Any]) -> str:
    """The same for the same settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def read_hashes(folder: Path) -> dict[str, str | None] | None:
    """Scene -> SHA-256 of its prediction, of those that one checkpoint made with one choice of settings.

    None where there is no record: another program made the predictions.
    """
    if not (folder / RECORD_NAME).is_file():
        return None
    return {scene: files.get("prediction") for scene, files in read_record(folder)["scenes"].items()}


def read_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Scene -> what its prediction was made of: file or folder, and its SHA-256; of those that the record tells of."""
    scenes = read_record(folder)["scenes"]
    return {
        scene: (Path(files["source"]), files["input"])
        for scene, files in scenes.items()
        if isinstance(files.get("source"), str) and isinstance(files.get("input"), str)
    }


def read_taxonomy(folder: Path) -> Taxonomy | None:
    """The classes of the predictions in a folder; None where no record says.

    Raises:
        DataError: the record, or its table of classes, is damaged.
    """
    stored = read_record(folder)
    if not stored["settings"] and (folder / RECORD_NAME).exists():
        raise DataError(f"{folder / RECORD_NAME}: is damaged, and says no classes; predict again")
    name = stored["settings"].get("taxonomy")
    if name in NAMES:
        return load_taxonomy(name)
    if not stored["classes"]:
        return None
    return parse_class_table("\n".join(map(str, stored["classes"])), "own", str(folder / RECORD_NAME))
