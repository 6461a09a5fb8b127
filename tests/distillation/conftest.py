"""A world that a student learns in seconds: each of the frames of a film shows one of eight events,
and questions ask for the first and for the last. Features are random vectors of the events."""

import random

import numpy as np
import pytest

from distillation.inputs.lines import write_lines
from distillation.inputs.texts import TextTable
from distillation.judgements import Judgement, write_judgements
from qa.records import Question, write_questions
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset

CLIP, WIDTH, FRAMES, TOKENS = "made-up", 16, 4, 3
EVENTS = tuple(
    f"a {colour} {shape} moves"
    for colour in ("red", "green", "blue", "white")
    for shape in ("circle", "star")
)
ASKED = ("what happens first", "what happens last")
SIZES = {"train": 64, "val": 24, "test": 24}
PARAMS = {"clip": "0", "frames": FRAMES, "tokens": None, "preset": "default"}


def tokens_of(text):
    """(words, WIDTH) of a text, the same each time; one row of the empty text."""
    words = text.split() or ["empty"]
    rows = [np.random.default_rng(list(word.encode())).normal(size=WIDTH) for word in words]
    return np.stack(rows).astype(np.float16)


def vector(text):
    """(WIDTH,) of a text: the mean of its words."""
    return tokens_of(text).mean(0)


def write_features(dataset, stories, name=CLIP):
    """The features of films: {video_id: events of its frames}."""
    rng = np.random.default_rng(0)
    for video, events in stories.items():
        seen = np.stack([vector(event) for event in events])[:, None].repeat(TOKENS, 1)
        seen = (seen + 0.1 * rng.normal(size=seen.shape)).astype(np.float16)
        description = {"params": PARAMS, "times": [0.5, 1.5, 2.5, 3.5], "step": 1.0}
        path = dataset.vectors(name, "tokens") / f"{video}.safetensors"
        write_arrays(path, {"tokens": seen}, description)
    texts = TextTable(dataset.vectors(name, "texts"))
    texts.add([*EVENTS, *ASKED], lambda own: np.stack([vector(t) for t in own]), {"clip": "0"})
    lines = TextTable(dataset.vectors(name, "lines"))
    every = [*EVENTS, *(event.rpartition(" ")[0] for event in EVENTS), ""]
    lines.add(every, lambda own: [tokens_of(text) for text in own], {"clip": "0"})


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """The data set, with event lines, and a teacher `sure` that is right and nearly sure."""
    dataset = Dataset("films", tmp_path_factory.mktemp("data") / "films")
    stories = {}
    for split, size in SIZES.items():
        questions = []
        for number in range(size):
            video = f"{split}{number:02}"
            rng = random.Random(video)
            stories[video] = rng.sample(EVENTS, FRAMES)
            for place, asked in ((0, ASKED[0]), (-1, ASKED[1])):
                answer = stories[video][place]
                options = rng.sample(stories[video], FRAMES)
                about = {"choices": options, "answer": answer}
                about |= {"answer_index": options.index(answer), "video": f"{video}.mp4"}
                own = f"{video}/{place % 2}"
                questions.append(Question(own, "films", split, asked, video, **about))
        write_questions(dataset.questions(split), questions)
        rows = [
            Judgement(q.id, [-9.0 * (n != q.answer_index) - 1 for n in range(FRAMES)], [1] * FRAMES)
            for q in questions
        ]
        features = np.stack([vector(q.answer).repeat(2) for q in questions])
        write_judgements(dataset.judgements_of("sure", split), rows, features)
    write_features(dataset, stories)
    rows = [
        {
            "video": video,
            "source": "clips",
            "lines": [{"start": n, "end": n + 1, "text": text} for n, text in enumerate(events)],
            "dropped": {},
        }
        for video, events in stories.items()
    ]
    write_lines(dataset.prompt_lines("event", "seer"), rows)
    return dataset


@pytest.fixture(scope="session")
def data_root(films):
    """The folder of the data sets."""
    return films.root.parent


@pytest.fixture(scope="session")
def trained(data_root, tmp_path_factory, run_script):
    """(name, *words) -> the finished command, and the folder of the run."""
    base = tmp_path_factory.mktemp("exp")
    fixed = ("--device", "cpu", "--data_root", data_root, "--heads", 2, "--ffn", 2, "--lr", 0.005)

    def train(name, *words):
        out = base / name
        words = (*fixed, "--out", out, "--batch_size", 8, "--dropout", 0, *words)
        return run_script("-m", "distillation.train", "films", *words), out

    return train
