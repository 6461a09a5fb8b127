"""A step of self-refinement: the labels, the frames, and which loss moves which model."""

import numpy as np
import pytest
import torch

from grounding.training.bridge import reader_of
from grounding.training.experiment import compose
from grounding.training.refinement import FRAMES, Refinement, RefinementExample
from qa.records import Question


@pytest.fixture
def model(open_tiny, tmp_path):
    experiment = compose(["experiment=LSTP_SF_blip2flant5xl_videoinstruct", "tiny=true"])
    torch.manual_seed(0)
    return Refinement(
        open_tiny("blip2_t5", stage="sf", nframe=2),
        reader_of(experiment, tmp_path),
        baseline="mean",
        min_confidence=0.5,
        max_new_tokens=2,
    )


@pytest.fixture
def row(make_video, tmp_path):
    """A video of six seconds, whose k-th frame is as bright as k."""
    flow = np.random.default_rng(0).normal(size=(11, 2, 14, 14)).astype(np.float32)
    frames = [np.full((56, 56, 3), place, np.uint8) for place in range(FRAMES)]
    question = Question("0", "mine", "train", "what is it", answer="a red ball")
    return RefinementExample(question, make_video(tmp_path / "v.mp4"), flow, frames, 6.0)


def answers(inside, outside):
    """An answerer that says something else where frames 10 to 13 are."""

    def answer(examples, decoding):
        places = [int(frame[0, 0, 0]) for example in examples for frame in example.frames]
        return [inside if 10 <= place <= 13 else outside for place in places]

    return answer


def test_the_label_is_where_the_answers_match(model, row, monkeypatch):
    monkeypatch.setattr(model.answerer, "answer", answers("a red ball", "a green ball"))
    assert model.label(row) == (10 / FRAMES, 14 / FRAMES)
    monkeypatch.setattr(model.answerer, "answer", answers("it is", "it is"))
    assert model.label(row) is None


def test_each_loss_moves_its_own_model_alone(model, row, monkeypatch):
    monkeypatch.setattr(model.answerer, "answer", answers("a red ball", "a ball"))
    model.train()
    losses = model([row, row])
    assert losses["loss"].item() == pytest.approx(
        losses["answer_loss"].item() + losses["bridge_loss"].item()
    )
    moved = {
        (loss, name)
        for loss in ("answer_loss", "bridge_loss")
        for name, part in (("answerer", model.answerer), ("reader", model.reader))
        for gradient in torch.autograd.grad(
            losses[loss],
            [p for p in part.parameters() if p.requires_grad],
            retain_graph=True,
            allow_unused=True,
        )
        if gradient is not None and gradient.abs().sum() > 0
    }
    assert moved == {("answer_loss", "answerer"), ("bridge_loss", "reader")}


def test_the_frames_are_those_of_the_bridges_span(model, row, read_stamp):
    def bridge(flow, flow_mask, words, words_mask):
        start = torch.full(flow_mask.shape, -9.0)
        end = start.clone()
        start[:, 4], end[:, 5] = 9.0, 9.0  # tokens 4 and 5 of 11: 2 to 3 seconds
        return start, end

    model.reader.bridge.forward = bridge
    example = model.chosen(row)
    assert [read_stamp(frame) for frame in example.frames] == [27, 33]
    assert (example.question, example.answer) == ("what is it", "a red ball")
