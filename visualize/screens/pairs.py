"""One pair at a time, or a list of them: how the order was perturbed, and both texts."""

from typing import Any

import numpy as np
import streamlit as st

from tools.errors import UserError
from tools.pairs.judgements import Pair, latest
from tools.pairs.rules import REASONS
from tools.store.jsonl import Record
from visualize.parts.clips import clip_panel, clip_strip
from visualize.parts.differences import escape, marked
from visualize.parts.filters import filters_of
from visualize.parts.style import (
    badge,
    caption_table,
    counted,
    facts,
    heading,
    note,
    side,
    unmarked,
)
from visualize.parts.texts import Texts, read_texts
from visualize.session import Session, pair_name, pair_named, pair_of

PAGE_ROWS = 50
HARDNESS = {16: "easiest", 8: "easy", 4: "hard", 2: "hardest", 1: "finer than the paper's levels"}


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    filters = filters_of(session)
    ids = session.select(filters)
    for line in session.view.notes():
        note(line)
    wanted = pair_named(st.query_params.get("pair", ""))
    current = session.view.find(wanted) if wanted else None
    if wanted and current is None:
        note(f"There is no such pair in this dataset: {st.query_params['pair']}")
    # A link may open a pair outside the filters; after a change of filters, one that passes.
    before = st.session_state.get("filters", filters)
    st.session_state["filters"] = filters
    if current is not None and filters != before and len(ids) and current not in ids:
        current = None
        st.query_params.pop("pair", None)
    if current is None and not len(ids):
        note("No pair passes these filters." if session.view.runs() else "No pairs yet.")
        return
    shown = st.query_params.get("list") != "yes"
    if shown:
        _one(session, ids, int(ids[0]) if current is None else current)
    else:
        _list(session, ids)


def _go(**params: str | None) -> None:
    """Change the address; None takes a word out of it."""
    for name, value in params.items():
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = value


def _one(session: Session, ids: np.ndarray, current: int) -> None:
    row = session.view.pairs([current])[0]
    pair = pair_of(row)
    places = np.flatnonzero(ids == current)
    place = int(places[0]) if len(places) else None
    if place is None:
        before, after = None, (int(ids[0]) if len(ids) else None)
    else:
        before = int(ids[place - 1]) if place else None
        after = int(ids[place + 1]) if place + 1 < len(ids) else None
    names = {
        number: pair_name(pair_of(other))
        for number in (before, after)
        if number is not None
        for other in session.view.pairs([number])
    }
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        heading(row["name"], *_badges(session, row, pair))
    with right, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        where = f"{place + 1:,} of {len(ids):,}" if place is not None else f"not among {len(ids):,}"
        st.html(f'<span class="t-faint" style="line-height:2.5rem">{where}</span>', width="content")
        for label, number, key in (("Previous", before, "Left"), ("Next", after, "Right")):
            st.button(
                label,
                key=key,
                shortcut=key,
                disabled=number is None,
                on_click=_go,
                kwargs={"pair": names.get(number), "clip": None} if number is not None else {},
            )
        st.button("List", icon=":material/list:", on_click=_go, kwargs={"list": "yes"})
    if row["reason"]:
        note(f"Convert drops this pair: {REASONS[row['reason']]}.")
    try:
        texts = read_texts(session, pair)
    except UserError as error:
        note(error)
        return
    video = _video(session, row)
    clip = clip_strip(session, video, texts, key="pair_strip")
    clip_panel(session, video, texts, clip)
    facts(
        [
            ("chosen", f"{len(texts.chosen):,} characters"),
            ("rejected", f"{len(texts.rejected):,} characters"),
            ("chosen / rejected", "-" if row["ratio"] is None else f"{row['ratio']:.2f}"),
            (
                "words shared, in order",
                "-" if row["similarity"] is None else f"{row['similarity']:.0%}",
            ),
            ("clips used", f"{len(texts.order) or '?'} of {len(texts.clips) or row['clips']}"),
        ]
    )
    ours, theirs = marked(texts.chosen, texts.rejected)
    columns = st.columns(2)
    columns[0].html(side("Chosen", "from the clips in the right order", ours))
    columns[1].html(side("Rejected", _origin(row, texts), theirs, "other"))
    _captions(texts, pair)


