"""One page of HTML that needs no other file, no network and no scripts."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .5rem; padding-top: .6rem; border-top: 2px solid #1f5fa8; }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 50rem; }
a { color: #1f5fa8; }
nav a { display: inline-block; margin: .15rem .9rem .15rem 0; }
.cards { display: grid; gap: .8rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.card { border: 1px solid #ccc; border-radius: .4rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; }
.card span { display: block; font-size: .85rem; color: #444; }
.note { border-left: 4px solid #d55e00; padding: .3rem .8rem; background: #fff6ee; }
.pictures { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
figure { margin: 0; min-width: 0; }
figure .title { margin: 0 0 .3rem; font-weight: 600; overflow-wrap: anywhere; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .88rem; color: #333; overflow-wrap: anywhere; }
.table { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid #ddd; }
th { white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.word { min-width: 14rem; }
td.name { white-space: nowrap; }
td.code { overflow-wrap: anywhere; font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; color: #1f5fa8; padding: .3rem 0; }
footer { margin-top: 2rem; font-size: .85rem; color: #444; }
@media (max-width: 40rem) {
  .told, .told caption, .told thead, .told tbody { display: block; }
  .told tr { display: grid; grid-template-columns: 1fr 4rem 8rem 4.5rem;
    border-bottom: 1px solid #ddd; }
  .told th, .told td { border: 0; padding-bottom: 0; }
  .told .word { grid-column: 1 / -1; padding-bottom: .4rem; color: #444; }
}
@page { margin: 15mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, summary { display: none; }
  figure, tr, .card { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .table { overflow: visible; }
  .pictures { grid-template-columns: 1fr 1fr; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
""".strip()


class Card(NamedTuple):
    """A figure at the top: what, how much with its unit, and within which bounds."""

    label: str
    value: str
    interval: str


class Image(NamedTuple):
    """A picture as PNG bytes, with its heading, caption and description.

    Attributes:
        png: the picture.
        title: above it.
        caption: below it.
        alt: what is to be seen, for those who cannot see it.
        narrow: the same for narrow screens, where there is one; such a picture has the whole
            width to itself.
    """

    png: bytes
    title: str
    caption: str
    alt: str
    narrow: bytes | None = None


class Link(NamedTuple):
    """A text in a table that leads somewhere.

    Attributes:
        text: what is to be seen.
        target: address of another page, relative to this one.
    """

    text: str
    target: str


class Table(NamedTuple):
    """A table of texts and links.

    Attributes:
        caption: above it.
        columns: heads; with a class, "number", "name", "word" or "code", before a colon:
            "number:records".
            A last column of words stands below the others where the page is narrow.
        rows: of as many texts.
        folded: shown when asked for, and in print.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    folded: bool = False


class Section(NamedTuple):
    """A part of the page, with an entry in the list of contents.

    Attributes:
        title: its heading.
        text: paragraphs below it.
        content: tables and pictures; pictures that follow each other stand side by side. A text
            is a smaller heading.
    """

    title: str
    text: Sequence[str]
    content: Sequence[Table | Image | str]


def page(
    title: str,
    lines: Sequence[str],
    notes: Sequence[str],
    cards: Sequence[Card],
    sections: Sequence[Section],
    footer: str,
) -> str:
    """The page.

    Args:
        title: heading, and name of the page.
        lines: below the heading.
        notes: warnings.
        cards: the main figures.
        sections: the rest; those without content are left out.
        footer: last line.
    """
    sections = [section for section in sections if section.content]
    contents = "\n".join(
        f'<a href="#{_anchor(section.title)}">{_text(section.title)}</a>' for section in sections
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>\n{STYLE}\n</style>",
            "</head>",
            "<body>",
            "<header>",
            f"<h1>{_text(title)}</h1>",
            *[f"<p>{_text(line)}</p>" for line in lines],
            *[f'<p class="note">{_text(note)}</p>' for note in notes],
            "</header>",
            f'<div class="cards">\n{"".join(map(_card, cards))}</div>',
            f"<nav>\n{contents}\n</nav>",
            "<main>",
            *map(_section, sections),
            "</main>",
            f"<footer><p>{_text(footer)}</p></footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _section(section: Section) -> str:
    parts = [
        f'<section id="{_anchor(section.title)}">',
        f"<h2>{_text(section.title)}</h2>",
        *[f"<p>{_text(text)}</p>" for text in section.text],
    ]
    side_by_side = False
    for item in section.content:
        is_image = isinstance(item, Image)
        if is_image != side_by_side:
            parts.append('<div class="pictures">' if is_image else "</div>")
            side_by_side = is_image
        if isinstance(item, Image):
            parts.append(_image(item))
        elif isinstance(item, Table):
            parts.append(_table(item))
        else:
            parts.append(f"<h3>{_text(item)}</h3>")
    return "\n".join([*parts, "</div>" if side_by_side else "", "</section>"])


def _card(card: Card) -> str:
    return (
        f'<div class="card"><span>{_text(card.label)}</span><b>{_text(card.value)}</b>'
        f"<span>{_text(card.interval)}</span></div>\n"
    )


def _image(image: Image) -> str:
    # The size keeps the page from jumping; PNG has it at a fixed place.
    width, height = _size(image.png)
    picture = (
        f'<img width="{width}" height="{height}" alt="{_text(image.alt)}" src="{_data(image.png)}">'
    )
    wide = ""
    if image.narrow is not None:
        wide, (width, height) = ' class="wide"', _size(image.narrow)
        picture = (
            f'<picture><source media="(max-width: 40rem)" width="{width}" height="{height}" '
            f'srcset="{_data(image.narrow)}">{picture}</picture>'
        )
    return (
        f'<figure{wide}><p class="title">{_text(image.title)}</p>{picture}'
        f"<figcaption>{_text(image.caption)}</figcaption></figure>"
    )


def _size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return width, height


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _table(table: Table) -> str:
    heads = [column.rpartition(":")[::2] for column in table.columns]
    top = "".join(_cell("th", text, kind, ' scope="col"') for (kind, _), text in
                  zip(heads, [text for _, text in heads], strict=True))  # fmt: skip
    rows = "\n".join(
        "<tr>"
        + "".join(_cell("td", text, kind) for (kind, _), text in zip(heads, row, strict=True))
        + "</tr>"
        for row in table.rows
    )
    caption = "" if table.folded else f"<caption>{_text(table.caption)}</caption>"
    told = ' class="told"' if heads[-1][0] == "word" else ""  # narrow: the last one has a line
    whole = (
        f'<div class="table"><table{told}>{caption}\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )
    if not table.folded:
        return whole
    return f"<details><summary>{_text(table.caption)}</summary>\n{whole}</details>"


def _cell(tag: str, text: str | Link, kind: str, more: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    if isinstance(text, Link):
        inner = f'<a href="{_text(text.target)}">{_text(text.text)}</a>'
    else:
        inner = _text(text)
    return f"<{tag}{name}{more}>{inner}</{tag}>"


def _anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def _text(text: str) -> str:
    return html.escape(text, quote=True)
