"""The filtered list of pairs as a file: CSV for a spreadsheet, JSON lines with both texts."""

import csv
import io
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import streamlit as st

from tools.pairs.judgements import Pair, latest
from tools.store.jsonl import dumps
from visualize.index.view import View
from visualize.parts.address import pair_of
from visualize.parts.texts import read_both_texts
from visualize.session import Session

ROWS_AT_ONCE = 10_000
# Streamlit holds what is downloaded in memory: so many pairs with both texts are about 300 MB.
JSONL_PAIRS = 100_000


def verdicts(session: Session) -> dict[Pair, str]:
    """pair -> its latest judgement."""
    return {pair: last.verdict for pair, last in latest(session.judgements).items()}


def pair_rows(view: View, ids: np.ndarray, judged: dict[Pair, str]) -> Iterator[dict[str, Any]]:
    """Yield the columns of the list of pairs, by their titles."""
    for start in range(0, len(ids), ROWS_AT_ONCE):
        for row in view.pairs(ids[start : start + ROWS_AT_ONCE]):
            yield {
                "video": row["name"],
                "noise": row["noise"],
                "magnitude": row["magnitude"],
                "chosen": row["chosen_length"],
                "rejected": row["rejected_length"],
                "ratio": row["ratio"],
                "alike": row["similarity"],
                "convert": row["reason"] or ("duplicate" if row["duplicate"] else "kept"),
                "judged": judged.get(pair_of(row), ""),
                **pair_of(row)._asdict(),
            }


def as_csv(view: View, ids: np.ndarray, judged: dict[Pair, str]) -> bytes:
    """The list of pairs with the lengths of their texts, and what names each pair."""
    file = io.BytesIO()
    rows = pair_rows(view, ids, judged)
    first = next(rows)
    with io.TextIOWrapper(file, "utf-8", newline="", write_through=True) as text:
        writer = csv.DictWriter(text, list(first))
        writer.writeheader()
        writer.writerows(chain([first], rows))
        return file.getvalue()


def as_jsonl(view: View, ids: np.ndarray, judged: dict[Pair, str]) -> bytes:
    """The same, with the texts in place of their lengths."""
    file = io.BytesIO()
    rows = pair_rows(view, ids, judged)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        pairs = [Pair(*(row[name] for name in Pair._fields)) for row in some]
        texts = read_both_texts(view, pairs)
        for row, (chosen, rejected) in zip(some, texts, strict=True):
            file.write(dumps({**row, "chosen": chosen, "rejected": rejected}) + b"\n")
    return file.getvalue()


def export_buttons(session: Session, ids: np.ndarray, place: Any) -> None:
    """A button for each kind of file; the file is made when the button is pressed."""
    kinds: dict[str, tuple[Callable[..., bytes], bool]] = {
        "csv": (as_csv, len(ids) > 0),
        "jsonl": (as_jsonl, 0 < len(ids) <= JSONL_PAIRS),
    }
    for kind, (make, is_offered) in kinds.items():
        place.download_button(
            kind.upper(),
            lambda make=make: make(session.view, ids, verdicts(session)),
            f"{session.dataset.name}_pairs.{kind}",
            icon=":material/download:",
            on_click="ignore",
            disabled=not is_offered,
        )
    st.caption(
        "CSV has the columns of this list, JSONL both texts too; each has all pages."
        f" JSONL takes at most {JSONL_PAIRS:,} pairs: filter a longer list."
    )
