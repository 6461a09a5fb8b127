"""A step of self-refinement: the labels, the frames, and which loss moves which model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grounding.training.answerer import answerer_of
from grounding.training.bridge import SpanExample, SpanExamples, reader_of
from grounding.training.experiment import compose
from grounding.training.refinement import (
    FRAMES,
    Refinement,
    RefinementExample,
    RefinementExamples,
)
from qa.records import Question
from tools.errors import UserError


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
    video = make_video(tmp_path / "v.mp4")
    clip = SpanExample(flow, question.question, None)
    return RefinementExample(question, video, clip, frames, (0.0, 6.0), 6.0)


SF = "experiment=LSTP_SF_blip2flant5xl_videoinstruct"


@pytest.mark.parametrize("learns", [False, True])
def test_the_language_model_learns_where_that_is_asked(learns, tmp_path):
    word = f"model.freeze_language={'false' if learns else 'true'}"
    answerer = answerer_of(compose([SF, "tiny=true", word]), tmp_path)
    trained = {name for name, p in answerer.model.named_parameters() if p.requires_grad}
    language = {f"language_model.{n}" for n, _ in answerer.model.language_model.named_parameters()}
    assert trained & language == (language if learns else set())
    assert any(name.startswith("qformer.") for name in trained)
    assert not any(name.startswith("vision_model.") for name in trained)


def test_other_stages_leave_the_language_model_as_it_is(tmp_path):
    name = "experiment=VideoTGB_blip2flant5xl_ivinstruct"
    with pytest.raises(UserError, match=r"^model\.freeze_language=false goes with the stage sf"):
        answerer_of(compose([name, "tiny=true", "model.freeze_language=false"]), tmp_path)


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


@pytest.fixture
def of_a_part(model, make_video, dataset, tmp_path, write_flow):
    """A question about 3 to 5 s of a video of six seconds."""
    make_video(tmp_path / "v.mp4")
    write_flow(dataset, "v", np.arange(11)[:, None, None, None] / 11 * np.ones((1, 2, 14, 14)))
    where = {"video_id": "v", "video": "v.mp4", "start": 3.0, "end": 5.0}
    question = Question("0", "mine", "train", "what is it", answer="a red ball", **where)
    spans = SpanExamples(dataset, [question], {}, model.reader.bridge.config)
    return RefinementExamples(spans, tmp_path)[0]


def test_both_models_see_the_part_that_a_question_is_about(of_a_part, read_stamp):
    stamps = [read_stamp(frame) for frame in of_a_part.frames]
    assert (stamps[0], stamps[-1]) == (36, 59)  # of 12 a second
    assert (of_a_part.part, of_a_part.length) == ((3.0, 5.0), pytest.approx(6.0))
    speed = of_a_part.clip.flow[:, 0, 0, 0]
    assert speed * 11 == pytest.approx([6, 7, 8, 9], rel=1e-3)  # the pairs of 3 to 5 s


def test_labels_of_a_part_are_ratios_of_the_whole_video(model, of_a_part, monkeypatch):
    def answer(examples, decoding):
        places = range(len(examples))
        return ["a red ball" if 8 <= place < 16 else "a green ball" for place in places]

    monkeypatch.setattr(model.answerer, "answer", answer)
    label = model.label(of_a_part)
    assert label == pytest.approx((3.5 / 6, 4 / 6))
    assert of_a_part.clip._replace(span=label).label() == (1, 1)  # of the four pairs


def test_frames_of_a_span_stay_within_the_part(model, of_a_part, read_stamp):
    def bridge(flow, flow_mask, words, words_mask):
        assert flow.shape[1] == 4
        start = torch.full(flow_mask.shape, -9.0)
        end = start.clone()
        start[:, 2], end[:, 3] = 9.0, 9.0  # 4 to 5 s
        return start, end

    model.reader.bridge.forward = bridge
    assert [read_stamp(frame) for frame in model.chosen(of_a_part).frames] == [51, 57]
    row = replace(of_a_part, part=(3.0, 4.5))
    assert [read_stamp(frame) for frame in model.chosen(row).frames] == [49, 52]
