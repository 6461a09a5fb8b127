"""How the viewer looks: its style sheet, and small pieces of HTML, all of it escaped."""

from collections.abc import Iterable

import streamlit as st
from PIL import Image, ImageDraw

from visualize.parts.differences import escape

ACCENT, CONTRAST, FAINT = "#4453c9", "#d9822b", "#7a828d"

STYLE = f"""
<style>
.stApp {{ --t-line: light-dark(#e2e5ea, #3a4049); --t-fill: light-dark(#eef0f4, #2b3038);
  --t-faint: light-dark({FAINT}, #98a0ab); --t-accent: light-dark({ACCENT}, #9aa5ff);
  --t-soft: light-dark(#e3e6fb, #333c78); --t-warm: light-dark(#fde8d2, #6b431b);
  --t-warn: light-dark(#9a5412, #f0b474); --t-off: light-dark(#a9b0b9, #6c747f); }}
.stMainBlockContainer {{ padding: 4.2rem 2.2rem 4rem; max-width: 1760px; }}
[data-testid="stSidebarUserContent"] {{ padding-top: .5rem; }}
[data-testid="stSidebar"] label p {{ font-size: .82rem; color: var(--t-faint); }}
.t-head {{ display: flex; align-items: baseline; gap: .7rem; flex-wrap: wrap; }}
.t-head h2 {{ font-size: 1.35rem; font-weight: 650; margin: 0; padding: 0;
  overflow-wrap: anywhere; }}
.t-faint {{ color: var(--t-faint); font-size: .86rem; }}
.t-badge {{ display: inline-block; padding: .08rem .55rem; border-radius: 99px; font-size: .8rem;
  font-weight: 600; background: var(--t-fill); white-space: nowrap; }}
.t-badge.accent {{ background: var(--t-soft); color: var(--t-accent); }}
.t-badge.warn {{ background: var(--t-warm); color: var(--t-warn); }}
.t-side {{ border: 1px solid var(--t-line); border-radius: .6rem; padding: 1rem 1.2rem 1.1rem;
  height: 100%; }}
.t-side header {{ display: flex; justify-content: space-between; align-items: baseline;
  margin-bottom: .5rem; gap: 1rem; }}
.t-side header b {{ font-size: .95rem; }}
.t-side .text {{ line-height: 1.62; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .97rem; max-width: 80ch; }}
.t-side mark {{ background: var(--t-soft); color: inherit; border-radius: 3px; padding: 0 1px; }}
.t-side.other mark {{ background: var(--t-warm); }}
.t-side.same mark {{ background: light-dark(#f1e9c9, #57502a); }}
.t-facts {{ display: flex; gap: 1.6rem; flex-wrap: wrap; margin: .1rem 0; }}
.t-facts div {{ display: flex; flex-direction: column; }}
.t-facts span {{ color: var(--t-faint); font-size: .78rem; }}
.t-facts b {{ font-weight: 600; font-variant-numeric: tabular-nums; }}
.t-captions {{ display: grid; grid-template-columns: 2rem 1fr; gap: .35rem .7rem; font-size: .9rem;
  line-height: 1.5; max-width: 110ch; }}
.t-captions b {{ color: var(--t-accent); text-align: right; }}
.t-captions div {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
.t-captions .gone {{ color: var(--t-off); }}
.t-table {{ border-collapse: collapse; font-size: .88rem; width: 100%;
  font-variant-numeric: tabular-nums; }}
.t-table th {{ text-align: right; font-weight: 500; color: var(--t-faint); padding: .3rem .7rem;
  border-bottom: 1px solid var(--t-line); }}
.t-table td {{ text-align: right; padding: .34rem .7rem; border-bottom: 1px solid var(--t-fill); }}
.t-table th:first-child, .t-table td:first-child,
.t-table th.words, .t-table td.words {{ text-align: left; }}
.t-table td.zero {{ color: var(--t-off); }}
.t-bar {{ display: inline-block; height: .62rem; border-radius: 2px; background: {ACCENT}; }}
.t-bar.filtered {{ background: var(--t-off); }} .t-bar.failed {{ background: {CONTRAST}; }}
.t-bar.remaining {{ background: var(--t-fill); }}
.t-line {{ position: relative; height: 2.3rem; background: var(--t-fill); border-radius: .4rem;
  margin: .3rem 0 1.1rem; }}
.t-line i {{ position: absolute; top: 0; bottom: 0; border-radius: .25rem; }}
.t-line u {{ position: absolute; top: .45rem; bottom: .45rem; width: 2px; background: #fff; }}
.t-line s {{ position: absolute; top: 2.4rem; font-size: .74rem; color: var(--t-faint);
  text-decoration: none; white-space: nowrap; transform: translateX(-50%); }}
.t-note {{ border-left: 3px solid {CONTRAST}; padding: .5rem .9rem;
  background: light-dark(#fdf6ee, #3a2f22); border-radius: .3rem; font-size: .92rem;
  overflow-wrap: anywhere; }}
video.stVideo {{ max-height: 21rem; background: #14171b; border-radius: .5rem; }}
</style>
"""


