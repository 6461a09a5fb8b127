"""Tiny language models, and a world of one-coloured videos that they can learn to see."""

import numpy as np
import orjson
import pytest
import torch
from safetensors.numpy import save_file

from inference.tiny import llama
from prealignment.model.config import AlignmentConfig
from prealignment.model.llama import open_llm
from prealignment.vectors.files import TEXTS
from prealignment.vectors.memory import write_memory
from qa.predictions import read_predictions
from qa.records import Question, read_questions, write_questions
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset
from tools.store.files import file_digest, write_json
from tools.text.alignment_prompts import ANSWER, CHOOSE, DESCRIBE, VIDEO

COLOURS = ("red", "green", "blue", "white", "black")
CLIP, WIDTH, FRAMES = "tiny-clip", 16, 3
GAP = 0.7 * np.eye(WIDTH)[15]  # what real vectors have, and those of texts do not
# Open questions and descriptions: letters are more than so small a model learns in seconds.
TASKS = ("--choice_share", 0, "--caption_share", 0.5)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    """The folder of a tiny language model; read it only. With weights as wide as these it can be
    sure of a word."""
    texts = [CHOOSE, DESCRIBE, ANSWER, VIDEO, "Choices: Answer: The correct Description:"]
    words = [*" ".join(texts).split(), "Question:", "What", "colour?", *COLOURS, *"ABCDE()"]
    return llama.build(
        tmp_path_factory.mktemp("llama") / "tiny", words=words, initializer_range=0.2
    )


@pytest.fixture
def open_tiny(tiny_llama):
    """(**fields of AlignmentConfig) -> a new model; `gates` gives the gates random values."""

    def make(*, gates=False, folder=tiny_llama, **fields):
        model = open_llm(folder, AlignmentConfig(WIDTH, **{"prefix_length": 5, **fields}))
        if gates:
            torch.manual_seed(1)
            for name, parameter in model.added_parameters():
                if "gate" in name:
                    parameter.data.normal_()
        return model

    return make


def vectors_of(colour, seed, gap=0.0):
    """(FRAMES, WIDTH) unit vectors of a video of one colour."""
    rng = np.random.default_rng(seed)
    rows = np.eye(WIDTH)[COLOURS.index(colour)] + 0.05 * rng.normal(size=(FRAMES, WIDTH)) + gap
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """A data set `texts` of 20 text videos, and `films` of 20 labelled and 20 other videos; each
    shows one colour."""
    root = tmp_path_factory.mktemp("data")
    texts, films = Dataset("texts", root / "texts"), Dataset("films", root / "films")
    records, index, rows = [], {}, []
    for number in range(20):
        colour, name = COLOURS[number % 5], f"t{number:02}"
        asked = {"question": "what colour", "options": list(COLOURS)}
        asked |= {"answer": "ABCDE"[number % 5], "answer_open_ended": colour}
        records.append({"video_id": name, "frames": [], "global_video_caption": colour})
        records[-1]["QAs"] = [asked]
        index[name] = ["000", FRAMES * number, FRAMES]
        rows.append(vectors_of(colour, number))
    texts.table("tideos").write([*records, {"video_id": "t99", "filtered": True}])
    folder = texts.vectors(CLIP, "text")
    folder.mkdir(parents=True)
    save_file({"vectors": np.concatenate(rows)}, folder / "000.safetensors")
    (folder / "index.json").write_bytes(orjson.dumps(index))
    write_json(folder / TEXTS, {"tideos": file_digest(texts.table("tideos").path)})
    write_memory(texts.memory(CLIP), rows, (len(rows) * FRAMES, WIDTH), CLIP)
    for split in ("train", "val"):
        questions = []
        for number in range(20):
            colour, name = COLOURS[number % 5], f"{split}{number:02}"
            file = films.vectors(CLIP, "image") / f"{name}.safetensors"
            write_arrays(file, {"vectors": vectors_of(colour, number, GAP)}, {"rate": 1.0})
            order = [*COLOURS[number % 3 :], *COLOURS[: number % 3]]
            about = {"choices": order, "answer": colour, "answer_index": order.index(colour)}
            questions.append(Question(name, "films", split, "what colour", name, **about))
        write_questions(films.questions(split), questions)
    described = [
        Question(q.id, "films", "captions", "describe", q.video_id, answer=f"{q.answer}.")
        for q in questions
    ]
    write_questions(films.questions("captions"), described)
    return root


@pytest.fixture(scope="session")
def run(data_root, tiny_llama, tmp_path_factory, run_script):
    """(data set, folder's name, *words) -> the finished command, and the folder."""
    base = tmp_path_factory.mktemp("exp")
    fixed = ("--device", "cpu", "--data_root", data_root, "--workers", 0, "--prefix_length", 4)
    steps = ("--effective_batch", 10, "--batch_size", 10, "--lr", 0.05)

    def train(dataset, name, *words):
        words = (*fixed, *steps, "--out", base / name, *words)
        return run_script("-m", "prealignment.train", dataset, *words), base / name

    return train


@pytest.fixture(scope="session")
def pretrained(run, tiny_llama):
    """A folder of pre-alignment."""
    words = ("--llm", tiny_llama, "--epochs", 30, "--gate2", 0, *TASKS)
    result, folder = run("texts", "pretrained", *words)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def answered(run_script, data_root):
    """(checkpoint, *words) -> the finished command on the films of val."""

    def answer(checkpoint, *words):
        fixed = ("--device", "cpu", "--data_root", data_root, "--checkpoint", checkpoint)
        return run_script("-m", "prealignment.answer", "films", *fixed, *words)

    return answer


@pytest.fixture(scope="session")
def accuracy(data_root):
    """name of predictions -> the share of the films of val that they have right."""
    films = Dataset("films", data_root / "films")
    questions = read_questions(films, "val")

    def of(name):
        predictions = read_predictions(films.predictions("val", name), questions)
        chosen = [int(np.argmax(predictions[question.id].log_p)) for question in questions]
        pairs = zip(chosen, questions, strict=True)
        return np.mean([place == question.answer_index for place, question in pairs])

    return of
