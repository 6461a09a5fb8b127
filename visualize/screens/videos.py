"""One video after stage 1: shots, groups, key frames and captions, or why it was filtered."""

from dataclasses import asdict
from typing import Any

import streamlit as st

from tools.errors import UserError
from tools.shots.spans import shot_spans
from tools.shots.steps import Settings
from tools.store.files import read_json
from tools.store.jsonl import Record
from visualize.index.view import Filters
from visualize.parts.clips import clip_panel, clock, open_clip
from visualize.parts.differences import escape
from visualize.parts.filters import ANY, to_pairs
from visualize.parts.style import badge, caption_table, counted, facts, heading, note, unmarked
from visualize.session import Session
from visualize.timeline import group_colours, tick_seconds

STATUSES = ("kept", "filtered", "failed", "unfinished")
# Filter reason -> its meaning, with the settings of the step that filtered the video.
REASONS = {
    "too_few_shots": "fewer than {min_shots} shots",
    "too_many_shots": "more than {max_shots} shots",
    "shot_too_long": "a shot lasts more than {max_shot_seconds:g} s",
    "too_few_groups": "fewer than {min_clips} clips after neighbours that look alike are merged",
    "group_recurs": "shots that look alike make up more than {max_group_clips} clips, or more than"
    " {max_group_share:.0%} of the clips",
}
UNGROUPED, LEFT_OUT = "#9aa3ae", "#dfe3e8"


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    statuses = session.view.statuses()
    with st.sidebar:
        status = st.pills("Status", STATUSES, key="status", bind="query-params")
        reasons = sorted({s["reason"] for s in statuses if s["reason"] and s["status"] == status})
        reason = ANY
        if reasons:
            reason = st.selectbox("Why", [ANY, *reasons], key="why")
        text = st.text_input("Name", key="name", type="search", bind="query-params")
        rows = session.view.videos(status or "", "" if reason == ANY else reason, text)
        names = {row["video_id"]: row["name"] for row in rows}
        wanted = st.query_params.get("video", "")
        unfiltered = not (status or text or reason != ANY)
        if unfiltered and wanted not in names and (row := session.view.one_video(wanted)):
            names = {wanted: row["name"], **names}
        ids = list(names)
        if ids:
            many = counted(len(rows), "video") if len(rows) < 1000 else "the first 1,000 videos"
            chosen = st.selectbox(
                many,
                ids,
                index=ids.index(wanted) if wanted in names else 0,
                format_func=names.__getitem__,
            )
            if chosen != wanted:
                st.query_params["video"] = chosen
                if wanted:
                    st.query_params.pop("clip", None)
    if not ids:
        note("No video passes these filters.")
        return
    row = session.view.one_video(chosen)
    assert row is not None
    _one(session, row, ids)


def _one(session: Session, row: dict[str, Any], ids: list[str]) -> None:
    place = ids.index(row["video_id"])
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        kind = "accent" if row["status"] == "kept" else "warn"
        heading(
            row["name"],
            badge(row["status"], kind),
            f'<span class="t-faint">{escape(row["video_id"])}</span>',
        )
    with right, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        for label, number, key in (("Previous", place - 1, "Left"), ("Next", place + 1, "Right")):
            st.button(
                label,
                key=key,
                shortcut=key,
                disabled=not 0 <= number < len(ids),
                on_click=_go,
                args=(ids[number % len(ids)],),
            )
        if len(session.select(Filters(video_id=row["video_id"]))) and st.button("Its pairs"):
            to_pairs(of=row["video_id"])
    if row["status"] == "filtered":
        # Tables of the reference scripts have no such file: their bounds are the method's.
        made = read_json(session.dataset.table(row["step"]).meta_path) or {}
        why = REASONS.get(row["reason"], "").format(**asdict(Settings()) | made.get("params", {}))
        note(f"Filtered by {row['step']}: {row['reason']}{why and f' ({why})'}.")
    for failure in session.view.failures(row["video_id"]):
        note(f"Failed in {failure['step']}: {failure['error']}")
    try:
        record = session.view.video(row["video_id"])
    except UserError as error:
        note(error)
        return
    if record is None:
        return
    if "filtered_cuts" not in record:
        st.text("No shots have been found yet.")
        return
    clips = record.get("merged_groups") or []
    spans = shot_spans(record)
    facts(
        [
            ("shots kept", f"{len(record['filtered_cuts'])} of {len(record['raw_cuts'])}"),
            ("longest shot", f"{max((b - a for a, b in spans), default=0):.1f} s"),
            ("clips", len(clips) or "-"),
            ("groups", len({group for group, _ in clips}) or "-"),
            ("frames a second", f"{record['fps']:.2f}"),
        ]
    )
    st.html(_line(record))
    frames = record.get("frame_indices")
    if frames:
        clip = open_clip(session, record, frames, key="video_strip", colours=group_colours(clips))
        clip_panel(session, record, None, clip)
        for model in session.dataset.caption_models():
            if captions := session.view.captions(model, record["video_id"]):
                with st.expander(f"Clip captions by {unmarked(model)}"):
                    st.html(caption_table((text, "", True) for text in captions))
    else:
        # Without clips, the page shows and plays the shots.
        cuts = record["filtered_cuts"]
        shots = {**record, "merged_groups": [[shot, [shot]] for shot in range(len(cuts))]}
        middles = [[(start + end) // 2] for _, start, end in cuts]
        of = {shot: number for number, (_, members) in enumerate(clips) for shot in members}
        colours = [group_colours(clips)[of[shot]] for shot in range(len(cuts))] if clips else None
        shot = open_clip(session, shots, middles, key="shot_strip", what="shot", colours=colours)
        clip_panel(session, shots, None, shot, what="shot")


def _line(record: Record) -> str:
    """The shots on a time line: clips in their group's colour, key frames as ticks."""
    clips = record.get("merged_groups") or []
    colours = group_colours(clips)
    spans = shot_spans(record)
    raw = shot_spans(record, "raw_cuts")
    seconds = max((end for _, end in raw), default=1.0)
    of = {shot: number for number, (_, members) in enumerate(clips) for shot in members}
    bars = [_bar(span, seconds, LEFT_OUT, "left out: it is too short or blank") for span in raw]
    for shot, span in enumerate(spans):
        colour = colours[of[shot]] if shot in of else UNGROUPED
        what = f"shot {shot + 1}" + (f", clip {of[shot] + 1}" if shot in of else "")
        bars.append(_bar(span, seconds, colour, f"{what}, {clock(span[0])} to {clock(span[1])}"))
    times = record.get("frame_times") or [
        [index / record["fps"] for index in pair] for pair in record.get("frame_indices", [])
    ]
    bars += [f'<u style="left:{100 * time / seconds:.3f}%"></u>' for pair in times for time in pair]
    step = tick_seconds(seconds)
    bars += [
        f'<s style="left:{100 * tick / seconds:.3f}%">{tick} s</s>'
        for tick in range(0, int(seconds) + 1, step)
    ]
    return f'<div class="t-line">{"".join(bars)}</div>'


def _bar(span: tuple[float, float], seconds: float, colour: str, title: str) -> str:
    left, width = 100 * span[0] / seconds, 100 * (span[1] - span[0]) / seconds
    return (
        f'<i title="{escape(title)}" style="left:calc({left:.3f}% + 1px);'
        f'width:calc({width:.3f}% - 2px);background:{colour}"></i>'
    )


def _go(video_id: str) -> None:
    st.query_params["video"] = video_id
    st.query_params.pop("clip", None)
