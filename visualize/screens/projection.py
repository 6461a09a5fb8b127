"""One video's frames, and the rows of a memory of text vectors that each frame's vector is
projected on."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from prealignment.view import RealVideo, TextMemory, memories, real_videos
from tools.errors import UserError
from tools.store.dataset import open_dataset
from tools.store.jsonl import Record
from tools.video.decode import VideoError
from visualize.answers import Stamp, stamp
from visualize.parts.address import go, heading_with_steps
from visualize.parts.asked import jpeg, video_times
from visualize.parts.filters import BOUND, release_focus
from visualize.parts.strip import strip
from visualize.parts.style import Html, badge, bar, counted, faint, note, table, unmarked
from visualize.previews import pictures, video_path
from visualize.session import Session, flags

NEAREST = 10  # rows that are shown of each frame


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    videos = real_videos(session.dataset)
    if not videos:
        note(
            "No videos of this dataset have image vectors: python -m prealignment.features"
            f" {session.dataset.name} WORLD_SIZE --split SPLIT makes them."
        )
        return
    with st.sidebar:
        splits = {f"{split}, {clip}": (split, clip) for split, clip in videos}
        named = st.selectbox("Split and CLIP", list(splits), key="split", bind=BOUND)
        records = videos[splits[named]]
        clip = splits[named][1]
        ids = [record["video_id"] for record in records]
        wanted = st.query_params.get("video", "")
        place = ids.index(wanted) if wanted in ids else 0
        chosen = st.selectbox(counted(len(ids), "video"), ids, index=place)
        texts = memories(flags().data_root, clip)
        memory = st.selectbox("Memory of", texts, key="memory", bind=BOUND) if texts else None
        release_focus(repr((named, chosen, memory)))
    if wanted and wanted not in ids:
        note(f"There is no such video in {named}: {wanted}")
    if chosen != wanted:
        go(video=chosen, **({"frame": None} if wanted else {}))
    place = ids.index(chosen)
    heading_with_steps(
        Path(records[place]["path"]).name,
        [badge(clip, "accent"), faint(chosen)],
        f"{place + 1:,} of {len(ids):,}",
        {"video": ids[place - 1], "frame": None} if place else None,
        {"video": ids[place + 1], "frame": None} if place + 1 < len(ids) else None,
    )
    video = RealVideo.read(session.dataset, clip, records[place])
    images, titles = _pictures(session, video)
    word = st.query_params.get("frame", "1")
    frame = int(word) if word.isdecimal() and 1 <= int(word) <= len(titles) else 1
    key = "projection_strip"
    clicked = strip(
        [(title, [image]) for title, image in zip(titles, images, strict=True)], on=frame, key=key
    )
    if clicked and clicked != frame:
        go(frame=str(clicked))
        st.rerun()
    if memory is None:
        note(
            f"No data set has a memory by {clip}: python -m prealignment.features makes it of text"
            " videos."
        )
        return
    left, right = st.columns([1, 3], gap="large")
    with left:
        if image := images[frame - 1]:
            st.image(image, width="stretch")
        st.caption(unmarked(titles[frame - 1]))
    with right:
        _rows(memory, clip, video.vectors[frame - 1 : frame])


def _pictures(session: Session, video: RealVideo) -> tuple[Sequence[bytes | None], list[str]]:
    """The pictures of a video's vectors, as far as they can be shown, and a line about each."""
    numbers = range(1, len(video.vectors) + 1)
    titles = [f"frame {number} of {len(numbers)}" for number in numbers]
    record: Record = {"video_id": video.record["video_id"], "video_path": video.record["path"]}
    try:
        path = video_path(session.dataset, record)
        if not video.is_film:
            return [jpeg(picture) for picture in video.pictures(path)], titles
        info = path.stat()
        times, rate = video_times(path, info.st_size, info.st_mtime_ns)
        indices = video.indices(times, rate)
        images = pictures(session.dataset, record, indices)
        titles = [
            f"{title}, at {times[index]:.1f} s"
            for title, index in zip(titles, indices, strict=True)
        ]
        return [images[index] for index in indices], titles
    except OSError:
        note("The frames cannot be shown: no such file: the video has been moved or deleted")
    except (VideoError, UserError) as error:
        note(f"The frames cannot be shown: {error}")
    return [None] * len(numbers), titles


@st.cache_resource(max_entries=2, show_spinner="Reading the memory")
def _memory(data_root: Path, name: str, clip: str, of_files: Stamp) -> TextMemory:
    return TextMemory(open_dataset(name, data_root), clip)


def _rows(name: str, clip: str, vector: np.ndarray) -> None:
    """The rows of a memory that are nearest to a vector, with their weights."""
    data_root = flags().data_root
    texts = open_dataset(name, data_root)
    of_files = stamp(texts.memory(clip), texts.table("tideos").path)
    memory = _memory(data_root, name, clip, of_files)
    [weights], [cosines], [rows] = memory.nearest(vector, NEAREST)
    said: list[tuple[object, ...]] = [("", f"row {row}") for row in rows]
    if memory.unknown:
        note(f"The texts of the rows are not known: {memory.unknown}.")
    else:
        said = [_text(name, *frame) for frame in memory.frames(rows)]
    head = ["weight", "cosine", "text of the row", "text video"]
    table(
        head,
        [
            [_share(weight), f"{cosine:.3f}", text, place]
            for weight, cosine, (text, place) in zip(weights, cosines, said, strict=True)
        ],
    )
    st.caption(
        unmarked(
            f"The projection is the mean of all {memory.rows:,} rows of {name}, weighted by"
            f" softmax(100 cosine). These {len(rows)} have {weights.sum():.1%} of the weight."
        )
    )


def _share(weight: float) -> Html:
    return Html(f'<span class="t-share">{bar(100 * weight)}<b>{weight:.1%}</b></span>')


def _text(name: str, video_id: str, frame: int, texts: Sequence[str]) -> tuple[Html, Html]:
    """The texts of a row's frame, and a link to its text video."""
    address = escape("tideos?" + urlencode({"dataset": name, "tideo": video_id}))
    caption, *things = map(escape, texts)
    objects = faint("; ".join(texts[1:])) if things else ""
    link = f'<a href="{address}" target="_self">{escape(video_id)}</a>, frame {frame}'
    return Html(f"{caption} {objects}"), Html(link)
