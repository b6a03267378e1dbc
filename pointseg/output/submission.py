"""Predictions as the benchmark takes them: text files, and the zip that is handed in.

A prediction is ``<scene>.txt``: one class_id a line, in the vertex order of the scene's mesh. A submission
is a zip with one such file for each scene of the split at its root, and nothing else.
"""

import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pointseg.atomic import atomic_file
from pointseg.commands import called
from pointseg.errors import DataError, UsageError, regular_file
from pointseg.folder_lock import LOCK_NAME
from pointseg.formats.ply import count_vertices
from pointseg.output.prediction_record import RECORD_NAME, SUFFIXES, read_hashes
from pointseg.scannet.raw_scan import mesh_path, scans_folder
from pointseg.taxonomy import IGNORE, Taxonomy

_MAX_DIGITS = 9  # of an id that int32 holds for sure
_MAX_BYTES_PER_VERTEX = 24  # more than any number and line end; guards against a file that fills the memory
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# All that zipfile raises for a damaged zip. RuntimeError: it asks for a password, or is of a later version.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
)
_WHOLE_NUMBER = re.compile(rb"[+-]?[0-9]{1,9}")


@dataclass
class Inspection:
    """What was found in a folder of predictions or in a zip."""

    ids_of_scene: dict[str, np.ndarray] = field(default_factory=dict)
    """Scene -> (N,) int32 class_ids, of the scenes that are as they should be."""
    problems: list[str] = field(default_factory=list)
    """One line each: what the benchmark would refuse."""
    left_out: list[str] = field(default_factory=list)
    """Names of files that are no part of a submission."""

    @property
    def num_vertices(self) -> int:
        """Lines of all scenes that are as they should be."""
        return sum(len(ids) for ids in self.ids_of_scene.values())

    @property
    def num_classes(self) -> int:
        """Classes that occur in them."""
        return len(set().union(*(np.unique(ids).tolist() for ids in self.ids_of_scene.values())))


def write_prediction(path: str | os.PathLike[str], class_ids: np.ndarray) -> None:
    """Write one prediction, atomically.

    Args:
        path: ``<scene>.txt``.
        class_ids: (N,) integer, in the vertex order of the mesh.

    Raises:
        ValueError: the array is not one row of integers.
        OSError: the disk is full or can't be written.
    """
    content = _as_text(class_ids)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def read_prediction(path: str | os.PathLike[str], num_vertices: int | None = None) -> np.ndarray:
    """Read one prediction: (N,) int32 class_ids. Whether they are classes is not looked at.

    Raises:
        DataError: the file is missing, has not ``num_vertices`` lines where they are given, or a line is not a whole
            number.
    """
    try:
        size = regular_file(Path(path)).stat().st_size
        if num_vertices is not None and size > _most_bytes(num_vertices):
            raise DataError(f"{path}: {_describe_size(size, num_vertices)}")
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; make it with: {called('predict')}") from None
    ids, problem = _parse_ids(content, num_vertices)
    if ids is None:
        raise DataError(f"{path}: {problem}")
    return ids


def read_predicted_labels(path: str | os.PathLike[str], num_vertices: int, taxonomy: Taxonomy) -> np.ndarray:
    """Read one prediction as (N,) int64 labels; IGNORE where it says that a point has no class.

    Raises:
        DataError: as :func:`read_prediction`, or an id is no class of the taxonomy.
    """
    ids = read_prediction(path, num_vertices)
    problem = _describe_unknown_ids(ids, taxonomy, allowed=taxonomy.no_class_id)
    if problem is not None:
        raise DataError(f"{path}: {problem}")
    return taxonomy.label_from_class_id(ids)


def count_scene_vertices(raw: Path, scenes: Iterable[str], split: str) -> tuple[dict[str, int], list[str]]:
    """Scene -> number of vertices of its mesh; and a line for each mesh that can't be read.

    Args:
        raw: the folder with ``scans`` and ``scans_test``.
        scenes: the scenes of the split.
        split: ``train``, ``val`` or ``test``.

    Raises:
        UsageError: the raw folder has no scans of this split.
    """
    if not scans_folder(raw, split).is_dir():
        raise UsageError(f"{scans_folder(raw, split)}: there is no such folder; give the raw ScanNet folder by --raw")
    num_vertices_of, problems = {}, []
    for scene in scenes:
        try:
            num_vertices_of[scene] = count_vertices(mesh_path(raw, scene, split))
        except DataError as error:
            problems.append(str(error))
    return num_vertices_of, problems


