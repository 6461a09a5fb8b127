"""What a model says of videos that are played backwards."""

from pathlib import Path

import pytest

from inference.engines.dryrun import DryrunCaptioner
from inference.reversal import ReversedStep, Showing, main
from tools.errors import UserError
from tools.text.prompts import QUESTIONS


class Recorder(DryrunCaptioner):
    """Keeps what it is asked."""

    def generate(self, requests, sampling):
        self.requests = list(requests)
        return super().generate(iter(self.requests), sampling)


def test_the_frames_of_each_video_come_in_the_wrong_direction(
    dataset, make_video, read_stamp, tmp_path
):
    video = make_video(tmp_path / "a.mp4", [("beach", 24), ("fire", 24)], rate=12)
    captioner = Recorder()
    step = ReversedStep(dataset, captioner, QUESTIONS[0], Showing(fps=2.0))
    step.setup("cpu", 1)
    captions = ["the sea", "a fire"]
    good = {"video_id": "a", "video_path": str(video), "clip_captions": captions}
    gone = {**good, "video_id": "b", "video_path": str(tmp_path / "b.mp4")}
    rows = dict(step.process_batch([gone, good], []))
    assert "no such file" in str(rows[0])
    assert set(rows[1]) == {"video_id", "video_path", "reversed"}
    (request,) = captioner.requests
    shown, question = request.parts
    # 4 s at 2 a second: the middles of 8 equal parts.
    assert [read_stamp(frame) for frame in shown["video"]] == [45, 39, 33, 27, 21, 15, 9, 3]
    assert shown["fps"] == pytest.approx(2.0)
    assert question["text"] == QUESTIONS[0]


def test_a_model_without_clip_captions(dataset):
    where = ["--data_root", str(dataset.root.parent)]
    with pytest.raises(
        UserError, match=r"no clip captions by dryrun: run generate_meta_data\.py 1"
    ):
        main(["--dataset", dataset.name, "1", *where, "--model", "dryrun"])


def test_a_long_video_has_fewer_frames_a_second():
    assert len(Showing(max_frames=64).moments(600.0)) == 64
    assert Showing().moments(0.5) == [0.125, 0.375]


def test_the_table(dataset, make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4")
    row = {"video_id": "a", "video_path": str(video), "clip_captions": ["x", "y"]}
    dataset.table("clip_captions_dryrun").write([row])
    where = ["--data_root", str(Path(dataset.root).parent), "--device", "cpu"]
    main(["--dataset", dataset.name, "1", *where, "--model", "dryrun"])
    (record,) = dataset.table("reversed_dryrun").read()
    assert record["video_id"] == "a" and record["reversed"]
