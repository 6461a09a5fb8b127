"""Tiny answerers, and pictures that they can tell apart."""

import shutil
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from qa.records import Question, write_questions
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 230),
    "yellow": (240, 220, 40),
    "purple": (150, 40, 170),
    "orange": (250, 140, 20),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}

DIM, HEADS, ROWS, LAYERS = 24, 2, 40, 12  # of the made-up sampler


def made_up_sampler(words=30):
    """A made-up sampler with the names and shapes of the released ones."""
    rng = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return 0.2 * torch.randn(*shape, generator=rng)

    state = {
        "embeddings.word_embeddings.weight": drawn(words, DIM),
        "embeddings.token_type_embeddings.weight": drawn(2, DIM),
        "embeddings.position_embeddings.weight": drawn(ROWS, DIM),
        "embeddings.LayerNorm.weight": 1 + drawn(DIM),
        "embeddings.LayerNorm.bias": drawn(DIM),
        "temporal_embeddings.bos": drawn(DIM),
        "temporal_embeddings.eos": drawn(DIM),
        "temporal_embeddings.position_ids": torch.arange(ROWS)[None],
        "temporal_embeddings.projection.weight": drawn(DIM, 2, 16, 16),
        "temporal_embeddings.projection.bias": drawn(DIM),
        "temporal_embeddings.fc.weight": drawn(1, 196),
        "temporal_embeddings.fc.bias": drawn(1),
        "temporal_embeddings.frame_pos_embed.weight": drawn(ROWS, DIM),
        "temporal_embeddings.ln.weight": 1 + drawn(DIM),
        "temporal_embeddings.ln.bias": drawn(DIM),
        "encoder.embed_positions.weight": drawn(ROWS, DIM // HEADS),
        "encoder.c_embed_positions.weight": drawn(ROWS, DIM // HEADS),
        "mrc_head.weight": drawn(2, DIM),
        "mrc_head.bias": drawn(2),
    }
    for layer in range(LAYERS):
        for attention in ("attention", "crossattention")[: 1 + (layer >= 6)]:
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                state[f"encoder.layer.{layer}.{attention}.{part}.weight"] = drawn(DIM, DIM)
                state[f"encoder.layer.{layer}.{attention}.{part}.bias"] = drawn(DIM)
            state[f"encoder.layer.{layer}.{attention}.output.LayerNorm.weight"] = 1 + drawn(DIM)
            state[f"encoder.layer.{layer}.{attention}.output.LayerNorm.bias"] = drawn(DIM)
        state[f"encoder.layer.{layer}.intermediate.dense.weight"] = drawn(4 * DIM, DIM)
        state[f"encoder.layer.{layer}.intermediate.dense.bias"] = drawn(4 * DIM)
        state[f"encoder.layer.{layer}.output.dense.weight"] = drawn(DIM, 4 * DIM)
        state[f"encoder.layer.{layer}.output.dense.bias"] = drawn(DIM)
        state[f"encoder.layer.{layer}.output.LayerNorm.weight"] = 1 + drawn(DIM)
        state[f"encoder.layer.{layer}.output.LayerNorm.bias"] = drawn(DIM)
    return state


@pytest.fixture(scope="session")
def released():
    """words -> the tensors of a sampler as released, by their names there."""
    return made_up_sampler


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """family of inference.tiny.blip -> the folder of a tiny checkpoint; read it only."""
    from inference.tiny import blip

    @cache
    def folder_of(family):
        folder = tmp_path_factory.mktemp("tiny_base") / family
        return blip.build(
            family, folder, words=[*COLOURS, "a", "ball", "what", "colour", "is", "it"]
        )

    return folder_of


@pytest.fixture(scope="session")
def open_tiny(tiny_base):
    """(family, **settings) -> a new answerer; the checkpoint is read once."""
    from grounding.answerer.answerer import Answerer
    from grounding.answerer.weights import open_answerer

    opened = cache(lambda family, dtype: open_answerer(str(tiny_base(family)), dtype))

    def copy_of(family, dtype=torch.float32, **settings):
        first = opened(family, dtype)
        model, processor = deepcopy((first.model, first.processor))
        return Answerer(model, processor, replace(first.settings, **settings))

    return copy_of


@pytest.fixture(scope="session")
def colours():
    """Names of colours, as the tiny checkpoints know them."""
    return list(COLOURS)


@pytest.fixture(scope="session")
def ball():
    """colour or None, noise's seed -> a gray picture, with a ball of the colour."""

    def draw(colour, seed=0):
        picture = 128 + np.random.default_rng(seed).integers(-8, 8, (56, 56, 3))
        if colour:
            down, right = np.mgrid[:56, :56]
            picture[np.hypot(down - 28, right - 28) < 20] = COLOURS[colour]
        return picture.astype(np.uint8)

    return draw


# Colours of one brightness, so that optical flow does not see the cuts between them.
TINTS = {"red": (1.5, 0.5, 0.5), "green": (0.5, 1.01, 0.5)}
FILM_RATE = 8
# Name -> (tint, whether it moves, seconds) one after the other.
FILMS = {
    "late": (("green", False, 5), ("red", True, 2), ("green", False, 1)),
    "early": (("green", False, 1), ("red", True, 2), ("green", False, 5)),
}


def film(parts):
    """The frames of a film: a texture that moves to the right where it moves, and stands still
    elsewhere."""
    texture = np.random.default_rng(0).integers(40, 160, (8, 12))
    texture = np.kron(texture, np.ones((8, 8)))
    shift = 0
    for tint, moves, seconds in parts:
        for _ in range(seconds * FILM_RATE):
            shift += moves
            picture = np.roll(texture, shift, 1)[..., None] * TINTS[tint]
            yield picture.clip(0, 255).astype(np.uint8)


@pytest.fixture
def films(films_root, dataset):
    """A data set of FILMS with their optical flow; what moves, and when, is red: "late" at 5 to 7 s
    of 8, "early" at 1 to 3 s. "gone" is not there."""
    shutil.copytree(films_root, dataset.root, dirs_exist_ok=True)
    return dataset


@pytest.fixture(scope="session")
def films_root(make_video, tmp_path_factory):
    """The folder of the data set `films`."""
    from tools.features.flow import Dis, video_flow

    folder = tmp_path_factory.mktemp("films") / "videos"
    dataset = Dataset("mine", folder.parent / "mine")
    params = {"extractor": "dis", "flow_fps": 2.0, "grid": 14}
    for name, parts in FILMS.items():
        video = make_video(folder / f"{name}.mp4", frames=film(parts), size=(96, 64), rate=8)
        flow = video_flow(video, Dis())
        about = {"params": params, "max_speed": flow.max_speed}
        arrays = {"flow": flow.speed, "times": flow.times}
        write_arrays(dataset.flow("dis", name), arrays, about)
    dataset.remember_video_dir(folder)

    def question(key, video, **others):
        where = {"video_id": video, "video": f"{video}.mp4", "dataset": "mine", "split": "test"}
        return Question(key, question="what colour moves", answer="red", **{**where, **others})

    truth = {"media": "video", "spans": [[5.0, 7.0]]}
    questions = [
        question("q1", "late", context=truth),
        question("q2", "early", context={**truth, "spans": [[1.0, 3.0]]}),
        question("q3", "late", start=0.0, end=4.0),
        question("q4", "late", choices=["a blue scene", "a red scene"], answer_index=1),
        question("q5", "gone"),
    ]
    write_questions(dataset.questions("test"), questions)
    return dataset.root


@pytest.fixture
def watcher(tmp_path):
    """The folder of a bridge that points at what moves to the right, whatever is asked."""
    from grounding.bridge.network import Bridge, BridgeConfig
    from grounding.bridge.sampler import Sampler
    from inference.tiny.blip import wordpiece

    tokenizer = wordpiece(["what", "moves"])
    size = {"layers": 0, "dim": 4, "heads": 2, "vocabulary": len(tokenizer)}
    bridge = Bridge(BridgeConfig(positions="none", **size))
    with torch.no_grad():
        for parameter in (bridge.tokens.projection.weight, bridge.head.weight, bridge.head.bias):
            parameter.zero_()
        bridge.tokens.weights.fill_(1 / 49)
        bridge.tokens.projection.weight[0, :4] = 1 / 4  # the speed to the right
        bridge.tokens.projection.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.0]))
        bridge.head.weight[:, 0] = 20.0
    folder = tmp_path / "watcher"
    Sampler(bridge, tokenizer).save(folder)
    return folder


