"""Libraries that read formats: imported when a file needs them, missed in one line."""

import importlib
from pathlib import Path
from typing import Any

from pointseg.errors import UsageError, missing_library


def require(module: str, path: Path) -> Any:
    """Import a library of the extra ``formats``.

    Args:
        module: dotted name.
        path: the file that needs it, for the message.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = {"PIL": "Pillow"}.get(module.split(".")[0], module.split(".")[0])
        raise UsageError(missing_library(f"{path}: reading it", name, "formats")) from None
