"""One pair at a time, or a list of them: how the order was perturbed, and both texts."""

import numpy as np
import streamlit as st

from tools.pairs.judgements import Pair, latest
from tools.pairs.rules import REASONS
from visualize.parts.address import Change, go, heading_with_steps, pair_name, pair_named, pair_of
from visualize.parts.clips import show_clips
from visualize.parts.differences import marked
from visualize.parts.export import export_buttons, pair_rows, verdicts
from visualize.parts.filters import filters_of
from visualize.parts.style import (
    badge,
    caption_table,
    counted,
    facts,
    faint,
    note,
    side,
    unmarked,
)
from visualize.parts.texts import Texts, read_texts
from visualize.session import Session

PAGE_ROWS = 50
HIDDEN = ("iteration", "config", "video_id")  # columns of the list that only a file needs
HARDNESS = {16: "easiest", 8: "easy", 4: "hard", 2: "hardest", 1: "finer than the paper's levels"}
# Noise -> what the rejected text was written from.
ORIGINS = {
    "drop": "from {} of {} clips, the others dropped",
    "reverse": "from the clips in reversed blocks",
    "shuffle": "from the clips in shuffled blocks",
    "swap": "from the clips, some neighbours swapped",
    "repeat": "from the clips, some twice in place of a neighbour",
}


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    with st.sidebar:
        filters = filters_of(session)
    ids = session.select(filters)
    wanted = pair_named(st.query_params.get("pair", ""))
    current = session.view.find(wanted) if wanted else None
    if wanted and current is None:
        note(f"There is no such pair in this dataset: {st.query_params['pair']}")
    # A link may open a pair outside the filters; after a change of filters, one that passes.
    before = st.session_state.get("filters", filters)
    st.session_state["filters"] = filters
    if current is not None and filters != before and len(ids) and current not in ids:
        current = None
        go(pair=None)
    if current is None and not len(ids):
        note("No pair passes these filters." if session.view.runs() else "No pairs yet.")
    elif st.query_params.get("list") == "yes":
        _list(session, ids)
    else:
        _one(session, ids, int(ids[0]) if current is None else current)


def _one(session: Session, ids: np.ndarray, current: int) -> None:
    def step_to(others: np.ndarray) -> Change | None:
        rows = session.view.pairs(others)
        return {"pair": pair_name(pair_of(rows[0])), "clip": None} if rows else None

    row = session.view.pairs([current])[0]
    pair = pair_of(row)
    if current in ids:
        place = int(np.flatnonzero(ids == current)[0])
        where = f"{place + 1:,} of {len(ids):,}"
        before, after = ids[max(0, place - 1) : place], ids[place + 1 : place + 2]
    else:
        where = f"not among {len(ids):,}"
        before, after = ids[:0], ids[:1]
    labels = [
        badge(f"{row['noise']} {row['magnitude']}", "accent"),
        faint(HARDNESS[row["magnitude"]]),
    ]
    if row["reason"]:
        labels.append(badge(f"dropped: {row['reason']}", "warn"))
    if row["duplicate"]:
        labels.append(badge("duplicate: a harder pair has the same order", "warn"))
    if judgement := latest(session.judgements).get(pair):
        labels.append(badge(f"{judgement.verdict} by {judgement.judge}"))
    labels.append(faint(f"{pair.model} · iter {pair.iteration}"))
    buttons = heading_with_steps(row["name"], labels, where, step_to(before), step_to(after))
    buttons.button("List", icon=":material/list:", on_click=go, kwargs={"list": "yes"})
    if row["reason"]:
        note(f"Convert drops this pair: {REASONS[row['reason']]}.")
    texts = read_texts(session.view, pair)
    show_clips(
        session,
        texts.video,
        texts.frames,
        order=texts.order,
        captions=texts.clips,
        key="pair_strip",
    )
    ratio, similarity = row["ratio"], row["similarity"]
    facts(
        {
            "chosen": f"{len(texts.chosen):,} characters",
            "rejected": f"{len(texts.rejected):,} characters",
            "chosen / rejected": "-" if ratio is None else f"{ratio:.2f}",
            "words shared, in order": "-" if similarity is None else f"{similarity:.0%}",
            "clips used": f"{len(texts.order) or '?'} of {len(texts.clips) or row['clips']}",
        }
    )
    ours, theirs = marked(texts.chosen, texts.rejected)
    origin = ORIGINS[row["noise"]].format(len(texts.order), len(texts.clips))
    left, right = st.columns(2)
    with left:
        side("Chosen", "from the clips in the right order", ours)
    with right:
        side("Rejected", origin, theirs, "other")
    _captions(texts, pair.model)
    _other_run(session, pair, texts)


def _other_run(session: Session, pair: Pair, texts: Texts) -> None:
    """The same video and perturbation by another model, or in another iteration, below."""
    others = {
        f"{model} iter {number}": other
        for model, number, _ in session.view.runs()
        if (other := pair._replace(model=model, iteration=number)) != pair
        and session.view.find(other) is not None
    }
    if not others:
        return
    name = st.selectbox(
        "Beside it, by", ["none", *others], key="beside", bind="query-params", width=320
    )
    if name not in others:
        return
    theirs = read_texts(session.view, others[name])
    for column, what, text, their_text in zip(
        st.columns(2),
        ("Chosen", "Rejected"),
        (texts.chosen, texts.rejected),
        (theirs.chosen, theirs.rejected),
        strict=True,
    ):
        with column:
            side(
                what, f"by {name}", marked(text, their_text)[1], "" if what == "Chosen" else "other"
            )


def _captions(texts: Texts, model: str) -> None:
    clips = f"The {len(texts.clips)} clip captions behind both texts, by {unmarked(model)}"
    with st.expander(clips):
        if not texts.clips:
            note("The dataset has no clip captions by this model.")
            return
        places = {clip: f"number {place}" for place, clip in enumerate(texts.order, 1)}
        caption_table((text, places.get(clip, "dropped")) for clip, text in enumerate(texts.clips))


def _list(session: Session, ids: np.ndarray) -> None:
    pages = max(1, -(-len(ids) // PAGE_ROWS))
    page = min(pages, max(1, int(st.query_params.get("page", "1") or 1)))
    buttons = heading_with_steps(
        counted(len(ids), "pair"),
        [],
        f"page {page:,} of {pages:,}",
        {"page": str(page - 1)} if page > 1 else None,
        {"page": str(page + 1)} if page < pages else None,
    )
    buttons.button("One pair", icon=":material/compare_arrows:", on_click=go, kwargs={"list": None})
    export_buttons(session, ids, buttons)
    own = ids[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    rows = list(pair_rows(session.view, own, verdicts(session)))
    chosen = st.dataframe(
        rows,
        column_order=[name for name in rows[0] if name not in HIDDEN] if rows else None,
        hide_index=True,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "ratio": st.column_config.NumberColumn(format="%.2f"),
            "alike": st.column_config.ProgressColumn(format="percent"),
        },
    )
    if chosen["selection"]["rows"]:
        row = rows[chosen["selection"]["rows"][0]]
        go(pair=pair_name(pair_of(row)), list=None, clip=None)
        st.rerun()
