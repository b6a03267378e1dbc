"""The site's pages: what README.md and others say is shown and not repeated, and links lead to pages of the site.

A line of a page that is no more than ``[Start, Installation](../README.md "shown here")`` is these sections of the
file, and ``[CHANGELOG.md](../CHANGELOG.md "shown here")`` is all of it; read on its own, the page has a link there.
The pages are written out, so that no more than Markdown and ``mkdocs.yml`` is asked of what builds the site. griffe,
which reads the docstrings, takes the class :class:`Docstrings`.
"""

import posixpath
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from griffe import Extension, Object

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_SHOW = re.compile(r'^\[(?P<names>[^\]]+)\]\(\.\./(?P<path>[\w./-]+) "shown here"\)$', re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(^ {0,3}```.*?^ {0,3}```|(?<=\n\n)(?: {4,}[^\n]*\n?)+|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}```.*?^ {0,3}```", re.DOTALL | re.MULTILINE)
_ITEM = re.compile(r"(?:[-*]|\d+\.) +")
_SUBSCRIPT = re.compile(r"(?<=[^\w\s`])_|(?<=\b[A-Za-z])\*")
_SESSION = re.compile(r"(?:^>>> .*\n?)+", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")
_SOURCES = "source"
"""Folder of the site with the files of the repository that pages link to."""


def write_pages(out: Path) -> None:
    """Write all pages of the site, and what they show, into a folder, which is emptied first."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(DOCS, out)
    for page in sorted(DOCS.rglob("*.md")):
        uri = page.relative_to(DOCS).as_posix()
        (out / uri).write_text(write_page(uri, page.read_text(encoding="utf-8")), encoding="utf-8")
    for path in sorted(_find_sources()):
        text = (ROOT / path).read_text(encoding="utf-8")
        kind = {".py": "python", ".sh": "sh", ".yaml": "yaml"}.get(path.suffix, "text")
        page = out / _SOURCES / f"{path}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"# {path}\n\n````{kind}\n{text}\n````\n", encoding="utf-8")


def write_page(uri: str, markdown: str) -> str:
    """The Markdown of a page of the site.

    Args:
        uri: of the page, below ``docs/``.
        markdown: as it stands there.
    """
    source, pieces, end = Path("docs") / uri, [], 0
    for line in _SHOW.finditer(markdown):
        pieces += [_lead_links(markdown[end : line.start()], source, uri), _show(line, uri)]
        end = line.end()
    return mark_subscripts(indent_items("".join([*pieces, _lead_links(markdown[end:], source, uri)])))


def indent_items(markdown: str) -> str:
    """Markdown in which lists are as Python's Markdown wants them: what belongs to an item is indented by four.

    After an item of several paragraphs, the next one begins after an empty line.
    """
    lines: list[str] = []
    width, is_code, has_paragraphs = 0, False, False
    for line in markdown.split("\n"):
        if line.startswith("```"):
            width, is_code = 0, not is_code
        elif item := None if is_code else _ITEM.match(line):
            lines += [""] * (has_paragraphs and lines[-1] != "")
            width, has_paragraphs = len(item[0]), False
        elif line and not line.startswith(" ") and lines and not lines[-1]:
            width = 0  # a paragraph after the list
        elif width and line.startswith(" " * width):
            has_paragraphs |= not lines[-1]
            line = " " * 4 + line[width:]
        lines.append(line)
    return "\n".join(lines)


def mark_subscripts(markdown: str) -> str:
    """Markdown in which no sign of w*_k and z̄_k begins an emphasis: Python's Markdown is no master of equations."""
    parts = _CODE.split(markdown)
    parts[::2] = [_SUBSCRIPT.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def read_sections(path: str) -> dict[str, str]:
    """The sections of a Markdown file by their headings of level two; what comes before by that of level one."""
    parts = re.split(r"^(#{1,2} .+)$", _hide_code((ROOT / path).read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {heading.lstrip("# "): _restore_code(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def _show(line: re.Match[str], uri: str) -> str:
    path = line["path"]
    sections = read_sections(path)
    title = next(iter(sections))
    shown = []
    for name in _split_names(line["names"], sections, path):
        text = _lead_links(sections[name], Path(path), uri)
        shown.append(text if name == title else f"## {name}\n{text}")
    return "\n".join(shown)


def _split_names(names: str, sections: dict[str, str], path: str) -> list[str]:
    """Headings may have commas in them: the longest that is there is meant.

    Raises:
        ValueError: there is no such section.
    """
    if names == path:
        return list(sections)
    found = []
    while names:
        name = max((name for name in sections if names.startswith(name)), key=len, default=None)
        if name is None:
            raise ValueError(f"{path}: has no section {names!r}")
        found.append(name)
        names = names[len(name) :].removeprefix(", ")
    return found


def _lead_links(markdown: str, source: Path, uri: str) -> str:
    """Links that a file of the repository has, as links from a page of the site."""
    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: link[1] + _lead(link[2], source, uri) + link[3], part) for part in parts[::2]]
    return "".join(parts)


def _lead(link: str, source: Path, uri: str) -> str:
    name, _, anchor = link.partition("#")
    if re.match(r"[a-z]+:", link):
        return link
    target = posixpath.normpath(posixpath.join(source.parent.as_posix(), name)) if name else source.as_posix()
    page = _find_page(target, anchor)
    if page == uri:
        return f"#{anchor}" if anchor else posixpath.basename(uri)
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") + (f"#{anchor}" if anchor else "")


def _find_page(target: str, anchor: str) -> str:
    """The page, below ``docs/``, that has a file of the repository, or a section of it."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    shown = _pages_of_sections().get(target)
    if shown is None:
        return f"{_SOURCES}/{_as_file(target)}.md"
    return shown.get(anchor, next(iter(shown.values())))


@cache
def _pages_of_sections() -> dict[str, dict[str, str]]:
    """File of the repository -> the anchor of each of its headings -> the page that shows it."""
    pages: dict[str, dict[str, str]] = {}
    for page in sorted(DOCS.rglob("*.md")):
        uri = page.relative_to(DOCS).as_posix()
        for line in _SHOW.finditer(page.read_text(encoding="utf-8")):
            path = line["path"]
            sections = read_sections(path)
            for name in _split_names(line["names"], sections, path):
                headings = [name, *re.findall(r"^#+ (.+)$", _hide_code(sections[name]), flags=re.MULTILINE)]
                pages.setdefault(path, {}).update({_anchor(heading): uri for heading in headings})
    return pages


def _find_sources() -> set[Path]:
    found = set()
    texts = [(page, page.read_text(encoding="utf-8")) for page in DOCS.rglob("*.md")]
    texts += [(ROOT / path, (ROOT / path).read_text(encoding="utf-8")) for path in _pages_of_sections()]
    for page, text in texts:
        for _, link, _ in _LINK.findall("".join(_CODE.split(text)[::2])):
            name = link.partition("#")[0]
            target = (page.parent / name).resolve()
            inside = name and not re.match(r"[a-z]+:", link) and target.is_relative_to(ROOT)
            relative = target.relative_to(ROOT).as_posix() if inside else ""
            if inside and not target.is_relative_to(DOCS) and relative not in _pages_of_sections():
                found.add(Path(_as_file(relative)))
    return found


def _as_file(target: str) -> str:
    """For a folder of the package, the file that says what is in it."""
    return f"{target}/__init__.py" if (ROOT / target).is_dir() else target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# Lines of code may begin with #, as headings do. No page has these characters.
def _hide_code(text: str) -> str:
    return _FENCE.sub(lambda code: code[0].replace("#", "\ue000"), text)


def _restore_code(text: str) -> str:
    return text.replace("\ue000", "#")


class Docstrings(Extension):
    """Docstrings as Markdown: ``:class:`Scene``` becomes a link to where it is described, ``>>>`` a block of code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of each class, function, module and attribute."""
        if obj.docstring is not None:
            text = _SESSION.sub(lambda lines: f"```pycon\n{lines[0].rstrip()}\n```\n", obj.docstring.value)
            text = _ROLE.sub(lambda role: _link_object(role[1], obj), text)
            obj.docstring.value = mark_subscripts(text)


def _link_object(name: str, obj: Object) -> str:
    try:
        path = obj.resolve(name)
    except Exception:  # griffe has an error for each kind of name that it does not find
        path = name
    return f'<autoref optional identifier="{path}"><code>{name}</code></autoref>'


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
