"""What the pages share: the dataset that is looked at, and its index, which is kept up to date."""

import argparse
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import streamlit as st

from tools.cli import add_data_root, script_parser
from tools.errors import UserError
from tools.pairs.judgements import Judgement, read
from tools.store.dataset import REPOSITORY, Dataset, dataset_names, open_dataset
from visualize.index.index import DatasetIndex
from visualize.index.view import Filters, View
from visualize.parts.style import note

TOY_BRIDGE = REPOSITORY / "grounding" / "toybridge"
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

    @property
    def busy(self) -> bool:
        """Whether it is being renewed now."""
        return bool(self.thread and self.thread.is_alive())

    def begin(self) -> None:
        """Start renewing where that is due and not under way."""
        with self.lock:
            if not self.busy and time.monotonic() >= self.next_look:
                self.thread = threading.Thread(target=self._work, daemon=True)
                self.thread.start()

    def wait(self) -> None:
        """Wait for the index: a moment where there is one already, else until it is made."""
        end = time.monotonic() + PATIENCE
        place = st.empty()
        while self.thread and self.busy and (self.view is None or time.monotonic() < end):
            self.thread.join(0.2)
            if self.view is None:
                place.progress(self.index.share, "Reading the dataset for the first time")
        place.empty()

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
        command = [sys.executable, "-m", "visualize.index", dataset.title]
        done = subprocess.run(
            [*command, "--data_root", str(dataset.home.parent)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise UserError(done.stderr.strip().rsplit("\n", 1)[-1].removeprefix("error: "))


@st.cache_resource(show_spinner=False)
def _renewal(dataset: Dataset) -> Renewal:
    return Renewal(DatasetIndex(dataset))


@st.cache_resource(max_entries=12, show_spinner=False)
def _selection(
    _session: "Session", root: str, generation: int, judged: int, filters: Filters
) -> np.ndarray:
    return _session.view.select(filters, _session.judgements)


@dataclass(frozen=True)
class Session:
    """What a page is given."""

    dataset: Dataset
    view: View
    judgements: list[Judgement]

    def select(self, filters: Filters) -> np.ndarray:
        """The ids of the pairs that pass, in order; remembered."""
        judged = len(self.judgements) if filters.verdict or filters.not_by else 0
        generation = self.view.state.generation
        return _selection(self, str(self.dataset.root), generation, judged, filters)


def flags() -> argparse.Namespace:
    """What follows `--`: data_root; of the page Chat checkpoint, the names of models, and sampler,
    a bridge's folder or None.

    Raises:
        UserError: the arguments are others.
    """
    parser = script_parser("The viewer.")
    add_data_root(parser)
    parser.add_argument("--checkpoint", nargs="+")
    parser.add_argument("--sampler", type=Path)
    try:
        given = parser.parse_args(sys.argv[1:])
    except SystemExit:
        words = " ".join(sys.argv[1:])
        raise UserError(
            f"the viewer takes -- --data_root DIR --checkpoint MODEL ... --sampler DIR, not {words}"
        ) from None
    if given.checkpoint is None:
        given.checkpoint = ["toyvl"]
        # It has been trained for what toyvl is asked.
        given.sampler = given.sampler or (TOY_BRIDGE if TOY_BRIDGE.is_dir() else None)
    given.data_root = given.data_root.absolute()
    return given


def _titles(root: Path) -> Iterator[str]:
    """The names of the datasets, each followed by those of its shards."""
    for name in dataset_names(root):
        yield name
        dataset = Dataset(name, root / name)
        if dataset.shard_digits:
            yield from (shard.title for shard in dataset.shards())


def begin(*, without: bool = False) -> Session | None:
    """Open the dataset that the address bar names, and its index; None where there is none yet.

    Args:
        without: the page can do without a dataset.

    Raises:
        UserError: there is no dataset, or its files cannot be read.
    """
    root = flags().data_root
    names = list(_titles(root))
    if not names and without:
        return None
    if not names:
        raise UserError(f"no dataset in {root}: preprocess.py makes the first")
    wanted = st.query_params.get("dataset", names[0])
    name = st.sidebar.selectbox("Dataset", names, key="dataset", bind="query-params")
    if wanted not in names:
        note(f"There is no dataset {wanted} in {root}: this is {name}.")
    dataset = open_dataset(name, root, whole=True)
    renewal = _renewal(dataset)
    renewal.begin()
    renewal.wait()
    if renewal.error:
        note(renewal.error)
    if renewal.view is None:
        return None
    for line in renewal.view.notes():
        note(line)
    if renewal.busy:
        st.sidebar.caption(
            f"Reading new records ({renewal.index.share:.0%}). The page shows the state before."
        )
    try:
        judgements = list(read(dataset))
    except UserError as error:
        note(error)
        judgements = []
    return Session(dataset, renewal.view, judgements)
