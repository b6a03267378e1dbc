"""Which files of a folder are predictions: ``predictions.json``, the record of ``predict`` beside them, says it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pointseg.errors import DataError, regular_file

RECORD_NAME = "predictions.json"
SUFFIXES = {"ply": ".ply", "probabilities": ".probabilities.npy", "features": ".features.npy"}
"""What may be written beside ``<scene>.txt`` -> how its name ends."""
ENDINGS = {"prediction": ".txt", **SUFFIXES}
"""All that is written for a scene -> how its name ends."""


def written_files(folder: Path, scenes: Iterable[str]) -> list[Path]:
    """Paths of all that ``predict`` may write to a folder for these scenes."""
    return [folder / RECORD_NAME, *(folder / f"{scene}{ending}" for scene in scenes for ending in ENDINGS.values())]


def predicted_files(folder: Path) -> set[str]:
    """The names of the files in a folder that ``predict`` wrote, or was about to."""
    try:
        return read_record(folder)["files"]
    except DataError:  # a pipe or a device is called so
        return set()


def read_record(folder: Path) -> dict[str, Any]:
    """What the record of a folder says; all empty where there is none that can be read.

    Returns:
        ``settings``, ``classes`` and ``scenes``, as in :mod:`pointseg.output.prediction_record`; ``superseded``, scenes
        like those, that were predicted with other settings; ``files``, a set of names.

    Raises:
        DataError: it is a pipe or a device.
    """
    try:
        content = json.loads(regular_file(folder / RECORD_NAME).read_text(encoding="utf-8"))
        if isinstance(content["settings"], dict) and isinstance(content["scenes"], dict):
            classes, files, superseded = (content.get(key) for key in ("classes", "files", "superseded"))
            scenes = _dictionaries(content["scenes"])
            return {
                "settings": content["settings"],
                "scenes": scenes,
                "superseded": _dictionaries(superseded) if isinstance(superseded, dict) else {},
                "classes": classes if isinstance(classes, list) else [],
                "files": set(map(str, files)) if isinstance(files, list) else _files_of(scenes),
            }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return {"settings": {}, "scenes": {}, "superseded": {}, "classes": [], "files": set()}


def _dictionaries(scenes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: files for name, files in scenes.items() if isinstance(files, dict)}


def _files_of(scenes: Mapping[str, Any]) -> set[str]:
    """The names of the files of scenes in a record that does not list them, as they were once."""
    return {f"{scene}{ENDINGS[key]}" for scene, hashes in scenes.items() for key in hashes if key in ENDINGS}
