"""Judging pairs by key: accept, reject or unsure, knowing which side is which or blind."""

import random
from dataclasses import dataclass, replace

import streamlit as st

from tools.errors import UserError
from tools.pairs.judgements import (
    ACCEPT,
    CHOSEN_LEFT,
    CHOSEN_RIGHT,
    REJECT,
    UNSURE,
    VERDICTS,
    Pair,
    accord,
    agreement,
    judge,
    latest_by_judge,
)
from visualize.index.view import Filters
from visualize.parts.address import go, pair_name, pair_of
from visualize.parts.clips import show_clips
from visualize.parts.differences import marked
from visualize.parts.filters import filters_of
from visualize.parts.style import badge, bar, heading, note, side, table, unmarked
from visualize.parts.texts import read_texts
from visualize.session import Session


@dataclass(frozen=True)
class PairToJudge:
    """A pair before a judge.

    Attributes:
        judge: who is asked.
        blind: whether the page hides which side is which.
        sides: what stands on the left and on the right.
    """

    judge: str
    pair: Pair
    blind: bool
    sides: tuple[str, str]

    def answers(self) -> list[tuple[str, str, str]]:
        """(label, key, verdict) of the buttons. Streamlit keeps the keys C and R for itself."""
        unsure = ("Unsure", "U", UNSURE)
        if not self.blind:
            return [("Accept", "A", ACCEPT), ("Reject", "X", REJECT), unsure]
        left, right = (ACCEPT if side == "chosen" else REJECT for side in self.sides)
        return [("A is right", "A", left), ("B is right", "B", right), unsure]


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    with st.sidebar:
        name = st.text_input(
            "Who judges", key="judge", bind="query-params", placeholder="your name", max_chars=80
        ).strip()
        blind = st.toggle(
            "Blind: shuffle the sides",
            key="blind",
            bind="query-params",
            help="The page hides which text is the chosen one and how the order was perturbed.",
        )
        filters = filters_of(session, judging=True)
        results = st.toggle("Show the results", key="results", bind="query-params")
    if results:
        _results(session)
    elif name:
        _queue(session, filters, name, blind)
    else:
        heading("Who judges?")
        st.text("Enter your name in the side bar. It is saved with each of your judgements.")


def sides_for(name: str, pair: Pair) -> tuple[str, str]:
    """What stands left and right for a blind judge: the same each time, different per pair."""
    coin = random.Random(f"{name}/{pair}").random()
    return CHOSEN_LEFT if coin < 0.5 else CHOSEN_RIGHT


def _queue(session: Session, filters: Filters, name: str, blind: bool) -> None:
    every = session.select(filters)
    left = session.select(replace(filters, not_by=name))
    again: Pair | None = st.session_state.get("again")
    if again is None and not len(left):
        heading("Nothing left to judge")
        st.text(f"All {len(every):,} pairs that pass these filters have your judgement.")
        return
    current = session.view.find(again) if again else None
    row = session.view.pairs([int(left[0]) if current is None else current])[0]
    pair = pair_of(row)
    question = PairToJudge(name, pair, blind, sides_for(name, pair) if blind else CHOSEN_LEFT)
    # The keys are bound to this pair only once all of it is on the page.
    top = st.container()
    _texts(session, question)
    with top:
        head, progress = st.columns([3, 2], vertical_alignment="center")
        with head:
            if blind:
                heading("Which text describes the video as it happens?")
            else:
                heading(row["name"], badge(f"{row['noise']} {row['magnitude']}", "accent"))
        done = len(every) - len(left)
        progress.progress(
            done / max(1, len(every)), f"{done:,} of {len(every):,} judged by {unmarked(name)}"
        )
        _buttons(session, question)


