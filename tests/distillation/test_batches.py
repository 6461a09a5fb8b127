"""Names of what questions are about, and the statistics of the training set."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from distillation.features import Features
from distillation.inputs import batches
from distillation.inputs.lines import Prompts
from distillation.inputs.views import view_of
from distillation.student import Student, StudentConfig
from qa.records import Question, read_questions


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        (None, None, "mine/a"),
        (1.0, 2.5, "mine/a@1-2.5"),
        (1234.561, 1240.0, "mine/a@1234.561-1240"),
        (1234.564, 1240.0, "mine/a@1234.564-1240"),
        (0.1 + 0.2, 1.0, "mine/a@0.3-1"),
    ],
)
def test_each_part_of_a_video_has_a_name_of_its_own(start, end, name):
    about = {"video": "a.mp4", "start": start, "end": end}
    assert view_of(Question("q", "mine", "train", "?", "mine/a", **about)) == name


def test_statistics_are_those_of_so_many_videos_at_most(films, monkeypatch):
    """Of three videos two are allowed: the first and the last."""
    monkeypatch.setattr(batches, "STATISTICS_VIEWS", 2)
    features = Features(films, "made-up")
    names = ["train00", "train01", "train02"]
    questions = [q for q in read_questions(films, "train") if q.video_id in names]
    student = Student(StudentConfig(features.width, features.frames, heads=2, temporal_heads=2))
    batches.set_statistics(student, features, questions)
    tokens = np.stack([features.tokens(name) for name in ("train00", "train02")])
    mean = tokens.astype(np.float32).mean((0, 1, 2))
    assert_allclose(student.visual_mean.numpy(), mean, atol=1e-6)


@pytest.fixture
def read(films):
    """(control, **what stands in the place of what it takes away) -> two videos as a student reads
    them with it."""
    features, prompts = Features(films, "made-up"), Prompts(films, "event")
    questions = [q for q in read_questions(films, "train") if q.video_id in ("train00", "train01")]
    groups = batches.grouped(questions)

    def read(control=None, **blank):
        return batches.Reader(features, prompts, control=control, **blank)(groups)

    return read


def test_a_control_of_order_moves_frames_and_their_lines_together(read):
    whole, backwards, mixed = read(), read("reversed"), read("shuffled")
    for name in ("visual", "lines"):
        assert torch.equal(backwards[name], whole[name].flip(1))
    for video in range(2):
        places = [
            next(n for n in range(4) if torch.equal(frame, whole["visual"][video][n]))
            for frame in mixed["visual"][video]
        ]
        assert sorted(places) == [0, 1, 2, 3] != places
        assert torch.equal(mixed["lines"][video], whole["lines"][video][places])
    for batch in (backwards, mixed):
        assert all(torch.equal(batch[name], whole[name]) for name in ("question", "options"))


def test_a_control_without_a_video_leaves_lines_and_options(read):
    mean, usual = torch.arange(16.0), torch.arange(16.0) / 2
    whole, zeroed = read(), read("zeroed", blank=mean)
    only = read("choices_only", blank=mean, blank_question=usual)
    for batch in (zeroed, only):
        assert torch.equal(batch["visual"], mean.expand_as(whole["visual"]))
        assert all(torch.equal(batch[name], whole[name]) for name in ("lines", "options"))
    assert torch.equal(zeroed["question"], whole["question"])
    assert torch.equal(only["question"], usual.expand_as(whole["question"]))
    assert not read("zeroed")["visual"].any()
