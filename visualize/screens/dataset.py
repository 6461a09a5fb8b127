"""A dataset as a whole: the funnel of every step, the outcomes of convert, histograms."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import streamlit as st

from tools.errors import UserError
from tools.pairs.rules import REASONS
from tools.status import funnel, reasons
from visualize.index.view import FIELDS
from visualize.parts.filters import to_pairs
from visualize.parts.style import ACCENT, CONTRAST, Html, counted, heading, note, table
from visualize.session import Session

# A chart's name -> the columns that it shows.
CHARTS = {
    "Lengths": ("chosen_length", "rejected_length"),
    "Chosen over rejected": ("ratio",),
    "Words alike": ("similarity",),
}


# What stands under the charts.
AXES = {
    "chosen_length": "characters",
    "ratio": "chosen / rejected",
    "similarity": "similarity",
    "shots": "shots",
    "clip_seconds": "seconds",
}
UNDER = alt.Axis(grid=False, tickCount=5)
WHOLE = alt.Axis(tickCount=4, tickMinStep=1)


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    heading(session.dataset.name, f'<span class="t-faint">{_sizes(session)}</span>')
    for line in session.view.notes():
        note(line)
    part = st.segmented_control(
        "Show",
        ["Steps", "Pairs", "Texts", "Videos"],
        default="Steps",
        required=True,
        key="part",
        bind="query-params",
        label_visibility="collapsed",
    )
    {"Steps": _funnel, "Pairs": _outcomes, "Texts": _texts, "Videos": _videos}[part](session)


def _sizes(session: Session) -> str:
    total = sum(number for _, _, number in session.view.runs())
    videos = sum(row["videos"] for row in session.view.statuses())
    return f"{counted(videos, 'video')}, {counted(total, 'pair')}"


@st.cache_data(max_entries=8, show_spinner="Counting")
def _counts(_session: Session, root: str, generation: int) -> list[tuple[str, Any, list[str]]]:
    return [(name, counts, list(reasons(counts))) for name, counts in funnel(_session.dataset)]


def _funnel(session: Session) -> None:
    try:
        rows = _counts(session, str(session.dataset.root), session.view.state.generation)
    except UserError as error:
        note(error)
        return
    most = max((counts.total for name, counts, _ in rows if "responses" not in name), default=1)
    cells = []
    for name, counts, why in rows:
        numbers = [counts.done, counts.filtered.total(), counts.failed.total(), counts.remaining]
        full = counts.total if "responses" in name else most
        bars = "".join(
            f'<i class="t-bar {kind}" style="width:{100 * number / max(1, full):.2f}%"></i>'
            for kind, number in zip(("", "filtered", "failed", "remaining"), numbers, strict=True)
        )
        bar = Html(f'<span style="display:block;width:15rem;white-space:nowrap">{bars}</span>')
        cells.append([name, bar, counts.total, *numbers, "; ".join(why)])
    head = ["step", "", "given", "done", "filtered", "failed", "left", "why"]
    table(head, cells, words=(1, 7))


def _outcomes(session: Session) -> None:
    rows = session.view.kinds()
    if not rows:
        st.text("No pairs yet.")
        return
    reasons_here = [reason for reason in REASONS if any(row["reason"] == reason for row in rows)]
    many = len(session.view.runs()) > 1
    lines: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in rows:
        key = (row["model"], row["iteration"], row["noise"], row["magnitude"])
        line = lines.setdefault(key, {})
        line[row["reason"]] = line.get(row["reason"], 0) + row["pairs"]
        line["duplicate"] = line.get("duplicate", 0) + row["pairs"] * row["duplicate"]
    head = [
        *(["model"] if many else []),
        "pairs",
        "made",
        *reasons_here,
        "kept",
        "duplicates among these",
        "",
    ]
    body = []
    for (model, iteration, noise, magnitude), line in lines.items():
        made = sum(number for reason, number in line.items() if reason != "duplicate")
        kept = line.get("", 0)
        share = f'<i class="t-bar" style="width:{100 * kept / made:.1f}%"></i>'
        bar = Html(f'<span style="display:block;width:9rem;text-align:left">{share}</span>')
        cells = [f"{noise} {magnitude}", made, *(line.get(reason, 0) for reason in reasons_here)]
        model_cell = [f"{model} · iter {iteration}"] if many else []
        body.append([*model_cell, *cells, kept, line["duplicate"], bar])
    table(head, body, words=range(2 if many else 1))
    meanings = "; ".join(f"{reason}: {REASONS[reason]}" for reason in reasons_here)
    st.caption(
        "These are the counts of convert_to_swift.py, which also checks video files and judgements."
        f" {meanings}"
    )


def _texts(session: Session) -> None:
    if not session.view.runs():
        st.text("No pairs yet.")
        return
    what = st.segmented_control(
        "Of the pairs that convert keeps",
        list(CHARTS),
        default="Lengths",
        required=True,
        key="chart",
        bind="query-params",
    )
    st.caption("Click a bar to see its pairs. The first and last bars include all values beyond.")
    fields = CHARTS[what]
    rows = session.view.histogram(fields).to_pylist()
    rows = [{**row, "side": row["field"].removesuffix("_length")} for row in rows]
    colours = alt.Scale(domain=["chosen", "rejected"], range=[ACCENT, CONTRAST])
    several = len(fields) > 1
    colour = (
        alt.Color("side:N", scale=colours, legend=alt.Legend(title=None, orient="top"))
        if several
        else alt.value(ACCENT)
    )
    bars, pick = _bars(rows, fields[0], "pairs", by=("noise:N", "magnitude:O"), color=colour)
    chart = (
        bars.mark_bar(opacity=0.7 if several else 0.95, cursor="pointer")
        .properties(width=186, height=110)
        .facet(
            row=alt.Row("noise:N", title=None, header=alt.Header(labelFontSize=13)),
            column=alt.Column(
                "magnitude:O", sort="descending", title="magnitude", header=alt.Header()
            ),
            spacing=14,
        )
        .add_params(pick)
    )
    _open(st.altair_chart(chart, on_select="rerun", key=f"chart_{what}", width="content"))


def _videos(session: Session) -> None:
    columns = st.columns(2)
    for column, field in zip(columns, ("shots", "clip_seconds"), strict=True):
        rows = session.view.video_histogram(field).to_pylist()
        column.html(f"<b>{FIELDS[field][0].capitalize()}</b>")
        if not rows:
            column.text("None yet.")
            continue
        counted_in = "videos" if field == "shots" else "clips"
        bars, pick = _bars(rows, field, counted_in, color=alt.value(ACCENT))
        chart = bars.mark_bar(cursor="pointer").properties(height=240).add_params(pick)
        with column:
            _open(st.altair_chart(chart, on_select="rerun", key=f"chart_{field}"))
    st.caption("Click a bar to see the pairs of its videos.")
    rows = session.view.statuses()
    table(
        ["videos", "", "step", "why"],
        [[row["videos"], row["status"], row["step"], row["reason"] or ""] for row in rows],
        words=(1, 2, 3),
    )


def _bars(
    rows: list[dict[str, Any]], field: str, what: str, *, color: Any, by: Sequence[str] = ()
) -> tuple[alt.Chart, alt.Parameter]:
    """The bars of a histogram of `field`, and the one that is clicked."""
    names = [name.split(":")[0] for name in by]
    pick = alt.selection_point(name="bar", fields=[*names, "field", "least", "most"])
    bounds = [("low:Q", "from"), ("high:Q", "to"), ("n:Q", what)]
    chart = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("low:Q", bin="binned", title=AXES[field], axis=UNDER),
        x2="high:Q",
        y=alt.Y("n:Q", stack=None, title=what, axis=WHOLE),
        color=color,
        tooltip=[*map(alt.Tooltip, by), *(alt.Tooltip(name, title=t) for name, t in bounds)],
    )
    return chart, pick


def _open(event: Any) -> None:
    """Go to the pairs of the bar that was clicked."""
    points = event["selection"].get("bar") or []
    if not points:
        return
    bar = points[0]
    kept = {"outcome": "kept"} if "noise" in bar else {}
    where = {name: str(bar[name]) for name in ("noise", "magnitude") if name in bar}
    to_pairs(between=f"{bar['field']}:{bar['least']:g}:{bar['most']:g}", **where, **kept)
