"""Any scan file: :func:`read_scan_file` chooses the reader by the suffix, and makes one line of whatever goes wrong."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, PointsegError, describe_os_error
from pointseg.formats.clouds import read_las, read_pcd
from pointseg.formats.gltf import read_gltf
from pointseg.formats.libraries import require
from pointseg.formats.obj import read_obj
from pointseg.formats.off import read_off
from pointseg.formats.ply import read_ply
from pointseg.formats.scan_file import ScanFile, check_is_readable_file
from pointseg.formats.text_table import read_text_table


def read_scan_file(path: str | os.PathLike[str]) -> ScanFile:
    """Read a scan in any format of :data:`READERS`, by the suffix of its name.

    Points keep the order and the number that they have in the file, and coordinates its digits.

    Raises:
        DataError: the suffix is not known, or the file is missing, damaged, truncated or empty. Whatever a library
            raises on a file becomes this.
        UsageError: a library that the format needs is not installed.
    """
    path = Path(path)
    check_is_readable_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: is of a kind that is not read; give one of {', '.join(READERS)}")
    try:
        with _quiet():
            return reader(path)
    except (PointsegError, KeyboardInterrupt, SystemExit):
        raise
    except OSError as error:
        where = error.filename if error.filename is not None else path
        named = OSError(error.errno, error.strerror or str(error), os.fspath(where))
        raise DataError(_one_line(describe_os_error(named, "fetch or export it again"))) from None
    except BaseException as error:  # libraries in Rust end with one that is no Exception
        reason = _one_line(str(error)) or type(error).__name__
        kind = path.suffix[1:].upper()
        raise DataError(f"{path}: can't be read as {kind} ({reason}); fetch or export it again") from None


def _read_stl(path: Path) -> ScanFile:
    """Read an STL file, which has three vertices a face and shares none: N is three times the number of faces."""
    with open(path, "rb") as file:
        loaded = require("trimesh.exchange.stl", path).load_stl(file)
    solids = list(loaded["geometry"].values()) if "geometry" in loaded else [loaded]
    if not solids:
        raise DataError(f"{path}: is truncated or has no face; fetch or export it again")
    xyz = np.concatenate([solid["vertices"] for solid in solids])
    note = f"an STL file has three vertices a face: {len(xyz):,} points"
    faces = np.arange(len(xyz), dtype=np.int32).reshape(-1, 3)
    return ScanFile(path, xyz if xyz.dtype == np.float32 else xyz.astype(np.float64), faces, notes=[note])


READERS: dict[str, Callable[[Path], ScanFile]] = {
    ".ply": read_ply,
    ".obj": read_obj,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".off": read_off,
    ".stl": _read_stl,
    ".las": read_las,
    ".laz": read_las,
    ".pcd": read_pcd,
    **dict.fromkeys((".xyz", ".xyzn", ".xyzrgb", ".pts", ".txt", ".asc"), read_text_table),
}
"""Suffix -> reader."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Libraries warn and log, with tracebacks, of what becomes a line of ours or does not matter."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
