"""What the pages share: the dataset that is looked at, its index, and pairs in the address bar."""

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from tools.cli import add_data_root, script_parser
from tools.errors import UserError
from tools.pairs.judgements import Judgement, Pair, read
from tools.store.dataset import REPOSITORY, Dataset, dataset_names, open_dataset
from visualize.index.index import DatasetIndex
from visualize.index.view import Filters, View
from visualize.parts.style import note
from visualize.previews import Previews

_PAIR = re.compile(r"(.+)~(\d{1,9})~([a-z]+_\d+_[A-Za-z]+_[A-Za-z]+)~(.+)")
# How long a page waits for the index before it shows the one before, seconds.
PATIENCE = 2.0
# The index is not looked at again for this many seconds, and for this many times as long as the
# last renewal took: responses that are being made change it all the time.
REST_SECONDS, REST_TIMES = 2.0, 10.0
# From so many bytes of new lines on, a renewal is a process of its own.
ASIDE_BYTES = 20_000_000


@dataclass
class Renewal:
    """The index of one dataset, being renewed in the background."""

    index: DatasetIndex
    thread: threading.Thread | None = None
    error: str = ""
    next_look: float = 0.0
    view: View | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Start renewing where that is due and not under way."""
        with self.lock:
            if (self.thread and self.thread.is_alive()) or time.monotonic() < self.next_look:
                return
            self.thread = threading.Thread(target=self._work, daemon=True)
            self.thread.start()

    def _work(self) -> None:
        start = time.monotonic()
        try:
            if self.index.bytes_to_read() > ASIDE_BYTES:
                self._renew_aside()
            state = self.index.renew()
            if not self.view or self.view.state.generation != state.generation:
                self.view = View(self.index, state)
            self.error = ""
        except UserError as error:
            self.error = str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("the index of %s", self.index.dataset.name)
            self.error = f"the index could not be made: {type(error).__name__}: {error}"
        now = time.monotonic()
        self.next_look = now + max(REST_SECONDS, REST_TIMES * (now - start))

    def _renew_aside(self) -> None:
        """Renew in a process of its own, which takes its memory with it."""
        dataset = self.index.dataset
        command = [sys.executable, "-m", "visualize.index", dataset.name]
        done = subprocess.run(
            [*command, "--data_root", str(dataset.root.parent)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise UserError(done.stderr.strip().rsplit("\n", 1)[-1].removeprefix("error: "))

    @property
    def busy(self) -> bool:
        """Whether it is being renewed now."""
        return bool(self.thread and self.thread.is_alive())


@st.cache_resource
def _renewals() -> dict[Path, Renewal]:
    return {}


@st.cache_resource(max_entries=12, show_spinner=False)
def _selection(_view: View, _judgements: list[Judgement], key: tuple[Any, ...]) -> np.ndarray:
    return _view.select(key[-1], _judgements)


@dataclass(frozen=True)
class Session:
    """What a page is given."""

    dataset: Dataset
    view: View
    previews: Previews
    judgements: list[Judgement]

    def select(self, filters: Filters) -> np.ndarray:
        """The ids of the pairs that pass, in order; remembered."""
        judged = len(self.judgements) if filters.verdict or filters.not_by else 0
        key = (str(self.dataset.root), self.view.state.generation, judged, filters)
        return _selection(self.view, self.judgements, key)


def data_root() -> Path:
    """The folder of `-- --data_root`.

    Raises:
        UserError: the arguments behind `--` are others.
    """
    parser = script_parser("The viewer.")
    add_data_root(parser)
    try:
        return Path(parser.parse_args(sys.argv[1:]).data_root).absolute()
    except SystemExit:
        words = " ".join(sys.argv[1:])
        raise UserError(f"the viewer takes -- --data_root DIR, not {words}") from None


def begin() -> Session | None:
    """Open the dataset that the address bar names, and its index; None where there is none yet.

    Raises:
        UserError: there is no dataset, or its files cannot be read.
    """
    root = data_root()
    names = dataset_names(root)
    if not names:
        raise UserError(f"no dataset in {root}: preprocess.py makes the first")
    wanted = st.query_params.get("dataset", names[0])
    with st.sidebar:
        name = st.selectbox("Dataset", names, key="dataset", bind="query-params")
    if wanted not in names:
        note(f"There is no dataset {wanted} in {root}: this is {name}.")
    dataset = open_dataset(name, root)
    renewal = _renewals().setdefault(dataset.root, Renewal(DatasetIndex(dataset)))
    renewal.begin()
    _await(renewal)
    if renewal.error:
        note(renewal.error)
    if renewal.view is None:
        return None
    if renewal.busy:
        st.sidebar.caption(
            f"Reading new records ({renewal.index.share:.0%}). The page shows the state before."
        )
    try:
        judgements = list(read(dataset))
    except UserError as error:
        note(error)
        judgements = []
    return Session(dataset, renewal.view, Previews(dataset), judgements)


def _await(renewal: Renewal) -> None:
    """Wait for the index: a moment where there is one already, else until it is made."""
    patience = time.monotonic() + PATIENCE
    if renewal.thread:
        renewal.thread.join(0.3)
    place = st.empty()
    while renewal.busy and (renewal.view is None or time.monotonic() < patience):
        if renewal.view is None:
            place.progress(renewal.index.share, "Reading the dataset for the first time")
        renewal.thread.join(0.2)  # type: ignore[union-attr]
    place.empty()


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
    return Pair(row["model"], row["iteration"], row["config"], row["video_id"])
