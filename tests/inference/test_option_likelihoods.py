"""Options of a question from one prefix: the values are those of a forward pass for each option."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.captioner import Request
from inference.likelihood import log_likelihoods, option_likelihoods
from inference.models import open_captioner
from tools.text.prompts import video_messages

TINY = ("qwen2vl", "qwen25vl", "qwen3vl", "llava_onevision", "smolvlm", "internvl")
OPTIONS = (
    ["a red circle", "a man opens the door and walks away", "two", "no", "the dog"],
    ["yes", "no"],
    ["a long option about a woman who is walking along the street in the rain", "", "a cup"],
)


def asked(frames_of_each=(6, 2, 4)):
    """Three questions about videos of different lengths, with different numbers of options."""
    rng = np.random.default_rng(0)
    questions = (
        "What happens in the video?",
        "Is there a dog?",
        "What does the man take, and why?",
    )
    requests = [
        Request(
            video_messages(
                [rng.integers(0, 256, (56, 84, 3), np.uint8) for _ in range(count)], question, 2.0
            ),
            0,
        )
        for question, count in zip(questions, frames_of_each, strict=True)
    ]
    blind = Request([{"role": "user", "content": [{"type": "text", "text": "Which one?"}]}], 0)
    return [*zip(requests, OPTIONS, strict=True), (blind, ["a cup", "the man"])]


def opened(model, batch=4):
    captioner = open_captioner(str(model), batch=batch)
    captioner.load("cpu", 1)
    return captioner


def by_option(captioner, questions):
    """log p and number of tokens of every option, each from a whole forward pass."""
    rows = [(request, option) for request, options in questions for option in options]
    values = dict(log_likelihoods(captioner, rows))
    in_order = iter([values[place] for place in range(len(rows))])
    return [[next(in_order) for _ in options] for _, options in questions]


@pytest.mark.parametrize("family", [*TINY, "toyvl"])
def test_one_prefix_gives_what_a_whole_forward_for_each_option_gives(family, tiny):
    captioner = opened("toyvl" if family == "toyvl" else tiny(family))
    questions = asked()
    whole = by_option(captioner, questions)
    forwards = []
    hook = captioner.network.register_forward_hook(
        lambda _, given, kwargs, output: forwards.append(output.logits.shape[0]), with_kwargs=True
    )
    values = dict(option_likelihoods(captioner, questions))
    hook.remove()
    for place, likelihoods in enumerate(whole):
        assert [value.tokens for value in values[place]] == [value.tokens for value in likelihoods]
        ours, theirs = ([value.total for value in side] for side in (values[place], likelihoods))
        assert ours == pytest.approx(theirs, abs=1e-4)
    # One prompt a question and one row an option, however they are batched.
    assert sum(forwards) == len(questions) + sum(len(options) for _, options in questions)


def test_the_video_matters_and_the_batch_does_not(tiny):
    folder = tiny("qwen2vl")
    together = dict(option_likelihoods(opened(folder), asked()))
    alone = dict(option_likelihoods(opened(folder, batch=1), asked()))
    for place in together:
        assert [value.total for value in together[place]] == pytest.approx(
            [value.total for value in alone[place]], abs=1e-4
        )
    other = dict(option_likelihoods(opened(folder), asked((2, 2, 4))))
    assert other[0][0].total != pytest.approx(together[0][0].total, abs=1e-3)


def test_a_family_whose_cache_cannot_be_repeated_takes_a_whole_forward_an_option(tiny):
    captioner = opened(tiny("llava_onevision"))
    expected = dict(option_likelihoods(captioner, asked()))
    captioner.model = replace(captioner.model, shared_prefix=False)
    lengths = []
    captioner.network.register_forward_pre_hook(
        lambda _, given, kwargs: lengths.append(kwargs["use_cache"]), with_kwargs=True
    )
    values = dict(option_likelihoods(captioner, asked()))
    assert lengths and not any(lengths)
    for place in expected:
        assert [value.total for value in values[place]] == pytest.approx(
            [value.total for value in expected[place]], abs=1e-4
        )


def test_an_exception_stands_in_the_place_of_its_question_alone(tiny):
    questions = asked()
    questions[1] = (Request(video_messages([], "Is there a dog?", 2.0), 0), ["yes", "no"])
    captioner = opened(tiny("qwen2vl"))
    values = dict(option_likelihoods(captioner, questions))
    assert isinstance(values[1], Exception)
    assert len(values[0]) == 5 and len(values[2]) == 3


def test_the_whole_of_bfloat16_is_not_needed_to_tell_options_apart(tiny):
    captioner = opened(tiny("qwen2vl"))
    captioner.network.to(torch.bfloat16)
    values = dict(option_likelihoods(captioner, asked()))
    assert all(np.isfinite(value.total) for own in values.values() for value in own)
