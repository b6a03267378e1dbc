"""What is written beside a prediction: the scan in the classes' colours, and arrays that need not fit into memory."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from pointseg.atomic import atomic_file
from pointseg.errors import DataError
from pointseg.formats.ply import write_mesh
from pointseg.formats.ply_header import SCAN_COLORS, read_mesh_header
from pointseg.formats.scan_file import ScanFile
from pointseg.output.panels import class_colors
from pointseg.taxonomy import Taxonomy

_ZEROS = bytes(1 << 20)


class ArrayFiles:
    """``.npy`` files that are filled in any order, and are there whole or not at all.

    They are mapped into memory, so that the system keeps of them what it has room for; their space on the disk is
    taken before. They take their place when the block ends without error.

    Args:
        path_of: name -> the file that the array of this name gets; other arrays are in memory.
    """

    def __init__(self, path_of: Mapping[str, Path]) -> None:
        self._path_of = path_of
        self._stack = ExitStack()

    def __enter__(self) -> "ArrayFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def allocate(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An array of zeros, as :data:`pointseg.engine.inference.pointwise.Allocate`.

        Raises:
            OSError: the disk is full or can't be written.
        """
        zeros = torch.zeros((), dtype=dtype)
        if name not in self._path_of:
            return zeros.new_zeros(shape)
        temporary = self._stack.enter_context(atomic_file(self._path_of[name]))
        array = np.lib.format.open_memmap(temporary, "w+", zeros.numpy().dtype, shape)
        _take_space(temporary)
        self._stack.callback(array.flush)
        return torch.from_numpy(array)


def write_predicted_mesh(
    path: str | os.PathLike[str], file: ScanFile, taxonomy: Taxonomy, labels: np.ndarray, confidence: np.ndarray
) -> None:
    """Write a scan in the classes' colours as PLY, with what a viewer can filter by.

    Coordinates, normals and faces are those of the file. Properties of a vertex are ``red green blue``, the colour of
    the class; ``scan_red scan_green scan_blue``, the scan's own, where it has colours; ``label``, int, the class_id;
    ``confidence``, float, 0..1; and ``quality``, the same again: what MeshLab filters by, which reads no float
    called confidence. A vertex without a class is grey.

    Args:
        path: of the PLY file.
        file: N points.
        taxonomy: the classes.
        labels: (N,) integer; IGNORE: no class.
        confidence: (N,) float32.

    Raises:
        OSError: the disk is full or can't be written.
    """
    extra: dict[str, np.ndarray] = {}
    if file.rgb is not None:
        extra = {name: file.rgb[:, axis] for axis, name in enumerate(SCAN_COLORS)}
    confidence = confidence.astype(np.float32, copy=False)
    extra |= {"label": taxonomy.class_id_from_label(labels), "confidence": confidence, "quality": confidence}
    write_mesh(path, replace(file, rgb=class_colors(labels, taxonomy), fields={}), extra)


def is_predicted_mesh(path: Path) -> bool:
    """Whether a PLY file may be of :func:`write_predicted_mesh`, by its header.

    Raises:
        DataError: it is no PLY file.
    """
    return read_mesh_header(path).may_be_prediction


def _take_space(path: Path) -> None:
    """Make the file's bytes real. A full disk is an error here; in a mapped page it would kill the process."""
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        start = file.read(4096)  # the header
        file.seek(0)
        file.write(start)
        for begin in range(len(start), size, len(_ZEROS)):
            file.write(_ZEROS[: size - begin])


def read_confidence(path: Path, ids: np.ndarray) -> np.ndarray | None:
    """The confidence beside a prediction, from the mesh that ``predict --ply`` wrote with it.

    Args:
        path: of the prediction, ``<scene>.txt``.
        ids: (N,) integer, what the prediction says.

    Returns:
        (N,) float32, 0..1; None where there is no such mesh, or it is of another prediction.
    """
    from plyfile import PlyData, PlyParseError

    mesh = path.with_suffix(".ply")
    try:
        if not mesh.is_file() or not is_predicted_mesh(mesh):
            return None
        vertex = PlyData.read(str(mesh))["vertex"].data
    except (DataError, PlyParseError, OSError, ValueError, KeyError):
        return None
    if not np.array_equal(vertex["label"], ids):
        return None
    return np.asarray(vertex["confidence"], dtype=np.float32)
