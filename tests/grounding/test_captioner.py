"""BLIP-2 and InstructBLIP as captioners, by tiny random checkpoints."""

import argparse

import pytest
import torch

from grounding.answerer.answerer import Example
from grounding.answerer.captioner import AnswererCaptioner, example_of
from grounding.answerer.decoding import Decoding
from grounding.answerer.models import add_model_flags, captioner_from, open_captioner
from grounding.answerer.weights import load_answerer, open_answerer, save_trained
from grounding.labels import FrameAnswersStep, LabelSettings
from grounding.questions import write_question_table
from inference.captioner import Request, Sampling
from tools.errors import UserError
from tools.text.qa_prompts import qa_messages

SHORT = Sampling.greedy(4)


def request(ball, colours, text="what colour is it", seed=0, earlier=()):
    frames = [ball(colour) for colour in colours]
    return Request(qa_messages(text, frames, 1.0, earlier), seed)


def answers_of(captioner, requests, sampling=SHORT):
    return [answer for _, answer in sorted(captioner.generate(requests, sampling))]


@pytest.fixture(scope="module", params=["blip2_t5", "instructblip_llama"])
def captioner(request, tiny_base):
    captioner = AnswererCaptioner("tiny", str(tiny_base(request.param)), batch=2)
    captioner.check("cpu", SHORT, frames=4)
    captioner.load("cpu", 1)
    return captioner


def test_a_request_is_read_as_all_its_frames_and_the_turns_before(ball):
    example = example_of(request(ball, ["red", "blue"], "and now", earlier=[("who", "me")]))
    assert [frame[28, 28, 0] for frame in example.frames] == [220, 40]
    assert example.question == "who ASSISTANT: me</s>USER: and now"


def test_answers_are_those_of_the_answerer_itself(captioner, ball, colours):
    requests = [request(ball, colours[place : place + place % 3 + 1]) for place in range(5)]
    requests.append(request(ball, []))  # no video
    answers = answers_of(captioner, requests)
    for asked, answer in zip(requests, answers, strict=True):
        [text] = captioner.answerer.answer([example_of(asked)], Decoding(max_new_tokens=4))
        assert answer.text == text
    assert len({answer.text for answer in answers}) > 1
    assert {answer.finish_reason for answer in answers} == {"length"}  # random weights go on


def test_an_answer_that_ends_by_itself_says_so(captioner, ball, monkeypatch):
    end = captioner.answerer.processor.tokenizer.eos_token_id
    monkeypatch.setattr(
        captioner.answerer, "generate_ids", lambda batch, *_: torch.tensor([[5, end]])
    )
    [answer] = answers_of(captioner, [request(ball, ["red"])])
    assert answer.finish_reason == "stop"


def test_drawn_answers_depend_on_their_own_seed(captioner, ball):
    drawn = Sampling(temperature=5.0, top_p=1.0, top_k=0, max_new_tokens=6)
    both = [request(ball, ["red"], seed=seed) for seed in (1, 2)]
    first, second = (answer.text for answer in answers_of(captioner, both, drawn))
    assert first != second
    assert answers_of(captioner, both[1:], drawn)[0].text == second
    narrow = Sampling(temperature=5.0, top_p=1.0, top_k=1, max_new_tokens=6)
    assert len({answer.text for answer in answers_of(captioner, both, narrow)}) == 1


def test_beams_are_searched(tiny_base, ball, colours):
    captioners = [
        AnswererCaptioner("tiny", str(tiny_base("blip2_t5")), 4, num_beams=beams)
        for beams in (1, 4)
    ]
    requests = [request(ball, [colour]) for colour in colours]
    for captioner in captioners:
        captioner.load("cpu", 1)
    greedy, beams = (
        [answer.text for answer in answers_of(captioner, requests)] for captioner in captioners
    )
    assert beams != greedy
    assert captioners[0].fingerprint() != captioners[1].fingerprint()
    with pytest.raises(UserError, match="num_beams 4 and temperature"):
        captioners[1].check("cpu", Sampling(top_k=0, top_p=1.0), frames=1)


@pytest.fixture
def trained(tiny_base, tmp_path):
    """The folder of an answerer whose query tokens have been moved."""
    answerer = open_answerer(str(tiny_base("blip2_t5")), stage="iv", nframe=6, fusion="mean")
    with torch.no_grad():
        answerer.model.query_tokens += 1
    save_trained(answerer, tmp_path / "trained")
    return tmp_path / "trained"


def open_flags(*words):
    parser = argparse.ArgumentParser()
    add_model_flags(parser, "answers")
    return captioner_from(parser.parse_args(list(words)))


def test_a_trained_answerer_is_a_model_by_its_folder(trained, tiny_base, ball):
    captioner = open_flags("--model", str(trained))
    assert (captioner.name, captioner.nframe) == ("trained", 6)
    captioner.check("cpu", SHORT, frames=6)
    captioner.load("cpu", 1)
    frames = [ball("red"), ball("blue")]
    [expected] = load_answerer(trained).answer(
        [Example(frames, "what colour is it")], Decoding(max_new_tokens=4)
    )
    [answer] = answers_of(captioner, [request(ball, ["red", "blue"])])
    assert answer.text == expected
    released = open_captioner(str(tiny_base("blip2_t5")))
    assert released.fingerprint() != captioner.fingerprint()
    assert (released.name, released.nframe) == ("blip2_t5", 4)


def test_names_of_models():
    captioner = open_flags("--model", "instructblipvicuna7b", "--model_name", "mine")
    assert captioner.name == "mine"
    assert captioner.checkpoint == "Salesforce/instructblip-vicuna-7b"
    assert open_flags("--model", "dryrun").name == "dryrun"
    assert open_flags("--model", "some/blip@http://localhost:1/v1").name == "blip"
    assert type(open_flags("--model", "toyvl")).__name__ == "HuggingFaceCaptioner"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "blip2"], "unknown model 'blip2'"),
        (
            ["--model", "blip2flant5xl", "--engine", "vllm"],
            "--engine does not go with blip2",
        ),
    ],
)
def test_models_that_cannot_be(words, message):
    with pytest.raises(UserError, match=message):
        open_flags(*words)


def test_an_answerer_labels_moments(films, captioner):
    write_question_table(films, "test")
    step = FrameAnswersStep(films, captioner, LabelSettings(split="test", frames=3, max_answer=4))
    step.setup("cpu", 1)
    records = [record for record in step.reads.read() if record["video_id"] in ("q1", "q2")]
    results = [result for _, result in sorted(step.process_batch(records, []))]
    assert [result["video_id"] for result in results] == ["q1", "q2"]
    assert all(len(result["answers"]) == 3 for result in results)