@pytest.fixture(scope="session")
def data_root(tmp_path_factory, make_video):
    """A data set `mine` of four questions about two videos, one about a video of one frame and one
    about nothing, and a validation split of two; with flow, labels and spans."""
    root = tmp_path_factory.mktemp("data")
    dataset = Dataset("mine", root / "mine")
    dataset.remember_video_dir(root / "videos")
    rng = np.random.default_rng(0)
    for place, frames in (("beach", 12), ("night", 12), ("snow", 1)):
        make_video(root / "videos" / f"{place}.mp4", [(place, frames)])
        pairs = 6 if frames > 1 else 1
        flow = rng.normal(size=(pairs, 2, 14, 14)) * (frames > 1)
        write_flow(dataset, place, flow)

    def about(number, place, split="train"):
        media = {"video_id": place, "video": f"{place}.mp4"}
        if place is None:
            media = {"context": {"media": "text"}}
        text = {"train": "What is it?", "val": "What is that?"}[split]
        return Question(str(number), "mine", split, text, answer="a cat .", **media)

    places = ["beach", "night", "beach", "night", "snow", None]
    for split, count in (("train", 6), ("val", 2)):
        questions = [about(number, places[number], split) for number in range(count)]
        write_questions(dataset.questions(split), questions)
        spans = [{"id": q.id, "span_time": [[0, 1]]} for q in questions if q.video]
        label = {"question": questions[0].question, "span_ratio": [0.2, 0.6], "confidence": 0.9}
        labels = [{"id": row["id"], **label} for row in spans if row["id"] != "3"]
        write_lines(dataset.pseudo_labels(split), labels)
        write_lines(dataset.spans(split, "toy"), spans)
    return root


