"""One video after stage 1: shots, groups, key frames and captions, or why it was filtered."""

from dataclasses import asdict
from html import escape
from typing import Any

import streamlit as st

from tools.errors import UserError
from tools.shots.settings import Settings
from tools.shots.spans import shot_spans
from tools.store.files import read_json
from tools.store.jsonl import Record
from tools.video.decode import VideoError
from tools.video.recognition import GONE
from visualize.index.view import Filters
from visualize.parts.address import go, heading_with_steps, to_pairs
from visualize.parts.clips import clock, show_clips
from visualize.parts.filters import ANY
from visualize.parts.style import badge, caption_table, counted, facts, faint, note, unmarked
from visualize.previews import WHOLE_SECONDS, film
from visualize.session import Session
from visualize.timeline import group_colours, tick_seconds

STATUSES = ("kept", "filtered", "failed", "unfinished")
# Filter reason -> its meaning, with the settings of the step that filtered the video.
REASONS = {
    GONE: "its file is not where it was",
    "too_few_shots": "fewer than {min_shots} shots",
    "too_few_shots_damaged": "fewer than {min_shots} shots in a file whose frames cannot all be"
    " decoded",
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
        reason = st.selectbox("Why", [ANY, *reasons], key="why") if reasons else ANY
        text = st.text_input("Name", key="name", type="search", bind="query-params")
        rows = session.view.videos(status or "", "" if reason == ANY else reason, text)
        many = counted(len(rows), "video") if len(rows) < 1000 else "the first 1,000 videos"
        wanted = st.query_params.get("video", "")
        videos = {row["video_id"]: row for row in rows}
        if wanted and wanted not in videos and not (status or text or reason != ANY):
            videos = {row["video_id"]: row for row in session.view.videos(video_id=wanted)} | videos
        ids = list(videos)
        chosen = st.selectbox(
            many,
            ids,
            index=ids.index(wanted) if wanted in videos else 0,
            format_func=lambda video_id: videos[video_id]["name"],
        )
    if chosen is None:
        note("No video passes these filters.")
        return
    if chosen != wanted:
        go(video=chosen, **({"clip": None} if wanted else {}))
    _one(session, videos[chosen], ids)


def _one(session: Session, row: dict[str, Any], ids: list[str]) -> None:
    place = ids.index(row["video_id"])
    buttons = heading_with_steps(
        row["name"],
        [
            badge(row["status"], "accent" if row["status"] == "kept" else "warn"),
            faint(row["video_id"]),
        ],
        f"{place + 1:,} of {len(ids):,}",
        {"video": ids[place - 1], "clip": None} if place else None,
        {"video": ids[place + 1], "clip": None} if place + 1 < len(ids) else None,
    )
    if len(session.select(Filters(video_id=row["video_id"]))) and buttons.button("Its pairs"):
        to_pairs(of=row["video_id"])
    if row["status"] == "filtered":
        # Tables of the reference scripts have no such file: their bounds are the method's.
        own = session.dataset.shard_of(row["video_id"])
        made = read_json(own.table(row["step"]).meta_path) or {}
        why = REASONS.get(row["reason"], "").format(**asdict(Settings()) | made.get("params", {}))
        step = "init" if row["reason"] == GONE else row["step"]
        note(f"Filtered by {step}: {row['reason']}{why and f' ({why})'}.")
    for failure in session.view.failures(row["video_id"]):
        note(f"Failed in {failure['step']}: {failure['error']}")
    record = session.view.video(row["video_id"])
    if record and "filter_detail" in record:
        note(f"The limit that struck: {record['filter_detail']}.")
    if record and "filtered_cuts" in record:
        _shots(session, record)
    elif record:
        st.text("No shots have been found yet.")


def _shots(session: Session, record: Record) -> None:
    cuts, clips = record["filtered_cuts"], record.get("merged_groups") or []
    facts(
        {
            "shots kept": f"{len(cuts)} of {len(record['raw_cuts'])}",
            "longest shot": f"{max((b - a for a, b in shot_spans(record)), default=0):.1f} s",
            "clips": len(clips) or "-",
            "groups": len({group for group, _ in clips}) or "-",
            "frames a second": f"{record['fps']:.2f}",
        }
    )
    colours = group_colours(clips)
    clip_of = {shot: number for number, (_, members) in enumerate(clips) for shot in members}
    _timeline(record, clip_of, colours)
    _whole(session, record)
    if frames := record.get("frame_indices"):
        show_clips(session, record, frames, key="video_strip", colours=colours)
        for model in session.dataset.caption_models():
            if captions := session.view.captions(model, record["video_id"]):
                with st.expander(f"Clip captions by {unmarked(model)}"):
                    caption_table((text, "") for text in captions)
        return
    # Without key frames, the page shows and plays the shots.
    shots = {**record, "merged_groups": [[shot, [shot]] for shot in range(len(cuts))]}
    middles = [[(start + end) // 2] for _, start, end in cuts]
    of_shots = [colours[clip_of[shot]] for shot in range(len(cuts))] if clips else None
    show_clips(session, shots, middles, key="shot_strip", what="shot", colours=of_shots)


def _whole(session: Session, record: Record) -> None:
    """A button that plays the video from its beginning."""
    key = f"whole_{record['video_id']}"
    if not st.toggle("Play the whole video", key=key):
        return
    last = max(end for _, _, end in record["raw_cuts"])
    try:
        with st.spinner("The video is made small enough for the browser"):
            data = film(session.dataset, record, 0, last, WHOLE_SECONDS)
        st.video(data, autoplay=True, muted=True, width=640)
    except (VideoError, UserError) as error:
        note(f"The video cannot be played: {error}")


def _timeline(record: Record, clip_of: dict[int, int], colours: list[str]) -> None:
    """The shots on a time line: clips in their group's colour, key frames as ticks."""
    raw = shot_spans(record, "raw_cuts")
    seconds = max((end for _, end in raw), default=1.0)

    def at(time: float) -> str:
        return f"{100 * time / seconds:.3f}%"

    def bar(span: tuple[float, float], colour: str, title: str) -> str:
        return (
            f'<i title="{escape(title)}" style="left:calc({at(span[0])} + 1px);'
            f'width:calc({at(span[1] - span[0])} - 2px);background:{colour}"></i>'
        )

    parts = [bar(span, LEFT_OUT, "left out: it is too short or blank") for span in raw]
    for shot, span in enumerate(shot_spans(record)):
        colour, what = UNGROUPED, f"shot {shot + 1}"
        if shot in clip_of:
            colour, what = colours[clip_of[shot]], f"{what}, clip {clip_of[shot] + 1}"
        parts.append(bar(span, colour, f"{what}, {clock(span[0])} to {clock(span[1])}"))
    times = record.get("frame_times") or [
        [index / record["fps"] for index in pair] for pair in record.get("frame_indices", [])
    ]
    parts += [f'<u style="left:{at(time)}"></u>' for pair in times for time in pair]
    ticks = range(0, int(seconds) + 1, tick_seconds(seconds))
    parts += [f'<s style="left:{at(tick)}">{tick} s</s>' for tick in ticks]
    st.html(f'<div class="t-line">{"".join(parts)}</div>')
