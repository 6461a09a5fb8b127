"""Talking about a video: a bridge looks for the moment that answers a question, and a model answers
from a few frames of it."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import orjson
import streamlit as st

from grounding.view import GREEDY, take_again, take_frames
from tools.errors import UserError
from tools.video.decode import VideoError
from tools.video.sampling import Sample, sample_moments
from visualize.answers import Stamp, stamp
from visualize.conversations import (
    VOTES,
    Conversation,
    Pending,
    Shown,
    Turn,
    save_vote,
)
from visualize.parts.asked import jpeg, video_times
from visualize.parts.chat_settings import Asking, chosen_film, chosen_way
from visualize.parts.clips import clock
from visualize.parts.replies import show_reply, time_line
from visualize.parts.style import faint, heading, note, unmarked
from visualize.previews import PREVIEW_PIXELS, PREVIEW_SECONDS, film, video_path
from visualize.session import Session, flags

SUGGESTIONS = 4


def show() -> None:
    """The page; without a data set, uploads can be talked about."""
    session: Session | None = st.session_state["session"]
    with st.sidebar:
        chosen = chosen_film(session)
        asking = chosen_way()
    if chosen is None:
        note("Choose a video, or upload one.")
        return
    talk: Conversation | None = st.session_state.get("chat")
    if talk is None or (talk.film.dataset, talk.film.id) != (chosen.dataset, chosen.id):
        talk = st.session_state["chat"] = Conversation(chosen)
    try:
        _show(session, talk, asking)
    except VideoError as error:
        note(f"{chosen.name}: {error}")


def _show(session: Session | None, talk: Conversation, asking: Asking) -> None:
    """The turns beside the player, and below them what is going on."""
    path = video_path(talk.film.dataset, talk.film.record)
    times, rate = _times(path)
    left, right = st.columns([3, 2], gap="large")
    with left:
        heading(talk.film.name, faint(clock(float(times[-1]) + 1 / rate)))
        _turns(talk)
        suggestions, work = st.empty(), st.container()
    if not (talk.turns or talk.pending):
        with suggestions.container():
            _suggestions(session, talk)
    st.chat_input(
        "Ask about the video",
        key="ask",
        disabled=talk.pending is not None,
        on_submit=lambda: _ask(talk, st.session_state["ask"]),
    )
    with right.container(key="chat_player"):
        _player(talk, path, times)
    with work:
        if talk.error:
            note(talk.error)
        if talk.pending:
            _answer(talk, path, asking)
            st.rerun()


@st.cache_data(max_entries=50, show_spinner=False)
def _still(path: Path, of_file: Stamp, moment: float) -> np.ndarray:
    picture: np.ndarray = sample_moments(path, lambda _: [moment], PREVIEW_PIXELS).pictures[0]
    return picture


@st.cache_resource(max_entries=2, show_spinner="Reading the questions")
def _questions(_session: Session, split: str, of_split: Stamp) -> dict[str, list[str]]:
    """The first few questions of a split about each video."""
    about: dict[str, list[str]] = {}
    with open(_session.dataset.questions(split), "rb") as lines:
        for line in lines:
            row = orjson.loads(line)
            texts = about.setdefault(row["video_id"] or "", [])
            if len(texts) < SUGGESTIONS and row["question"] not in texts:
                texts.append(row["question"])
    return about


def _times(path: Path) -> tuple[np.ndarray, float]:
    try:
        info = path.stat()
    except OSError:
        raise VideoError("no such file: the video has been moved or deleted") from None
    return video_times(path, info.st_size, info.st_mtime_ns)


def _ask(talk: Conversation, question: str, again: Turn | None = None) -> None:
    if question.strip():
        talk.pending, talk.error = Pending(question.strip(), again), ""


def _said(question: str) -> None:
    with st.chat_message("user"):
        st.text(question)


def _turns(talk: Conversation) -> None:
    """The turns so far, with what can be done with each answer."""
    again = talk.pending and talk.pending.again
    for number, turn in enumerate(talk.turns):
        _said(turn.question)
        if turn is again:
            continue
        with st.chat_message("assistant"):
            clicked = show_reply(turn, talk.moment)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.feedback(
                    key=f"vote_{turn.id}", on_change=_vote, args=(talk, turn), width="content"
                )
                if number == len(talk.turns) - 1 and not talk.pending:
                    st.button(
                        "Regenerate",
                        icon=":material/refresh:",
                        help="From the same frames, with the settings as they are now. Greedy"
                        " decoding and beams give the same answer again.",
                        on_click=_ask,
                        args=(talk, turn.question, turn),
                    )
                    st.button("Reset", icon=":material/delete:", on_click=_reset, args=(talk,))
                st.caption(unmarked(_about(turn)))
        if clicked is not None and clicked != talk.moment:
            talk.moment, talk.is_playing = clicked, False
            st.rerun()


def _about(turn: Turn) -> str:
    """What an answer was made with, where that is not the default."""
    standard = asdict(GREEDY)
    words = [turn.settings["model"]]
    for name, value in turn.settings["decoding"].items():
        if value != standard[name]:
            words.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(words)


def _reset(talk: Conversation) -> None:
    st.session_state["chat"] = Conversation(talk.film)


def _vote(talk: Conversation, turn: Turn) -> None:
    value = st.session_state[f"vote_{turn.id}"]
    vote = None if value is None else VOTES[value]
    try:
        save_vote(flags().data_root, talk.film, turn, talk.before(turn), vote)
    except UserError as error:
        talk.error = str(error)


def _suggestions(session: Session | None, talk: Conversation) -> None:
    """Questions of the data set about this video."""
    if session is None or session.dataset != talk.film.dataset:
        return
    for split in session.dataset.question_splits()[:1]:
        questions = _questions(session, split, stamp(session.dataset.questions(split)))
        for number, question in enumerate(questions.get(talk.film.id, ())):
            st.button(unmarked(question), key=f"try_{number}", on_click=_ask, args=(talk, question))


def _player(talk: Conversation, path: Path, times: np.ndarray) -> None:
    """The frame that was clicked, large, and the video from there."""
    first = int(np.searchsorted(times, talk.moment + 1e-6, "right")) - 1
    if talk.is_playing:
        last = int(np.searchsorted(times, times[first] + PREVIEW_SECONDS)) - 1
        with st.spinner("Cutting the video", show_time=True):
            data = film(talk.film.dataset, talk.film.record, first, last)
        st.video(data, autoplay=True, muted=True)
    else:
        st.image(_still(path, stamp(path), talk.moment), width="stretch")

    def turn_on(moment: float, is_playing: bool) -> None:
        talk.moment, talk.is_playing = moment, is_playing

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        label, icon = ("Stop", "stop") if talk.is_playing else ("Play", "play_arrow")
        st.button(
            label,
            icon=f":material/{icon}:",
            on_click=turn_on,
            args=(talk.moment, not talk.is_playing),
        )
        if talk.moment:
            st.button("From the start", on_click=turn_on, args=(0.0, talk.is_playing))
        st.caption(f"{'from ' if talk.is_playing else ''}{clock(talk.moment)}")


def _answer(talk: Conversation, path: Path, asking: Asking) -> None:
    """Answer the question that is pending."""
    pending, model = talk.pending, asking.model
    assert pending
    if not pending.again:
        _said(pending.question)
    with st.chat_message("assistant"), st.status("Opening the video") as status:

        def say(text: str) -> None:
            status.update(label=text)

        try:
            if pending.again:
                shown = pending.again.shown
                frames = take_again(path, shown.times)
            else:
                frames, shown = _frames(talk, path, asking, say)
            say(f"Loading {model.name}")
            model.load()
            say(f"{model.name} answers")
            draws = pending.again.draws + 1 if pending.again else 0
            text, was_cut_off = model.answer(
                pending.question,
                talk.before(pending.again),
                frames,
                shown.spans,
                asking.decoding,
                draws,
            )
            settings = {
                "model": model.name,
                "bridge": asking.finder and str(asking.finder.folder),
                "decoding": asdict(asking.decoding),
            }
            talk.add(Turn(pending.question, shown, text, was_cut_off, settings, draws))
        except (UserError, VideoError) as error:
            talk.error = str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("a question about %s", path)
            talk.error = f"there is no answer: {type(error).__name__}: {error}"
    talk.pending = None


def _frames(
    talk: Conversation, path: Path, asking: Asking, say: Callable[[str], None]
) -> tuple[Sample, Shown]:
    """The frames that the question which is pending is answered from."""
    assert talk.pending
    if not asking.finder:
        frames = take_frames(path, None, asking.number)
        return frames, Shown(frames.times, [[jpeg(picture)] for picture in frames.pictures])
    moment = asking.finder.find(
        path,
        talk.pending.question,
        asking.spans,
        talk.film.dataset,
        talk.film.id,
        lambda seconds: say(f"Optical flow, up to {clock(seconds)}"),
    )
    found = moment.grounding
    frames = take_frames(path, found.spans, asking.number)
    size = frames.pictures.shape[2:0:-1]
    pictures = [
        [jpeg(picture), jpeg(cv2.resize(wheel, size, interpolation=cv2.INTER_CUBIC))]
        for picture, wheel in zip(frames.pictures, moment.wheels(frames.times), strict=True)
    ]
    line = time_line(
        frames.seconds,
        found.times,
        moment.strength,
        np.exp(found.start_log_p),
        np.exp(found.end_log_p),
        found.spans,
        frames.times,
    )
    return frames, Shown(frames.times, pictures, found.spans, line)
