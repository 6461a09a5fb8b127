"""Lines of text about a video, and which of them each frame is shown with.

`data/<dataset>/prompts/<kind>-<captioner>.jsonl` holds a line a video, sorted:

    {"video", "source", "lines": [{"start", "end", "text"}, ...], "dropped"}

in time order, seconds. `video` is a video_id, or the name of the part of a video that a question is
about; where the captioner was shown the questions, it is a question's id. A frame is shown with the
line whose span holds its time, or with none.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from distillation.inputs.views import view_of
from qa.matching import normalise, occurs
from qa.records import Question
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, replace_atomically
from tools.store.jsonl import dumps
from toyworld.language import ACTIONS

KINDS = ("event", "frame")  # which captioners write
# What a student reads beside them: nothing (no cross-attention at all), a text without words, the
# event lines of another video, its own in another order, and its own up to the verb.
CONTROLS = ("none", "empty", "random", "shuffled", "static")
VARIANTS = (*KINDS, *CONTROLS)
# Ends the name of lines that were written with a question and its options in view.
WITH_QUESTION = "-with-question"

# Where "who is there" ends: the first auxiliary, word in -ing or verb of the toy world behind the
# first word. A rule of thumb for a control: it cuts "a man in a red shirt is running" before "is",
# and leaves "a ring spins" whole.
_VERBS = sorted({action.split()[0] for action in ACTIONS})
_VERB = re.compile(
    rf"(?<=\S\s)(?:is|are|was|were|has|have|had|{'|'.join(_VERBS)}|\w{{2,}}ing)\b", re.I
)


@dataclass(frozen=True)
class Line:
    """A text about what is seen from start to end, without the end itself, seconds."""

    start: float
    end: float
    text: str


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as the module describes them, sorted by video."""
    with replace_atomically(path) as file:
        for row in sorted(rows, key=lambda row: row["video"]):
            file.write(dumps(row) + b"\n")


