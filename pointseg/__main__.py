"""``pointseg COMMAND [ARGUMENTS]``, also ``python -m pointseg COMMAND``: every command, from an installed wheel too."""

import difflib
import importlib
from collections.abc import Sequence

from pointseg import __version__
from pointseg.commands import COMMANDS, run_command
from pointseg.errors import UsageError


def main(argv: Sequence[str]) -> int | None:
    """Hand the arguments to the command that comes first."""
    if not argv or argv[0] in ("-h", "--help"):
        print(format_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"pointseg {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        nearest = difflib.get_close_matches(argv[0], COMMANDS, n=1, cutoff=0.0)[0]
        raise UsageError(f"there is no command {argv[0]!r}, the nearest is {nearest}; see --help")
    command = importlib.import_module(f"pointseg.{COMMANDS[argv[0]].module}")
    return command.main(argv[1:])


def format_help() -> str:
    """A line a command, in the order of the way from scans to results."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pointseg COMMAND [ARGUMENTS]",
            "",
            "3D semantic segmentation of indoor scans with a long tail of classes.",
            "",
            *lines,
            "",
            "pointseg COMMAND --help says what a command takes; pointseg --version which version this is.",
        ]
    )


def console_script() -> None:
    """What the installed ``pointseg`` calls."""
    run_command(main)


if __name__ == "__main__":
    console_script()
