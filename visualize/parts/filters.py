"""The filters in the side bar. The address bar holds them, in the words of the page."""

from typing import Final

import streamlit as st

from tools.pairs.judgements import VERDICTS
from tools.pairs.perturbation import LEVELS, NOISES
from tools.pairs.rules import REASONS
from visualize.index.view import BEYOND, DUPLICATE, FIELDS, KEPT, SORTS, UNJUDGED, Filters
from visualize.parts.address import go
from visualize.parts.style import unmarked
from visualize.session import Session

ANY = "any"
# The index does not hold what depends on video files, on judgements, or on flags of convert.
NOT_INDEXED = (
    *("video_gone", "video_broken", "too_similar", "judged_reject", "judged_unsure", "duplicate"),
)
OUTCOMES = [ANY, KEPT, DUPLICATE, *(name for name in REASONS if name not in NOT_INDEXED)]
BOUND: Final = "query-params"
# Takes the focus from a filter that has just been chosen: the arrow keys step through pairs.
_BLUR = """
export default function() {
  const focused = document.activeElement;
  if (focused?.closest('[data-testid="stSidebar"]') && focused.matches('button, [role=combobox]'))
    focused.blur();
}
"""


def filters_of(session: Session, *, judging: bool = False) -> Filters:
    """Show the filters in the side bar and return their values.

    Args:
        judging: for the page that judges: fewer filters, pairs in random order, and by default only
            those that convert keeps.
    """
    runs = {f"{model} iter {number}": (model, number) for model, number, _ in session.view.runs()}
    chosen: list[str] = []
    if len(runs) > 1:
        chosen = st.multiselect("Model", list(runs), key="run", bind=BOUND, placeholder=ANY)
    noises = st.pills("Noise", NOISES[1:], selection_mode="multi", key="noise", bind=BOUND)
    magnitudes = st.pills(
        "Magnitude (16 perturbs most)",
        [str(magnitude) for magnitude in LEVELS],
        selection_mode="multi",
        key="magnitude",
        bind=BOUND,
    )
    text = st.text_input(
        "Text", key="q", type="search", placeholder="words in either text", bind=BOUND
    )
    outcome = st.selectbox(
        "Outcome of convert",
        OUTCOMES,
        index=OUTCOMES.index(KEPT if judging else ANY),
        key="queue" if judging else "outcome",
        bind=BOUND,
        help="  \n".join(f"`{name}` {REASONS[name]}" for name in OUTCOMES if name in REASONS),
    )
    verdict, sort, ratio = ANY, "random", None
    if not judging:
        verdicts = [ANY, *VERDICTS, UNJUDGED]
        verdict = st.selectbox("Latest judgement", verdicts, key="verdict", bind=BOUND)
        ratio = _ratio()
        sort = st.selectbox("Order", list(SORTS), key="sort", bind=BOUND)
    between, video_id = _between(), st.query_params.get("of", "")
    if video_id:
        _removable("of", f"only {video_id}")
    filters = Filters(
        runs=tuple(runs[name] for name in chosen),
        noises=tuple(sorted(noises)),
        magnitudes=tuple(sorted(int(magnitude) for magnitude in magnitudes)),
        outcome="" if outcome == ANY else outcome,
        text=text.strip(),
        ratio=ratio,
        between=between,
        video_id=video_id,
        verdict="" if verdict == ANY else verdict,
        sort=sort,
    )
    release_focus(repr(filters))
    return filters


def release_focus(filters: str) -> None:
    """Take the focus from a filter of the side bar whenever the text `filters` has changed."""
    st.components.v2.component("temple_focus", html="<i></i>", js=_BLUR)(key="focus", data=filters)


def _ratio() -> tuple[float, float] | None:
    """The length of chosen over that of rejected, from and to."""
    low, high = (
        column.number_input(label, 0.0, None, None, 0.1, key=key, placeholder=ANY, bind=BOUND)
        for column, label, key in zip(
            st.columns(2), ("Ratio from", "to"), ("ratio_from", "ratio_to"), strict=True
        )
    )
    if low is None and high is None:
        return None
    return low or 0.0, float("inf") if high is None else high


def _between() -> tuple[str, float, float] | None:
    """What a bar of a histogram has asked for: `between=ratio:1:1.1` in the address."""
    try:
        key, *bounds = st.query_params.get("between", "").split(":")
        low, high = map(float, bounds)
        words, _ = FIELDS[key]
    except (KeyError, ValueError):
        return None
    _removable("between", f"{words}: {low:g} {f'to {high:g}' if high < BEYOND else 'and more'}")
    return key, low, high


def _removable(name: str, label: str) -> None:
    """A filter that came with the address, as a button that removes it."""
    st.button(
        unmarked(label),
        key=f"no_{name}",
        icon=":material/close:",
        help="remove this filter",
        on_click=go,
        kwargs={name: None},
    )
