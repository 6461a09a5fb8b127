"""Answers about real videos: two scores, the ways to use vectors, controls, orders of options."""

import numpy as np
import pytest
import torch

from prealignment.model.layouts import Sample, lay_out
from prealignment.scores.options import letter_scores, option_scores
from prealignment.training.visits import batch_of
from prealignment.vectors.memory import read_memory, write_memory
from prealignment.vectors.sources import Source, ways_of
from prealignment.weights.alignments import load_alignment
from qa.predictions import meta_path, read_predictions
from qa.records import read_questions
from tools.store.dataset import Dataset
from tools.store.files import read_json

COLOURS = ("red", "green", "blue", "white", "black")


def test_a_model_that_read_texts_alone_answers_about_real_videos(
    pretrained, answered, accuracy, data_root, run_script
):
    words = ("--memory", "texts", "--name", "topa", "--permute", 1, "--controls")
    result = answered(pretrained, *words)
    assert result.returncode == 0, result.stderr
    assert accuracy("topa-projected-likelihood") == 1.0
    assert accuracy("topa-raw-likelihood.question_only") <= 0.4  # one answer to all
    assert accuracy("topa-projected-likelihood.single_frame") >= 0.6
    for text in ("projected", "shifted", "raw", "blind", "letters chosen A", "2 orders of the"):
        assert text in result.stdout
    # The table of questions reads them, with the controls beside them.
    dataset = Dataset("films", data_root / "films")
    path = dataset.predictions("val", "topa-projected-likelihood")
    made_by = read_json(meta_path(path))["made_by"]
    assert all(made_by[name] for name in ("alignment", "llm", "memory"))
    words = ("--dataset", "films", "--split", "val", "--data_root", data_root)
    scored = run_script("evaluate_model.py", "qa", *words, "--predictions", path)
    assert scored.returncode == 0, scored.stderr
    assert "question only (blind)" in scored.stdout
    assert "frames shuffled" in scored.stdout


def test_answers_from_fewer_vectors_have_a_name_of_their_own(pretrained, answered, data_root):
    for words in ((), ("--frames", 1), ("--frames", 2)):
        assert answered(pretrained, *words).returncode == 0
    films = Dataset("films", data_root / "films")
    questions = read_questions(films, "val")
    log_p = []
    for name in ("pretrained", "pretrained_1_frames", "pretrained_2_frames"):
        path = films.predictions("val", f"{name}-raw-likelihood")
        log_p.append([own.log_p for own in read_predictions(path, questions).values()])
    assert log_p[0] != log_p[1] != log_p[2] != log_p[0]
    assert read_json(meta_path(path))["made_by"]["frames"] == 2


def test_vectors_of_another_clip_are_refused(pretrained, answered, tmp_path):
    path = tmp_path / "memory.safetensors"
    write_memory(path, [np.eye(3, 16)], (3, 16), "another-clip")
    result = answered(pretrained, "--memory", path)
    assert result.returncode == 2
    assert "both must come from one CLIP" in result.stderr


def test_a_number_of_rows_without_a_memory_is_refused(pretrained, answered):
    result = answered(pretrained, "--top", 5)
    assert result.returncode == 2
    assert result.stderr == (
        "error: --top is for the projection on a memory: name one with --memory\n"
    )


def test_vectors_are_projected_on_the_nearest_rows_alone(data_root):
    texts, films = (Dataset(name, data_root / name) for name in ("texts", "films"))
    memory, source = read_memory(texts.memory("tiny-clip")), Source(films, "image", "tiny-clip")
    questions = read_questions(films, "val")[:2]
    ways = ways_of(source, questions, 3, memory, "cpu", top=1)
    for question in questions:
        nearest = (ways["raw"](question) @ memory.vectors.numpy().T).argmax(1)
        expected = memory.vectors.numpy()[nearest]
        np.testing.assert_allclose(ways["projected"](question), expected, atol=1e-6)


@pytest.fixture
def asked():
    """Three questions about vectors of different numbers."""
    generator = np.random.default_rng(0)
    samples = [
        Sample("choice", None, question, COLOURS[:count])
        for question, count in (("what", 5), ("what colour is it", 3), ("which", 4))
    ]
    sizes = (3, 1, 5)
    return [
        (sample, generator.normal(size=(size, 16)).astype(np.float32))
        for sample, size in zip(samples, sizes, strict=True)
    ]


def mean_log_p(aligned, sample, answer, vectors, places):
    """Of the tokens at some places of the row with an answer, by a forward of its own."""
    row = lay_out(aligned.tokenizer, Sample(**{**vars(sample), "answer": answer}), len(vectors))
    with torch.no_grad():
        logits = aligned.model(**batch_of([row], [vectors])).logits[0].log_softmax(-1)
    own = list(row.learned)[places]
    return np.mean([logits[place - 1, row.ids[place]].item() for place in own])


def test_letters_in_one_forward_are_those_of_a_forward_each(pretrained, asked):
    aligned = load_alignment(pretrained)
    scores = list(letter_scores(aligned, asked, batch_size=2))
    for (sample, vectors), values in zip(asked, scores, strict=True):
        letters = "ABCDE"[: len(sample.options)]
        # Behind the letter stand ")" and the end.
        wanted = [mean_log_p(aligned, sample, x, vectors, slice(-3, -2)) for x in letters]
        assert values == pytest.approx(wanted, abs=1e-4)


def test_an_option_scores_the_mean_of_its_tokens_and_the_end(pretrained, asked):
    aligned = load_alignment(pretrained)
    scores = list(option_scores(aligned, asked, batch_size=7))
    for (sample, vectors), values in zip(asked, scores, strict=True):
        opened = Sample("open", None, sample.question)
        wanted = [mean_log_p(aligned, opened, x, vectors, slice(None)) for x in sample.options]
        assert values == pytest.approx(wanted, abs=1e-4)