def icon() -> Image.Image:
    """The page's icon, two sides; Streamlit would fetch its own from the internet."""
    picture = Image.new("RGBA", (64, 64))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((6, 8, 28, 56), 6, ACCENT)
    pen.rounded_rectangle((36, 8, 58, 56), 6, CONTRAST)
    return picture


def unmarked(text: object) -> str:
    """Text for an element that reads Markdown, in which none of it means anything."""
    return str(text).translate({ord(sign): f"\\{sign}" for sign in "\\`*_{}[]()#+-.!$:~<>|&"})


def badge(text: object, kind: str = "") -> str:
    """A small label; `kind` is accent, warn or nothing."""
    return f'<span class="t-badge {kind}">{escape(text)}</span>'


def heading(title: object, *after: str) -> None:
    """A page's heading with ready HTML behind it."""
    st.html(f'<div class="t-head"><h2>{escape(title)}</h2>{"".join(after)}</div>')


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Numbers with their names above them."""
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>" for name, value in pairs
    )
    st.html(f'<div class="t-facts">{cells}</div>')


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 video, 2,000 videos."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def caption_table(captions: Iterable[tuple[str, str, bool]]) -> str:
    """Clip captions as HTML, numbered: (caption, remark, whether it was used) each."""
    rows = "".join(
        f'<b>{number}</b><div class="{"" if used else "gone"}">{escape(text)} '
        f'<span class="t-faint">{escape(remark)}</span></div>'
        for number, (text, remark, used) in enumerate(captions, 1)
    )
    return f'<div class="t-captions">{rows}</div>'


def note(text: object) -> None:
    """A warning or an error, in one paragraph."""
    st.html(f'<div class="t-note">{escape(text)}</div>')


def side(title: str, about: str, body: str, kind: str = "") -> str:
    """One side of a pair; `body` is HTML already."""
    return (
        f'<section class="t-side {kind}"><header><b>{escape(title)}</b>'
        f'<span class="t-faint">{escape(about)}</span></header>'
        f'<div class="text">{body}</div></section>'
    )


def table(head: Iterable[str], rows: Iterable[Iterable[object]], words: Iterable[int] = ()) -> None:
    """A table; a cell that is a `Html` stays as it is, and the columns in `words` are text."""
    left = set(words)

    def cell(kind: str, place: int, value: object) -> str:
        names = ["words"] if place in left else []
        names += ["zero"] if value == 0 and kind == "td" else []
        body = value if isinstance(value, Html) else escape(value)
        return f'<{kind} class="{" ".join(names)}">{body}</{kind}>'

    def row(kind: str, values: Iterable[object]) -> str:
        return f"<tr>{''.join(cell(kind, place, value) for place, value in enumerate(values))}</tr>"

    body = "".join(row("td", values) for values in rows)
    st.html(f'<table class="t-table">{row("th", head)}{body}</table>')


class Html(str):
    """Text that is HTML already."""
