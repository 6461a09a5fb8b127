"""One text video: the captions of its frames, their objects, and its questions; or why it was
filtered."""

from bisect import bisect_left
from html import escape

import streamlit as st

from prealignment.view import TextVideos
from qa.options import LETTERS
from tools.store.jsonl import Record
from visualize.answers import Stamp, stamp
from visualize.parts.address import go, heading_with_steps
from visualize.parts.filters import ANY, BOUND, release_focus
from visualize.parts.style import Html, badge, counted, facts, faint, note, side, table, unmarked
from visualize.session import Session

MOST_LISTED = 1000
# Why a text video was filtered -> what that means.
REASONS = {
    "cut_off": "the answer ended at the longest length",
    "no_json": "there is no JSON object in the answer",
    "too_few_frames": "fewer than 5 frames have a caption",
    "too_many_frames": "more than 15 frames have a caption",
    "no_description": "there is no description of the whole",
    "no_question": "no question is good",
}


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    tideos = session.dataset.table("tideos")
    if not tideos.exists():
        note("This dataset has no text videos: python -m prealignment.tideos writes them.")
        return
    of_files = stamp(tideos.path, *tideos.parts())
    videos = _videos(session, of_files)
    wanted = st.query_params.get("tideo", "")
    with st.sidebar:
        outcome = st.selectbox(
            "Outcome",
            [ANY, *videos.outcomes()],
            key="status",
            bind=BOUND,
            help="  \n".join(f"`{name}` {why}" for name, why in REASONS.items()),
        )
        text = st.text_input("Text", key="q", type="search", placeholder="words in it", bind=BOUND)
        passing = _selected(videos, "" if outcome == ANY else outcome, text.strip(), of_files)
        place = bisect_left(passing, wanted)
        is_there = passing[place : place + 1] == [wanted]
        first = max(0, place - MOST_LISTED // 2) if is_there else 0
        listed = passing[first : first + MOST_LISTED]
        chosen = st.selectbox(
            counted(len(passing), "text video"), listed, index=place - first if is_there else 0
        )
        release_focus(repr((outcome, text, chosen)))
    if chosen is None:
        note("No text video passes these filters.")
        return
    if wanted and not is_there and outcome == ANY and not text.strip():
        note(f"There is no such text video: {wanted}")
    if chosen != wanted:
        go(tideo=chosen)
    _one(videos, passing, chosen)


@st.cache_resource(max_entries=2, show_spinner="Reading the text videos")
def _videos(_session: Session, of_files: Stamp) -> TextVideos:
    return TextVideos(_session.dataset)


@st.cache_resource(max_entries=12, show_spinner="Searching")
def _selected(_videos: TextVideos, outcome: str, text: str, of_files: Stamp) -> list[str]:
    return _videos.select(outcome, text)


def _one(videos: TextVideos, passing: list[str], video_id: str) -> None:
    tideo, place = videos.read(video_id), bisect_left(passing, video_id)
    reason = videos.reasons.get(video_id)
    labels = [badge(reason, "warn")] if reason else []
    if kind := tideo.get("kind"):
        labels.append(badge(kind, "accent"))
    heading_with_steps(
        video_id,
        [*labels, faint(tideo.get("seed_text", ""))],
        f"{place + 1:,} of {len(passing):,}",
        {"tideo": passing[place - 1]} if place else None,
        {"tideo": passing[place + 1]} if place + 1 < len(passing) else None,
    )
    if reason:
        why = REASONS.get(reason, "")
        note(f"Filtered: {reason}{why and f' ({why})'}.")
        return
    frames, questions = tideo["frames"], tideo["QAs"]
    dropped = tideo.get("dropped", {})
    facts(
        {
            "frames": len(frames),
            "objects": sum(len(frame) - 1 for frame in frames),
            "questions": len(questions),
            "questions left out": sum(dropped.values()),
        }
    )
    side("Description", "", escape(tideo["global_video_caption"]))
    table(["frame", "caption", "objects"], [_frame(n, frame) for n, frame in enumerate(frames, 1)])
    table(["question", "options", "open answer"], [_question(question) for question in questions])
    if dropped:
        why = ", ".join(f"{name} {count}" for name, count in dropped.items())
        st.caption(unmarked(f"Questions that were left out: {why}."))


def _frame(number: int, frame: Record) -> list[object]:
    things = [(name, text) for name, text in frame.items() if name != "caption"]
    objects = "<br>".join(f"<b>{escape(name)}</b> {escape(text)}" for name, text in things)
    return [number, frame["caption"], Html(objects)]


def _question(question: Record) -> list[object]:
    right = {question["answer"]: badge("right", "accent")}
    options = "<br>".join(
        f"<b>{letter}</b> {escape(text)} {right.get(letter, '')}"
        for letter, text in zip(LETTERS, question["options"], strict=False)
    )
    return [question["question"], Html(options), question.get("answer_open_ended", "")]
