"""Parting the questions of one split by video."""

import pytest

from distillation.splits import parted
from qa.records import Question, read_questions, write_questions
from tools.errors import UserError


def questions_of(videos):
    return [Question(f"v{n}/{k}", "mine", "all", "?", f"v{n}") for n in range(videos) for k in "ab"]


def test_all_questions_about_a_video_stay_together():
    splits = parted(questions_of(10), (0.6, 0.2, 0.2), seed=0)
    videos = {split: {q.video_id for q in own} for split, own in splits.items()}
    assert [len(own) for own in videos.values()] == [6, 2, 2]
    assert len(set.union(*videos.values())) == 10
    assert all(q.split == split for split, own in splits.items() for q in own)
    assert parted(questions_of(10), (0.6, 0.2, 0.2), seed=1) != splits


def test_too_few_videos_are_refused():
    with pytest.raises(UserError, match="2 videos leave none for test"):
        parted(questions_of(2), (0.6, 0.2, 0.2), seed=0)


def test_a_data_set_is_parted_once(dataset, run_script):
    write_questions(dataset.questions("all"), questions_of(5))
    words = ("-m", "distillation.splits", "mine", "--split", "all")
    words += ("--data_root", dataset.root.parent)
    result = run_script(*words)
    assert result.returncode == 0, result.stderr
    assert len(read_questions(dataset, "train")) == 6
    again = run_script(*words)
    assert again.returncode == 2 and "is there already" in again.stderr
