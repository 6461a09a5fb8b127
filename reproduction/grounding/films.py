"""Films with their flow, the image model's answers to their single frames, and labels of these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from grounding.answerer.answerer import Answerer
from grounding.answerer.decoding import Decoding
from grounding.bridge.moments import Label, Ratios, frame_times, label_of, ratios_of
from grounding.scores import rouge1_recall
from grounding.training.bridge import SpanExample
from reproduction.grounding.arms import MIN_CONFIDENCE
from reproduction.grounding.lessons import encode
from reproduction.grounding.shots import Shots, length_of, moment_of
from tools.features.flow import Dis, Flow
from toyworld.moments import Director, Film
from toyworld.stories import SIDE

LABEL_FRAMES = 32  # of a film, each of which is answered from alone (VideoTGB)
AT_ONCE = 512  # answers
SHORT = Decoding(max_new_tokens=8)  # greedy; the longest answer has 4 tokens
FrameKey = tuple[int, int]  # shot, frame of it


@dataclass(frozen=True)
class Films:
    """Films of a library, with what the bridge reads of each."""

    shots: Shots
    films: list[Film]
    flow: Sequence[Flow]

    def some(self, places: Iterable[int]) -> "Films":
        """Those at some places."""
        chosen = [(self.films[place], self.flow[place]) for place in places]
        return Films(self.shots, [film for film, _ in chosen], [flow for _, flow in chosen])

    @property
    def truth(self) -> list[Ratios]:
        """The span of each moment, ratios of the film's time."""
        return [
            (moment_of(film)[0] / length_of(film), moment_of(film)[1] / length_of(film))
            for film in self.films
        ]


def draw_films(shots: Shots, count: int, length: int, seed: Sequence[int]) -> Films:
    """`count` films of `length` shots."""
    director = Director(shots.events, np.random.default_rng([*seed, length]))
    films = [director.film(length) for _ in range(count)]
    return Films(shots, films, _flow_of(shots, films))


def draw_films_of_two(
    shots: Shots, count: int, length: int, seed: Sequence[int]
) -> tuple[Films, Films]:
    """Films with two moments: with the first of them, and with the second."""
    director = Director(shots.events, np.random.default_rng([*seed, length]))
    pairs = [director.film_of_two(length) for _ in range(count)]
    flow = _flow_of(shots, [first for first, _ in pairs])
    return Films(shots, [a for a, _ in pairs], flow), Films(shots, [b for _, b in pairs], flow)


def _flow_of(shots: Shots, films: Sequence[Film]) -> list[Flow]:
    extractor = Dis(SIDE)
    return [shots.flow_of(film.shots, extractor) for film in films]


def examples_of(
    films: Films, spans: Sequence[Ratios | None], normalise: str = "fixed"
) -> list[SpanExample]:
    """What a bridge learns from: the films that have a span."""
    return [
        SpanExample(flow.normalised(normalise), film.question, span)
        for film, flow, span in zip(films.films, films.flow, spans, strict=True)
        if span
    ]


def answers(
    answerer: Answerer, shots: Shots, asked: Sequence[tuple[Sequence[FrameKey], str]]
) -> list[str]:
    """Greedy answers to questions, each from some frames, as many of each; equal ones are asked
    once."""
    unique = list(dict.fromkeys((tuple(frames), question) for frames, question in asked))
    unique.sort(key=lambda pair: len(pair[1].split()))
    known: dict[tuple[tuple[FrameKey, ...], str], str] = {}
    for start in range(0, len(unique), AT_ONCE):
        part = unique[start : start + AT_ONCE]
        places = np.array([frames for frames, _ in part])
        pictures = shots.pictures[places[..., 0], places[..., 1]]
        batch = encode(answerer, pictures, [question for _, question in part])
        known |= dict(zip(part, answerer.generate(batch, SHORT), strict=True))
    return [known[tuple(frames), question] for frames, question in asked]


def frame_scores(answerer: Answerer, films: Films) -> np.ndarray:
    """(films, LABEL_FRAMES) how well the answer from each frame alone matches the right one."""
    asked = []
    for film in films.films:
        times = frame_times([(0.0, length_of(film))], LABEL_FRAMES)
        asked += [([key], film.question) for key in films.shots.frames_at(film, times)]
    texts = iter(answers(answerer, films.shots, asked))
    return np.array(
        [
            [rouge1_recall(next(texts), film.answer) for _ in range(LABEL_FRAMES)]
            for film in films.films
        ]
    )


def confident_spans(
    scores: np.ndarray, baseline: str, min_confidence: float = MIN_CONFIDENCE
) -> list[Ratios | None]:
    """The label of each film, None where it has none or an ambiguous one."""
    labels = [label_of(row.tolist(), baseline) for row in scores]
    return [_span(label, min_confidence) for label in labels]


def _span(label: Label, min_confidence: float) -> Ratios | None:
    if label.confidence is None or label.confidence < min_confidence:
        return None
    return ratios_of(label.first, label.last, LABEL_FRAMES)
