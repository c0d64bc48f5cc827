"""Parts of a page: every string that comes in is escaped, pictures lie inside, nothing is loaded and nothing runs."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)
"""Text that is escaped already."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.7em; } h2 { margin-top: 2.2em; border-bottom: 2px solid #333; } h3 { margin-top: 1.8em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13.5px; }
th, td { border: 1px solid #bbb; padding: 3px 8px; text-align: left; vertical-align: top; }
th { background: #eee; } td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } figure { display: inline-block; margin: 0.5em 1em 0.5em 0; vertical-align: top; }
figcaption { font-size: 13px; color: #444; max-width: 36em; }
.warning { border: 2px solid #a40000; background: #fff2f0; padding: 0.6em 1em; font-weight: 600; }
.cautions { border-left: 4px solid #c77800; background: #fff9ec; padding: 0.4em 1em; }
code { overflow-wrap: anywhere; }
"""
MOST_NAMED = 20
"""More than this are counted."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def text(words: str) -> Html:
    """Escaped words."""
    return Html(html.escape(words))


def element(tag: str, *children: Html, kind: str = "") -> Html:
    """An element around its children; ``kind`` is its class."""
    mark = f' class="{html.escape(kind)}"' if kind else ""
    return Html(f"<{tag}{mark}>{''.join(children)}</{tag}>")


def heading(size: int, words: str) -> Html:
    """A heading of a size from 1 on."""
    return element(f"h{size}", text(words))


def paragraph(words: str, kind: str = "") -> Html:
    """A paragraph."""
    return element("p", text(words), kind=kind)


def bullets(lines: Iterable[str], kind: str = "") -> Html:
    """A list; nothing where there are no lines."""
    items = [element("li", text(line)) for line in lines]
    return element("div", element("ul", *items), kind=kind) if items else Html("")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table; a row must have as many cells as the header, or ValueError."""
    lines = list(rows)
    if any(len(row) != len(header) for row in lines):
        raise ValueError(f"a row has not the {len(header)} cells of its header")
    head = element("tr", *(element("th", text(cell)) for cell in header))
    body = [element("tr", *(element("td", text(cell)) for cell in row)) for row in lines]
    return element("table", element("thead", head), element("tbody", *body))


def picture(png: bytes, caption: str) -> Html:
    """A PNG with its caption, which is its alternative text too."""
    source = base64.b64encode(png).decode("ascii")
    image = Html(f'<img src="data:image/png;base64,{source}" alt="{html.escape(caption)}">')
    return element("figure", image, element("figcaption", text(caption)))


def some(names: Sequence[str]) -> str:
    """Names in one line; those beyond the first are counted."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def page(title: str, *body: Html) -> str:
    """The whole document."""
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    content = "\n".join(body)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{content}\n</body></html>\n'
