"""The viewer's own elements: small pieces of HTML, all of it escaped; style.css is their look."""

from collections.abc import Iterable, Sequence
from html import escape

import streamlit as st

ACCENT, CONTRAST = "#4453c9", "#d9822b"
# The page's icon, two sides; Streamlit would fetch its own from the internet.
ICON = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">
<rect x="6" y="8" width="22" height="48" rx="6" fill="{ACCENT}"/>
<rect x="36" y="8" width="22" height="48" rx="6" fill="{CONTRAST}"/></svg>"""


class Html(str):
    """Text that is HTML already."""


def unmarked(text: object) -> str:
    """Text for an element that reads Markdown, in which none of it means anything."""
    return str(text).translate({ord(sign): f"\\{sign}" for sign in "\\`*_{}[]()#+-.!$:~<>|&"})


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 video, 2,000 videos."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def badge(text: str, kind: str = "") -> str:
    """A small label; `kind` is accent, warn or nothing."""
    return f'<span class="t-badge {kind}">{escape(text)}</span>'


def faint(text: str) -> str:
    """A remark in gray."""
    return f'<span class="t-faint">{escape(text)}</span>'


def bar(*percent: float) -> Html:
    """Shares of a whole as one bar for a table: done, filtered, failed, remaining."""
    parts = "".join(f'<i style="width:{share:.2f}%"></i>' for share in percent)
    return Html(f'<span class="t-bar">{parts}</span>')


def heading(title: str, *after: str) -> None:
    """A page's heading with ready HTML behind it."""
    st.html(f'<div class="t-head"><h2>{escape(title)}</h2>{"".join(after)}</div>')


def note(text: object) -> None:
    """A warning or an error, in one paragraph."""
    st.html(f'<div class="t-note">{escape(str(text))}</div>')


def facts(values: dict[str, object]) -> None:
    """Numbers with their names above them."""
    cells = "".join(
        f"<div><span>{name}</span><b>{escape(str(value))}</b></div>"
        for name, value in values.items()
    )
    st.html(f'<div class="t-facts">{cells}</div>')


def side(title: str, about: str, body: str, kind: str = "") -> None:
    """One side of a pair; `body` is HTML already."""
    st.html(
        f'<section class="t-side {kind}"><header><b>{title}</b>{faint(about)}</header>'
        f'<div class="text">{body}</div></section>'
    )


def caption_table(captions: Iterable[tuple[str, str]]) -> None:
    """Clip captions, numbered: (caption, its place in the rejected order or "dropped") each."""
    rows = "".join(
        f'<b>{number}</b><div class="{place}">{escape(text)} {faint(place)}</div>'
        for number, (text, place) in enumerate(captions, 1)
    )
    st.html(f'<div class="t-captions">{rows}</div>')


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table: texts to the left, numbers to the right; a cell that is a `Html` stays as it is."""
    like = rows[0] if rows else head

    def row(kind: str, values: Sequence[object]) -> str:
        cells = ""
        for value, first in zip(values, like, strict=True):
            name = "words" if isinstance(first, str) else "zero" if value == 0 else ""
            body = value if isinstance(value, Html) else escape(str(value))
            cells += f'<{kind} class="{name}">{body}</{kind}>'
        return f"<tr>{cells}</tr>"

    body = "".join(row("td", values) for values in rows)
    st.html(f'<table class="t-table">{row("th", head)}{body}</table>')
