"""What stages 2 and 3 say of their requests before the first one."""

import pytest

from inference.captioner import Sampling
from inference.captioning import RawCaptionsStep
from inference.engines.dryrun import DryrunCaptioner
from inference.responding import ResponsesStep
from tools.pairs.perturbation import configs
from tools.store.dataset import Dataset


@pytest.fixture
def dataset(tmp_path):
    return Dataset("mine", tmp_path / "mine")


def test_captions_count_clips_and_the_pictures_that_they_show(dataset):
    """Clip 1 is shown alone, the others with the one before: 2 + 4 * 4 and 2 + 4 * 5 pictures."""
    step = RawCaptionsStep(dataset, DryrunCaptioner(), rate=0.01)
    left = [({"frame_indices": [[0, 1]] * clips}, ("raw",)) for clips in (5, 6)]
    assert step.workload(left) == (
        "11 requests about 2 videos, 40 pictures, at most 0.02 million tokens in; 0.31 GPU-hours"
        " at 0.01 requests a second"
    )


def test_responses_count_each_order_of_clips_once(dataset):
    step = ResponsesStep(dataset, DryrunCaptioner(), configs(), Sampling())
    record = {"video_id": "v", "clip_captions": ["a cook washes rice in a bowl" * 10] * 6}
    names = tuple(table.name for table in step.writes)
    line = step.workload([(record, names)])
    requests = int(line.split()[0])
    assert 6 < requests < 13  # with 6 clips, some magnitudes select the same
    assert line.endswith("as many out; the first minute measures the time (--rate)")
    only = step.workload([(record, names[:1])])
    assert only.startswith("1 request about 1 video, about 0.00048 million tokens in")


def test_a_record_that_cannot_be_read_counts_for_nothing(dataset):
    """Neither a caption that is null nor a record without clips ends the run of the others."""
    responses = ResponsesStep(dataset, DryrunCaptioner(), configs(), Sampling())
    names = tuple(table.name for table in responses.writes)
    captions = ["a man runs", "a dog eats", "a car stops"]
    good = {"video_id": "v", "clip_captions": captions}
    null = {"video_id": "n", "clip_captions": ["a man runs", None, "a car stops"]}
    bare = {"video_id": "b"}
    alone = responses.workload([(good, names)])
    assert " about 1 video, " in alone
    assert responses.workload([(null, names), (good, names), (bare, names)]) == alone
    assert responses.workload([(null, names)]) == ""

    step = RawCaptionsStep(dataset, DryrunCaptioner())
    line = step.workload([(bare, ("raw",)), ({"frame_indices": [[0, 1]] * 5}, ("raw",))])
    assert line.startswith("5 requests about 1 video, 18 pictures, ")
