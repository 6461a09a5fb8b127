"""The bridge of the demo: trained on the questions that `python -m toyworld --qa` writes.

    python -m reproduction.grounding.toybridge --out grounding/toybridge

Its labels are the truth. A question about something that optical flow does not show, such as how
many things are red, is answered by the whole video: so that its frames are spread evenly.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from grounding.bridge.moments import Ratios, ratios_of
from grounding.training.bridge import SpanExample
from reproduction.grounding.bridges import new_reader, train
from reproduction.grounding.shots import Shots, open_shots
from tools.cli import new_folder, positive, run_script, script_parser, whole
from tools.features.flow import Dis
from tools.store.dataset import REPOSITORY
from toyworld.language import TEMPLATES, WORDS, Event, StoryQuestion
from toyworld.questions import EVENTS, choose_questions
from toyworld.stories import SIDE

STORIES, FILMS, STEPS = 50, 3000, 2500
QUESTIONS = 6  # of each film
MOVING = ("what", "which_colour", "which_shape", "first", "last", "after", "before")


def words() -> list[str]:
    """All words of the questions, each of which is one token."""
    return list(dict.fromkeys([*re.findall(r"\w+", " ".join(TEMPLATES.values())), *WORDS]))


def span_of(question: StoryQuestion, events: int) -> Ratios:
    """When that is seen which answers a question, as far as flow shows it. Whether something is
    there is a question about the whole story, whatever the answer is."""
    if question.kind in MOVING:
        return ratios_of(min(question.places), max(question.places), events)
    return 0.0, 1.0


def examples(shots: Shots, films: int, seed: int) -> Iterator[SpanExample]:
    """Questions about films of as many shots as the demo's have, in which no thing returns."""
    rng, extractor = np.random.default_rng(seed), Dis(SIDE)
    by_thing: dict[str, list[int]] = {}
    for number, event in enumerate(shots.events):
        by_thing.setdefault(event.thing, []).append(number)
    for number in range(films):
        chosen = draw_shots(shots.events, by_thing, int(rng.choice(EVENTS)), rng)
        flow = shots.flow_of(chosen, extractor).normalised()
        events = [shots.events[shot] for shot in chosen]
        for question in choose_questions(events, number, seed, QUESTIONS):
            yield SpanExample(flow, question.text, span_of(question, len(events)))


def draw_shots(
    events: Sequence[Event],
    by_thing: dict[str, list[int]],
    count: int,
    rng: np.random.Generator,
) -> list[int]:
    """Shots of different things, of which neighbours do different things."""
    chosen: list[int] = []
    for thing in rng.permutation(sorted(by_thing)):
        before = events[chosen[-1]].action if chosen else ""
        fitting = [shot for shot in by_thing[thing] if events[shot].action != before]
        if fitting:
            chosen.append(int(rng.choice(fitting)))
        if len(chosen) == count:
            break
    return chosen


def main(argv: Sequence[str] | None = None) -> None:
    """Train the bridge."""
    parser = script_parser(__doc__)
    parser.add_argument("--out", type=new_folder, required=True, metavar="DIR")
    parser.add_argument(
        "--seed", type=whole, default=900, help="of the stories too (default: %(default)s)"
    )
    parser.add_argument("--steps", type=positive, default=STEPS, help="(default: %(default)s)")
    parser.add_argument(
        "--stories",
        type=new_folder,
        default=REPOSITORY / "exp" / "toybridge",
        metavar="DIR",
        help="where stories are rendered (default: exp/toybridge)",
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    shots = open_shots(args.seed, STORIES, args.stories)
    reader = new_reader(args.seed, words())
    train(reader, list(examples(shots, FILMS, args.seed)), args.seed, args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    reader.save(args.out)
    print(args.out)


if __name__ == "__main__":
    run_script(main)