def _texts(session: Session, question: PairToJudge) -> None:
    """The clips and both texts of a pair."""
    texts = read_texts(session.view, question.pair)
    show_clips(
        session,
        texts.video,
        texts.frames,
        order=None if question.blind else texts.order,
        captions=() if question.blind else texts.clips,
        key="judge_strip",
    )
    bodies = dict(zip(CHOSEN_LEFT, marked(texts.chosen, texts.rejected), strict=True))
    for column, what, letter in zip(st.columns(2), question.sides, "AB", strict=True):
        with column:
            if question.blind:
                side(letter, "", bodies[what], "same")
            else:
                side(what.capitalize(), "", bodies[what], "" if what == "chosen" else "other")


def _buttons(session: Session, question: PairToJudge) -> None:
    """The three answers, the way back, and the comment that goes with the next answer."""
    history: list[Pair] = st.session_state.setdefault("judged", [])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for label, key, verdict in question.answers():
            st.button(
                label,
                # A key pressed while the next pair is on its way clicks the button of the pair on
                # the screen: by its name, the next pair's button does not take that click.
                key=f"answer_{key}_{pair_name(question.pair)}",
                shortcut=key,
                type="secondary" if label in ("Reject", "Unsure") else "primary",
                on_click=_answer,
                args=(session, question, verdict),
            )
        st.button("Back", shortcut="Left", disabled=not history, on_click=_back)
        st.text_input(
            "Comment",
            key="comment",
            label_visibility="collapsed",
            placeholder="comment, saved with your answer",
            max_chars=2000,
        )
    if error := st.session_state.pop("refused", ""):
        note(error)
    if (question.judge, question.pair) in latest_by_judge(session.judgements):
        st.caption("You have judged this pair before. A new answer replaces the old one.")


def _answer(session: Session, question: PairToJudge, verdict: str) -> None:
    history: list[Pair] = st.session_state["judged"]
    again = st.session_state.get("again")
    if question.pair in history and question.pair != again:
        return  # The key was pressed again before the next pair was on the page.
    comment = st.session_state.get("comment", "").strip()
    try:
        judge(
            session.dataset,
            question.judge,
            question.pair,
            verdict,
            blind=question.blind,
            sides=question.sides,
            comment=comment,
            # Two keys in quick succession may run this in two threads.
            once=question.pair != again,
        )
    except UserError as error:
        st.session_state["refused"] = str(error)
        return
    # If another key has been pressed, Streamlit ends this function at the next use of its state.
    history.append(question.pair)
    st.session_state["again"] = None
    st.session_state["comment"] = ""
    go(clip=None)


def _back() -> None:
    st.session_state["again"] = st.session_state["judged"].pop()
    go(clip=None)


def _results(session: Session) -> None:
    """Who has judged how many, and how often blind judges agree with the construction."""
    if not session.judgements:
        st.text("Nobody has judged yet.")
        return
    last = latest_by_judge(session.judgements)
    rows = []
    for name in sorted({name for name, _ in last}):
        own = [judgement for (by, _), judgement in last.items() if by == name]
        verdicts = [judgement.verdict for judgement in own]
        blind = sum(judgement.blind for judgement in own)
        rows.append([name, len(own), *map(verdicts.count, VERDICTS), blind])
    st.html("<b>Judgements</b>")
    table(["judge", "pairs", *VERDICTS, "blind"], rows)
    st.html("<b>How often blind judges prefer the chosen text</b>")
    cells = agreement(session.judgements)
    if not cells:
        st.text("Nobody has judged blind yet.")
        return
    table(
        ["pairs", "agree", "differ", "unsure", "agreement", "95 % interval", ""],
        [
            [
                f"{cell.noise} {cell.magnitude}",
                cell.agree,
                cell.differ,
                cell.unsure,
                "-" if cell.share is None else f"{cell.share:.0%}",
                f"{cell.interval[0]:.0%} to {cell.interval[1]:.0%}" if cell.decided else "-",
                bar(100 * (cell.share or 0)),
            ]
            for cell in cells
        ],
    )
    same, both = accord(session.judgements)
    if both:
        st.caption(f"Two blind judges on one pair gave the same answer {same} of {both} times.")
