"""The sampler: a trained bridge that is asked where in a video a question is answered."""

import numpy as np
import pytest
import torch

from grounding.bridge.network import Bridge, BridgeConfig
from grounding.bridge.sampler import Sampler
from inference.tiny.blip import wordpiece
from tools.errors import UserError
from tools.features.flow import Dis, Flow, video_flow


@pytest.fixture
def sampler():
    tokenizer = wordpiece(["what", "moves"])
    torch.manual_seed(0)
    config = BridgeConfig(layers=1, dim=16, heads=2, vocabulary=len(tokenizer))
    return Sampler(Bridge(config), tokenizer)


def flow_of(pairs, seed=0):
    """Flow at two pictures a second."""
    speed = np.random.default_rng(seed).normal(0, 0.3, (pairs, 2, 14, 14)).astype(np.float16)
    begins = np.arange(pairs, dtype=np.float32) / 2
    return Flow(speed, np.stack([begins, begins + 0.5], 1), 1.0)


def point_at(sampler, monkeypatch, *spans):
    """Make the bridge sure of token spans, of each less than of the one before."""

    def forward(flow, flow_mask, words, words_mask):
        start, end = torch.zeros(2, *flow_mask.shape)
        for place, (first, last) in enumerate(spans):
            start[:, first] = end[:, last] = 9.0 - place
        return start, end

    monkeypatch.setattr(sampler.bridge, "forward", forward)


def test_spans_are_the_seconds_between_which_their_tokens_lie(sampler, monkeypatch):
    point_at(sampler, monkeypatch, (4, 7), (12, 14))
    grounding = sampler.ground(flow_of(15), "what moves", k=2)
    # Eight seconds: the last picture is shown from 7.5 s on.
    assert grounding.spans == [(2.0, 4.0), (6.0, 8.0)]
    assert grounding.ratios == [(2 / 8, 4 / 8), (6 / 8, 1.0)]
    assert grounding.log_p[0] == pytest.approx(
        grounding.start_log_p[4] + grounding.end_log_p[7], abs=1e-5
    )
    assert np.exp(grounding.start_log_p).sum() == pytest.approx(1)
    assert grounding.times.shape == (15, 2)
    assert sampler.ground(flow_of(15), "what moves").spans == [(2.0, 4.0)]


def test_only_the_part_that_is_asked_about_is_looked_at(sampler, monkeypatch):
    whole = flow_of(15)
    within = sampler.ground(whole, "what moves", part=(2.2, 5.0))
    assert within.times[:, 0].tolist() == [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert sampler.ground(whole, "what moves", part=(7.8, 9.0)).times.tolist() == [[7.0, 7.5]]
    alone = Flow(whole.speed[4:10], whole.times[4:10], 1.0)
    assert np.array_equal(sampler.ground(alone, "what moves").start_log_p, within.start_log_p)
    point_at(sampler, monkeypatch, (0, 1))
    grounding = sampler.ground(whole, "what moves", part=(2.2, 5.0))
    assert grounding.spans == [(2.2, 3.0)]
    assert grounding.ratios == [(4 / 16, 6 / 16)]


def test_a_frame_that_stays_on_the_screen_does_not_draw_a_span_out(
    sampler, make_video, tmp_path, monkeypatch
):
    """A slide of six seconds, and two seconds of eight frames each."""
    pictures = np.random.default_rng(0).integers(0, 255, (17, 64, 64, 3), np.uint8)
    clock = {"pts": [0, *range(48, 64)], "rate": 8}
    video = make_video(tmp_path / "v.mp4", size=(64, 64), frames=pictures, **clock)
    flow = video_flow(video, Dis())
    assert len(flow.times) == 15
    point_at(sampler, monkeypatch, (10, 13))
    assert sampler.ground(flow, "what moves").spans == [(5.0, 7.0)]
    point_at(sampler, monkeypatch, (0, 1))
    assert sampler.ground(flow, "what moves", part=(3.0, 4.0)).spans == [(3.0, 4.0)]


@pytest.mark.parametrize(("positions", "rows"), [("learned", 4), ("reference", 6)])
def test_a_bridge_with_few_positions_sees_the_middles_of_long_videos(
    sampler, monkeypatch, positions, rows
):
    config = {**vars(sampler.bridge.config), "positions": positions, "max_positions": rows}
    few = Sampler(Bridge(BridgeConfig(**config)), sampler.tokenizer)
    whole = flow_of(15)
    grounding = few.ground(whole, "what moves")
    middle = Flow(whole.speed[[1, 4, 8, 12]], whole.times[:4], 1.0)
    assert grounding.log_p == few.ground(middle, "what moves").log_p
    assert grounding.times.tolist() == whole.times.tolist()
    assert np.exp(grounding.end_log_p).sum() == pytest.approx(1)
    point_at(few, monkeypatch, (1, 2), (3, 3))
    grounding = few.ground(whole, "what moves", k=2)  # parts begin at the tokens 0, 3, 7 and 11
    assert grounding.spans == [(1.5, 5.5), (5.5, 8.0)]
    assert grounding.start_log_p.argmax() == 3


def test_a_video_of_one_picture_is_one_span(sampler):
    still = Flow(np.zeros((1, 2, 14, 14), np.float16), np.array([[0, 0.5]], np.float32), 0.0)
    grounding = sampler.ground(still, "what moves", k=3)
    assert grounding.spans == [(0.0, 1.0)]
    assert grounding.ratios == [(0.0, 1.0)]


def test_the_question_is_read(sampler):
    groundings = [sampler.ground(flow_of(15), question) for question in ("what", "moves")]
    assert np.abs(groundings[0].start_log_p - groundings[1].start_log_p).max() > 1e-3


def test_flow_is_normalised_as_the_bridge_asks(sampler):
    slow = flow_of(15)
    double = Flow(2 * slow.speed, slow.times, 2 * slow.max_speed)
    one, two = (sampler.ground(flow, "what moves").start_log_p for flow in (slow, double))
    assert np.abs(one - two).max() > 1e-3
    config = BridgeConfig(**{**vars(sampler.bridge.config), "normalise": "clip_max"})
    relative = Sampler(Bridge(config), sampler.tokenizer)
    one, two = (relative.ground(flow, "what moves").start_log_p for flow in (slow, double))
    assert one == pytest.approx(two, abs=1e-3)


def test_drawn_spans_depend_on_their_seed_alone(sampler):
    def drawn(seed):
        return sampler.ground(flow_of(40), "what moves", decoding="reference", seed=seed).spans

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(5)}) > 1


def test_a_saved_sampler_says_the_same(sampler, tmp_path):
    sampler.save(tmp_path)
    opened = Sampler.open(tmp_path)
    assert opened.extractor == "dis"
    expected, grounding = (s.ground(flow_of(9), "what moves") for s in (sampler, opened))
    assert grounding.spans == expected.spans
    assert np.array_equal(grounding.end_log_p, expected.end_log_p)


def test_what_is_no_sampler(sampler, tmp_path):
    with pytest.raises(UserError, match=r"bridge\.safetensors is not there"):
        Sampler.open(tmp_path)
    sampler.save(tmp_path)
    for file in tmp_path.glob("*token*"):
        file.unlink()
    with pytest.raises(UserError, match="without the files of its tokenizer"):
        Sampler.open(tmp_path)
    rgb = BridgeConfig(layers=0, dim=4, heads=2, input="rgb", features=3)
    Sampler(Bridge(rgb), sampler.tokenizer).save(tmp_path)
    with pytest.raises(UserError, match="reads rgb, no optical flow"):
        Sampler.open(tmp_path)
