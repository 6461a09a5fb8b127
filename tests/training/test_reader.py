"""The toolkit's reader as qwen-vl-utils, and so ms-swift, calls it."""

import pytest
import torch
from qwen_vl_utils import vision_process

from tools.training.reader import register


@pytest.fixture
def toolkits_reader(monkeypatch):
    """Let qwen-vl-utils read with the toolkit's reader, for one test."""
    monkeypatch.setattr(vision_process, "FORCE_QWENVL_VIDEO_READER", "decord")
    backends = dict(vision_process.VIDEO_READER_BACKENDS)
    vision_process.get_video_reader_backend.cache_clear()
    yield register
    vision_process.VIDEO_READER_BACKENDS.clear()
    vision_process.VIDEO_READER_BACKENDS.update(backends)
    vision_process.get_video_reader_backend.cache_clear()


@pytest.mark.parametrize(
    "wishes",
    [{}, {"fps": 3.0}, {"nframes": 8}, {"video_start": 1.5, "video_end": 4.0}],
    ids=lambda wishes: " ".join(wishes) or "default",
)
def test_qwen_is_given_what_decord_gives(wishes, toolkits_reader, make_video, tmp_path):
    element = {"video": str(make_video(tmp_path / "a.mp4", rate=10)), **wishes}
    how = {"return_video_sample_fps": True, "return_video_metadata": True}
    (decords, metadata), rate = vision_process.fetch_video(dict(element), **how)
    toolkits_reader()
    (frames, own_metadata), own_rate = vision_process.fetch_video(dict(element), **how)
    assert torch.equal(frames, decords)
    assert own_metadata == {**metadata, "video_backend": "toolkit"}
    assert own_rate == pytest.approx(rate)