def inspect_folder(folder: Path, num_vertices_of: Mapping[str, int], taxonomy: Taxonomy) -> Inspection:
    """Check the predictions in a folder; files that ``pointseg.predict`` has not made for it are listed as left out.

    Args:
        folder: holds ``<scene>.txt`` for each scene.
        num_vertices_of: scene -> number of vertices of its mesh, for every scene of the split.
        taxonomy: the classes that are allowed.
    """
    found = Inspection()
    hashes = read_hashes(folder)
    for scene, num_vertices in num_vertices_of.items():
        path = folder / f"{scene}.txt"
        if not path.is_file():
            found.problems.append(f"{path}: is missing; predict the whole split")
            continue
        if (size := path.stat().st_size) > _most_bytes(num_vertices):
            found.problems.append(f"{path}: {_describe_size(size, num_vertices)}")
            continue
        content = path.read_bytes()
        _inspect_scene(found, scene, str(path), content, num_vertices, taxonomy)
        if hashes is not None and hashes.get(scene) != hashlib.sha256(content).hexdigest():
            how = "is another one than" if scene in hashes else "is not among those that"
            found.problems.append(
                f"{path}: {how} {RECORD_NAME} tells of, so other weights or settings may have made it; run the same "
                "predict again, which makes only what is not as it was"
            )
    suffixes = (".txt", *SUFFIXES.values())
    expected = {RECORD_NAME, *(f"{scene}{suffix}" for scene in num_vertices_of for suffix in suffixes)}
    names = {child.name for child in folder.iterdir() if not child.name.startswith(LOCK_NAME)}
    found.left_out = sorted(names - expected)
    return found


def inspect_zip(path: Path, num_vertices_of: Mapping[str, int], taxonomy: Taxonomy) -> Inspection:
    """Check a submission zip; arguments as in :func:`inspect_folder`. Every problem is found, not only the first."""
    found = Inspection()
    try:
        with zipfile.ZipFile(path) as archive:
            members = _inspect_names(found, path, archive, num_vertices_of)
            for scene, member in members.items():
                _inspect_member(found, scene, f"{path}/{scene}.txt", archive, member, num_vertices_of[scene], taxonomy)
    except _UNREADABLE as error:
        found.problems.append(f"{path}: can't be read as a zip ({_explain(error)}); make it again")
    return found


def write_zip(path: str | os.PathLike[str], ids_of_scene: Mapping[str, np.ndarray]) -> None:
    """Write a submission zip, atomically. The same predictions give the same bytes.

    Args:
        path: the zip.
        ids_of_scene: scene -> (N,) integer class_ids.

    Raises:
        OSError: the disk is full or can't be written.
    """
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for scene in sorted(ids_of_scene):
            member = zipfile.ZipInfo(f"{scene}.txt", date_time=_ZIP_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3  # Unix, on every system, so that the bytes don't depend on it
            member.external_attr = 0o644 << 16
            archive.writestr(member, _as_text(ids_of_scene[scene]))


def _as_text(class_ids: np.ndarray) -> bytes:
    class_ids = np.asarray(class_ids)
    if class_ids.ndim != 1 or not np.issubdtype(class_ids.dtype, np.integer):
        raise ValueError(f"class_ids are {class_ids.dtype} {class_ids.shape}, expected integers (N,)")
    return "".join(f"{i}\n" for i in class_ids.tolist()).encode("ascii")


def _parse_ids(content: bytes, num_vertices: int | None) -> tuple[np.ndarray | None, str | None]:
    """The (N,) int32 ids, or None and what is wrong with the file."""
    # Before any line is looked at: of an end of line alone, which is a byte, each would take fifty.
    num_ends = max(content.count(b"\n"), content.count(b"\r"))
    if num_vertices is not None and num_ends > num_vertices:
        return None, _describe_number_of_lines(num_ends, num_vertices)
    ids = _parse_plain_digits(content)
    if ids is None:
        lines = content.splitlines()
        for number, line in enumerate(lines, start=1):
            # The benchmark's scripts end a line at \x0b and \x0c, too.
            if not _WHOLE_NUMBER.fullmatch(line.strip(b" \t")):
                shown = line[:40].decode("utf-8", errors="replace")
                return None, f"line {number} is {shown!r}, not a whole number; write one id a line"
        ids = np.array([int(line) for line in lines], dtype=np.int32)
    if num_vertices is not None and len(ids) != num_vertices:
        return None, _describe_number_of_lines(len(ids), num_vertices)
    return ids, None


def _describe_number_of_lines(num_lines: int, num_vertices: int) -> str:
    return f"has {num_lines} lines, the mesh has {num_vertices} vertices; write one id a vertex"


def _most_bytes(num_vertices: int) -> int:
    return _MAX_BYTES_PER_VERTEX * (num_vertices + 1)


def _describe_size(num_bytes: int, num_vertices: int) -> str:
    return f"has {num_bytes} bytes, far too many for {num_vertices} lines; write one id a vertex and nothing else"


def _parse_plain_digits(content: bytes) -> np.ndarray | None:
    """The numbers of a file of digits and line feeds, all lines at a time; None where it holds anything else.

    A hundred scenes are fifteen million lines: ``int`` on each takes ten times as long.
    """
    if content and not content.endswith(b"\n"):
        content += b"\n"
    characters = np.frombuffer(content, dtype=np.uint8)
    end = np.flatnonzero(characters == ord("\n"))
    num_digits = np.diff(end, prepend=-1) - 1
    digits = characters - ord("0")  # wraps around for what comes before the zero
    longest = int(num_digits.max(initial=0))
    if num_digits.min(initial=1) < 1 or longest > _MAX_DIGITS or np.count_nonzero(digits > 9) != len(end):
        return None
    value = np.zeros(len(end), dtype=np.int32)
    for place in range(longest):
        has_place = num_digits > place
        value[has_place] += digits[end[has_place] - 1 - place].astype(np.int32) * 10**place
    return value


def _describe_unknown_ids(ids: np.ndarray, taxonomy: Taxonomy, allowed: int | None = None) -> str | None:
    """What is wrong with ids that are neither classes nor the ``allowed`` one; None: there are none."""
    wrong = np.flatnonzero((taxonomy.label_from_class_id(ids) == IGNORE) & (ids != allowed))
    if not len(wrong):
        return None
    more = f" (and {len(wrong) - 1} more lines like it)" if len(wrong) > 1 else ""
    return f"line {wrong[0] + 1} is {ids[wrong[0]]}, no class of {taxonomy.name}{more}; write ids of its classes"


def _inspect_scene(
    found: Inspection, scene: str, where: str, content: bytes, num_vertices: int, taxonomy: Taxonomy
) -> None:
    ids, problem = _parse_ids(content, num_vertices)
    if ids is not None:
        problem = _describe_unknown_ids(ids, taxonomy)
    if problem is not None or ids is None:
        found.problems.append(f"{where}: {problem}")
    else:
        found.ids_of_scene[scene] = ids


def _explain(error: Exception) -> str:
    """What a library or the system found wrong, without the number of its error."""
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)


