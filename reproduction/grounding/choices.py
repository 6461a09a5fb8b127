"""Ways of choosing 4 frames: functions of a film and of what a bridge says about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from grounding.bridge.moments import frame_times, middles
from grounding.bridge.sampler import Grounding, Sampler
from reproduction.grounding.arms import NFRAME
from reproduction.grounding.films import Films
from reproduction.grounding.shots import SHOT_FLOWS, length_of, moment_of
from reproduction.grounding.similarity import Similarity
from tools.features.flow import FPS, Flow
from toyworld.language import ACTIONS

MOST_FLOWS = 64  # the released code's cap of a video's flows
SIDE = 224  # pixels of a picture there
CANDIDATES = 32  # frames of a video that the released code chooses from

Times = list[float]
Span = tuple[float, float]


@dataclass(frozen=True)
class Choice:
    """Where frames come from.

    Attributes:
        times: of the frames of each film, seconds.
        spans: of each film, disjoint, seconds; None: the arm chooses no spans.
    """

    times: list[Times]
    spans: list[list[Span]] | None = None


def uniform(films: Films, rng: np.random.Generator) -> Choice:
    """The middles of 4 equal parts of the film."""
    return Choice([frame_times([(0.0, length_of(film))], NFRAME) for film in films.films])


def random(films: Films, rng: np.random.Generator) -> Choice:
    """4 moments drawn evenly from the film."""
    return Choice(
        [sorted(rng.uniform(0, length_of(film), NFRAME).tolist()) for film in films.films]
    )


def oracle(films: Films, rng: np.random.Generator) -> Choice:
    """The middles of 4 equal parts of the true moment."""
    moments = [moment_of(film) for film in films.films]
    return Choice([frame_times([moment], NFRAME) for moment in moments], [[m] for m in moments])


WITHOUT_BRIDGE: dict[str, Callable[[Films, np.random.Generator], Choice]] = {
    "uniform": uniform,
    "random": random,
    "oracle": oracle,
}


def _in_spans(groundings: Sequence[Grounding]) -> Choice:
    """The middles of 4 equal parts of the spans."""
    times = [frame_times(grounding.spans, NFRAME) for grounding in groundings]
    return Choice(times, [grounding.spans for grounding in groundings])


def grounded(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Frames of the best span."""
    return grounded_in(sampler, films, 1)


def grounded_in(sampler: Sampler, films: Films, k: int) -> Choice:
    """Frames of the k best spans together."""
    asked = zip(films.flow, films.films, strict=True)
    return _in_spans([sampler.ground(flow, film.question, k=k) for flow, film in asked])


def shuffled(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Frames of the best span for a question about another action."""
    groundings = []
    for flow, film in zip(films.flow, films.films, strict=True):
        other = rng.choice([action for action in ACTIONS if action != film.action])
        question = film.question.replace(film.action, str(other))
        groundings.append(sampler.ground(flow, question))
    return _in_spans(groundings)


def _thin(flow: Flow) -> Flow:
    """Flow of which MOST_FLOWS are kept, as the released code keeps them."""
    if len(flow.times) <= MOST_FLOWS:
        return flow
    kept = middles(len(flow.times), MOST_FLOWS)
    starts = flow.times[kept, 0]
    ends = np.append(starts[1:], flow.times[-1, 1])
    return Flow(flow.speed[kept], np.stack([starts, ends], 1), flow.max_speed)


def thinned(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Frames of the best span in thinned flow."""
    asked = zip(films.flow, films.films, strict=True)
    return _in_spans([sampler.ground(_thin(flow), film.question) for flow, film in asked])


def _among_candidates(films: Films, groundings: Sequence[Grounding]) -> Choice:
    """Those of CANDIDATES frames spread over the film that lie in the spans, or else the nearest to
    the first one's middle."""
    times = []
    for film, grounding in zip(films.films, groundings, strict=True):
        spread = np.array(frame_times([(0.0, length_of(film))], CANDIDATES))
        inside = spread[[any(a <= time < b for a, b in grounding.spans) for time in spread]]
        if not len(inside):
            start, end = grounding.spans[0]
            inside = spread[[np.abs(spread - (start + end) / 2).argmin()]]
        times.append(inside[middles(len(inside), NFRAME)].tolist())
    return Choice(times, [grounding.spans for grounding in groundings])


def candidates(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Those of CANDIDATES frames that lie in the best span, or else the nearest."""
    asked = zip(films.flow, films.films, strict=True)
    return _among_candidates(films, [sampler.ground(flow, film.question) for flow, film in asked])


def _drawn(
    sampler: Sampler, flows: Sequence[Flow], films: Films, rng: np.random.Generator
) -> list[Grounding]:
    """The spans that the released code draws."""
    return [
        sampler.ground(flow, film.question, decoding="reference", seed=int(rng.integers(2**31)))
        for flow, film in zip(flows, films.films, strict=True)
    ]


def drawn(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Frames of the spans that the released code draws."""
    return _in_spans(_drawn(sampler, films.flow, films, rng))


def released(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Thinned flow, spans that are drawn, and frames among CANDIDATES."""
    flows = [_thin(flow) for flow in films.flow]
    return _among_candidates(films, _drawn(sampler, flows, films, rng))


class RawFlow(Flow):
    """Flow that is not normalised."""

    def normalised(self, how: str = "fixed") -> np.ndarray:
        """Pixels of a picture of SIDE from one picture to the next."""
        return self.speed.astype(np.float32) * SIDE / FPS


def raw(sampler: Sampler, films: Films, rng: np.random.Generator) -> Choice:
    """Frames of the best span in flow that is not divided by the film's largest, as in training."""
    flows = [RawFlow(flow.speed, flow.times, flow.max_speed) for flow in films.flow]
    return grounded(sampler, Films(films.shots, films.films, flows), rng)


def similar(model: Similarity, films: Films) -> Choice:
    """The 4 of the frames that flow is computed from which look most like the question's action:
    its other words are in no text that the towers have learned from."""
    times = []
    with torch.inference_mode():
        for film in films.films:
            moments = np.arange(len(film.shots) * SHOT_FLOWS) / FPS
            keys = np.array(films.shots.frames_at(film, moments.tolist()))
            scores = model(films.shots.pictures[keys[:, 0], keys[:, 1]], [film.action])[:, 0]
            times.append(sorted(moments[scores.topk(NFRAME).indices.numpy()].tolist()))
    return Choice(times)


WITH_BRIDGE: dict[str, Callable[[Sampler, Films, np.random.Generator], Choice]] = {
    "shuffled": shuffled,
    "flows_64": thinned,
    "candidates_32": candidates,
    "drawn_spans": drawn,
    "released": released,
    "raw_flow": raw,
}
