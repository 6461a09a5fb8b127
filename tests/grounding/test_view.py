"""What the page Chat is given: the moment, its frames, and answers as they were asked for."""

import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from grounding.answerer.answerer import Example
from grounding.bridge.network import Bridge, BridgeConfig
from grounding.bridge.sampler import Grounding, Sampler
from grounding.flow import FlowSettings
from grounding.view import (
    Answering,
    Decoding,
    Finder,
    Moment,
    own_bridge,
    rate_of,
    take_again,
    take_frames,
)
from inference.tiny.blip import wordpiece
from tools.errors import UserError
from tools.features.flow import Flow
from tools.store.arrays import write_arrays

QUESTION = "what colour is the ball"


@pytest.fixture
def finder(tmp_path):
    """A random bridge."""
    tokenizer = wordpiece()
    torch.manual_seed(0)
    config = BridgeConfig(layers=1, dim=32, heads=4, vocabulary=len(tokenizer), pre_norm=True)
    (tmp_path / "bridge").mkdir()
    Sampler(Bridge(config), tokenizer).save(tmp_path / "bridge")
    return Finder(tmp_path / "bridge")


# The moment


def test_flow_is_computed_once_a_video_and_its_progress_is_told(
    finder, dataset, make_video, tmp_path
):
    video = make_video(tmp_path / "v.mp4", [("beach", 60), ("forest", 60)])
    done: list[float] = []
    first = finder.find(video, QUESTION, 1, dataset, "v", done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(9.5)  # of 10 s, two pictures a second
    done.clear()
    second = finder.find(video, "another question", 1, dataset, "v", done.append)
    assert done == []
    assert second.flow is first.flow
    make_video(video, [("night", 24)])
    assert len(finder.find(video, QUESTION, 1, dataset, "v", done.append).flow.times) == 3


def test_flow_that_grounding_flow_has_computed_is_read(finder, dataset, make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4", [("beach", 24)])
    speed = np.full((5, 2, 14, 14), 0.25, np.float16)
    times = np.stack([np.arange(5), np.arange(1, 6)], 1).astype(np.float32) / 2
    about = {"params": FlowSettings().params(), "max_speed": 0.3}
    write_arrays(dataset.flow("dis", "v"), {"flow": speed, "times": times}, about)
    found = finder.find(video, QUESTION, 1, dataset, "v", pytest.fail)
    assert (found.flow.speed == speed).all()


def test_a_video_of_one_frame_has_a_moment(finder, dataset, make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4", [("beach", 1)])
    found = finder.find(video, QUESTION, 1, dataset, "v", lambda _: None)
    assert len(found.grounding.spans) == 1
    assert len(take_frames(video, found.grounding.spans, 4).times) == 4


def test_strength_is_the_mean_speed_and_colours_tell_directions():
    speed = np.zeros((3, 2, 4, 4), np.float16)
    speed[1, 0] = 0.3  # to the right
    speed[2, :, :2] = [[[-0.3]], [[0.4]]]  # the upper half, to the left and down
    times = np.array([[0, 1], [1, 2], [2, 3]], np.float32)
    moment = Moment(Grounding([], [], [], speed, speed, times), Flow(speed, times, 0.5))
    assert moment.strength == pytest.approx([0, 0.3, 0.25], abs=1e-3)
    still, right, left = moment.wheels([0.5, 1.0, 9.0])
    assert (still == 255).all()
    assert (left[2:] == 255).all()
    red, green, blue = right[0, 0].astype(int)
    assert red > green
    assert red > blue
    assert not (left[0, 0] == right[0, 0]).all()


# The frames


def test_frames_are_the_middles_of_the_spans_or_of_the_video(make_video, tmp_path, read_stamp):
    video = make_video(tmp_path / "v.mp4", [("beach", 120)])  # 10 s
    assert [read_stamp(p) for p in take_frames(video, None, 2).pictures] == [30, 90]
    frames = take_frames(video, [(2.0, 3.0), (8.0, 9.0)], 4)
    assert [read_stamp(picture) for picture in frames.pictures] == [27, 33, 99, 105]
    again = take_again(video, frames.times)
    assert again.times == frames.times
    assert (again.pictures == frames.pictures).all()


def test_frames_have_the_rate_of_the_time_that_they_are_spread_over(make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4", [("beach", 120)])
    assert rate_of(take_frames(video, None, 4), None) == pytest.approx(0.4)
    spans = [(2.0, 3.0), (8.0, 9.0)]
    assert rate_of(take_frames(video, spans, 4), spans) == 2


def test_a_model_trained_by_self_refinement_brings_its_bridge(finder, tmp_path):
    assert own_bridge(str(finder.folder)) == finder.folder
    assert own_bridge("toyvl") is None


# The answer


def test_a_blip_answers_as_the_decoding_says(tiny_base, make_video, tmp_path):
    model = Answering(str(tiny_base("blip2_t5")))
    model.load()
    frames = take_frames(make_video(tmp_path / "v.mp4"), None, 2)
    answerer = model.captioner.answerer
    example = Example(list(frames.pictures), QUESTION)
    for decoding in (
        Decoding(max_new_tokens=6),
        Decoding(max_new_tokens=6, num_beams=4, length_penalty=-1.0),
        Decoding(max_new_tokens=6, repetition_penalty=1.7),
        Decoding(max_new_tokens=6, temperature=1.5, top_p=0.9),
    ):
        text, was_cut_off = model.answer(QUESTION, [], frames, None, decoding, 0)
        if not decoding.temperature:
            assert [text] == answerer.answer([example], decoding)
        assert isinstance(was_cut_off, bool)
    drawn = Decoding(max_new_tokens=6, temperature=2.0)
    draws = [model.answer(QUESTION, [], frames, None, drawn, seed)[0] for seed in (0, 0, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1


def test_only_a_blip_searches_with_beams(tiny_base):
    assert Answering(str(tiny_base("instructblip_llama"))).beams
    assert not Answering("toyvl").beams


def test_a_model_without_weights_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="unknown model 'toyvi'"):
        Answering("toyvi")


# The command


def test_the_demo_opens_the_page_in_the_browser(run_script, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, "-m", "grounding.demo", "--port", "8769", "--checkpoint", "toyvl"]
    env = {**os.environ, "BROWSER": str(browser), "HOME": str(tmp_path)}
    demo = subprocess.Popen([*command, "--data_root", str(tmp_path)], env=env)
    try:
        end = time.monotonic() + 90
        while not (tmp_path / "opened").exists() and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(0.2)
        assert (tmp_path / "opened").read_text() == "http://localhost:8769/chat\n"
        second = run_script(*command[1:])
        assert (second.returncode, second.stderr) == (
            2,
            "error: --port 8769 is in use: name another one\n",
        )
    finally:
        demo.terminate()
        demo.wait(20)
