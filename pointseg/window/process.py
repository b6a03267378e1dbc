"""The window in a process of its own: what the graphics driver does to it, this one survives, and can say."""

import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from pointseg.errors import UsageError, install_command
from pointseg.output.offscreen import SYSTEM_PACKAGES, describe_end
from pointseg.window.content import Content

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_REMEDY = "use --save PICTURE.png"


def has_screen() -> bool:
    """Whether a window can be opened: X11 or Wayland on Linux, always elsewhere."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show_window(content: Content) -> None:
    """Show the window until it is closed. Nothing of what Open3D writes reaches the terminal.

    Raises:
        UsageError: Open3D or matplotlib is not installed, or no window can be drawn here.
    """
    for module, library in (("open3d", "Open3D"), ("matplotlib", "matplotlib")):
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"a window needs {library}; {_REMEDY}, or type: {install_command('viz')}")
    with tempfile.TemporaryDirectory(prefix="pointseg-") as folder:
        path = Path(folder) / "content.pickle"
        with path.open("wb") as file:
            pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)
        command = [sys.executable, "-m", "pointseg.window.app", str(path)]
        result = subprocess.run(
            command, cwd=_PACKAGE_PARENT, capture_output=True, text=True, errors="replace", check=False
        )
    if result.returncode != 0:
        raise UsageError(
            f"a window can't be drawn here ({describe_end(result)}); {_REMEDY}, or if packages are missing: "
            f"apt-get install -y --no-install-recommends {SYSTEM_PACKAGES}"
        )