def read_lines(path: Path) -> dict[str, list[Line]]:
    """{video: its lines}.

    Raises:
        UserError: there is no such file, or a line of it is none.
    """
    try:
        rows = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    lines: dict[str, list[Line]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            record = orjson.loads(row)
            own = [Line(float(r["start"]), float(r["end"]), r["text"]) for r in record["lines"]]
            if any(not isinstance(line.text, str) or line.start >= line.end for line in own):
                raise ValueError("a line is no text, or does not end after its start")
            lines[record["video"]] = sorted(own, key=lambda line: line.start)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptLine(f"{path} line {number} holds no prompt lines ({error})") from None
    return lines


def static(text: str) -> str:
    """A line up to its verb: who is there, not what happens; all of it where no verb is known."""
    match = _VERB.search(text)
    return text[: match.start()].strip() if match else text


def static_share(lines: Iterable[Line]) -> float:
    """The share of lines that `static` cuts, of one line at least."""
    cut = [static(line.text) != line.text for line in lines]
    return sum(cut) / len(cut)


def every_line(dataset: Dataset) -> Iterator[str]:
    """All texts that a student of a data set may read."""
    yield ""
    for kind in KINDS:
        for captioner in dataset.prompt_captioners(kind):
            for lines in read_lines(dataset.prompt_lines(kind, captioner)).values():
                for line in lines:
                    yield from (line.text, static(line.text))


class Prompts:
    """The lines of a data set's videos by one captioner, as one variant shows them.

    Args:
        variant: one of VARIANTS.
        captioner: whose lines; None: the only one that has written such lines.
        training: questions of the training set, from whose videos "random" draws.
    """

    def __init__(
        self,
        dataset: Dataset,
        variant: str,
        captioner: str | None = None,
        training: Sequence[Question] = (),
        seed: int = 0,
        kind: str = "event",
    ) -> None:
        """Args: kind: whose lines a control shows. Raises UserError where there are no such
        lines."""
        self.variant, self.seed = variant, seed
        self.captioner: str | None = None
        self._lines: dict[str, list[Line]] = {}
        self._pool: list[tuple[str, str]] = []
        self._views: dict[str, str] = {}
        if variant in ("none", "empty"):
            return
        kind = variant if variant in KINDS else kind
        names = [captioner] if captioner else dataset.prompt_captioners(kind)
        if len(names) != 1:
            raise UserError(
                f"{dataset.name} has {kind} lines by {', '.join(names) or 'nobody'}: name one with"
                f" --captioner, or run python -m distillation.prompts {dataset.name} WORLD_SIZE"
                f" --kind {kind}"
            )
        self.captioner = names[0]
        self._lines = read_lines(dataset.prompt_lines(kind, names[0]))
        self._views = {self.subject_of(question): view_of(question) for question in training}
        subjects = {self.subject_of(question): question.unit for question in training}
        self._pool = [pair for pair in sorted(subjects.items()) if self._own(*pair)]

    @property
    def by_question(self) -> bool:
        """Whether each question has lines of its own."""
        return self.captioner is not None and self.captioner.endswith(WITH_QUESTION)

    def subject_of(self, question: Question) -> str:
        """What lines are of: a view, or a question."""
        return question.id if self.by_question else view_of(question)

    def _own(self, subject: str, video: str) -> list[Line]:
        return self._lines.get(subject) or self._lines.get(video) or []

    def digest(self, questions: Iterable[Question]) -> str | None:
        """16 hex digits of the lines of what questions are about, whichever variant shows them;
        None where no captioner's lines are read."""
        if self.captioner is None:
            return None
        subjects = {self.subject_of(question): question.unit for question in questions}
        rows = [
            [subject, [[line.start, line.end, line.text] for line in self._own(subject, video)]]
            for subject, video in sorted(subjects.items())
        ]
        return hashlib.sha256(dumps(rows)).hexdigest()[:16]

    def shown(
        self, question: Question, times_of: Callable[[str], Sequence[float]]
    ) -> list[str | None]:
        """The line of each frame that a question is asked with; None: it has none.

        Args:
            times_of: view -> seconds of its frames. Another video's lines go by that video's.
        """
        subject = self.subject_of(question)
        partner = self.partner(subject, question.unit)
        view = view_of(question) if partner[0] == subject else self._views[partner[0]]
        return self.texts(*partner, times_of(view))

    def partner(self, subject: str, video: str) -> tuple[str, str]:
        """The (subject, video) whose lines a subject is shown with: its own, but for "random",
        where it is one of another training video."""
        if self.variant != "random":
            return subject, video
        others = [pair for pair in self._pool if pair[1] != video]
        if not others:
            raise UserError("random lines need two training videos that have lines")
        return random.Random(f"{self.seed}/{subject}/lines").choice(others)

    def texts(self, subject: str, video: str, times: Sequence[float]) -> list[str | None]:
        """The line of each frame; None: it has none.

        Args:
            subject, video: of `partner`.
            times: seconds of the frames of that subject's view.
        """
        if self.variant == "none":
            return [None] * len(times)
        if self.variant == "empty":
            return [""] * len(times)
        lines = self._own(subject, video)
        texts = [line.text for line in lines]
        if self.variant == "static":
            texts = [static(text) for text in texts]
        if self.variant == "shuffled" and len(set(texts)) > 1:
            rng, original = random.Random(f"{self.seed}/{subject}/order"), list(texts)
            while texts == original:
                rng.shuffle(texts)
        return [
            next((text for text, own in zip(texts, lines, strict=True) if _holds(own, time)), None)
            for time in times
        ]


def _holds(line: Line, time: float) -> bool:
    return line.start <= time < line.end


def leaks(questions: Iterable[Question], lines: dict[str, list[Line]]) -> tuple[int, int, int]:
    """How many questions have lines; those with a line that contains the whole text of an option,
    both normalised; and those where it is that of the right one."""
    with_lines = of_any = of_right = 0
    for question in questions:
        names = (question.id, view_of(question), question.unit)
        own = next((lines[name] for name in names if lines.get(name)), None)
        if not own or question.choices is None:
            continue
        with_lines += 1
        texts = [normalise(line.text).split() for line in own]
        held = [
            any(occurs(text, normalise(option).split()) is not None for text in texts)
            for option in question.choices
        ]
        of_any += any(held)
        of_right += question.answer_index is not None and held[question.answer_index]
    return with_lines, of_any, of_right
