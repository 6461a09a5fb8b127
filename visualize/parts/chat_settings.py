"""The side bar of the page Chat: which video is talked about, who answers, and how."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from grounding.view import Answering, Decoding, Finder, own_bridge
from visualize.conversations import Film, save_upload
from visualize.parts.filters import BOUND
from visualize.parts.style import counted
from visualize.session import Session, flags

MOST_FRAMES, FRAMES = 8, 4  # VideoTGB's demo
MOST_SPANS = 3
GROUNDED, UNIFORM = "grounded", "uniform"
BEST, BEAMS, NUCLEUS = "greedy", "beams", "nucleus"
Weights = tuple[tuple[str, int, int], ...]
VIDEO_FILES = ("mp4", "mkv", "webm", "mov", "avi", "ts", "m4v", "mpg", "mpeg", "flv", "wmv")


@dataclass(frozen=True)
class Asking:
    """How a question is asked.

    Attributes:
        finder: None: frames are spread over the whole video.
        number: of frames.
        spans: disjoint ones at most.
    """

    model: Answering
    finder: Finder | None
    number: int
    spans: int
    decoding: Decoding


def chosen_film(session: Session | None) -> Film | None:
    """The video that the side bar names: an upload, or one of the data set."""
    upload = st.file_uploader("Upload a video", type=VIDEO_FILES, key="upload")
    if upload:
        # Kept, since this runs at each click, and an upload may be large.
        kept, film = st.session_state.get("uploaded", ("", None))
        if kept != upload.file_id:
            film = save_upload(upload.name, upload.getvalue())
            st.session_state["uploaded"] = upload.file_id, film
        return film
    if session is None:
        return None
    text = st.text_input("Name", key="name", type="search", bind=BOUND)
    rows = session.view.videos(text=text)
    names = {row["video_id"]: row["name"] for row in rows}
    wanted = st.query_params.get("video", "")
    if wanted and wanted not in names:
        names = {
            row["video_id"]: row["name"] for row in session.view.videos(video_id=wanted)
        } | names
    many = counted(len(rows), "video") if len(rows) < 1000 else "the first 1,000 videos"
    ids = list(names)
    chosen = st.selectbox(
        many, ids, index=ids.index(wanted) if wanted in names else 0, format_func=names.__getitem__
    )
    if chosen is None:
        return None
    st.query_params["video"] = chosen
    record = session.view.video(chosen)
    return Film(session.dataset, record) if record else None


# A folder that has been trained again is loaded again: `_weights_of` is part of what is remembered.
@st.cache_resource(max_entries=1, show_spinner=False)
def _answering(checkpoint: str, weights: Weights) -> Answering:
    del weights
    return Answering(checkpoint)


@st.cache_resource(max_entries=1, show_spinner="Loading the bridge")
def _finder(folder: Path, weights: Weights) -> Finder:
    del weights
    return Finder(folder)


def _weights_of(folder: Path) -> Weights:
    """Names, sizes and times of the weights in a folder; none of what is no folder."""
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.safetensors")))
    return tuple((name, info.st_size, info.st_mtime_ns) for name, info in files)


def chosen_way() -> Asking:
    """Who answers, who looks for the moment, from how many frames of how many spans.

    Raises:
        UserError: a model or a bridge is not there.
    """
    given = flags()
    checkpoint = st.selectbox("Who answers", given.checkpoint, key="answers")
    model, finder, spans = _answering(checkpoint, _weights_of(Path(checkpoint))), None, 1
    if sampler := given.sampler or own_bridge(checkpoint):
        way = st.segmented_control(
            "Frames", [GROUNDED, UNIFORM], default=GROUNDED, required=True, key="frames", bind=BOUND
        )
        if way == GROUNDED:
            finder = _finder(sampler, _weights_of(Path(sampler)))
    else:
        st.caption("There is no bridge to choose frames: `--sampler DIR` names one.")
    number = st.slider("Number of frames", 1, MOST_FRAMES, FRAMES, key="nframe", bind=BOUND)
    if finder:
        spans = st.slider("Spans at most", 1, MOST_SPANS, 1, key="spans", bind=BOUND)
    return Asking(model, finder, number, spans, _decoding(model))


def _decoding(model: Answering) -> Decoding:
    """How the answer is decoded."""
    ways = [BEST, *([BEAMS] if model.beams else []), NUCLEUS]
    way = st.segmented_control("Decoding", ways, default=BEST, required=True, key="decoding")
    values: dict[str, Any] = {}
    if way == BEAMS:
        values["num_beams"] = st.slider("Beams", 2, 10, 5, key="beams")
        values["length_penalty"] = st.slider("Length penalty", -2.0, 2.0, 1.0, 0.1, key="length")
    elif way == NUCLEUS:
        values["temperature"] = st.slider("Temperature", 0.1, 2.0, 1.0, 0.1, key="temperature")
        values["top_p"] = st.slider("Top p", 0.05, 1.0, 0.9, 0.05, key="top_p")
    return Decoding(
        max_new_tokens=st.number_input("Longest answer, tokens", 1, 4096, 128, key="tokens"),
        repetition_penalty=st.slider("Repetition penalty", 1.0, 2.0, 1.0, 0.05, key="repetition"),
        **values,
    )
