"""With which controls a student answers."""

import orjson
import pytest
import torch

from distillation.runs.answering import arms_of
from distillation.runs.folder import open_student
from tools.errors import UserError


def test_a_student_without_lines_is_shown_less_of_the_video_and_of_the_question():
    assert arms_of("none", zero_video=False, faithful=False) == {
        None: (None, None),
        "question_only": ("zeroed", "none"),
        "choices_only": ("choices_only", "none"),
        "frames_shuffled": ("shuffled", None),
    }


def test_a_student_that_was_trained_without_video_never_sees_it():
    assert arms_of("event", zero_video=True, faithful=False) == {
        None: ("zeroed", None),
        "question_only": ("zeroed", "none"),
        "choices_only": ("choices_only", "none"),  # zeroed too
        "without_lines": ("zeroed", "none"),
        "random_lines": ("zeroed", "random"),
        "shuffled_lines": ("zeroed", "shuffled"),
        "static_lines": ("zeroed", "static"),
    }


def test_the_question_cannot_be_taken_from_the_faithful_presets_options():
    own = arms_of("event", zero_video=False, faithful=False)
    faithful = arms_of("event", zero_video=False, faithful=True)
    assert own.keys() - faithful.keys() == {"choices_only"}
    assert faithful.items() <= own.items()


def test_a_pickled_checkpoint_is_refused(tmp_path):
    torch.save({"model": torch.zeros(2)}, tmp_path / "best.pt")
    with pytest.raises(UserError, match=r"best\.pt is a file: a student is a folder"):
        open_student(tmp_path / "best.pt")
    about = {"config": {"clip_width": 8, "frames": 2}}
    (tmp_path / "student.json").write_bytes(orjson.dumps(about))
    torch.save({"model": torch.zeros(2)}, tmp_path / "student.safetensors")
    with pytest.raises(UserError, match=r"student\.safetensors does not fit its student\.json"):
        open_student(tmp_path)
