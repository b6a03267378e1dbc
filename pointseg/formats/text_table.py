"""Tables of text, a point a line: XYZ, XYZN, XYZRGB, PTS, TXT and ASC, through NumPy."""

import codecs
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, first_line
from pointseg.formats.columns import scan_of_columns
from pointseg.formats.scan_file import ScanFile, are_whole

_COMMENTS = ("#", "//")
_WINDOWS_NAN = re.compile(rb"[-+]?(nan\((ind|snan)?\)|1\.#(IND|[QS]NAN)0*)")
_NAME_THEM = "a first line with the names of the columns says otherwise"


def read_text_table(path: Path) -> ScanFile:
    """Read a table of text, its columns parted by spaces, commas or semicolons.

    What a column is, its name says, where a line before the numbers has names, also behind ``#`` or ``//``, and parted
    by tabs, commas, semicolons or spaces: ``x y z``, ``r g b`` or ``red green blue``, ``nx ny nz``, in any order;
    columns of whole numbers with other names become ``fields``. Without names three numbers are x y z; four have an
    intensity after them, which is left out; six have a normal (``.xyzn``, or all of unit length with some below zero)
    or a colour; seven have intensity and colour (``.pts``), or colour and a whole number, which becomes
    ``fields["label"]``. Nine have a colour and a normal, in the order in which they fit. A line with the number of
    points before them is skipped, and so is a sentence. Numbers may stand in double quotes, and every line may end in a
    comma or semicolon more.

    Raises:
        DataError: a line is not numbers, or has another number of them than the first, or than there are names; or
            there are more or fewer lines than announced, or no names x, y and z among others.
    """
    all_lines = split_lines(_read_bytes(path))
    headers, announced, lines = _part_headers([line for line in all_lines if line.strip()])
    if not lines:
        raise DataError(f"{path}: has no points; scan it again or leave it out")
    delimiter = next((mark for mark in ",;" if mark in lines[0]), None)
    if delimiter is not None and all(line.rstrip().endswith(delimiter) for line in lines):
        lines = [line.rstrip().removesuffix(delimiter) for line in lines]
        headers = [replace(header, text=header.text.rstrip().removesuffix(delimiter)) for header in headers]
    quote = '"' if '"' in lines[0] else None
    try:
        table = np.loadtxt(lines, dtype=np.float64, ndmin=2, delimiter=delimiter, comments=None, quotechar=quote)
    except ValueError as error:
        reason = _explain(error, all_lines, len(lines))
        raise DataError(f"{path}: can't be read as a table of points ({reason}); export the cloud again") from None
    if announced is not None and len(table) != announced:
        raise DataError(f"{path}: announces {announced} points and has {len(table)}; fetch or export it again")
    if table.shape[1] < 3:
        raise DataError(f"{path}: a line has {table.shape[1]} numbers, expected x y z and more; export the cloud again")
    names = _column_names(path, headers, delimiter, table.shape[1])
    if names is None:
        return _scan_of_unnamed(path, table)
    return scan_of_columns(path, dict(zip(names, table.T, strict=True)), notes=[], is_text=True)


def split_lines(content: bytes) -> list[str]:
    """The lines of a text, by :func:`text_encoding`. Split as bytes: part of a letter may be an end of line there."""
    encoding = text_encoding(content)
    return [line.decode(encoding) for line in plain_nan(content).splitlines()]


def text_encoding(content: bytes) -> str:
    """``utf-8`` where a text is that, else ``latin-1``, in which any bytes are one."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def plain_nan(content: bytes) -> bytes:
    """A text of numbers with ``nan`` for what Windows writes: ``-nan(ind)``, ``-1.#IND``."""
    return _WINDOWS_NAN.sub(b"nan", content) if b"nan(" in content or b".#" in content else content


def _is_text(line: str) -> bool:
    """Whether a line begins with a letter, or with one in quotes, and not with ``nan`` or ``inf``."""
    begin = re.match(r"\s*[\"']?([a-zA-Z]+)", line)
    return begin is not None and begin[1].lower() not in ("nan", "inf", "infinity")


def _read_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: is a text in UTF-16; save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)


