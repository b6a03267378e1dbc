"""What a result was made with: machine, versions, commit."""

import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch

import pointseg
from pointseg.cores import count_cores


def describe_surroundings(device: torch.device) -> dict[str, str]:
    """``machine``, ``torch``, ``code`` and ``date`` as texts."""
    return {
        "machine": describe_machine(device),
        "torch": str(torch.__version__),
        "code": describe_code(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def describe_machine(device: torch.device) -> str:
    """The GPU, or the processor and the cores of it that this process may use."""
    if device.type == "cuda":
        return name_device(device)
    return f"{name_device(device)}, {count_cores()} cores"


def name_device(device: torch.device) -> str:
    """What the GPU or the processor is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        processor = None
    return processor[1] if processor else platform.machine()


def describe_code() -> str:
    """The commit, with ``+`` where files were changed since; outside a checkout the version."""
    root = Path(pointseg.__file__).resolve().parents[1]
    version = f"pointseg {pointseg.__version__}"
    if not (root / ".git").exists():
        return version
    commit = _ask_git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return version
    return commit + ("+" if _ask_git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _ask_git(root: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
