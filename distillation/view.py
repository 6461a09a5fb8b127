"""What the viewer's page of questions is given by distillation: the answers of students and
teachers, and the lines of text that a student reads beside the frames."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from distillation.judgements import Judgement
from qa.options import LETTERS
from qa.predictions import Prediction, meta_path
from qa.records import Question
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, read_json
from tools.store.jsonl import dumps

EXPERIMENTS = Path("exp/cater")  # where distillation.train and .suite leave students


def students(dataset: Dataset, split: str) -> dict[str, Path]:
    """{run: its predictions} of the students below exp/cater that have answered a split."""
    paths = sorted(EXPERIMENTS.rglob(f"predictions/{split}.jsonl"))
    named = {path.parents[1].relative_to(EXPERIMENTS).as_posix(): path for path in paths}
    made_for = {name: (read_json(meta_path(path)) or {}) for name, path in named.items()}
    return {
        name: path for name, path in named.items() if made_for[name].get("dataset") == dataset.name
    }


def teachers(dataset: Dataset, split: str) -> dict[str, Path]:
    """{teacher: its judgements} of a split."""
    return {name: dataset.judgements_of(name, split) for name in dataset.teacher_names(split)}


def teacher_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (id, line of a file of predictions) of a teacher's judgements: log p a token of each
    option, or of its letter; of a choice alone its letter.

    Raises:
        CorruptLine: a line is no judgement.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            own = Judgement(**orjson.loads(line))
        except (TypeError, ValueError) as error:
            raise CorruptLine(f"{path} line {number} is no judgement ({error})") from None
        log_p = own.by_text or own.letter_log_p
        letter = LETTERS[own.choice] if log_p is None and own.choice is not None else None
        yield own.id, dumps(asdict(Prediction(own.id, letter, log_p)))


class LinesOf:
    """The lines that a student reads.

    Args:
        predictions: of a student, in its folder.

    Attributes:
        variant: of its lines, such as "event"; "none": it reads none.
    """

    def __init__(self, dataset: Dataset, predictions: Path) -> None:
        """Raises UserError where its features or lines are not there."""
        from distillation.features import Features
        from distillation.inputs.lines import Prompts
        from distillation.inputs.views import choice_questions, view_of
        from distillation.runs.folder import read_about

        about: dict[str, Any] = read_about(predictions.parents[1])
        self.variant: str = about["prompt_variant"]
        if self.variant == "none":
            return
        features = self._features = Features(dataset, about["features"]["name"])
        training = [
            question
            for question in choice_questions(dataset, about["split"])
            if features.has(view_of(question))
        ]
        kind = "frame" if self.variant == "frame" else "event"
        self._prompts = Prompts(
            dataset, self.variant, about["captioner"], training, about["seed"], kind
        )

    def of(self, question: Question) -> list[tuple[float, str | None]]:
        """(seconds, line or None) of each frame; empty where the student reads none, or the video
        has no features."""
        from distillation.inputs.views import view_of

        view = view_of(question)
        if self.variant == "none" or not self._features.has(view):
            return []
        texts = self._prompts.shown(question, self._features.times)
        return list(zip(self._features.times(view), texts, strict=True))
