"""Optical flow: the extractors, sampling by time, the unit, and the toy world's actions."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import get_model

from tools.errors import UserError
from tools.features.flow import (
    Dis,
    Flow,
    Raft,
    check_weights,
    open_extractor,
    precomputed_flow,
    video_flow,
)


def texture(side):
    """A smooth random picture, (side, side, 3) uint8."""
    noise = np.random.default_rng(0).uniform(0, 255, (side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    scaled = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2)


def moved(picture, right, down):
    """The picture after a move, in pixels; what leaves on one side comes in on the other."""
    return np.roll(picture, (down, right), axis=(0, 1))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of RAFT-small."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(get_model("raft_small").state_dict(), path)
    return path


@pytest.mark.parametrize("side", [56, 112, 224])
def test_dis_measures_a_move_by_3_right_and_2_up(side):
    picture = texture(side)
    flow = Dis(side).between(np.stack([picture, moved(picture, 3, -2), picture]))
    assert (flow.shape, flow.dtype) == ((2, 2, side, side), np.float32)
    medians = np.median(flow, axis=(2, 3))
    assert np.abs(medians - [[3, -2], [-3, 2]]).max() < 0.5


def test_dis_objects_of_other_sizes_do_not_change_each_other():
    small, large = texture(56), texture(112)
    pictures = np.stack([large, moved(large, 3, -2)])
    extractor = Dis(112)
    before = extractor.between(pictures)
    Dis(56).between(np.stack([small, moved(small, 3, -2)]))
    assert np.array_equal(extractor.between(pictures), before)


def test_raft_gives_a_field_for_each_pair(weights):
    extractor = Raft("raft_small", weights, 128)
    flow = extractor.between(np.stack([texture(128)] * 3))
    assert (flow.shape, flow.dtype) == ((2, 2, 128, 128), np.float32)
    assert np.isfinite(flow).all()


def test_weights_of_another_network_are_refused_in_one_line(weights):
    with pytest.raises(UserError, match=r"raft_small.pth does not hold the weights of raft_large"):
        open_extractor("raft_large", 128, weights)


def test_weights_that_are_not_here_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(UserError) as mistake:
        check_weights("raft_small", None)
    line = str(mistake.value)
    assert line.startswith("the weights of raft_small are not at ")
    assert "--checkpoint FILE" in line and "--extractor dis" in line and "\n" not in line


def test_weights_of_the_hub_are_taken_where_they_are(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "raft_small_C_T_V2-01064c6d.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(weights.read_bytes())
    assert check_weights("raft_small", None) == kept
    assert check_weights("dis", None) is None


def test_flow_is_in_sides_a_second_by_the_times_of_the_frames(make_video, tmp_path):
    picture = texture(112)
    # 6 pixels to the left a frame: the first two frames 0.5 s apart, the others 0.25 s.
    frames = [moved(picture, -6 * number, 0) for number in range(4)]
    clock = {"pts": [0, 2, 3, 4], "rate": 4}
    video = make_video(tmp_path / "a.mp4", size=(112, 112), frames=frames, **clock)
    flow = video_flow(video, Dis(), fps=4)
    # At 0.25 s the first frame is still on the screen.
    assert flow.times.tolist() == [[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]]
    assert (flow.speed.shape, flow.speed.dtype) == ((4, 2, 14, 14), np.float16)
    across, down = np.median(flow.speed.astype(float), axis=(2, 3)).T
    side = 112
    assert across == pytest.approx([0, -6 / side / 0.5, *[-6 / side / 0.25] * 2], abs=0.02)
    assert down == pytest.approx([0] * 4, abs=0.02)


def test_the_rate_of_the_video_does_not_matter(make_video, tmp_path):
    picture = texture(112)
    for rate in (8, 24):
        frames = [moved(picture, 8 * number // rate, 0) for number in range(2 * rate)]
        make_video(tmp_path / f"{rate}.mp4", size=(112, 112), rate=rate, frames=frames)
    slow, fast = (video_flow(tmp_path / f"{rate}.mp4", Dis()) for rate in (8, 24))
    assert slow.times.tolist() == fast.times.tolist() == [[0, 0.5], [0.5, 1], [1, 1.5]]
    for flow in (slow, fast):
        assert np.median(flow.speed[:, 0].astype(float)) == pytest.approx(8 / 112, abs=0.01)


def test_a_video_of_one_frame_does_not_move(make_video, tmp_path):
    flow = video_flow(make_video(tmp_path / "a.mp4", [("beach", 1)]), Dis())
    assert flow.times.tolist() == [[0, 0.5]]
    assert (flow.speed.shape, flow.max_speed) == ((1, 2, 14, 14), 0)
    for how in ("fixed", "clip_max"):
        assert not flow.normalised(how).any()


def test_flow_computed_again_is_the_same_with_other_chunks(make_video, tmp_path, monkeypatch):
    video = make_video(tmp_path / "a.mp4")
    flow = video_flow(video, Dis(), fps=6)
    monkeypatch.setattr("tools.features.flow.PAIRS_AT_ONCE", 3)
    again = video_flow(video, Dis(), fps=6)
    assert np.array_equal(flow.speed, again.speed) and flow.speed.any()
    assert flow.max_speed == again.max_speed


def test_two_normalisations():
    speed = np.array([0.5, -4.0, 3.0, 0.25], np.float16).reshape(1, 2, 1, 2)
    flow = Flow(speed, np.array([[0, 0.5]], np.float32), max_speed=5.0)
    fixed, clip_max = flow.normalised("fixed"), flow.normalised("clip_max")
    assert fixed.dtype == clip_max.dtype == np.float32
    assert fixed.ravel().tolist() == [0.5, -1, 1, 0.25]
    np.testing.assert_allclose(clip_max.ravel(), [0.1, -0.8, 0.6, 0.05], atol=1e-5)
    with pytest.raises(UserError, match=r"^normalisation 'max': choose one of fixed, clip_max$"):
        flow.normalised("max")


def test_precomputed_flow_of_the_reference_is_read(tmp_path):
    pixels = np.zeros((11, 2, 32, 64))  # two chunks
    pixels[:, 0], pixels[:, 1] = 8, -2  # an eighth of the width, a sixteenth of the height
    pixels[10, :, :16] = 0
    np.save(tmp_path / "v_raft.npy", pixels)
    flow = precomputed_flow(tmp_path / "v_raft.npy", fps=2, grid=2)
    assert flow.times.tolist() == [[number / 2, number / 2 + 0.5] for number in range(11)]
    assert flow.speed[0].tolist() == [[[0.25, 0.25]] * 2, [[-0.125, -0.125]] * 2]
    assert flow.speed[10].tolist() == [[[0, 0], [0.25, 0.25]], [[0, 0], [-0.125, -0.125]]]
    assert flow.max_speed == pytest.approx(np.hypot(0.25, 0.125))


def test_precomputed_flow_of_no_pair_is_zero(tmp_path):
    np.save(tmp_path / "v_raft.npy", np.zeros((0, 2, 224, 224)))
    assert precomputed_flow(tmp_path / "v_raft.npy").speed.shape == (1, 2, 14, 14)


def test_an_array_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "v_raft.npy", np.zeros((3, 224, 224, 2)))
    with pytest.raises(ValueError, match=r"^no flow: an array \(3, 224, 224, 2\), not \(pairs, 2,"):
        precomputed_flow(tmp_path / "v_raft.npy")
