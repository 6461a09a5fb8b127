"""The toolkit's reader as qwen-vl-utils, and so ms-swift, calls it."""

import pytest
import qwen_vl_utils
import torch
from qwen_vl_utils import vision_process

from tools.training import reader
from tools.training.reader import register


@pytest.fixture
def toolkits_reader(monkeypatch):
    """Let qwen-vl-utils read with the toolkit's reader, for one test."""
    monkeypatch.setattr(vision_process, "FORCE_QWENVL_VIDEO_READER", "decord")
    monkeypatch.setattr(qwen_vl_utils, "fetch_video", vision_process.fetch_video)
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
    (frames, own_metadata), own_rate = qwen_vl_utils.fetch_video(dict(element), **how)
    assert torch.equal(frames, decords)
    assert own_metadata == {**metadata, "video_backend": "toolkit"}
    assert own_rate == pytest.approx(rate)


def test_both_answers_of_a_pair_take_one_reading(
    toolkits_reader, make_video, monkeypatch, tmp_path
):
    read = []

    def read_and_note(element):
        read.append(element)
        return reader.read_for_qwen(element)

    toolkits_reader()
    monkeypatch.setitem(vision_process.VIDEO_READER_BACKENDS, "toolkit", read_and_note)
    sea, fire = (
        {"video": str(make_video(tmp_path / f"{place}.mp4", [(place, 24)]))}
        for place in ("beach", "fire")
    )
    # The same file twice, with other wishes, another file, the first again: only the last is kept.
    wanted = [sea, sea, {**sea, "nframes": 2}, fire, fire, sea]
    videos = [qwen_vl_utils.fetch_video(dict(element)) for element in wanted]
    assert read == [sea, {**sea, "nframes": 2}, fire, sea]
    assert torch.equal(videos[1], videos[0]) and torch.equal(videos[5], videos[0])
    assert len(videos[2]) == 2 and not torch.equal(videos[4], videos[0])
