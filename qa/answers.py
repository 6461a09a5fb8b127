"""Reading predictions to score them: a model's own, and those of its controls beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.captioner import Captioner
from qa.predictions import benchmark_digest, control_path, meta_path, read_predictions
from qa.records import Question
from qa.scoring import Answers
from tools.errors import UserError
from tools.store.files import read_json
from tools.store.origin import LIBRARIES


class Reader:
    """Reads files of predictions of the questions that are scored."""

    def __init__(
        self,
        everything: Sequence[Question],
        questions: Sequence[Question],
        allow_missing: bool,
    ) -> None:
        self.everything, self.questions = everything, questions
        self.allow_missing = allow_missing

    def read(self, path: Path) -> Answers:
        """A file's predictions of the questions; see `read_predictions` for what it raises."""
        is_whole = len(self.questions) == len(self.everything)
        answers = self._read(path, self.allow_missing or not is_whole)
        missing = len(self.questions) - len(answers.predictions)
        if missing and not self.allow_missing:
            raise UserError(
                f"{path} lacks {missing} of the {len(self.questions)} questions that --limit draws;"
                " --allow_missing scores the others"
            )
        if not answers.predictions:
            raise UserError(f"{path} holds no prediction of these questions")
        return answers

    def beside(self, path: Path, control: str, model: Answers) -> Answers | None:
        """The predictions of a control that stand beside a model's, if there are some; they may be
        of fewer questions. Those of other questions or another model are left out, which is said.
        """
        path = control_path(path, control)
        if not path.is_file():
            return None
        try:
            answers = self._read(path, allow_missing=True)
            subject = {"benchmark": benchmark_digest(self.everything), **model.meta}
            problem = _other_subject(subject, answers.meta)
        except UserError as error:
            problem = str(error)
        if problem:
            print(f"{path.name} is left out: {problem}")
            return None
        return answers

    def _read(self, path: Path, allow_missing: bool) -> Answers:
        predictions = read_predictions(path, self.everything, allow_missing)
        own = {q.id: predictions[q.id] for q in self.questions if q.id in predictions}
        return Answers(path.name.removesuffix(".jsonl"), own, read_json(meta_path(path)) or {})


def made_by(captioner: Captioner) -> dict[str, Any]:
    """What shapes a model's texts: its fingerprint, and the model that a server reports, which is
    known once the captioner has been checked."""
    reported = getattr(captioner, "reported", "")
    return captioner.fingerprint() | ({"reported": reported} if reported else {})


def without_libraries(made: Mapping[str, Any]) -> dict[str, Any]:
    """What made predictions, without versions of libraries: they change and refuse nothing."""
    return {key: value for key, value in made.items() if key not in LIBRARIES}


def _other_subject(meta: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Why predictions are no control of a model's; empty where they are one, as far as both say."""
    both = meta.keys() & other.keys()
    if "benchmark" in both and meta["benchmark"] != other["benchmark"]:
        return "it was asked about questions that have changed since"
    if "made_by" in both:
        made = [without_libraries(own["made_by"]) for own in (meta, other)]
        if made[0] != made[1]:
            return "it was made by another model"
    return ""
