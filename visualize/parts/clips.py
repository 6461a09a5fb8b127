"""A video's clips on a page: the strip of key frames, and the clip that plays."""

from collections.abc import Sequence

import streamlit as st

from tools.errors import UserError
from tools.shots.spans import clip_spans
from tools.store.jsonl import Record
from tools.video.decode import VideoError
from visualize.parts.address import go
from visualize.parts.strip import strip
from visualize.parts.style import counted, heading, note
from visualize.previews import PREVIEW_SECONDS, film, pictures
from visualize.session import Session


def clock(seconds: float) -> str:
    """Seconds as people write them: 0:07.0."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def show_clips(
    session: Session,
    video: Record | None,
    frames: Sequence[Sequence[int]],
    *,
    key: str,
    order: Sequence[int] | None = None,
    captions: Sequence[str] = (),
    what: str = "clip",
    colours: Sequence[str] | None = None,
) -> None:
    """Show the strip of a video's clips, and play the clip that the address bar names.

    Args:
        video: its record of stage 1; without one, the strip has no pictures.
        frames: the key frames' indices, a pair a clip.
        order: which clips a rejected text was written from, in which order, counting from 0.
        captions: of the clips.
        what: what is shown, `clip`, `shot`, or `part`, which has nothing to do with shots.
        colours: of the clips; None: from light to dark.
    """
    if not frames:
        return
    word = st.query_params.get("clip", "")
    on = int(word) if word.isdecimal() and 1 <= int(word) <= len(frames) else None
    spans = clip_spans(video) if video and "merged_groups" in video else []
    titles = [f"{what} {number}" for number in range(1, len(frames) + 1)]
    for number, span in enumerate(spans[: len(frames)]):
        titles[number] += f", {clock(span[0])} to {clock(span[1])}"
    clips = list(zip(titles, _pictures(session, video, frames), strict=True))
    clicked = strip(clips, order=order, on=on, colours=colours, key=key)
    if clicked and clicked != on:
        go(clip=str(clicked))
        st.rerun()
    if on and video and spans:
        _play(session, video, on, spans[on - 1], what, captions[on - 1 : on])


def _pictures(
    session: Session, video: Record | None, frames: Sequence[Sequence[int]]
) -> list[list[bytes | None]]:
    """The key frames of each clip; None for those that a line on the page says why they cannot be
    shown."""
    images: dict[int, bytes] = {}
    if video is None:
        note("Stage 1 has no record of this video, so the page cannot show its frames.")
    else:
        try:
            images = pictures(session.dataset, video, [index for pair in frames for index in pair])
        except (VideoError, UserError) as error:
            note(f"The video cannot be shown: {error}")
    return [[images.get(index) for index in pair] for pair in frames]


def _play(
    session: Session,
    video: Record,
    clip: int,
    span: tuple[float, float],
    what: str,
    captions: Sequence[str],
) -> None:
    """The clip of a number, counting from 1, beside its caption."""
    members = video["merged_groups"][clip - 1][1]
    cuts = [video["filtered_cuts"][shot] for shot in members]
    left, right = st.columns([2, 3], gap="medium")
    with left:
        try:
            data = film(session.dataset, video, cuts[0][1], cuts[-1][2])
            st.video(data, autoplay=True, muted=True, loop=True)
        except (VideoError, UserError) as error:
            note(f"The clip cannot be played: {error}")
    with right:
        about = f"{clock(span[0])} to {clock(span[1])}"
        if what != "part":
            about += f" · {counted(len(members), 'shot')}"
        if span[1] - span[0] > PREVIEW_SECONDS:
            about += f", the first {PREVIEW_SECONDS:.0f} s shown"
        heading(f"{what.capitalize()} {clip}", f'<span class="t-faint">{about}</span>')
        for caption in captions:
            st.text(caption)
        close = {"clip": None}
        st.button("Close", type="tertiary", on_click=go, kwargs=close, icon=":material/close:")
