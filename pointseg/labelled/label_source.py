"""Where the labels and the objects of a scan file are: in a property of its points, or in a file beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, describe_os_error, regular_file
from pointseg.formats.scan_file import ScanFile, are_whole
from pointseg.scans.prepared import load_array

# In this order, without case, `scalar_` (which CloudCompare puts before every name), `-` and `_`. The classification of
# a LAS file comes last: every such file has one, be it all zero.
_LABEL_NAMES = (
    *("label", "labels", "semanticlabel", "semanticlabels", "semantic", "semantics", "semanticid", "semlabel"),
    *("class", "classes", "classid", "classlabel", "classindex", "category", "categoryid"),
    *("segment", "segmentation", "gt", "groundtruth", "classification"),
)
_INSTANCE_NAMES = ("instance", "instances", "instanceid", "instancelabel", "object", "objectid", "objid")
# What -1 becomes in 32 or 64 bits without a sign, and then in single precision: no class has such an id.
_LOST_MINUS_ONE = (2**32 - 1, 2**32, 2**64 - 1)
# In 8 or 16 bits it may as well be an id.
_MAYBE_MINUS_ONE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
BESIDE = (".labels.txt", ".labels.npy")
"""Endings of a file of labels beside ``<stem>.<any>``."""


@dataclass(frozen=True)
class FoundLabels:
    """The class ids of a scan's points, and where they were."""

    class_id: np.ndarray
    """(N,) int64, as in the file."""
    where: str
    """``property 'label'`` or the name of the file."""
    note: str | None = None
    """What a person should know."""
    zero_is_unclassified: bool = False
    """Whether 0 means "never classified" by the standard of the file's format, and so is no class."""
    field: str | None = None
    """Name of the property that they are; None: they were in a file beside the scan."""


def find_labels(scan: ScanFile, label_field: str | None = None) -> FoundLabels | None:
    """The labels of a scan: of the property that is named, of a file beside it, or of a property with a usual name.

    Args:
        scan: as it was read.
        label_field: name of the property, as in the file, or without case and ``scalar_`` where that is one property.

    Returns:
        None where there are none.

    Raises:
        DataError: there is no such property, or several that differ in case or ``scalar_``; both files lie beside the
            scan; or the file is no list of N whole numbers.
    """
    if label_field is not None:
        return _labels_of_field(scan, _find_named(scan, label_field))
    beside = labels_beside(scan.path)
    if len(beside) > 1:
        raise DataError(f"{scan.path}: has labels in {beside[0].name} and in {beside[1].name}; leave one of them")
    if beside:
        ids, note = _read_label_file(beside[0], scan)
        return FoundLabels(ids, f"file <scan>.labels{beside[0].suffix.lower()}", note)
    found = _match(scan.fields, _LABEL_NAMES)
    if not found:
        return None
    others = ", ".join(repr(name) for name in found[1:])
    note = f"labels are those of {found[0]!r}, not of {others}; --label-field takes another" if others else None
    return _labels_of_field(scan, found[0], note)


def labels_beside(path: Path) -> list[Path]:
    """The files of labels that lie beside a scan, their endings in any case."""
    try:
        names = sorted(child.name for child in path.parent.iterdir() if child.name.startswith(path.stem))
    except OSError:
        return []
    return [path.with_name(n) for end in BESIDE for n in names if n[len(path.stem) :].lower() == end]


def find_instances(scan: ScanFile) -> np.ndarray | None:
    """(N,) int64 ids of objects, -1 = none; None where the scan has none. The scan's ``notes`` get what is doubtful."""
    found = _match(scan.fields, _INSTANCE_NAMES)
    if not found:
        return None
    last = _MAYBE_MINUS_ONE.get(scan.fields[found[0]].dtype)
    if last is not None and (scan.fields[found[0]] == last).any():
        scan.notes.append(
            f"{found[0]!r} has an object {last}, which may be -1 in too few bits; then write it as an int"
        )
    return np.maximum(_as_int64(scan, found[0]), -1)


def explain_missing_labels(scan: ScanFile) -> str:
    """Why a scan that has to have labels is refused, and what to do."""
    beside = " or ".join(scan.path.stem + end for end in BESIDE)
    if not_whole := _match(scan.not_whole, _LABEL_NAMES):
        return (
            f"{scan.path}: {_describe_not_whole(scan, not_whole[0])}; write whole numbers there, or name another "
            f"property by --label-field, or put {beside} beside it; {_describe_fields(scan)}"
        )
    return f"{scan.path}: has no labels; name their property by --label-field, or put {beside} beside it; " + (
        _describe_fields(scan)
    )


