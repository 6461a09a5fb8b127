"""One seed of the reproduction: its own stories, image model, training and test films and bridges.

    python -m reproduction.grounding.trial 1 --exp exp/grounding --arms grounded uniform

Everything that was made is kept in <exp>/seed_<n>, and what is there is not made again. An arm's
answers to the films of one length are one line of results.jsonl.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from grounding.answerer.answerer import Answerer
from grounding.answerer.weights import load_answerer, open_answerer, save_trained
from grounding.bridge.moments import Ratios, iou, iou_of_unions
from grounding.bridge.sampler import BRIDGE, Sampler, open_tokenizer
from grounding.bridge.weights import load_bridge
from reproduction.grounding.arms import (
    ARMS,
    BRIDGE_OF,
    BRIDGES,
    GROUNDED,
    LENGTHS,
    NFRAME,
    SECOND_ANSWERER,
    SIMILARITY,
    TEST_FILMS,
    TUNED,
    TWO_MOMENTS,
    WINDOWS,
)
from reproduction.grounding.bridges import STEPS, new_reader, train
from reproduction.grounding.choices import (
    WITH_BRIDGE,
    WITHOUT_BRIDGE,
    Choice,
    Span,
    drawn,
    grounded,
    grounded_in,
    similar,
)
from reproduction.grounding.films import (
    Films,
    answers,
    confident_spans,
    draw_films,
    draw_films_of_two,
    examples_of,
    frame_scores,
)
from reproduction.grounding.lessons import teach, words
from reproduction.grounding.pictures import picture_numbers, with_pictures
from reproduction.grounding.refinement import refine, stage
from reproduction.grounding.results import read_rows
from reproduction.grounding.shots import Shots, moment_of, open_shots
from reproduction.grounding.similarity import Similarity, teach_similarity
from tools.cli import new_folder, run_script, script_parser, whole
from tools.store.files import Appender, read_json, replace_atomically, write_json
from tools.store.jsonl import dumps

ABOUT = "about.json"  # how a bridge was labelled, or how long its training took
TRAIN, TEST = 0, 1  # parts of a seed, which share no story
FIRST_STORIES = 900  # the toy world's seed of the first part of seed 0


@dataclass(frozen=True)
class Size:
    """How much of everything there is."""

    train_stories: int = 50
    test_stories: int = 20
    train_films: int = 4000
    test_films: int = TEST_FILMS
    steps: int = STEPS
    lessons: float = 1.0
    lengths: tuple[int, ...] = LENGTHS


@dataclass(frozen=True)
class Trial:
    """A seed; `config` is what all bridges have in common beside their size."""

    seed: int
    folder: Path
    config: dict[str, Any]
    size: Size = Size()

    def shots(self, part: int) -> Shots:
        """The library that films of a part are made of."""
        stories = self.size.test_stories if part == TEST else self.size.train_stories
        name = ("train", "test")[part]
        return open_shots(FIRST_STORIES + 2 * self.seed + part, stories, self.folder / name)

    @cached_property
    def train_shots(self) -> Shots:
        """The library of training."""
        return self.shots(TRAIN)

    @cached_property
    def answerer(self) -> Answerer:
        """The image model that answers."""
        return self._taught("answerer", "blip2_t5")

    @cached_property
    def second_answerer(self) -> Answerer:
        """An image model of another kind, which no label comes from."""
        return self._taught("second_answerer", "instructblip_llama")

    def _taught(self, name: str, family: str) -> Answerer:
        folder = self.folder / name
        if (folder / "taught").is_file():
            return open_answerer(str(folder))
        answerer = teach(self.train_shots, folder, self.seed, self.size.lessons, family)
        (folder / "taught").touch()
        return answerer

    @cached_property
    def training(self) -> Films:
        """Films that bridges are trained on."""
        length = self.size.lengths[0]
        return draw_films(self.train_shots, self.size.train_films, length, (self.seed, TRAIN))

    @cached_property
    def scores(self) -> np.ndarray:
        """How well the answers from single frames of the training films match."""
        file = self.folder / "scores.npy"
        if not file.is_file():
            with replace_atomically(file) as out:
                np.save(out, frame_scores(self.answerer, self.training))
        return np.load(file)

    @cached_property
    def tests(self) -> dict[int, Films]:
        """Length -> films that no model was trained on, and whose shots none was."""
        shots = self.shots(TEST)
        count = self.size.test_films
        return {
            length: draw_films(shots, count, length, (self.seed, TEST))
            for length in self.size.lengths
        }

    @cached_property
    def two_moments(self) -> dict[int, tuple[Films, Films]]:
        """Length -> films with two moments, twice: with the first moment, and with the second."""
        shots, count = self.shots(TEST), self.size.test_films
        return {
            length: draw_films_of_two(shots, count, length, (self.seed, TEST, 2))
            for length in self.size.lengths
        }

    @cached_property
    def similarity(self) -> Similarity:
        """What says how well a picture matches a question."""
        return teach_similarity(self.answerer, self.train_shots, self.seed)

    def sampler(self, name: str) -> Sampler:
        """The bridge of an arm."""
        folder = self.folder / "bridges" / name
        if not (folder / BRIDGE).is_file():
            arm = BRIDGES[name]
            films = self.read_by(name, self.training)
            own = self.config | arm.config
            if arm.reads != "flow":
                own |= {"input": "rgb", "features": films.flow[0].speed.shape[1]}
            reader = new_reader(self.seed, words(), **own)
            spans: Sequence[Ratios | None] = films.truth
            if arm.labels != "truth":
                spans = confident_spans(self.scores, arm.labels, arm.min_confidence)
            examples = examples_of(films, spans, reader.bridge.config.normalise)
            labelled = [(a, b) for a, b in zip(spans, films.truth, strict=True) if a]
            about = {
                "labelled": round(len(labelled) / len(films.films), 4),
                "label_iou": round(fmean([iou(a, b) for a, b in labelled] or [0.0]), 4),
            }
            print(name, about, flush=True)
            train(reader, examples, self.seed, self.size.steps)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / ABOUT, about)
            reader.save(folder)
        return Sampler(load_bridge(folder / BRIDGE), open_tokenizer(folder))

    def read_by(self, name: str, films: Films) -> Films:
        """The films with what the bridge of an arm reads of them."""
        reads = BRIDGES[name].reads
        if reads == "flow":
            return films
        return with_pictures(films, picture_numbers(reads, self.answerer, films.shots), reads)

    def tuned(self, arm: str) -> tuple[Answerer, Sampler]:
        """The image model and the bridge of an arm that trains both."""
        folder = self.folder / "tuned" / arm
        if not (folder / BRIDGE).is_file():
            source = self.answerer.settings.base
            start = time.process_time()
            answerer = open_answerer(source, stage="sf")
            reader = new_reader(self.seed, words(), **self.config)
            if arm == "refined":
                refine(answerer, reader, self.training, self.seed)
            else:
                stage(answerer, reader, self.training, self.scores, self.seed)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / ABOUT, {"train_s": round(time.process_time() - start)})
            save_trained(answerer, folder)
            reader.save(folder)
        return load_answerer(folder), Sampler.open(folder)

    def choose(self, arm: str, films: Films) -> Choice:
        """The frames that an arm chooses."""
        rng = np.random.default_rng([self.seed, 7, len(films.films[0].shots)])
        if arm == SIMILARITY:
            return similar(self.similarity, films)
        if arm in TUNED:
            return grounded(self.tuned(arm)[1], films, rng)
        if arm in WITHOUT_BRIDGE:
            return WITHOUT_BRIDGE[arm](films, rng)
        if arm in WITH_BRIDGE:
            bridge = BRIDGE_OF.get(arm, GROUNDED)
            return WITH_BRIDGE[arm](self.sampler(bridge), films, rng)
        if arm in SECOND_ANSWERER:
            return self.choose(SECOND_ANSWERER[arm], films)
        return grounded(self.sampler(arm), self.read_by(arm, films), rng)

    def score(self, arm: str, length: int) -> dict[str, Any]:
        """An arm's row of results about films of a length."""
        if arm in TWO_MOMENTS:
            return self.score_two(arm, length)
        films = self.tests[length]
        choice = self.choose(arm, films)
        keys = [
            films.shots.frames_at(film, times)
            for film, times in zip(films.films, choice.times, strict=True)
        ]
        asked = [(key, film.question) for key, film in zip(keys, films.films, strict=True)]
        answerer = self.answerer
        if arm in TUNED:
            answerer = self.tuned(arm)[0]
        elif arm in SECOND_ANSWERER:
            answerer = self.second_answerer
        texts = answers(answerer, films.shots, asked)
        moments = [moment_of(film) for film in films.films]
        row: dict[str, Any] = {
            "arm": arm,
            "shots": length,
            "right": [int(t == f.answer) for t, f in zip(texts, films.films, strict=True)],
            "after": [int(film.is_after) for film in films.films],
            "inside": [
                sum(start <= time < end for time in times)
                for times, (start, end) in zip(choice.times, moments, strict=True)
            ],
        }
        if choice.spans:
            pairs = zip(choice.spans, moments, strict=True)
            row["iou"] = [round(union_iou(spans, moment), 4) for spans, moment in pairs]
        trained = self.folder / ("tuned" if arm in TUNED else "bridges") / arm
        return row | (read_json(trained / ABOUT) or {})

    def score_two(self, arm: str, length: int) -> dict[str, Any]:
        """The same of films with two moments: each frame is answered from alone, and right is what
        finds the answers of both."""
        films, seconds = self.two_moments[length]
        if (k := TWO_MOMENTS[arm]) is None:
            rng = np.random.default_rng([self.seed, length])
            choice = drawn(self.sampler(GROUNDED), films, rng)
        elif k:
            choice = grounded_in(self.sampler(GROUNDED), films, k)
        else:
            choice = self.choose("uniform", films)
        asked = [
            ([key], film.question)
            for film, times in zip(films.films, choice.times, strict=True)
            for key in films.shots.frames_at(film, times)
        ]
        texts = np.array(answers(self.answerer, films.shots, asked)).reshape(-1, NFRAME).tolist()
        pairs = list(zip(films.films, seconds.films, strict=True))
        moments = [[moment_of(film) for film in pair] for pair in pairs]
        row: dict[str, Any] = {
            "arm": arm,
            "shots": length,
            "right": [
                int({film.answer for film in pair} <= set(of_frames))
                for pair, of_frames in zip(pairs, texts, strict=True)
            ],
            "after": [0] * len(pairs),
            "inside": [
                sum(start <= time < end for time in times for start, end in both)
                for times, both in zip(choice.times, moments, strict=True)
            ],
        }
        if choice.spans:
            spans_of = zip(choice.spans, moments, strict=True)
            row["iou"] = [round(iou_of_unions(spans, both), 4) for spans, both in spans_of]
        return row

    def run(self, arms: Sequence[str]) -> None:
        """Score the arms that are not scored yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = read_rows(self.folder)
        appender = Appender(self.folder / "results.jsonl")
        try:
            for arm in arms:
                for length in self.size.lengths:
                    if (arm, length) not in rows:
                        row = self.score(arm, length)
                        appender.append(dumps(row))
                        print(arm, length, f"{np.mean(row['right']):.2f}", flush=True)
        finally:
            appender.close()


def union_iou(spans: Sequence[Span], moment: Span) -> float:
    """Intersection over union of a moment and spans that overlap nowhere."""
    both = sum(max(0.0, min(end, moment[1]) - max(start, moment[0])) for start, end in spans)
    either = sum(end - start for start, end in spans) + moment[1] - moment[0] - both
    return both / either


def main(argv: Sequence[str] | None = None) -> None:
    """Run a seed."""
    parser = script_parser(__doc__)
    parser.add_argument("seed", type=whole, help="1, 2 ...; 0 is that of validation")
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument(
        "--arms", nargs="+", choices=[*ARMS, *WINDOWS], required=True, metavar="NAME"
    )
    parser.add_argument("--window", type=int, required=True, help="of the bridges, tokens")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    Trial(args.seed, args.exp / f"seed_{args.seed}", {"window": args.window}).run(args.arms)


if __name__ == "__main__":
    run_script(main)
