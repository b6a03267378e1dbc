"""Reading the tables of this package; a mistake in one is named with its file and row."""

import csv
from collections.abc import Callable, Iterator
from importlib import resources
from typing import TypeVar

Row = TypeVar("Row")


def read_table_text(file_name: str) -> str:
    """The text of one of the package's ``.tsv`` files."""
    return resources.files(__package__).joinpath(file_name).read_text(encoding="utf-8")


def read_table(file_name: str, parse_row: Callable[[dict[str, str]], Row]) -> list[Row]:
    """Parse every row of a table with ``parse_row``.

    Raises:
        ValueError: a row is not what it has to be; says which.
    """
    rows = []
    for line, row in enumerate(csv.DictReader(read_table_text(file_name).splitlines(), delimiter="\t"), start=2):
        try:
            rows.append(parse_row(row))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{file_name}, line {line}: {error}") from error
    return rows


def parse_interval(text: str) -> tuple[float, float]:
    """``.4:.6`` -> (0.4, 0.6); a single number stands for both ends."""
    low, _, high = text.partition(":")
    return float(low), float(high or low)


def parse_list(text: str) -> tuple[str, ...]:
    """``a, b`` -> ("a", "b"); an empty text is an empty list."""
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def parse_repeated_intervals(text: str) -> list[list[tuple[float, float]]]:
    """The alternatives of one axis of a part, each with its repeats.

    ``0:.1,.9:1`` is two alternatives. ``0:.03+.24*5`` is one, repeated five times, each 0.24 further.
    """
    alternatives = []
    for entry in parse_list(text):
        first, _, repeat = entry.partition("+")
        low, high = parse_interval(first)
        step, _, times = repeat.partition("*")
        alternatives.append([(low + i * float(step or 0), high + i * float(step or 0)) for i in range(int(times or 1))])
    return alternatives


def combine_axes(x: str, y: str, z: str) -> Iterator[tuple[tuple[float, float], ...]]:
    """Boxes ((x0, x1), (y0, y1), (z0, z1)): every combination of the alternatives; repeats go in step."""
    for along_x in parse_repeated_intervals(x):
        for along_y in parse_repeated_intervals(y):
            for along_z in parse_repeated_intervals(z):
                times = max(len(along_x), len(along_y), len(along_z))
                axes = [axis * times if len(axis) == 1 else axis for axis in (along_x, along_y, along_z)]
                yield from zip(*axes, strict=True)
