"""The address bar: it holds what a page shows, so that a link shows the same to somebody else."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from tools.pairs.judgements import Pair
from visualize.parts.style import heading

Change = dict[str, str | None]
"""Parameters of the address and their new values; None removes a parameter."""

_PAIR = re.compile(r"(.+)~(\d{1,9})~([a-z]+_\d+_[A-Za-z]+_[A-Za-z]+)~(.+)")


def pair_name(pair: Pair) -> str:
    """A pair in an address: `dryrun~0~drop_2_False_False~toyworld_27445bf48061`."""
    config = pair.config.removeprefix("caption_caption_")
    return f"{pair.model}~{pair.iteration}~{config}~{pair.video_id}"


def pair_named(name: str) -> Pair | None:
    """The pair of an address; None if it names none."""
    words = _PAIR.fullmatch(name)
    return words and Pair(words[1], int(words[2]), f"caption_caption_{words[3]}", words[4])


def pair_of(row: Mapping[str, Any]) -> Pair:
    """The pair of a row of the index."""
    return Pair(*(row[name] for name in Pair._fields))


def go(**change: str | None) -> None:
    """Change the address; None removes a parameter."""
    for name, value in change.items():
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = value


def to_pairs(**params: str) -> None:
    """Go to the list of pairs with the filters of an address."""
    kept = {"dataset": st.query_params["dataset"]} if "dataset" in st.query_params else {}
    page = st.session_state["pairs_page"]
    st.switch_page(page, query_params={**kept, "list": "yes", **params})


def heading_with_steps(
    title: str, labels: Iterable[str], place: str, before: Change | None, after: Change | None
) -> DeltaGenerator:
    """A page's heading and, opposite of it, the buttons and keys that go to the previous and to the
    next item; returns the container of these buttons.

    Args:
        labels: HTML behind the title.
        place: where among all items this one is.
        before, after: what changes in the address; None at the ends.
    """
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        heading(title, *labels)
    buttons = right.container(
        horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
    )
    buttons.html(f'<span class="t-faint">{escape(place)}</span>', width="content")
    for label, key, change in (("Previous", "Left", before), ("Next", "Right", after)):
        buttons.button(
            label, key=key, shortcut=key, disabled=change is None, on_click=go, kwargs=change
        )
    return buttons