@pytest.fixture(scope="session", name="write_flow")
def write_flow_():
    """`write_flow`."""
    return write_flow


def write_flow(dataset, video_id, flow, fps=2.0):
    """Write flow (pairs, 2, 14, 14) of `dis` as `grounding.flow` does."""
    params = {"extractor": "dis", "flow_fps": fps, "grid": 14}
    starts = np.arange(len(flow), dtype=np.float32) / fps
    times = np.stack([starts, starts + 1 / fps], 1).astype(np.float32)
    arrays = {"flow": flow.astype(np.float16), "times": times}
    file = dataset.flow("dis", video_id)
    write_arrays(file, arrays, {"params": params, "max_speed": 3.0})


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))


@pytest.fixture
def command(data_root, tmp_path):
    """recipe, overrides -> the words of a tiny training."""

    def words(recipe="blip2flant5xl_ivinstruct", *overrides, folder="out"):
        return [
            f"experiment=VideoTGB_{recipe}",
            "tiny=true",
            "data.dataset=mine",
            f"path.data_dir={data_root}",
            f"path.output_dir={tmp_path / folder}",
            *overrides,
        ]

    return words


@pytest.fixture(scope="session")
def tiny_trained(tmp_path_factory):
    """family, seed -> the folder of the checkpoint that a tiny training begins with."""
    from inference.tiny import blip

    return cache(
        lambda family, seed: blip.build(family, tmp_path_factory.mktemp("tiny") / family, seed)
    )


@pytest.fixture
def run(command, tiny_trained):
    """recipe, overrides -> the output folder of a tiny training."""
    from grounding.training.experiment import compose
    from grounding.training.trainer import train

    def trained(*words, **folder):
        experiment = compose(command(*words, **folder))
        if experiment.stage != "tg":
            checkpoint = tiny_trained(experiment.model.tiny, experiment.seed)
            output = Path(experiment.path.output_dir)
            shutil.copytree(checkpoint, output / "tiny", dirs_exist_ok=True)
        return train(experiment)

    return trained


@pytest.fixture(scope="session")
def logged():
    """output folder, name -> a value of every step."""

    def values(folder, name):
        state = orjson.loads((folder / "trainer_state.json").read_bytes())
        return [row[name] for row in state["log_history"] if name in row]

    return values
