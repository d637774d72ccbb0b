"""A page of HTML: one file without scripts or references to anything outside, every text escaped."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "–"  # noqa: RUF001 - a dash in a table means "there is none"

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1b1f24; background: #fff;
  max-width: 1200px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .5rem; border-top: 1px solid #d5dae0; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { margin: .3rem 0 .6rem; max-width: 62rem; overflow-wrap: anywhere; }
.notice { display: inline-block; padding: .15rem .6rem; border: 1px solid #b45309; border-radius: 4px; color: #92400e; font-weight: 600; }
.missing { padding: .5rem .9rem; border-left: 4px solid #b45309; background: #fff8ec; }
.missing ul { margin: 0; padding-left: 1.1rem; }
.note { color: #4a5560; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; margin: .4rem 0 .6rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .65rem; border-bottom: 1px solid #e3e7ec; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { overflow-wrap: normal; }
td:first-child:not(.n):not(.o) { min-width: 6.5em; }
th { background: #f3f5f8; vertical-align: bottom; }
td.o { white-space: nowrap; }
.wide table { font-size: .82rem; }
.wide th, .wide td { padding: .28rem .3rem; }
td.n, th.n { text-align: right; white-space: nowrap; }
th.n { white-space: normal; }
.swatch { display: inline-block; width: .75em; height: .75em; margin-right: .45em; border-radius: 2px; border: 1px solid #0003; }
figure { margin: .6rem 0 1.2rem; break-inside: avoid; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .92rem; margin-bottom: .3rem; }
@media print { body { font-size: 11px; padding: 0; max-width: none; } tr, h2, h3 { break-inside: avoid; break-after: auto; }
  h2, h3 { break-after: avoid; } th, .missing, .swatch { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; } }
"""


@dataclass(frozen=True)
class Cell:
    """A table cell whose text gets a square of an organ's color before it."""

    text: str
    color: str


@dataclass(frozen=True)
class Number:
    """A number as text, set to the right; NaN and None become a dash."""

    value: float | None
    decimals: int = 0

    def __str__(self) -> str:
        """Return the number with blanks between thousands."""
        if self.value is None or math.isnan(self.value):
            return NOTHING
        return f"{self.value:,.{self.decimals}f}".replace(",", "\u202f")


@dataclass(frozen=True)
class Name:
    """A name, which stays on one line unless it is very long."""

    text: str

    def __str__(self) -> str:
        """Return the name."""
        return self.text


_LONG_NAME = 28
Content = str | Number | Cell | Name


def text(value: object) -> str:
    """Return `value` escaped for HTML text and for attributes."""
    return html.escape(str(value), quote=True)


def paragraph(value: object, kind: str = "") -> str:
    """Return a paragraph; `kind` is a class of the style sheet."""
    return f'<p class="{text(kind)}">{text(value)}</p>' if kind else f"<p>{text(value)}</p>"


def section(title: str, *parts: str) -> str:
    """Return a section with its heading; "" when all parts are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{text(title)}</h2>\n{body}\n</section>" if body else ""


def bullets(values: Iterable[str], kind: str) -> str:
    """Return a list in a box; "" when there is nothing to list."""
    items = "".join(f"<li>{text(value)}</li>" for value in values)
    return f'<div class="{text(kind)}"><ul>{items}</ul></div>' if items else ""


def table(head: Sequence[str], rows: Sequence[Sequence[Content]], *, wide: bool = False) -> str:
    """Return a table; columns that hold numbers are set to the right; `wide` sets many columns closer. "" without rows."""
    if not rows:
        return ""
    numeric = [any(isinstance(row[column], Number) for row in rows) for column in range(len(head))]
    titles = "".join(f"<th{_class(right)}>{text(name)}</th>" for name, right in zip(head, numeric, strict=True))
    lines = "\n".join("<tr>" + "".join(_cell(c, right) for c, right in zip(row, numeric, strict=True)) + "</tr>" for row in rows)
    kind = "scroll wide" if wide else "scroll"
    return f'<div class="{kind}"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'


def _class(right: bool) -> str:
    return ' class="n"' if right else ""


def _cell(content: Content, right: bool) -> str:
    if isinstance(content, Cell):
        return f'<td class="o"><span class="swatch" style="background:{text(content.color)}"></span>{text(content.text)}</td>'
    if isinstance(content, Name) and len(content.text) <= _LONG_NAME:
        return f'<td class="o">{text(content)}</td>'
    return f"<td{_class(right)}>{text(content)}</td>"


def picture(png: bytes, caption: str, description: str) -> str:
    """Return a figure whose PNG is inside the page."""
    data = base64.b64encode(png).decode("ascii")
    image = f'<img alt="{text(description)}" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{text(caption)}</figcaption>\n{image}</figure>"


def page(title: str, body: Sequence[str]) -> bytes:
    """Return the whole page as UTF-8; what cannot be encoded (names of broken files) is written as an escape."""
    content = "\n".join(part for part in body if part)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{text(policy)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{text(title)}</title>\n<style>{_STYLE}</style>'
    )
    whole = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{content}\n</body>\n</html>\n'
    return whole.encode("utf-8", "backslashreplace")
