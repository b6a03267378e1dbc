"""The arguments with which a command takes a scan from a file and is told what the file does not say."""

import argparse

from pointseg.scans.frame import METRES_OF_UNIT, UP_AXES
from pointseg.scans.own_scan import ScanOptions


def add_scan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--unit``, ``--up`` and ``--fill-color``."""
    group = parser.add_argument_group("what a scan's file does not say")
    group.add_argument("--unit", choices=tuple(METRES_OF_UNIT), help="unit of its coordinates; if not given: metres")
    # As one word, `--up=-y`: apart from the option, -y looks like another one.
    group.add_argument(
        "--up", choices=UP_AXES, help="its axis that points up (--up=-y); if not given: the format's, or z"
    )
    group.add_argument(
        "--fill-color",
        type=_color,
        metavar="R,G,B",
        help="colour, 0..255 each, of the points of a scan without colours",
    )


def scan_options(arguments: argparse.Namespace) -> ScanOptions:
    """What the arguments of :func:`add_scan_arguments` say."""
    return ScanOptions(arguments.unit, arguments.up, arguments.fill_color)


def _color(text: str) -> tuple[int, int, int]:
    numbers = [int(word) if word.strip().isdecimal() else -1 for word in text.split(",")]
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        raise argparse.ArgumentTypeError(f"expected three whole numbers 0..255 with commas between, got {text!r}")
    return numbers[0], numbers[1], numbers[2]
