"""What belongs to a question on a page: its frames and its video, options, written answers, and
what comes with it."""

import io
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import streamlit as st
from PIL import Image

from distillation.view import LinesOf
from qa.frames import FRAMES, PROTOCOLS, chosen_indices, frames_of
from qa.options import LETTERS
from qa.predictions import BLIND
from qa.records import Question
from tools.errors import UserError
from tools.store.jsonl import Record
from tools.video.decode import VideoError, open_video
from tools.video.sampling import read_timeline
from visualize.answers import ModelAnswers, Row
from visualize.parts.address import go
from visualize.parts.clips import clock, show_clips
from visualize.parts.strip import strip
from visualize.parts.style import Html, badge, bar, counted, note, side, table, unmarked
from visualize.previews import PREVIEW_SECONDS, film, video_path
from visualize.session import Session

ALL = "all"  # in the address: the whole part that is asked about is playing


def show_video(session: Session, question: Question, answers: Sequence[ModelAnswers]) -> None:
    """Show the frames of a question, as each model was shown them, and play what is clicked."""
    media = question.context.get("media", "video")
    if media == "text" or question.video is None:
        return
    record: Record = {
        "video_id": question.video_id,
        "video_path": str((session.dataset.video_dir() or session.dataset.root) / question.video),
        "video_name": question.video,
    }
    try:
        path = video_path(session.dataset, record)
        for number, (count, protocol) in enumerate(_ways(answers)):
            key = f"question_strip_{number}"
            if media == "video":
                info = path.stat()
                times, rate = video_times(path, info.st_size, info.st_mtime_ns)
                parts, frames = _parts(record, question, times, rate, count, protocol)
                show_clips(session, parts, frames, key=key, what="part")
            else:
                images, _ = frames_of(question, path, count, protocol)
                strip(
                    [(f"picture {i}", [jpeg(image)]) for i, image in enumerate(images, 1)], key=key
                )
    except OSError:
        note("The video cannot be shown: no such file: the video has been moved or deleted")
        return
    except (VideoError, UserError) as error:
        note(f"The video cannot be shown: {error}")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if media == "video":
            label, clip = ("Close", None) if st.query_params.get("clip") == ALL else ("Play", ALL)
            st.button(label, icon=":material/movie:", on_click=go, kwargs={"clip": clip})
        st.caption(" ".join(unmarked(line) for line in _about(answers)))
    if media == "video" and st.query_params.get("clip") == ALL:
        _play(session, parts)


def _ways(answers: Sequence[ModelAnswers]) -> list[tuple[int, str]]:
    """(number, protocol) of the frames that models were shown, each once."""
    ways = [_way(model) for model in answers if model.meta.get("control") not in BLIND]
    return list(dict.fromkeys(ways)) or [(FRAMES, PROTOCOLS[0])]


def _way(answers: ModelAnswers) -> tuple[int, str]:
    protocol = answers.meta.get("protocol")
    known = protocol if protocol in PROTOCOLS else PROTOCOLS[0]
    return int(answers.meta.get("frames") or FRAMES), known


def _about(answers: Sequence[ModelAnswers]) -> list[str]:
    """What a model was shown, in a sentence each."""
    lines = []
    for model in answers:
        (count, protocol), control = _way(model), model.meta.get("control")
        only = ", but only the middle one" if control == "single_frame" else ""
        order = ", in another order" if control == "frames_shuffled" else ""
        if control in BLIND:
            lines.append(f"{model.name} was shown no frame.")
        elif model.meta.get("protocol") == protocol:
            frames = counted(count, "frame")
            way = protocol.replace("_", " ")
            lines.append(f"{model.name} was shown {frames} ({way}){only}{order}.")
        else:
            lines.append(f"Which frames {model.name} was shown is not known.")
    return lines


@st.cache_data(max_entries=100, show_spinner=False)
def video_times(path: Path, size: int, changed: int) -> tuple[np.ndarray, float]:
    """When the frames of a video appear, (n,) seconds, and how many come a second."""
    with open_video(path) as (container, stream):
        timeline = read_timeline(container, stream)
    return timeline.times, timeline.rate


def _parts(
    record: Record, question: Question, times: np.ndarray, rate: float, count: int, protocol: str
) -> tuple[Record, list[list[int]]]:
    """What is asked about, parted halfway between the frames that are shown, as a record of stage 1
    with a clip for each part; and these frames, a list for each part."""
    start = question.start or 0.0
    length = float(times[-1] + 1 / rate)
    end = length if question.end is None else min(length, question.end)
    frames = chosen_indices(times, rate, start, end, count, protocol)
    shown = times[frames]
    bounds = [start, *((shown[1:] + shown[:-1]) / 2).tolist(), end]
    first = np.searchsorted(times, bounds[:-1], "right") - 1
    last = np.maximum(np.searchsorted(times, bounds[1:]) - 1, first)
    cuts = [[part, int(a), int(b)] for part, (a, b) in enumerate(zip(first, last, strict=True))]
    clips = {
        "fps": rate,
        "filtered_cuts": cuts,
        "cut_times": [list(span) for span in pairwise(bounds)],
        "merged_groups": [[part, [part]] for part in range(len(cuts))],
    }
    return {**record, **clips}, [[frame] for frame in frames]


