"""What shapes answers and captions: another model, memory or other vectors refuse to be mixed."""

import shutil
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import save_file

from prealignment.model.captioning import CaptionStep
from prealignment.model.config import AlignmentConfig, CaptionSettings
from prealignment.vectors.memory import write_memory
from prealignment.vectors.sources import Source, shaped_by
from prealignment.weights.alignments import Settings
from qa.records import Question
from tools.errors import UserError
from tools.runner.fingerprints import check_fingerprint, sign
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset
from tools.store.files import write_json

CLIP, WIDTH = "tiny-clip", 16


def write_vectors(dataset, video_id, **description):
    file = dataset.vectors(CLIP, "image") / f"{video_id}.safetensors"
    write_arrays(file, {"vectors": np.eye(3, WIDTH)}, {"rate": 1.0, **description})


def write_alignment(folder, llm, seed=0):
    folder.mkdir()
    about = Settings(str(llm), AlignmentConfig(WIDTH), f"text:{CLIP}")
    write_json(folder / "alignment.json", asdict(about))
    rng = np.random.default_rng(seed)
    save_file({"weight": rng.normal(size=(4, 4))}, folder / "alignment.safetensors")
    return folder


@pytest.fixture
def described(tmp_path, tiny_llama):
    """Keyword arguments of `shaped_by` for two videos, by one run of features."""
    dataset = Dataset("films", tmp_path / "films")
    for name in ("a", "b"):
        write_vectors(dataset, name, fingerprint="first")
    memory = tmp_path / "memory.safetensors"
    write_memory(memory, [np.eye(4, WIDTH)], (4, WIDTH), CLIP)
    return {
        "checkpoint": write_alignment(tmp_path / "alignment", tiny_llama),
        "llm": None,
        "source": Source(dataset, "image", CLIP),
        "questions": [Question(name, "films", "val", "?", name) for name in ("a", "b", "c")],
        "memory_path": memory,
    }


def other_alignment(given, tmp_path, tiny_llama):
    return {"checkpoint": write_alignment(tmp_path / "other", tiny_llama, seed=1)}


def other_llm(given, tmp_path, tiny_llama):
    folder = shutil.copytree(tiny_llama, tmp_path / "llm")
    (folder / "generation_config.json").write_text("{ }")
    return {"llm": str(folder)}


def other_vectors(given, tmp_path, tiny_llama):
    write_vectors(given["source"].dataset, "b", fingerprint="second")
    return {}


def other_memory(given, tmp_path, tiny_llama):
    write_memory(given["memory_path"], [np.eye(4, WIDTH, 5)], (4, WIDTH), CLIP)
    return {}  # as large as the one before


CHANGES = {
    "alignment": other_alignment,
    "llm": other_llm,
    "vectors_made_by": other_vectors,
    "memory": other_memory,
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_shapes_an_answer_changes_with_each_thing_that_does(
    key, described, tmp_path, tiny_llama
):
    before = shaped_by(**described)
    write_vectors(described["source"].dataset, "c", fingerprint="first")
    assert shaped_by(**described) == before  # one more video of the same run
    after = shaped_by(**{**described, **CHANGES[key](described, tmp_path, tiny_llama)})
    assert [name for name in before if before[name] != after[name]] == [key]


@pytest.mark.parametrize("key", CHANGES)
def test_captions_are_not_added_to_those_of_another_model_memory_or_run(
    key, described, tmp_path, tiny_llama
):
    def step(checkpoint, llm, source, questions, memory_path):
        settings = CaptionSettings(checkpoint, llm=llm, split="val", name="topa")
        by_video = {question.unit: question for question in questions}
        return CaptionStep(source.dataset, settings, source, memory_path, 3, by_video)

    first = step(**described)
    first.write_videos()
    assert [record["video_id"] for record in first.reads.read()] == ["a", "b", "c"]
    sign(first)
    check_fingerprint(step(**described))
    other = {**described, **CHANGES[key](described, tmp_path, tiny_llama)}
    with pytest.raises(UserError, match=f"was made with {key}=.* --redo video_captions"):
        check_fingerprint(step(**other))
