"""Self-refinement (SF): the answerer labels, the bridge learns the labels, and the answerer learns
from the frames that the bridge chooses, all in one loop.

In each step the answerer, as it is, answers from each of 32 frames alone, of a video or of the part
of it that a question is about; how well these answers match the right one makes the label. The
bridge's loss on the labels and the answerer's loss on frames of the bridge's own spans are added.
The choice of frames passes no gradient on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from grounding.answerer.answerer import Answerer, Example
from grounding.answerer.decoding import Decoding
from grounding.answerer.weights import load_trained, save_trained
from grounding.bridge.moments import Ratios, decode, frame_times, label_of, ratios_of
from grounding.bridge.network import span_loss
from grounding.scores import rouge1_recall
from grounding.training.answerer import answerer_of
from grounding.training.bridge import SpanExample, SpanExamples, SpanReader, reader_of, with_flow
from grounding.training.data import Spans, text_of, unreadable, video_frames
from grounding.training.experiment import Experiment
from grounding.training.task import Task
from grounding.training.validation import validate
from qa.records import Question
from tools.store.dataset import Dataset
from tools.video.decode import VideoError
from tools.video.sampling import sample_moments

FRAMES = 32  # of a video, each of which is scored (VideoTGB)
AT_ONCE = 32  # frames that are answered from in one batch


@dataclass(frozen=True)
class RefinementExample:
    """A question with what both models see of its video.

    Attributes:
        clip: the flow of the part that the question is about, without a label.
        frames: FRAMES, spread over this part, (height, width, 3) uint8 RGB each.
        part: its start and end, seconds.
        length: of the video, seconds.
    """

    question: Question
    file: Path
    clip: SpanExample
    frames: Sequence[np.ndarray]
    part: tuple[float, float]
    length: float


@dataclass
class RefinementExamples:
    """Questions with their videos' flow and frames, by position."""

    spans: SpanExamples
    folder: Path

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, place: int) -> RefinementExample:
        question = self.spans.questions[place]
        file = self.folder / str(question.video)
        places: list[tuple[tuple[float, float], float]] = []

        def choose(length: float) -> list[float]:
            end = length if question.end is None else min(question.end, length)
            part = (min(question.start or 0.0, end), end)
            places.append((part, length))
            return frame_times([part], FRAMES)

        try:
            frames = list(sample_moments(file, choose).pictures)
        except VideoError as error:
            raise unreadable(question, file, error) from None
        return RefinementExample(question, file, self.spans[place], frames, *places[0])


class Refinement(nn.Module):
    """Both models; `forward` is a step of both."""

    def __init__(
        self,
        answerer: Answerer,
        reader: SpanReader,
        baseline: str,
        min_confidence: float,
        max_new_tokens: int,
    ) -> None:
        """The last three make the labels: see `label_of`, and the longest answer, tokens."""
        super().__init__()
        self.decoding = Decoding(max_new_tokens=max_new_tokens)
        self.answerer, self.reader = answerer, reader
        self.baseline, self.min_confidence = baseline, min_confidence

    def forward(self, rows: Sequence[RefinementExample]) -> dict[str, Tensor]:
        """{"loss": nats of the answers' tokens + the bridge's loss, and each by itself}."""
        start, end, batch = self._logits(rows, [self.label(row) for row in rows])
        bridge = span_loss(start, end, batch["first"], batch["last"])
        examples = self._shown(rows, start, end, batch["flow_mask"])
        answers = self.answerer.loss(self._on_device(self.answerer.encode(examples)))
        return {"loss": answers + bridge, "answer_loss": answers, "bridge_loss": bridge}

    def chosen(self, row: RefinementExample) -> Example:
        """The question with the frames that the bridge chooses."""
        start, end, batch = self._logits([row], [None])
        return self._shown([row], start, end, batch["flow_mask"])[0]

    def _logits(
        self, rows: Sequence[RefinementExample], labels: Sequence[Ratios | None]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The bridge's logits of start and end, and its batch."""
        examples = [row.clip._replace(span=label) for row, label in zip(rows, labels, strict=True)]
        batch = self._on_device(self.reader.encode(examples))
        names = ("flow", "flow_mask", "words", "words_mask")
        return *self.reader.bridge(*(batch[name] for name in names)), batch

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        device = self.answerer.model.query_tokens.device
        return {name: value.to(device) for name, value in batch.items()}

    def label(self, row: RefinementExample) -> Ratios | None:
        """Where the answers from single frames match the right one, as ratios of the whole video's
        time; None where none stands out."""
        right = str(row.question.answer)
        examples = [Example([frame], text_of(row.question)) for frame in row.frames]
        answers: list[str] = []
        for start in range(0, len(examples), AT_ONCE):
            answers += self.answerer.answer(examples[start : start + AT_ONCE], self.decoding)
        label = label_of([rouge1_recall(answer, right) for answer in answers], self.baseline)
        if label.confidence is None or label.confidence < self.min_confidence:
            return None
        first, last = ratios_of(label.first, label.last, len(answers))
        begins, ends = row.part
        before, share = begins / row.length, (ends - begins) / row.length
        return before + first * share, before + last * share

    def _shown(
        self, rows: Sequence[RefinementExample], start: Tensor, end: Tensor, mask: Tensor
    ) -> list[Example]:
        """The questions with frames of the bridge's best spans."""
        examples = []
        for row, [span] in zip(rows, decode(start, end, mask), strict=True):
            times = np.multiply(row.clip.ratios(span.first, span.last), row.length)
            start_time, end_time = times.clip(*row.part).tolist()
            spans = Spans([(start_time, end_time)])
            frames = video_frames(row.file, self.answerer.settings.nframe, spans)
            examples.append(Example(list(frames), text_of(row.question), row.question.answer))
        return examples

    def save(self, folder: Path) -> None:
        """Write the answerer's trained parts and the bridge."""
        save_trained(self.answerer, folder)
        self.reader.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        load_trained(self.answerer, folder)
        self.reader.load(folder)


def refinement_task(experiment: Experiment, dataset: Dataset, videos: Path, output: Path) -> Task:
    """SF: answerer and bridge.

    Raises:
        UserError: data or a checkpoint are missing, or do not fit.
    """
    data = experiment.data
    model = Refinement(
        answerer_of(experiment, output),
        reader_of(experiment, output),
        data.baseline,
        data.min_confidence,
        experiment.model.generate_configs.max_new_tokens,
    )

    def examples_of(split: str) -> RefinementExamples:
        config = model.reader.bridge.config
        questions = with_flow(dataset, split, config.extractor, folder=videos)
        return RefinementExamples(SpanExamples(dataset, questions, {}, config), videos)

    held_out = examples_of(data.val_split) if data.val_split else None

    def finish(folder: Path) -> None:
        if held_out:
            model.eval()
            shown = (model.chosen(held_out[place]) for place in range(len(held_out)))
            validate(model.answerer, held_out.spans.questions, shown, experiment, folder)

    return Task(
        model,
        examples_of(data.split),
        held_out,
        _rows,
        ["rows"],
        model.save,
        model.load,
        finish=finish,
    )


def _rows(examples: Sequence[RefinementExample]) -> dict[str, Any]:
    """A batch that the model reads by itself."""
    return {"rows": list(examples)}