def _play(session: Session, parts: Record) -> None:
    """Play all that is asked about."""
    cuts, spans = parts["filtered_cuts"], parts["cut_times"]
    left, right = st.columns([2, 3], gap="medium")
    try:
        data = film(session.dataset, parts, cuts[0][1], cuts[-1][2])
        left.video(data, autoplay=True, muted=True, loop=True)
    except VideoError as error:
        note(f"The video cannot be played: {error}")
    cut = f", the first {PREVIEW_SECONDS:.0f} s shown" * (
        spans[-1][1] - spans[0][0] > PREVIEW_SECONDS
    )
    right.caption(f"{clock(spans[0][0])} to {clock(spans[-1][1])}{cut}")


def show_lines(session: Session, question: Question, answers: Sequence[ModelAnswers]) -> None:
    """The line of text that each student reads beside each frame."""
    for model in answers:
        if not model.is_student:
            continue
        try:
            of_student = _lines_of(session, model.path, model.path.stat().st_mtime_ns)
            lines = of_student.of(question)
        except UserError as error:
            note(f"The lines that {model.name} reads cannot be shown: {error}")
            continue
        if lines:
            title = f"{of_student.variant} line that {model.name} reads"
            table(["frame at", title], [[clock(time), text or "none"] for time, text in lines])
        elif of_student.variant == "none":
            st.caption(unmarked(f"{model.name} reads no lines."))


@st.cache_resource(max_entries=6, show_spinner="Reading the lines")
def _lines_of(_session: Session, predictions: Path, changed: int) -> LinesOf:
    return LinesOf(_session.dataset, predictions)


def jpeg(image: np.ndarray) -> bytes:
    """A small JPEG of an RGB picture."""
    target = io.BytesIO()
    picture = Image.fromarray(image)
    picture.thumbnail((480, 480))
    picture.save(target, "jpeg", quality=82)
    return target.getvalue()


def show_options(question: Question, answers: Sequence[ModelAnswers]) -> None:
    """The options, which of them is right, how likely each is to each model, and what it chose."""
    if not question.choices:
        return
    columns = [(model.probabilities(question), model.chosen(question)) for model in answers]
    rows = []
    for place, text in enumerate(question.choices):
        is_right = place == question.answer_index
        cells = []
        for probabilities, chosen in columns:
            share = "" if probabilities is None else bar(100 * probabilities[place])
            number = "" if probabilities is None else f"<b>{probabilities[place]:.1%}</b>"
            kind = "" if question.answer_index is None else "accent" if is_right else "warn"
            mark = badge("chosen", kind) if place == chosen else ""
            cells.append(Html(f'<span class="t-share">{share}{number}{mark}</span>'))
        option = Html(f"{escape(text)} {badge('right', 'accent') if is_right else ''}")
        rows.append([LETTERS[place : place + 1], option, *cells])
    table(["", "option", *(model.name for model in answers)], rows)


def show_texts(question: Question, answers: Sequence[ModelAnswers]) -> None:
    """The right answer of an open question, what models wrote, and what judges say of it."""
    boxes: list[tuple[str, str, str, str]] = []
    if not question.choices and question.answer is not None:
        also = f"also accepted: {'; '.join(question.references)}" if question.references else ""
        boxes.append(("Right answer", also, question.answer, ""))
    for model in answers:
        prediction = model.prediction(question)
        if prediction and prediction.prediction is not None:
            verdicts = [_verdict(*of_judge) for of_judge in model.verdicts(question).items()]
            kind = "other" if model.right(question) is False else ""
            boxes.append((f"{model.name} wrote", "; ".join(verdicts), prediction.prediction, kind))
    if not boxes:
        return
    for column, (title, about, text, kind) in zip(st.columns(len(boxes)), boxes, strict=True):
        with column:
            side(escape(title), about, escape(text), kind)


def _verdict(judge: str, row: Row) -> str:
    score = "" if row.get("score") is None else f", {row['score']} of 5"
    return f"{judge}: {row.get('verdict') or 'no verdict'}{score}"


def show_context(question: Question) -> None:
    """Subtitles, earlier turns of a conversation, and what else comes with a question."""
    context = {key: value for key, value in question.context.items() if value and key != "media"}
    if lines := context.pop("subtitles", None):
        with st.expander(counted(len(lines), "subtitle")):
            table(["from", "to", "text"], [[clock(a), clock(b), text] for a, b, text in lines])
    if turns := context.pop("conversation", None):
        with st.expander(f"{counted(len(turns), 'turn')} before the question"):
            table(["", "text"], turns)
    if context:
        with st.expander("What else comes with the question"):
            table(["", ""], [[key, _text(value)] for key, value in context.items()])


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
