"""A video's clips on a page: the strip of key frames, and the clip that plays."""

from collections.abc import Sequence

import streamlit as st

from tools.errors import UserError
from tools.shots.spans import clip_spans
from tools.store.jsonl import Record
from tools.video.decode import VideoError
from visualize.parts.strip import strip
from visualize.parts.style import heading, note
from visualize.parts.texts import Texts
from visualize.previews import PREVIEW_SECONDS
from visualize.session import Session


def clock(seconds: float) -> str:
    """Seconds as people write them: 0:07."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def pictures(session: Session, video: Record | None, indices: Sequence[int]) -> dict[int, bytes]:
    """Frames that can be read; a line on the page says why others cannot."""
    if video is None:
        note("Stage 1 has no record of this video, so the page cannot show its frames.")
        return {}
    try:
        return session.previews.pictures(video, indices)
    except (VideoError, UserError) as error:
        note(f"The video cannot be shown: {error}")
        return {}


def clip_strip(
    session: Session,
    video: Record | None,
    texts: Texts,
    *,
    key: str,
    perturbed: bool = True,
) -> int | None:
    """The strip of a pair's clips; returns the clip that is open, counting from 1."""
    frames = (video or {}).get("frame_indices") or texts.frames
    if not frames:
        return None
    return open_clip(
        session,
        video,
        frames,
        key=key,
        order=texts.order if perturbed else None,
        labels=("in the right order", "as in the rejected text") if perturbed else ("", ""),
    )


def open_clip(
    session: Session,
    video: Record | None,
    frames: Sequence[Sequence[int]],
    *,
    key: str,
    order: Sequence[int] | None = None,
    labels: tuple[str, str] = ("", ""),
    what: str = "clip",
    colours: Sequence[str] | None = None,
) -> int | None:
    """The strip of a video's clips; the address bar holds which one is open."""
    word = st.query_params.get("clip", "")
    on = int(word) if word.isdecimal() and 1 <= int(word) <= len(frames) else None
    spans = clip_spans(video) if video and "merged_groups" in video else []
    titles = [
        f"{what} {number + 1}"
        + (
            f", {clock(spans[number][0])} to {clock(spans[number][1])}"
            if number < len(spans)
            else ""
        )
        for number in range(len(frames))
    ]
    images = pictures(session, video, [index for pair in frames for index in pair])
    clicked = strip(
        frames, images, titles, order=order, on=on, labels=labels, colours=colours, key=key
    )
    if clicked and clicked != on:
        st.query_params["clip"] = str(clicked)
        st.rerun()
    return on


def clip_panel(
    session: Session,
    video: Record | None,
    texts: Texts | None,
    clip: int | None,
    what: str = "clip",
) -> None:
    """The clip that is open: it plays, beside its caption."""
    if clip is None or video is None or "merged_groups" not in video:
        return
    members = video["merged_groups"][clip - 1][1]
    cuts = [video["filtered_cuts"][shot] for shot in members]
    start, end = clip_spans(video)[clip - 1]
    left, right = st.columns([2, 3], gap="medium")
    with left:
        try:
            film = session.previews.film(video, cuts[0][1], cuts[-1][2])
            st.video(film, autoplay=True, muted=True, loop=True)
        except (VideoError, UserError) as error:
            note(f"The clip cannot be played: {error}")
    with right:
        rest = (
            "" if end - start <= PREVIEW_SECONDS else f", the first {PREVIEW_SECONDS:.0f} s shown"
        )
        length = f"{clock(start)} to {clock(end)} · {len(members)} shot{'s' * (len(members) > 1)}"
        heading(f"{what.capitalize()} {clip}", f'<span class="t-faint">{length}{rest}</span>')
        if texts and clip <= len(texts.clips):
            st.text(texts.clips[clip - 1])
        st.button("Close", type="tertiary", on_click=_close, icon=":material/close:")


def _close() -> None:
    st.query_params.pop("clip", None)
