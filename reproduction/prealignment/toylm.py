"""Train the language model of the reproduction on plain text: it never meets a vector.

    python -m reproduction.prealignment.toylm --out reproduction/bases/toylm

It learns to describe stories and to answer about them, in words and by letters. What it reads right
on new stories is printed on the way.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, LlamaForCausalLM

from prealignment.model.layouts import Row, Sample
from reproduction.grounding.lessons import training
from reproduction.prealignment.language import (
    EVENTS,
    FRAMES,
    KINDS,
    ask,
    build_model,
    by_kind,
    caption_sample,
    draw_story,
    plain_row,
    read_words,
    word_of,
)
from tools.cli import new_folder, positive, run_script, script_parser, whole

SIZE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "tie_word_embeddings": True,
}
STEPS = 1000
STORIES = 16  # of a step
ROWS = 3  # of a story: a description or questions
PARTS = 2  # of a step, each of rows of nearly one length
RATE = 2e-3
DENSE = 0.9  # share of the stories of one word an event
SHORT, SHORT_SHARE = 3, 0.15  # events at most, in the first steps
CAPTIONS, CHOICES = 0.25, 0.25  # shares of the rows; the rest are open questions


def draw_samples(rng: random.Random, events: Sequence[Any], count: int) -> Iterator[Sample]:
    """What is asked about a story."""
    groups = by_kind(events)
    for _ in range(count):
        if rng.random() < CAPTIONS or not groups:
            yield caption_sample(events)
            continue
        kind = rng.choice([kind for kind in KINDS if kind in groups])
        asked = ask(rng.choice(groups[kind]), events, rng)
        yield asked.choice if rng.random() < CHOICES / (1 - CAPTIONS) else asked.open


def draw_rows(tokenizer: Any, rng: random.Random, most: int) -> list[Row]:
    """The rows of a step."""
    rows = []
    for _ in range(STORIES):
        events = draw_story(rng, rng.randint(2, most))
        story = read_words(tokenizer, events, rng.random() < DENSE)
        rows += [plain_row(tokenizer, s, story) for s in draw_samples(rng, events, ROWS)]
    return sorted(rows, key=lambda row: len(row.ids))


def loss_of(model: Any, rows: Sequence[Row]) -> Tensor:
    """The sum of -log p of what is learned."""
    ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)
    learned = torch.zeros_like(ids, dtype=torch.bool)
    for mask, row in zip(learned, rows, strict=True):
        mask[row.learned.start : row.learned.stop] = True
    # Padding stands on the right, and nothing in front of it looks there.
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    kept = learned[:, 1:]
    return cross_entropy(model.lm_head(states[kept]), ids[:, 1:][kept], reduction="sum")


@torch.no_grad()
def compose(model: Any, tokenizer: Any) -> None:
    """Let the vector of an event's word begin as the mean direction of the vectors of its parts, as
    those of real words are near to those of what they mean."""
    table = model.get_input_embeddings().weight
    for event in EVENTS:
        parts = tokenizer(f"{event.colour} {event.shape} {event.action}", add_special_tokens=False)
        mean = table[parts["input_ids"]].mean(0) * 3**0.5
        table[tokenizer.convert_tokens_to_ids(word_of(event))] = mean


def teach(model: Any, tokenizer: Any, seed: int, steps: int) -> None:
    """Train it."""
    rng = random.Random(seed)
    start = time.process_time()
    for step in training([model], steps, RATE):
        rows = draw_rows(tokenizer, rng, SHORT if step < SHORT_SHARE * steps else FRAMES)
        count = sum(len(row.learned) for row in rows)
        total = 0.0
        for part in range(PARTS):
            size = len(rows) // PARTS
            loss = loss_of(model, rows[part * size : (part + 1) * size]) / count
            loss.backward()
            total += loss.item()
        if (step + 1) % 100 == 0:
            seconds = time.process_time() - start
            print(step + 1, f"{seconds:.0f} CPU-s, loss {total:.3f}", flush=True)
        if (step + 1) % 250 == 0:
            print(reading(model, tokenizer), flush=True)


@torch.inference_mode()
def reading(model: Any, tokenizer: Any, stories: int = 40) -> dict[str, str]:
    """Kind -> which shares of answers by letter and in words are right, word by word; of new
    stories."""
    rng = random.Random("reading")
    asked_of: Counter[str] = Counter()
    right: Counter[tuple[str, bool]] = Counter()
    for number in range(stories):
        events = draw_story(rng, 4 + number % 3)
        story = read_words(tokenizer, events, True)
        for kind, group in by_kind(events).items():
            asked = ask(rng.choice(group), events, rng)
            asked_of[kind] += 1
            for sample in (asked.choice, asked.open):
                row = plain_row(tokenizer, sample, story)
                likeliest = model(input_ids=torch.tensor([row.ids])).logits[0].argmax(-1).tolist()
                said = likeliest[row.learned.start - 1 : row.learned.stop - 1]
                wanted = row.ids[row.learned.start : row.learned.stop]
                right[kind, sample.task == "choice"] += said == wanted
    return {
        kind: f"{right[kind, True] / count:.2f} {right[kind, False] / count:.2f}"
        for kind, count in asked_of.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Build and train."""
    parser = script_parser(__doc__)
    parser.add_argument("--out", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--steps", type=positive, default=STEPS, help="(default: %(default)s)")
    parser.add_argument("--seed", type=whole, default=0, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    build_model(args.out, args.seed, **SIZE)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    model: Any = LlamaForCausalLM.from_pretrained(args.out)
    compose(model, tokenizer)
    teach(model.train(), tokenizer, args.seed, args.steps)
    model.eval().save_pretrained(args.out)
    print(args.out)


if __name__ == "__main__":
    run_script(main)
