"""A page: its head, its sections, plain tables. Text that comes from outside is escaped by whoever makes HTML of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --quiet: #5f6c7b; --line: #d9e0e7; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 26px; }
h1 { margin: 0; font-size: 27px; }
h2 { margin: 0 0 6px; font-size: 19px; }
h3 { margin: 18px 0 2px; font-size: 16px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 10px 0 16px; }
a { color: var(--accent); }
section { background: white; border: 1px solid var(--line); border-radius: 8px; padding: 16px 20px; margin: 0 0 16px; }
p { margin: 4px 0 10px; }
.quiet, footer { color: var(--quiet); font-size: 13.5px; }
.remark { background: #fff4e0; border-left: 4px solid #d55e00; padding: 6px 12px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 8px 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; min-width: 132px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; }
.up { color: #00734f; } .down { color: #b54a00; }
table.plain { border-collapse: collapse; }
table.plain td, table.plain th { padding: 3px 14px 3px 0; text-align: left; vertical-align: top; }
table.plain td:first-child { white-space: nowrap; }
table.plain tr + tr td { border-top: 1px solid var(--line); }
table.plain td.number, table.plain th.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f4f6f8; padding: 10px; overflow: auto; max-height: 420px; font-size: 12.5px; }
.wide { overflow-x: auto; }
table.dataTable td, table.dataTable th { padding: 4px 16px 4px 4px !important; }
ul.choice { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 6px 14px; }
"""


@dataclass(frozen=True)
class PageSection:
    """A part of a page."""

    name: str
    """Of the element, for links: letters and hyphens."""
    title: str
    html: str


def render_page(title: str, lead: str, sections: Sequence[PageSection], scripts: Sequence[str], credits: str) -> str:
    """A whole page, which needs nothing else.

    Args:
        title: text.
        lead: HTML below it.
        sections: in their order; more than one get links to them.
        scripts: HTML of the head.
        credits: text at the end.
    """
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in sections)
    parts = "\n".join(
        f'<section id="{section.name}"><h2>{escape(section.title)}</h2>\n{section.html}</section>'
        for section in sections
    )
    # Without an icon in the page, a browser asks the server for one.
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style>',
            *scripts,
            f"</head><body><header><h1>{escape(title)}</h1>{lead}",
            f"<nav>{links if len(sections) > 1 else ''}</nav></header>",
            f"<main>{parts}</main>",
            f"<footer><p>{escape(credits)}</p></footer></body></html>\n",
        ]
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of text."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], first_number: int) -> str:
    """A table of texts.

    Args:
        header: of the columns; empty: none.
        rows: the cells.
        first_number: the column from which on they are numbers.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [' class="number"' if column >= first_number else "" for column in range(len(row))]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    head = f"<thead><tr>{cells('th', header)}</tr></thead>" if header else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="plain">{head}<tbody>{body}</tbody></table></div>'