def _inspect_names(
    found: Inspection, path: Path, archive: zipfile.ZipFile, scenes: Mapping[str, int]
) -> dict[str, zipfile.ZipInfo]:
    """Scene -> its file in the zip, for the scenes that are there once; a problem for each other name."""
    members: dict[str, zipfile.ZipInfo] = {}
    files_in_folder: Counter[str] = Counter()
    times_seen = dict.fromkeys(scenes, 0)
    for member in archive.infolist():
        where = f"{path}/{member.filename}"
        folder, slash, name = member.filename.replace("\\", "/").rpartition("/")
        folder = folder or slash
        scene = name.removesuffix(".txt")
        if folder.startswith("__MACOSX") or name.startswith("."):
            found.problems.append(f"{where}: is a hidden file of the system that made the zip; leave it out")
        elif "\0" in member.orig_filename or stat.S_ISLNK(member.external_attr >> 16):
            found.problems.append(f"{where}: is a link, or has a NUL in its name; put the file itself there")
            if scene in times_seen:
                times_seen[scene] += 1
        elif folder:
            files_in_folder[folder] += name != ""
            if scene in times_seen:
                times_seen[scene] += 1
        elif not name.endswith(".txt") or scene not in times_seen:
            found.problems.append(f"{where}: is no scene of the split; leave it out")
        else:
            times_seen[scene] += 1
            members[scene] = member
    for folder, num_files in files_in_folder.items():
        found.problems.append(
            f"{path}/{folder}/: is a folder ({num_files} files); put <scene>.txt at the root of the zip"
        )
    for scene, times in times_seen.items():
        if times != 1:
            what = "is missing; add it" if times == 0 else f"is there {times} times; leave one"
            found.problems.append(f"{path}/{scene}.txt: {what}")
            members.pop(scene, None)
    return members


def _inspect_member(
    found: Inspection,
    scene: str,
    where: str,
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    num_vertices: int,
    taxonomy: Taxonomy,
) -> None:
    if member.file_size > _most_bytes(num_vertices):
        found.problems.append(f"{where}: {_describe_size(member.file_size, num_vertices)}")
        return
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found.problems.append(f"{where}: is compressed in a way that not every program reads; make the zip again")
        return
    try:
        content = archive.read(member)
    except _UNREADABLE as error:
        found.problems.append(f"{where}: can't be read from the zip ({_explain(error)}); make the zip again")
        return
    _inspect_scene(found, scene, where, content, num_vertices, taxonomy)
