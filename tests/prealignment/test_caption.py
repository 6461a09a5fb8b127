"""Captions of real videos by a model that has read texts alone."""

import numpy as np
import pytest

from prealignment.caption import bleu_4
from prealignment.model.captioning import describe
from prealignment.model.config import CaptionSettings
from prealignment.weights.alignments import load_alignment
from qa.predictions import meta_path, read_predictions
from qa.records import read_questions
from tools.store.dataset import Dataset
from tools.store.files import read_json


def test_videos_are_described_and_scored(pretrained, data_root, run_script):
    words = ("--split", "captions", "--name", "topa", "--device", "cpu", "--data_root", data_root)
    words = (*words, "--checkpoint", pretrained, "--memory", "texts", "--top", 5)
    result = run_script("-m", "prealignment.caption", "films", 1, *words)
    assert result.returncode == 0, result.stderr
    films = Dataset("films", data_root / "films")
    questions = read_questions(films, "captions")
    predictions = read_predictions(films.predictions("captions", "topa"), questions)
    captions = {q.id: predictions[q.id].prediction for q in questions}
    assert captions == {q.id: str(q.answer).removesuffix(".") for q in questions}
    # Words alone: the other three lengths of n-grams count as 0.
    assert "20 of 20 videos: CIDEr 2.500" in result.stdout
    made_by = read_json(meta_path(films.predictions("captions", "topa")))["made_by"]
    assert made_by["top"] == 5
    described = [record["video_id"] for record in films.table("video_captions_topa").read()]
    assert described == [question.video_id for question in questions]


@pytest.mark.parametrize("begin", ["", "It is"])
def test_a_caption_ends_before_its_first_full_stop(begin, pretrained):
    aligned = load_alignment(pretrained)
    vectors = [np.eye(16, dtype=np.float32)[:count] for count in (3, 1)]
    settings = CaptionSettings(max_new_tokens=12, begin=begin, question="What is it?")
    captions = describe(aligned, vectors, settings)
    assert len(captions) == 2
    assert not any("." in caption or "It is" in caption for caption in captions)
    # A caption does not depend on what shares its batch.
    assert describe(aligned, vectors[1:], settings) == captions[1:]


def test_bleu_of_what_is_said_and_of_something_else():
    references = [["a man sings a song"], ["the dog runs very fast", "a dog"]]
    assert bleu_4(["A man sings a song.", "the dog runs very fast"], references) == 1.0
    assert bleu_4(["x y z w v", "p q r s t"], references) < 0.05
