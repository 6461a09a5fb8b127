"""One seed of the reproduction: its own CLIP, bridges and test videos.

    python -m reproduction.prealignment.trial 1 --exp exp/prealignment --arms projected raw

Everything that was made is kept in <exp>/seed_<n>, and what is there is not made again. What an arm
answers is one line of results.jsonl. All seeds share the footage of <exp>/footage.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prealignment.training.visits import Item, id_of, of_share
from prealignment.vectors.memory import project, shift
from prealignment.vectors.rows import sampled
from prealignment.weights.alignments import Aligned, load_weights, save_alignment
from reproduction.prealignment.arms import (
    ARMS,
    BLIND,
    BRIDGES,
    ONE,
    RAW,
    SHIFTED,
    SHUFFLED,
    STEPS,
    TEST_VIDEOS,
    TEXT,
    THREE,
    THREE_FLOOR,
    TUNING,
    WORDS,
)
from reproduction.prealignment.bridges import new_bridge, record_of, train, without_bridge
from reproduction.prealignment.clips import (
    FIXED,
    LEARNED,
    Texts,
    gap_figures,
    image_vectors,
    open_clip,
)
from reproduction.prealignment.clips import ROWS as MEMORY_ROWS
from reproduction.prealignment.clips import STEPS as CLIP_STEPS
from reproduction.prealignment.footage import (
    CLIP_STORIES,
    FIRST_SEED,
    LABELLED_STORIES,
    Footage,
    open_footage,
    shared_footage,
)
from reproduction.prealignment.language import FRAMES, draw_story, word_of
from reproduction.prealignment.results import read_rows
from reproduction.prealignment.scoring import Case, draw_cases, score
from tools.cli import new_folder, run_script, script_parser, whole
from tools.store.dataset import REPOSITORY
from tools.store.files import Appender
from tools.store.jsonl import dumps
from toyworld.language import Event

LLM = REPOSITORY / "reproduction" / "bases" / "toylm"


@dataclass(frozen=True)
class Size:
    """How much of everything there is.

    Attributes:
        clip_stories, labelled_stories: of the footage.
        texts: text videos, and as many films of labelled shots for the bridge that learns from
            video.
        films: labelled films with fixed questions: all labels.
    """

    clip_stories: int = CLIP_STORIES
    labelled_stories: int = LABELLED_STORIES
    test_videos: int = TEST_VIDEOS
    texts: int = 1500
    films: int = 130
    steps: int = STEPS
    tuning: int = TUNING
    clip_steps: int = CLIP_STEPS
    memory_rows: int = MEMORY_ROWS


class Space:
    """A CLIP of the seed, and all vectors of it."""

    def __init__(self, trial: "Trial", scale: float) -> None:
        folder = trial.folder / ("clip" if scale == FIXED else "clip_default_scale")
        clip = open_clip(trial.footage[0], folder, trial.seed, scale, trial.size.clip_steps)
        self.clip = clip
        labelled, test = trial.footage[1], trial.test
        self.texts = Texts(clip, trial.seed, trial.size.memory_rows)
        self.labelled = image_vectors(clip, labelled)
        shots = image_vectors(clip, test)
        self.test = test.by_video(shots)
        self.mean = torch.from_numpy(shots.mean(axis=0))  # as `prealignment.answer` takes it
        self.figures = gap_figures(shots, test.events, self.texts)


@dataclass(frozen=True)
class Trial:
    """A seed; 0 is that of validation."""

    seed: int
    folder: Path
    llm: Path = LLM
    size: Size = Size()

    @cached_property
    def footage(self) -> tuple[Footage, Footage]:
        """What teaches CLIP, and the labelled shots."""
        stories = self.size.clip_stories, self.size.labelled_stories
        return shared_footage(self.folder.parent, *stories)

    @cached_property
    def test(self) -> Footage:
        """Test videos of 4 to 6 shots, a frame each."""
        lengths = [FRAMES - 2 + number % 3 for number in range(self.size.test_videos)]
        return open_footage(FIRST_SEED + 1 + self.seed, lengths, self.folder / "test")

    @cached_property
    def cases(self) -> list[Case]:
        """What is asked about them."""
        return draw_cases(self.test.stories, self.seed)

    @cached_property
    def space(self) -> Space:
        """Vectors of a CLIP that leaves a gap."""
        return Space(self, FIXED)

    @cached_property
    def space_without_gap(self) -> Space:
        """Vectors of a CLIP with the library's own logit scale."""
        return Space(self, LEARNED)

    def space_of(self, name: str) -> Space:
        """The vectors that a bridge reads."""
        is_default = name in BRIDGES and BRIDGES[name].default_scale
        return self.space_without_gap if is_default else self.space

    def lessons(self, name: str) -> tuple[list[Item], dict[str, np.ndarray]]:
        """What a bridge learns from: text videos, or films of labelled shots, and their vectors."""
        bridge, space = BRIDGES[name], self.space_of(name)
        count, most = (self.size.texts, 7) if bridge.labels is None else (self.size.films, 4)
        rng = random.Random(f"lessons/{self.seed}/{bridge.labels is None}")
        shots: dict[Event, list[int]] = {}
        for place, event in enumerate(self.footage[1].events):
            shots.setdefault(event, []).append(place)
        records: list[Item] = []
        vectors = {}
        while len(records) < count:
            events = draw_story(rng, rng.randint(FRAMES - 2, FRAMES))
            if bridge.video and not all(event in shots for event in events):
                continue
            own = f"{len(records):04}"
            records.append(record_of(events, own, most, rng))
            if bridge.video:
                vectors[own] = space.labelled[[rng.choice(shots[event]) for event in events]]
            else:
                vectors[own] = space.texts.story(events, rng)
        return of_share(records, bridge.labels or 1.0, self.seed), vectors

    def bridge(self, name: str) -> Aligned:
        """A trained bridge."""
        bridge = BRIDGES[name]
        folder = self.folder / "bridges" / name
        width = self.space_of(name).texts.vectors.shape[1]
        aligned = new_bridge(self.llm, width, bridge, self.seed)
        if (folder / "trained").is_file():
            load_weights(aligned.model, folder)
            return aligned
        if bridge.init:
            self.bridge(bridge.init)
            load_weights(aligned.model, self.folder / "bridges" / bridge.init)
        records, vectors = self.lessons(name)
        ratio = bridge.steps / STEPS
        steps = self.size.tuning if bridge.init else round(self.size.steps * ratio)
        loss = train(
            aligned, bridge, records, lambda item: vectors[id_of(item)], steps, self.seed, folder
        )
        print(f"bridge {name}: {steps} steps, loss {loss}", flush=True)
        save_alignment(folder, aligned.model, aligned.settings)
        (folder / "trained").touch()
        return aligned

    def vectors(self, way: str, space: Space) -> list[np.ndarray]:
        """The vectors of the test videos, as an arm gives them."""
        rng = random.Random(f"{way}/{self.seed}")
        if way == TEXT:
            return [space.texts.story(case.events, rng) for case in self.cases]
        if way == RAW:
            return space.test
        if way == BLIND:
            return [own * 0 for own in space.test]
        memory = space.texts.memory()
        if way == SHIFTED:
            return [shift(torch.from_numpy(v), space.mean, memory).numpy() for v in space.test]
        projected = [project(torch.from_numpy(own), memory).numpy() for own in space.test]
        if way == SHUFFLED:
            return [own[rng.sample(range(len(own)), len(own))] for own in projected]
        if way == ONE:
            return [sampled(own, 1) for own in projected]
        if way in (THREE, THREE_FLOOR):
            rule = "centres" if way == THREE else "floor"
            return [sampled(own, 3, rule) for own in projected]
        return projected

    def words(self, aligned: Aligned) -> list[np.ndarray]:
        """The vectors of the words of the test videos' events, in the language model itself."""
        table = aligned.model.get_input_embeddings().weight.detach().numpy()
        ids = aligned.tokenizer.convert_tokens_to_ids
        return [table[ids([word_of(event) for event in case.events])] for case in self.cases]

    def row(self, name: str) -> dict[str, Any]:
        """An arm's row of results."""
        arm = ARMS[name]
        start = time.process_time()
        if arm.bridge == WORDS:
            aligned = without_bridge(self.llm)
            counts = score(aligned, self.cases, self.words(aligned))
            return {"arm": name, "counts": counts}
        aligned, space = self.bridge(arm.bridge), self.space_of(arm.bridge)
        counts = score(aligned, self.cases, self.vectors(arm.way, space))
        seconds = round(time.process_time() - start, 1)
        return {"arm": name, "counts": counts, **space.figures, "cpu_s": seconds}

    def run(self, arms: Sequence[str]) -> None:
        """Score the arms that are not scored yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = read_rows(self.folder)
        appender = Appender(self.folder / "results.jsonl")
        try:
            for name in arms:
                if name not in rows:
                    row = self.row(name)
                    appender.append(dumps(row))
                    shares = {m: sum(n) / max(1, sum(d)) for m, (n, d) in row["counts"].items()}
                    print(name, {m: round(share, 2) for m, share in shares.items()}, flush=True)
        finally:
            appender.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Run a seed."""
    parser = script_parser(__doc__)
    parser.add_argument("seed", type=whole, help="1, 2 ...; 0 is that of validation")
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], required=True, metavar="NAME")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    Trial(args.seed, args.exp / f"seed_{args.seed}").run(args.arms)


if __name__ == "__main__":
    run_script(main)