def _find_named(scan: ScanFile, label_field: str) -> str:
    """The property that is called so, or the only one that is but for case and what programs add."""
    found = [label_field] if label_field in scan.fields else _match(scan.fields, (plain_name(label_field),))
    if not found and (not_whole := _match(scan.not_whole, (plain_name(label_field),))):
        raise DataError(
            f"{scan.path}: {_describe_not_whole(scan, not_whole[0])}; write whole numbers there, or name another "
            f"property; {_describe_fields(scan)}"
        )
    if not found:
        raise DataError(f"{scan.path}: has no property {label_field!r} of whole numbers; {_describe_fields(scan)}")
    if len(found) > 1:
        names = " and ".join(map(repr, found))
        raise DataError(f"{scan.path}: --label-field {label_field} may be {names}; write one of them as it is there")
    return found[0]


def _labels_of_field(scan: ScanFile, name: str, note: str | None = None) -> FoundLabels:
    is_without_zero = name in scan.fields_with_unclassified_zero
    return FoundLabels(_as_int64(scan, name), f"property {name!r}", note, is_without_zero, name)


def _describe_fields(scan: ScanFile) -> str:
    return f"its whole numbers are: {', '.join(map(repr, scan.fields)) or 'none'}"


def _describe_not_whole(scan: ScanFile, name: str) -> str:
    return f"its {name!r} holds {scan.not_whole[name]:.9g}, and labels are whole numbers"


def plain_name(name: str) -> str:
    """The name of a property without what programs add to it or write in another way."""
    return name.lower().removeprefix("scalar_").replace("_", "").replace("-", "").replace(" ", "")


def _match(fields: Iterable[str], names: Sequence[str]) -> list[str]:
    """The fields that have one of the names, in the order of the names."""
    return [field for name in names for field in fields if plain_name(field) == name]


def _as_int64(scan: ScanFile, name: str) -> np.ndarray:
    values = scan.fields[name]
    is_none = _are_none(values)
    largest = values.max(where=~is_none, initial=0)
    if largest > np.iinfo(np.int64).max:
        raise DataError(f"{scan.path}: {name!r} holds {largest}, which is no id; take another property")
    return np.where(is_none, -1, values.astype(np.int64))


def _are_none(values: np.ndarray) -> np.ndarray:
    """(N,) bool: which of (N,) integers or float64 are NaN, or what -1 became in a type without a sign."""
    return np.isnan(values) | np.any([values == lost for lost in _LOST_MINUS_ONE], axis=0)


def _read_label_file(path: Path, scan: ScanFile) -> tuple[np.ndarray, str | None]:
    """(N,) int64 ids, and what a person should know."""
    values = _read_npy(path) if path.suffix.lower() == ".npy" else _read_text(path)
    if len(values) != scan.num_points:
        raise DataError(
            f"{path}: has {len(values)} labels, {scan.path.name} has {scan.num_points} points; make it anew"
        )
    num_nan = int(np.isnan(values).sum())
    return _whole(path, values), f"{num_nan:,} points have NaN for a label, and count as -1" if num_nan else None


def _read_npy(path: Path) -> np.ndarray:
    values = load_array(path, lambda: "check the file, or make it anew")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise DataError(f"{path}: is {values.dtype} {values.shape}, expected whole numbers (N,); make it anew")
    return values


def _read_text(path: Path) -> np.ndarray:
    """One number a line, with the ends of lines of any system; blank lines at the end don't count."""
    try:
        lines = regular_file(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
        return np.array(lines, dtype=np.float64)
    except OSError as error:
        raise DataError(describe_os_error(error, "check the file")) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; write one whole number a line") from None
    except ValueError:
        bad = next((n for n, line in enumerate(lines, start=1) if not _is_number(line)), 1)
        raise DataError(f"{path}:{bad}: is no number; write one whole number a line") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(path: Path, values: np.ndarray) -> np.ndarray:
    if np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)  # 2**53 is more than a float16 holds
    is_none = _are_none(values)
    numbers = np.where(is_none, 0, values)
    is_id = are_whole(numbers) if values.dtype == np.float64 else numbers <= np.iinfo(np.int64).max
    if not is_id.all():
        bad = int(np.flatnonzero(~is_id)[0])
        raise DataError(f"{path}: label {bad + 1} is {values[bad]}, expected whole numbers; make it anew")
    return np.where(is_none, -1, numbers.astype(np.int64))
