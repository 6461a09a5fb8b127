"""The filters of stage 1, on literal records."""

from dataclasses import fields
from pathlib import Path

import pytest

from tools.errors import Filtered
from tools.shots.settings import Settings
from tools.shots.steps import (
    STEPS,
    FilterGroupStep,
    FilterSceneStep,
    GroupStep,
    SceneStep,
    SimilarityStep,
)
from tools.store.dataset import Dataset

DATASET = Dataset("mine", Path("/nowhere/mine"))


def scene(*seconds, fps=25):
    """A record with shots of the given lengths, in seconds."""
    cuts, times, frame, time = [], [], 0, 0.0
    for position, length in enumerate(seconds):
        cuts.append([position, frame, frame + round(length * fps) - 1])
        times.append([time, time + length])
        frame, time = frame + round(length * fps), time + length
    return {"video_id": "mine_0", "fps": fps, "filtered_cuts": cuts, "cut_times": times}


def clips(*groups):
    """A record whose clips belong to the given groups, one shot a clip."""
    return {"merged_groups": [[group, [shot]] for shot, group in enumerate(groups)]}


def verdict(step, record, **settings):
    """ "keep", or the reason for which a step rejects a record."""
    try:
        step(DATASET, Settings(**settings)).process(record)
    except Filtered as reason:
        return str(reason)
    return "keep"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (scene(3, 3, 3), "too_few_shots"),
        (scene(3, 3, 3) | {"damaged": 1}, "too_few_shots_damaged"),
        (scene(3, 3, 3, 3) | {"damaged": 1}, "keep"),
        (scene(3, 3, 3, 3), "keep"),
        (scene(*[1] * 32), "keep"),
        (scene(*[1] * 33), "too_many_shots"),
        (scene(3, 3, 3, 16), "keep"),
        (scene(3, 3, 3, 16.04), "shot_too_long"),
    ],
)
def test_a_video_is_kept_by_its_shots(record, expected):
    assert verdict(FilterSceneStep, record) == expected


@pytest.mark.parametrize(
    ("step", "record", "detail"),
    [
        (FilterSceneStep, scene(3, 3, 3), "min_shots 4: 3 shots"),
        (
            FilterSceneStep,
            scene(3) | {"left_out": {"min_shot_frames": 5, "min_gray_range": 1}},
            "min_shots 4: 1 shots, 5 left out by min_shot_frames 8, 1 left out by min_gray_range"
            " 10",
        ),
        (FilterSceneStep, scene(3) | {"damaged": 2}, "min_shots 4: 1 shots; 2 damaged frames"),
        (FilterSceneStep, scene(*[1] * 33), "max_shots 32: 33 shots"),
        (FilterSceneStep, scene(3, 3, 3, 16.04), "max_shot_seconds 16: a shot of 16.04 s"),
        (FilterGroupStep, clips(0, 1, 2), "min_clips 4: 3 clips"),
        (FilterGroupStep, clips(0, 1, 0, 2), "max_group_share 0.333333: 2 of 4 clips"),
        (
            FilterGroupStep,
            clips(0, 1, 0, 2, 0, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11),
            "max_group_clips 3: 4 of 15 clips",
        ),
    ],
)
def test_a_rejected_record_names_the_limit_that_struck(step, record, detail):
    with pytest.raises(Filtered) as rejection:
        step(DATASET, Settings()).process(record)
    assert rejection.value.record == {**record, "filter_detail": detail}


def test_a_shot_s_length_is_counted_in_time_not_in_frames():
    record = scene(3, 3, 3, 3)
    record["cut_times"][3] = [9.0, 26.0]
    assert verdict(FilterSceneStep, record) == "shot_too_long"


def test_a_record_of_the_reference_has_only_frames_to_count():
    record = scene(3, 3, 3, 17)
    del record["cut_times"]
    assert verdict(FilterSceneStep, record) == "shot_too_long"
    assert verdict(FilterSceneStep, record | {"fps": 30}) == "keep"


def test_bounds_are_the_user_s():
    assert verdict(FilterSceneStep, scene(3, 3), min_shots=2) == "keep"
    assert verdict(FilterSceneStep, scene(3, 3, 3, 3), min_shots=3, max_shots=3) == "too_many_shots"
    assert verdict(FilterSceneStep, scene(3, 3, 3, 9), max_shot_seconds=8) == "shot_too_long"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (clips(0, 1, 2), "too_few_groups"),
        (clips(0, 1, 2, 3), "keep"),
        # A third of 4 and 5 clips is 1: no group may come back.
        (clips(0, 1, 0, 2), "group_recurs"),
        (clips(0, 1, 0, 2, 3), "group_recurs"),
        # A third of 6 is 2, of 9 is 3.
        (clips(0, 1, 0, 2, 3, 4), "keep"),
        (clips(0, 1, 0, 2, 0, 3, 4, 5, 6), "keep"),
        (clips(0, 1, 0, 2, 0, 3, 4, 5), "group_recurs"),
        # Four times is too often, however many clips there are.
        (clips(0, 1, 0, 2, 0, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11), "group_recurs"),
    ],
)
def test_a_video_is_kept_by_its_groups(record, expected):
    assert verdict(FilterGroupStep, record) == expected


def test_grouping_reads_the_similarities_of_the_record():
    step = GroupStep(DATASET, Settings(group_threshold=0.8))
    similarity = [[1, 0.9, 0.1, 0.1], [0.9, 1, 0.1, 0.9], [0.1, 0.1, 1, 0.1], [0.1, 0.9, 0.1, 1]]
    record = step.process({"clip_similarity": similarity})
    # 0 and 1 merge first (0.9); the merged row's similarity to 3 is (0.1 + 0.9) / 2.
    assert record["groups"] == [[0, 1], [2], [3]]
    assert record["merged_groups"] == [(0, [0, 1]), (1, [2]), (2, [3])]


def test_the_checkpoint_is_part_of_the_fingerprint():
    assert SimilarityStep(DATASET, Settings()).params() == {
        "embedder": "siglip",
        "checkpoint": "google/siglip-so400m-patch14-384",
    }
    local = SimilarityStep(DATASET, Settings(embedder="clip", checkpoint="/models/clip"))
    assert local.params() == {"embedder": "clip", "checkpoint": "/models/clip"}


def test_each_setting_is_in_the_fingerprint_of_the_step_it_shapes():
    settings = Settings(min_shot_frames=9, shot_detector="fixed")
    shaped = {name for step in STEPS for name in step(DATASET, settings).params()}
    assert shaped == {entry.name for entry in fields(Settings)} - {"video_timeout"}
    # Tables that are older than these settings were made without them, and are not refused.
    assert not {"min_shot_frames", "shot_seconds"} & SceneStep(DATASET, Settings()).params().keys()
    assert FilterSceneStep(DATASET, Settings(max_shots=9)).params() == {
        "min_shots": 4,
        "max_shots": 9,
        "max_shot_seconds": 16.0,
    }


def test_a_shot_of_exactly_the_longest_length_is_kept_wherever_it_starts():
    record = scene(3, 3, 3, 16)
    for start in range(3000):
        record["cut_times"][3] = [round(start / 25, 4), round((start + 400) / 25, 4)]
        assert verdict(FilterSceneStep, record) == "keep"
