"""Judging pairs by key: accept, reject or unsure, knowing which side is which or blind."""

import random
from dataclasses import replace

import streamlit as st

from tools.errors import UserError
from tools.pairs.judgements import (
    ACCEPT,
    CHOSEN_LEFT,
    CHOSEN_RIGHT,
    REJECT,
    UNSURE,
    Pair,
    accord,
    agreement,
    judge,
    latest_by_judge,
)
from visualize.index.view import Filters
from visualize.parts.clips import clip_panel, clip_strip
from visualize.parts.differences import marked
from visualize.parts.filters import filters_of
from visualize.parts.style import Html, badge, heading, note, side, table, unmarked
from visualize.parts.texts import read_texts
from visualize.session import Session, pair_of

# Verdict -> label and key. Streamlit keeps C and R for itself.
OPEN = {ACCEPT: ("Accept", "A"), REJECT: ("Reject", "X"), UNSURE: ("Unsure", "U")}
BLIND = {"left": ("A is right", "A"), "right": ("B is right", "B"), UNSURE: ("Unsure", "U")}


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
    with st.sidebar:
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
    mine = {pair for by, pair in latest_by_judge(session.judgements) if by == name}
    again: Pair | None = st.session_state.get("again")
    left = session.select(replace(filters, not_by=name))
    if again is None and not len(left):
        heading("Nothing left to judge")
        st.text(f"All {len(every):,} pairs that pass these filters have your judgement.")
        return
    current = session.view.find(again) if again else None
    row = session.view.pairs([int(left[0]) if current is None else current])[0]
    pair = pair_of(row)
    sides = sides_for(name, pair) if blind else CHOSEN_LEFT
    # The keys are bound to this pair only once all of it is on the page.
    top = st.container()
    _texts(session, pair, blind, sides)
    with top:
        head, where = st.columns([3, 2], vertical_alignment="center")
        with head:
            title = "Which text describes the video as it happens?" if blind else row["name"]
            labels = [] if blind else [badge(f"{row['noise']} {row['magnitude']}", "accent")]
            heading(title, *labels)
        done = len(every) - len(left)
        where.progress(
            done / max(1, len(every)), f"{done:,} of {len(every):,} judged by {unmarked(name)}"
        )
        _buttons(session, name, pair, blind, sides, mine)


def _texts(session: Session, pair: Pair, blind: bool, sides: tuple[str, str]) -> None:
    """The clips and both texts of a pair."""
    try:
        texts = read_texts(session, pair)
        video = session.view.video(pair.video_id)
    except UserError as error:
        note(error)
        return
    clip = clip_strip(session, video, texts, key="judge_strip", perturbed=not blind)
    clip_panel(session, video, None if blind else texts, clip)
    by_name = dict(zip(("chosen", "rejected"), marked(texts.chosen, texts.rejected), strict=True))
    columns = st.columns(2)
    for column, what, letter in zip(columns, sides, "AB", strict=True):
        if blind:
            column.html(side(letter, "", by_name[what], "same"))
        else:
            kind = "" if what == "chosen" else "other"
            column.html(side(what.capitalize(), "", by_name[what], kind))


def _buttons(
    session: Session,
    name: str,
    pair: Pair,
    blind: bool,
    sides: tuple[str, str],
    mine: set[Pair],
) -> None:
    """The three answers, the way back, and the comment that goes with the next answer."""
    answers = BLIND if blind else OPEN
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for answer, (label, key) in answers.items():
            verdict = answer
            if answer in ("left", "right"):
                verdict = ACCEPT if sides[answer == "right"] == "chosen" else REJECT
            st.button(
                label,
                key=f"answer_{answer}",
                shortcut=key,
                type="primary" if answer in (ACCEPT, "left", "right") else "secondary",
                on_click=_answer,
                args=(session, name, pair, verdict, blind, sides),
            )
        history: list[Pair] = st.session_state.setdefault("judged", [])
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
    if pair in mine:
        st.caption("You have judged this pair before. A new answer replaces the old one.")


def _answer(
    session: Session, name: str, pair: Pair, verdict: str, blind: bool, sides: tuple[str, str]
) -> None:
    history: list[Pair] = st.session_state["judged"]
    if pair in history and pair != st.session_state.get("again"):
        return  # The key was pressed again before the next pair was on the page.
    comment = st.session_state.get("comment", "").strip()
    try:
        judge(session.dataset, name, pair, verdict, blind=blind, sides=sides, comment=comment)
    except UserError as error:
        st.session_state["refused"] = str(error)
        return
    st.session_state["comment"] = ""
    st.session_state["again"] = None
    history.append(pair)
    st.query_params.pop("clip", None)


def _back() -> None:
    st.session_state["again"] = st.session_state["judged"].pop()
    st.query_params.pop("clip", None)


def _results(session: Session) -> None:
    """Who has judged how many, and how often blind judges agree with the construction."""
    if not session.judgements:
        st.text("Nobody has judged yet.")
        return
    by_judge: dict[str, dict[str, int]] = {}
    for (by, _), judgement in latest_by_judge(session.judgements).items():
        counts = by_judge.setdefault(by, dict.fromkeys((*OPEN, "blind"), 0))
        counts[judgement.verdict] += 1
        counts["blind"] += judgement.blind
    st.html("<b>Judgements</b>")
    table(
        ["judge", "pairs", "accept", "reject", "unsure", "blind"],
        [
            [by, sum(c[v] for v in OPEN), c[ACCEPT], c[REJECT], c[UNSURE], c["blind"]]
            for by, c in sorted(by_judge.items())
        ],
    )
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
                Html(
                    '<span style="display:inline-block;width:9rem;text-align:left">'
                    f'<i class="t-bar" style="width:{100 * (cell.share or 0):.0f}%"></i></span>'
                ),
            ]
            for cell in cells
        ],
    )
    same, both = accord(session.judgements)
    if both:
        st.caption(f"Two blind judges on one pair gave the same answer {same} of {both} times.")
