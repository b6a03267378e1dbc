"""What a prediction was made of: the files of a scan or prepared scene, and whether they are still the same."""

from collections.abc import Iterable
from pathlib import Path

from pointseg.errors import DataError
from pointseg.formats.companions import companion_files
from pointseg.output.prediction_record import hash_files, read_inputs
from pointseg.preparation.jobs import describe_files
from pointseg.preparation.prepared_source import read_source
from pointseg.scannet.raw_scan import mesh_path, segments_beside
from pointseg.scans.prepared import geometry_files
from pointseg.scans.scene_segments import surface_files


def hash_input(path: Path, with_segments: bool) -> str | None:
    """The SHA-256 of a scan's files or of a prepared scene's arrays; None where one can't be read.

    Args:
        path: the file of a scan, or the folder of a prepared scene.
        with_segments: whether its over-segments count, as where they vote.
    """
    files = geometry_files(path) if path.is_dir() else [path, *companion_files(path)]
    segments = _segment_files(path) if with_segments else ()
    # The suffix says how the same bytes are read.
    return hash_files([*files, *segments], kind=path.suffix.lower())


def find_outdated(predictions: Path, raw: Path, scenes: Iterable[str], split: str) -> list[str]:
    """A line for each prediction whose mesh has changed since. Of what is no longer there nothing can be said.

    Args:
        predictions: a folder with a record, or without.
        raw: the raw ScanNet folder.
        scenes: names of the scenes.
        split: that they are of.
    """
    inputs = read_inputs(predictions)
    problems = []
    for scene in scenes:
        source, sha256 = inputs.get(scene, (None, None))
        if source is None or not source.exists():
            continue
        where = predictions / f"{scene}.txt"
        remedy = "run the same predict again, which makes only what is not as it was"
        if _has_changed(source, sha256):
            problems.append(f"{where}: was made of {source}, which is another one now; {remedy}")
        elif source.is_dir() and _is_older(source, mesh_path(raw, scene, split)):
            problems.append(
                f"{where}: was made of {source}, whose mesh has changed since; prepare the scene again, then {remedy}"
            )
    return problems


def _segment_files(path: Path) -> list[Path]:
    """The files besides those of its points from which the over-segments of a scan or a prepared scene are read."""
    if path.is_dir():
        return surface_files(path)
    published = segments_beside(path)
    return [] if published is None else [published]


def _has_changed(source: Path, sha256: str | None) -> bool:
    try:
        return all(hash_input(source, with_segments) != sha256 for with_segments in (False, True))
    except DataError:
        return True


def _is_older(scene: Path, mesh: Path) -> bool:
    """Whether a prepared scene was made of this very mesh as it was before."""
    prepared = read_source(scene)
    if prepared is None or not mesh.exists() or Path(prepared["raw_folder"]).resolve() != mesh.parent.resolve():
        return False
    before, now = prepared["made_from"].get("files", {}), describe_files([mesh], mesh.parent)
    return mesh.name in before and before[mesh.name] != now[mesh.name]
