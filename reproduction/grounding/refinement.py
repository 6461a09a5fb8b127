"""Self-refinement against the staged recipe, at as many steps of as many films each.

Both train a new bridge, and the Q-Former, query tokens and projection of the image model. The
staged recipe learns from labels that were made once, first the bridge, then the image model on
frames that the bridge chooses; self-refinement does all of it in each step.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from grounding.answerer.answerer import Answerer
from grounding.bridge.moments import Ratios, decode, frame_times, ratios_of_tokens
from grounding.bridge.network import span_loss
from grounding.bridge.sampler import Sampler
from grounding.training.bridge import SpanExample, SpanReader
from reproduction.grounding.arms import NFRAME
from reproduction.grounding.choices import grounded
from reproduction.grounding.films import Films, confident_spans, frame_scores
from reproduction.grounding.lessons import encode, training
from reproduction.grounding.shots import length_of

STEPS, BATCH = 400, 16
ANSWERER_RATE = 3e-4
LABELS = "top"


def refine(answerer: Answerer, reader: SpanReader, films: Films, seed: int) -> None:
    """Train both in one loop; the answerer labels, and the bridge chooses, as they are."""
    rng = np.random.default_rng([seed, 4])
    loops = zip(training([answerer], STEPS, ANSWERER_RATE), training([reader], STEPS), strict=True)
    for _ in loops:
        part = films.some(rng.integers(len(films.films), size=BATCH))
        batch = span_batch(reader, part, confident_spans(frame_scores(answerer, part), LABELS))
        inputs = (batch[name] for name in ("flow", "flow_mask", "words", "words_mask"))
        start, end = reader.bridge(*inputs)
        loss = span_loss(start, end, batch["first"], batch["last"])
        length = start.shape[1]
        times = []
        for film, [span] in zip(part.films, decode(start, end, batch["flow_mask"]), strict=True):
            a, b = ratios_of_tokens(span.first, span.last, length)
            times.append(frame_times([(a * length_of(film), b * length_of(film))], NFRAME))
        (loss + answer_loss(answerer, part, times)).backward()
    answerer.eval()
    reader.eval()


def stage(
    answerer: Answerer, reader: SpanReader, films: Films, scores: np.ndarray, seed: int
) -> None:
    """Train the bridge on labels of these scores, then the answerer on frames that it chooses."""
    spans = confident_spans(scores, LABELS)
    rng = np.random.default_rng([seed, 5])
    for _ in training([reader], STEPS):
        places = rng.integers(len(films.films), size=BATCH)
        batch = span_batch(reader, films.some(places), [spans[place] for place in places])
        reader(**batch)["loss"].backward()
    reader.eval()
    sampler = Sampler(reader.bridge, reader.tokenizer)
    for _ in training([answerer], STEPS, ANSWERER_RATE):
        part = films.some(rng.integers(len(films.films), size=BATCH))
        answer_loss(answerer, part, grounded(sampler, part, rng).times).backward()
    answerer.eval()


def span_batch(
    reader: SpanReader, films: Films, spans: Sequence[Ratios | None]
) -> dict[str, Tensor]:
    """A batch of the bridge; a film without a label teaches nothing."""
    rows = zip(films.flow, films.films, spans, strict=True)
    return reader.encode(
        [SpanExample(flow.normalised(), film.question, span) for flow, film, span in rows]
    )


def answer_loss(answerer: Answerer, films: Films, times: Sequence[Sequence[float]]) -> Tensor:
    """The loss of the right answers from frames at some times of each film."""
    keys = np.array(
        [films.shots.frames_at(film, of) for film, of in zip(films.films, times, strict=True)]
    )
    pictures = films.shots.pictures[keys[..., 0], keys[..., 1]]
    questions = [film.question for film in films.films]
    right = [film.answer for film in films.films]
    return answerer.loss(encode(answerer, pictures, questions, right))
