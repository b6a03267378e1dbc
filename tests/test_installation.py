"""What the documentation tells people to install can be installed, on the versions of Python that it names."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    ROOT / "data_prep" / "README.md",
    ROOT / "submissions" / "README.md",
]

# Without the wheels that pip has built before, and building in isolation as newer versions of pip always do: this
# finds a package that needs the torch that is there, and so can't be part of an extra.
_AS_ON_A_NEW_MACHINE = ("--ignore-installed", "--no-deps", "--no-cache-dir", "--use-pep517")


def _install_lines() -> list[str]:
    """The words after each ``pip install`` of the documentation, up to a comment or the next command; the changelog
    tells of old ones, too.
    """
    found: dict[str, None] = {}
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            text = page.read_text(encoding="utf-8")
            found |= dict.fromkeys(line.strip() for line in re.findall(r"\bpip install ([^`#&\n]+)", text))
    return list(found)


def _requirements(word: str) -> list[str]:
    """What a word of the command line stands for: itself, or what the extras of this project ask for.

    What the project itself asks for is installed in earnest by the test of the wheel.
    """
    ours = re.fullmatch(r"(?:\.|pointseg)(?:\[([\w,]+)\])?", word)
    if ours is None:
        return [word]
    extras = ours[1].split(",") if ours[1] else []
    return [name for extra in extras for name in PROJECT["optional-dependencies"][extra]]


def _pip_would_install(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--disable-pip-version-check", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


def test_lines_are_found_at_all() -> None:
    lines = _install_lines()
    for extra in ("cu118", "cu126", "triton"):
        assert f"- `{extra}` is " in README
    assert "-e '.[cu118]'" in lines
    assert "--no-build-isolation torch-scatter" in lines


@pytest.mark.slow
@pytest.mark.needs("network")
@pytest.mark.parametrize("line", [*_install_lines(), "-e '.[cu126]'", "-e '.[triton]'"])
def test_a_documented_line_resolves(line: str) -> None:
    """As it stands, after the lines before it; then each package by itself, as where none is installed yet.

    The first finds requirements that exclude each other. The second finds a package that can't be built, or does not
    exist, though it happens to be here.
    """
    words = shlex.split(line)
    _pip_would_install(*words)
    options = [word for word in words if word.startswith("--")]
    packages = [name for word in words if not word.startswith("-") for name in _requirements(word)]
    if packages:
        _pip_would_install(*_AS_ON_A_NEW_MACHINE, *options, *packages)


def test_one_version_of_torch_is_documented() -> None:
    (pin,) = re.findall(r"^TORCH +\?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(re.findall(r"torch==[\d.]+", README)) == {pin}


def test_all_name_the_same_versions_of_python() -> None:
    low, end = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())  # type: ignore[union-attr]
    versions = [f"3.{minor}" for minor in range(low, end)]
    prefix = "Programming Language :: Python :: "
    named = [name.removeprefix(prefix) for name in PROJECT["classifiers"] if name.startswith(f"{prefix}3.")]
    assert named == versions
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"(3, {low}) <= sys.version_info < (3, {end})" in makefile
    assert f"Python {versions[0]} to {versions[-1]};" in makefile
    assert f"Python {versions[0]} to {versions[-1]}, " in README
    rows = re.findall(r"^\| (3\.[\d., ]+) \|", README, flags=re.MULTILINE)
    assert sorted(", ".join(rows).split(", ")) == versions
