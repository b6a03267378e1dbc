"""What the documentation tells people to run, runs, and what it names is there."""

import pkgutil
import re
from pathlib import Path

import pytest

from pointseg.commands import COMMANDS

ROOT = Path(__file__).parents[1]
METHOD = ROOT / "docs" / "method.md"
# All but the changelog, which tells of what once was.
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "data_prep/*.md", "submissions/*.md", "configs/**/*.yaml")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)


def test_the_2d_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """The one program in docs/method.md: after 100 steps most of its noisy pixels are right."""
    (program,) = re.findall(r"```python\n(.*?)```", METHOD.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(program, str(METHOD), "exec"), {})
    assert float(re.search(r"accuracy (\S+)", capsys.readouterr().out)[1]) > 0.9  # type: ignore[index]


def _code(text: str) -> str:
    """The code of a page: blocks, and spans between backticks."""
    blocks = re.findall(r"```.*?```|^ {4,}\S.*$", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))])


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/method.md", "configs/demo.yaml"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_is_there(page: str) -> None:
    """Paths of the checkout, wherever they stand, and what links point to."""
    text = (ROOT / page).read_text(encoding="utf-8")
    tops = "configs|data_prep|docs|pointseg|scripts|submissions|tests"
    named = re.findall(rf"(?<![\w/.-])(?:{tops})/[\w./]*\w", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    wrong = [link for link in links if not _leads_somewhere(ROOT / page, link)]
    assert wrong == []
    assert [name for name in re.findall(r"\b\w+\.yaml\b", text) if not _is_config(name)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    """Whether the file is there, and the heading in it that is named after a #."""
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists() or not heading:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return heading in {_slug(found) for found in headings}


def _is_config(name: str) -> bool:
    return name == "config.yaml" or any((ROOT / "configs").rglob(name))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_named_is_there(page: str) -> None:
    code = _code((ROOT / page).read_text(encoding="utf-8")) if page.endswith(".md") else (ROOT / page).read_text()
    modules = {command.module for command in COMMANDS.values()}
    assert set(re.findall(r"-m pointseg\.(\w+)", code)) <= modules
    assert set(re.findall(r"(?<![\w./-])(?<!The )pointseg ([a-z][a-z-]+)(?![\w./-])", code)) <= COMMANDS.keys()
    scripts = {command.script for command in COMMANDS.values()}
    assert set(re.findall(r"python ((?:data_prep|submissions)/\S+\.py)", code)) <= scripts
    assert set(re.findall(r"`(\w+_(?:scans|scannet|submission)\.py)\b", code)) <= {Path(s).name for s in scripts if s}


@pytest.mark.parametrize("page", PAGES)
def test_every_name_in_the_package_is_there(page: str) -> None:
    """``pointseg.collapse.ClassCenters`` and its like, in code."""
    for name in set(re.findall(r"(?<![\w./-])pointseg((?:\.[A-Za-z_]\w*)+)", _code((ROOT / page).read_text("utf-8")))):
        pkgutil.resolve_name(f"pointseg{name}")


def test_the_readme_lists_every_command_and_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `pointseg ([\w-]+)` \| (.*) \|$", text, flags=re.MULTILINE))
    assert rows == {name: command.summary for name, command in COMMANDS.items()}
    layout = text.split("## Layout")[1].split("```")[1]
    rooms = re.findall(r"(?:^| )  ?(\w+)/", layout.split("pointseg/")[1].split("docs/")[0], flags=re.MULTILINE)
    assert sorted(rooms) == sorted(path.parent.name for path in (ROOT / "pointseg").glob("*/__init__.py"))
