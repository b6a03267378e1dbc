"""The site has all pages, without a warning, and says what the code says."""

import ast
import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts" / "site_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(pages: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Of the pages that are there: with mkdocs.yml as it is, but for where they lie."""
    config = pages.parent / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    text = text.replace("docs_dir: build/pages", f"docs_dir: {pages}").replace("paths: [.]", f"paths: [{ROOT}]")
    config.write_text(text.replace("scripts/site_pages.py", str(ROOT / "scripts" / "site_pages.py")), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.needs("mkdocs")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path, site_pages: ModuleType
) -> None:
    site_pages.write_pages(tmp_path / "pages")
    result = _build(tmp_path / "pages", tmp_path / "site")
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr

    pages = {page.relative_to(tmp_path / "site").as_posix(): page for page in (tmp_path / "site").rglob("*.html")}
    texts = {name: page.read_text(encoding="utf-8") for name, page in pages.items()}
    for name, text in texts.items():
        if name.startswith("api/"):
            without_code = re.sub(r"<(details|pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)
            assert not re.search(r":(class|func|meth|data|mod|attr):|&gt;&gt;&gt;|<em>(?!\w+</em>)", without_code), name
        elsewhere = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', text)
        assert elsewhere == [], name
    shown = {name: html.unescape(re.sub(r"<[^>]*>", "", text)) for name, text in texts.items()}
    assert "make demo" in shown["index.html"] and "pointseg check-submission" in shown["index.html"]
    assert "z̄_k = (1/n_k) Σ_{i: y_i = k} z_i" in shown["method.html"]
    assert 'id="pointseg.collapse.CenterCollapse"' in texts["api/collapse.html"]
    assert "Project on Weights & Biases" in shown["api/config.html"]
    assert 'href="api/collapse.html' in texts["index.html"]


@pytest.mark.slow
@pytest.mark.needs("mkdocs")
def test_links_that_lead_nowhere_are_an_error(tmp_path: Path, site_pages: ModuleType) -> None:
    site_pages.write_pages(tmp_path / "pages")
    with (tmp_path / "pages" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n\n[x](nowhere.md) [x](method.md#not-there)\n")
    result = _build(tmp_path / "pages", tmp_path / "site")
    assert result.returncode != 0
    assert "nowhere.md" in result.stderr and "#not-there" in result.stderr


@pytest.mark.needs("mkdocs")
def test_links_lead_to_the_page_that_shows_what_they_name(site_pages: ModuleType) -> None:
    """From wherever they are written, and whatever page the section is shown on; code is left alone."""
    shown = site_pages.write_page("api/new.md", "[a](../../README.md#gpu) [b](../method.md#the-argument) `[c](x.md)`")
    assert shown == "[a](../gpus.md#gpu) [b](../method.md#the-argument) `[c](x.md)`"
    start = site_pages.write_page("index.md", '[Start](../README.md "shown here")')
    assert start.startswith("## Start\n") and "README.md" not in start
    assert "(train.md#the-long-tail)" in start
    code = site_pages.write_page("index.md", "[l](../LICENSE)")
    assert code == "[l](source/LICENSE.md)"
    with pytest.raises(ValueError, match=r"README.md: has no section 'Begin'"):
        site_pages.write_page("index.md", '[Start, Begin](../README.md "shown here")')


@pytest.mark.needs("mkdocs")
def test_what_belongs_to_an_item_is_indented_by_four(site_pages: ModuleType) -> None:
    """Python's Markdown ends the list at less, and code that is no list stays as it is."""
    text = "- a\n  b\n\n  ```sh\n  c\n    d\n  ```\n\n  e\n- f\n1. g\n   h\n\nAfter\n  it\n\n```\n- x\n  y\n```\n"
    four = "- a\n    b\n\n    ```sh\n    c\n      d\n    ```\n\n    e\n\n- f\n1. g\n    h\n\nAfter\n  it\n\n"
    assert site_pages.indent_items(text) == four + "```\n- x\n  y\n```\n"


@pytest.mark.needs("mkdocs")
def test_every_section_of_the_readme_is_shown_once(site_pages: ModuleType) -> None:
    names = []
    for page in (ROOT / "docs").glob("*.md"):
        for line in site_pages._SHOW.finditer(page.read_text(encoding="utf-8")):
            if line["path"] == "README.md":
                names += site_pages._split_names(line["names"], site_pages.read_sections("README.md"), "README.md")
    headings = re.findall(r"^##? (.+)$", site_pages._hide_code((ROOT / "README.md").read_text()), flags=re.MULTILINE)
    assert sorted(names) == sorted(set(headings) - {"Contributing"})


def _texts_of_the_code() -> str:
    """All texts in the code, in the order in which they stand there; … for what is put into them."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.sh")]
    texts.append((ROOT / "Makefile").read_text(encoding="utf-8"))
    for path in (ROOT / "pointseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
    return "\n".join(texts)


def test_every_message_that_is_explained_is_one_of_the_code() -> None:
    """Piece by piece between what stands for names: a message that is worded anew is worded anew there, too."""
    code = _texts_of_the_code()
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [row.split(" | ")[0] for row in re.findall(r"^\| (.*)", page, flags=re.MULTILINE)]
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell) if " " in message]
    assert len(messages) > 30
    pieces = {piece.strip(" :;,'") for message in messages for piece in re.split(r"…|; |type: |\(|\)|\[", message)}
    assert [piece for piece in sorted(pieces) if len(piece) > 3 and piece not in code] == []