def _explain(error: ValueError, all_lines: list[str], num_rows: int) -> str:
    """What NumPy can't read, and in which line of the file, from 1.

    Args:
        error: of ``np.loadtxt``, which counts the rows that it was given: from 0, or from 1 where their width changes.
        all_lines: of the file.
        num_rows: how many it was given: the last lines that are neither blank nor comments.
    """
    reason = first_line(error).split(";")[0].rstrip(".")
    found = re.search(r" at row (\d+)(, )?", reason)
    if found is None:
        return reason
    row = int(found[1]) - ("number of columns changed" in reason)
    numbers = [n for n, line in enumerate(all_lines, start=1) if line.strip() and not _is_comment(line)][-num_rows:]
    return f"line {numbers[row]}: " + reason.replace(found[0], " in " if found[2] else "")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_COMMENTS)


@dataclass(frozen=True)
class _Header:
    """A line before the numbers that may name the columns."""

    text: str
    is_sure: bool
    """Whether it stands there as it is; in a comment there may be anything."""


def _part_headers(lines: list[str]) -> tuple[list[_Header], int | None, list[str]]:
    """What stands before the numbers, the number of points if it is announced there, and the lines of numbers."""
    headers: list[_Header] = []
    announced = None
    rows = iter(lines)
    for line in rows:
        if _is_comment(line):
            headers.append(_Header(re.sub(r"^\s*(#|//)+", "", line), is_sure=False))
        elif _is_text(line) and not any(header.is_sure for header in headers):
            headers.append(_Header(line, is_sure=True))
        elif announced is None and line.strip().isdecimal():
            announced = int(line)
        else:
            numbers = [line, *(row for row in rows if not _is_comment(row))]
            return headers, announced, numbers
    return headers, announced, []


def _column_names(path: Path, headers: list[_Header], delimiter: str | None, width: int) -> list[str] | None:
    """The names of ``width`` columns; None where no header names any.

    Args:
        path: of the file.
        headers: the lines before the numbers.
        delimiter: of the numbers; None: spaces.
        width: how many there are in a line.

    Raises:
        DataError: a header has names, but not of the columns.
    """
    misfit = None
    for header in reversed(headers):  # the nearest to the numbers first
        splits = [_split_names(header.text, mark) for mark in ("\t", ",", ";", None)]
        with_place = [names for names in splits if {name.lower() for name in names} >= set("xyz")]
        for names in with_place:
            if len(names) == width == len(set(names)):
                return names
        usual = _split_names(header.text, delimiter if delimiter and delimiter in header.text else None)
        if header.is_sure and len(usual) == width:
            with_place.append(usual)
        misfit = misfit or next(iter(with_place), None)
    if misfit is None:
        return None
    raise DataError(
        f"{path}: its header names {len(misfit)} columns ({' '.join(misfit[:12])}) and a line has {width} numbers; "
        "name each column once, x, y and z among them, or leave that line out"
    )


def _split_names(text: str, mark: str | None) -> list[str]:
    return [word.strip().strip("\"'") for word in text.split(mark)]


def _scan_of_unnamed(path: Path, table: np.ndarray) -> ScanFile:
    rest = table[:, 3:]
    width, suffix = rest.shape[1], path.suffix.lower()
    notes: list[str] = []
    if width == 0:
        names = ""
    elif width == 1:
        names = "intensity"
        if are_whole(rest).all():
            notes.append(f"the fourth number of a line counts as an intensity and was left out; {_NAME_THEM}")
    elif width == 3 and (suffix == ".xyzn" or (suffix not in (".xyzrgb", ".pts") and _look_like_normals(rest))):
        names = "nx ny nz"
    elif width == 3:
        names = "r g b"
    elif width == 4 and suffix == ".pts":
        names = "intensity r g b"
    elif width == 4:
        names = "r g b label"
    elif width == 6:
        names = "nx ny nz r g b" if _look_like_normals(rest[:, :3]) else "r g b nx ny nz"
    else:
        names = ""
        notes.append(f"{width} numbers after x y z are not known and were left out; {_NAME_THEM}")
    if width in (4, 6) and suffix != ".pts":
        notes.append(f"a line was read as x y z {names}; {_NAME_THEM}")
    columns = dict(zip(["x", "y", "z", *names.split()], table.T, strict=False))
    columns.pop("intensity", None)
    return scan_of_columns(path, columns, notes=notes)


def _look_like_normals(values: np.ndarray) -> bool:
    """Whether most rows have unit length (or are zero), and some number is below zero as no colour is."""
    length = np.linalg.norm(values, axis=1)
    return bool((values < 0).any() and ((np.abs(length - 1) < 0.02) | (length == 0)).mean() > 0.9)