def _badges(session: Session, row: dict[str, Any], pair: Pair) -> list[str]:
    badges = [
        badge(f"{row['noise']} {row['magnitude']}", "accent"),
        f'<span class="t-faint">{HARDNESS[row["magnitude"]]}</span>',
    ]
    if row["reason"]:
        badges.append(badge(f"dropped: {row['reason']}", "warn"))
    if row["duplicate"]:
        badges.append(badge("duplicate: a harder pair has the same order", "warn"))
    if judgement := latest(session.judgements).get(pair):
        badges.append(badge(f"{judgement.verdict} by {judgement.judge}"))
    badges.append(f'<span class="t-faint">{escape(pair.model)} · iter {pair.iteration}</span>')
    return badges


def _origin(row: dict[str, Any], texts: Texts) -> str:
    words = {
        "drop": f"from {len(texts.order)} of {len(texts.clips)} clips, the others dropped",
        "reverse": "from the clips in reversed blocks",
        "shuffle": "from the clips in shuffled blocks",
        "swap": "from the clips, some neighbours swapped",
        "repeat": "from the clips, some twice in place of a neighbour",
    }
    return words[row["noise"]]


def _video(session: Session, row: dict[str, Any]) -> Record | None:
    try:
        return session.view.video(row["video_id"])
    except UserError as error:
        note(error)
        return None


def _captions(texts: Texts, pair: Pair) -> None:
    with st.expander(
        f"The {len(texts.clips)} clip captions behind both texts, by {unmarked(pair.model)}"
    ):
        if not texts.clips:
            note("The dataset has no clip captions by this model.")
            return
        places = {clip: f"number {place}" for place, clip in enumerate(texts.order, 1)}
        captions = enumerate(texts.clips)
        st.html(
            caption_table((t, places.get(clip, "dropped"), clip in places) for clip, t in captions)
        )


def _list(session: Session, ids: np.ndarray) -> None:
    pages = max(1, -(-len(ids) // PAGE_ROWS))
    page = min(pages, max(1, int(st.query_params.get("page", "1") or 1)))
    left, right = st.columns([2, 3], vertical_alignment="center")
    with left:
        heading(counted(len(ids), "pair"))
    with right, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        st.html(
            f'<span class="t-faint" style="line-height:2.5rem">page {page:,} of {pages:,}</span>',
            width="content",
        )
        for label, number, key in (("Previous", page - 1, "Left"), ("Next", page + 1, "Right")):
            st.button(
                label,
                key=key,
                shortcut=key,
                disabled=not 1 <= number <= pages,
                on_click=_go,
                kwargs={"page": str(number)},
            )
        st.button("One pair", icon=":material/compare_arrows:", on_click=_go, kwargs={"list": None})
    rows = session.view.pairs(ids[(page - 1) * PAGE_ROWS : page * PAGE_ROWS])
    verdicts = latest(session.judgements)
    chosen = st.dataframe(
        {
            "video": [row["name"] for row in rows],
            "noise": [row["noise"] for row in rows],
            "magnitude": [row["magnitude"] for row in rows],
            "chosen": [row["chosen_length"] for row in rows],
            "rejected": [row["rejected_length"] for row in rows],
            "ratio": [row["ratio"] for row in rows],
            "alike": [
                None if row["similarity"] is None else 100 * row["similarity"] for row in rows
            ],
            "convert": [
                row["reason"] or ("duplicate" if row["duplicate"] else "kept") for row in rows
            ],
            "judged": [
                verdicts[pair_of(row)].verdict if pair_of(row) in verdicts else "" for row in rows
            ],
            "model": [row["model"] for row in rows],
        },
        hide_index=True,
        height=min(PAGE_ROWS, len(rows) or 1) * 35 + 40,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "ratio": st.column_config.NumberColumn(format="%.2f"),
            "alike": st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100),
        },
    )
    if chosen["selection"]["rows"]:
        row = rows[chosen["selection"]["rows"][0]]
        _go(pair=pair_name(pair_of(row)), list=None, clip=None)
        st.rerun()
