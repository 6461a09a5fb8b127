"""A dataset as a whole: the funnel of every step, the outcomes of convert, histograms."""

from typing import Any

import altair as alt
import streamlit as st

from tools.pairs.rules import REASONS
from tools.status import funnel, reasons
from visualize.index.view import FIELDS, VIDEO_FIELDS
from visualize.parts.address import to_pairs
from visualize.parts.style import ACCENT, CONTRAST, bar, counted, faint, heading, table
from visualize.session import Session

# A chart's name -> the columns that it shows.
CHARTS = {
    "Lengths": ("chosen_length", "rejected_length"),
    "Chosen over rejected": ("ratio",),
    "Words alike": ("similarity",),
}

FEWEST_BARS = 8  # for which an axis has room


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    pairs = sum(number for _, _, number in session.view.runs())
    videos = sum(row["videos"] for row in session.view.statuses())
    heading(session.dataset.title, faint(f"{counted(videos, 'video')}, {counted(pairs, 'pair')}"))
    parts = {"Steps": _funnel, "Pairs": _outcomes, "Texts": _texts, "Videos": _videos}
    part = st.segmented_control(
        "Show",
        list(parts),
        default="Steps",
        required=True,
        key="part",
        bind="query-params",
        label_visibility="collapsed",
    )
    if part in ("Pairs", "Texts") and not pairs:
        st.text("No pairs yet.")
    else:
        parts[part](session)


@st.cache_data(max_entries=8, show_spinner="Counting")
def _counts(_session: Session, root: str, generation: int) -> list[tuple[str, Any]]:
    return list(funnel(_session.dataset))


def _funnel(session: Session) -> None:
    steps = _counts(session, str(session.dataset.root), session.view.state.generation)
    # Records of stage 3 are responses, all others are videos.
    most = max((counts.total for name, counts in steps if "responses" not in name), default=1)
    rows = []
    for name, counts in steps:
        numbers = [counts.done, counts.filtered.total(), counts.failed.total(), counts.remaining]
        full = max(1, counts.total if "responses" in name else most)
        shares = bar(*(100 * number / full for number in numbers))
        rows.append([name, shares, counts.total, *numbers, "; ".join(reasons(counts))])
    table(["step", "", "given", "done", "filtered", "failed", "left", "why"], rows)


def _outcomes(session: Session) -> None:
    kinds = session.view.kinds()
    dropped = [reason for reason in REASONS if any(reason in row["dropped"] for row in kinds)]
    several = len(session.view.runs()) > 1
    rows = []
    for row in kinds:
        model = [f"{row['model']} · iter {row['iteration']}"] if several else []
        numbers = [row["made"], *(row["dropped"].get(reason, 0) for reason in dropped)]
        kept = [row["kept"], row["duplicates"], bar(100 * row["kept"] / row["made"])]
        rows.append([*model, f"{row['noise']} {row['magnitude']}", *numbers, *kept])
    head = ["pairs", "made", *dropped, "kept", "duplicates among these", ""]
    table(["model", *head] if several else head, rows)
    meanings = "; ".join(f"{reason}: {REASONS[reason]}" for reason in dropped)
    st.caption(
        "These are the counts of convert_to_swift.py, which also checks video files and judgements."
        f" {meanings}"
    )


def _texts(session: Session) -> None:
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
    for row in rows:
        row["side"] = row["field"].removesuffix("_length")
    colour: Any = alt.value(ACCENT)
    if len(fields) > 1:
        scale = alt.Scale(domain=["chosen", "rejected"], range=[ACCENT, CONTRAST])
        colour = alt.Color("side:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
    bars, pick = _bars(rows, fields[0], "pairs", "noise:N", "magnitude:O", color=colour)
    chart = (
        bars.mark_bar(opacity=0.7 if len(fields) > 1 else 0.95, cursor="pointer")
        .properties(width=186, height=110)
        .facet(
            row=alt.Row("noise:N", title=None, header=alt.Header(labelFontSize=13)),
            column=alt.Column("magnitude:O", sort="descending"),
            spacing=14,
        )
        .add_params(pick)
    )
    _open(st.altair_chart(chart, on_select="rerun", key=f"chart_{what}", width="content"))


def _videos(session: Session) -> None:
    for column, field in zip(st.columns(2), VIDEO_FIELDS, strict=True):
        with column:
            st.html(f"<b>{FIELDS[field][0].capitalize()}</b>")
            rows = session.view.video_histogram(field).to_pylist()
            if not rows:
                st.text("None yet.")
                continue
            unit = "videos" if field == "shots" else "clips"
            bars, pick = _bars(rows, field, unit, color=alt.value(ACCENT))
            chart = bars.mark_bar(cursor="pointer").properties(height=240).add_params(pick)
            _open(st.altair_chart(chart, on_select="rerun", key=f"chart_{field}"))
    st.caption("Click a bar to see the pairs of its videos.")
    table(
        ["", "step", "why", "videos"],
        [
            [row["status"], row["step"], row["reason"] or "", row["videos"]]
            for row in session.view.statuses()
        ],
    )


def _bars(
    rows: list[dict[str, Any]], field: str, what: str, *by: str, color: Any
) -> tuple[alt.Chart, alt.Parameter]:
    """The bars of a histogram of `field`, and the one that is clicked."""
    names = [name.split(":")[0] for name in by]
    pick = alt.selection_point(name="bar", fields=[*names, "field", "least", "most"])
    bounds = [("low:Q", "from"), ("high:Q", "to"), ("n:Q", what)]
    unit = FIELDS[field][0].rpartition(", ")[2]
    # A few bars are as wide as they would be among others.
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    missing = FEWEST_BARS * (rows[0]["high"] - rows[0]["low"]) - (high - low)
    left = min(max(0.0, missing / 2), low)
    scale = alt.Scale(domain=[low - left, high + max(0.0, missing - left)], nice=False)
    chart = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "low:Q", bin="binned", title=unit, axis=alt.Axis(grid=False, tickCount=5), scale=scale
        ),
        x2="high:Q",
        y=alt.Y("n:Q", stack=None, title=what, axis=alt.Axis(tickCount=4, tickMinStep=1)),
        color=color,
        tooltip=[*map(alt.Tooltip, by), *(alt.Tooltip(name, title=t) for name, t in bounds)],
    )
    return chart, pick


def _open(event: Any) -> None:
    """Go to the pairs of the bar that was clicked."""
    for point in event["selection"].get("bar") or []:
        kept = {"outcome": "kept"} if "noise" in point else {}
        where = {name: str(point[name]) for name in ("noise", "magnitude") if name in point}
        bounds = f"{point['field']}:{point['least']:g}:{point['most']:g}"
        to_pairs(between=bounds, **where, **kept)
