"""Text in a tree, which stays as it is where it says the same."""

from pathlib import Path

from pointseg.atomic import write_text


def write_if_other(path: Path, text: str) -> None:
    """Write a file (UTF-8) unless it is there with this text, be it with other ends of lines or a byte order mark.

    Raises:
        OSError: it can't be read or written.
    """
    if not path.is_file() or path.read_text(encoding="utf-8-sig", errors="replace") != text:
        write_text(path, text)
