"""Step 2 (TG): the bridge learns to point at the spans that labels name."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from grounding.bridge.moments import Ratios, decode, iou, ratios_of_tokens, tokens_of
from grounding.bridge.network import NO_LABEL, Bridge, BridgeConfig, span_loss
from grounding.bridge.sampler import BRIDGE, _tokens_within, encode_questions, open_tokenizer
from grounding.bridge.weights import load_bridge, load_weights, read_tensors, save_bridge
from grounding.flow import EXTRACTORS, read_flow
from grounding.pseudo_labels import check_labels, read_labels
from grounding.training.experiment import Experiment
from grounding.training.task import Task
from inference.checkpoints import local_folder
from qa.records import Question, read_questions
from tools.errors import UserError, did_you_mean
from tools.store.dataset import Dataset

GOOD_IOUS = (0.3, 0.5)  # shares of spans above these are reported


class SpanExample(NamedTuple):
    """A question, with the flow of the part of its video that it is about.

    Attributes:
        flow: (L, 2, grid, grid) float32, normalised.
        question: alone, without a prompt.
        span: ratios of the whole video's time; None without a label.
        first: token of the video with which `flow` begins.
        total: tokens of the video; None: `flow` is all of it.
    """

    flow: np.ndarray
    question: str
    span: Ratios | None
    first: int = 0
    total: int | None = None

    def label(self) -> tuple[int, int]:
        """First and last token of `flow` that the span covers; twice NO_LABEL where it covers
        none, or there is no span."""
        length = len(self.flow)
        if self.span is None:
            return NO_LABEL, NO_LABEL
        first, last = (place - self.first for place in tokens_of(self.span, self.total or length))
        if last < 0 or first >= length:
            return NO_LABEL, NO_LABEL
        return max(first, 0), min(last, length - 1)

    def ratios(self, first: int, last: int) -> Ratios:
        """The ratios of the whole video's time that tokens of `flow` cover."""
        total = self.total or len(self.flow)
        return ratios_of_tokens(self.first + first, self.first + last, total)


@dataclass
class SpanExamples:
    """Questions with their videos' flow and labels, by position."""

    dataset: Dataset
    questions: Sequence[Question]
    labels: Mapping[str, Ratios]
    config: BridgeConfig

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, place: int) -> SpanExample:
        question = self.questions[place]
        flow = read_flow(
            self.dataset, self.config.extractor, str(question.video_id), grid=self.config.grid
        )
        part = (question.start or 0.0, math.inf if question.end is None else question.end)
        first, last = _tokens_within(flow.times, part)
        return SpanExample(
            flow.normalised(self.config.normalise)[first : last + 1],
            question.question,
            self.labels.get(question.id),
            first,
            len(flow.speed),
        )


class SpanReader(nn.Module):
    """The bridge with the tokenizer of its questions."""

    def __init__(self, bridge: Bridge, tokenizer: Any) -> None:
        super().__init__()
        self.bridge, self.tokenizer = bridge, tokenizer

    def encode(self, examples: Sequence[SpanExample]) -> dict[str, Tensor]:
        """A batch: flow (B, L, 2, grid, grid), flow_mask (B, L), words, words_mask (B, W), and
        first, last (B,), the tokens of each label, NO_LABEL where there is none."""
        lengths = [len(example.flow) for example in examples]
        first, last = torch.tensor([example.label() for example in examples]).T
        words, words_mask = encode_questions(self.tokenizer, [e.question for e in examples])
        flow = pad_sequence([torch.from_numpy(e.flow) for e in examples], batch_first=True)
        return {
            "flow": flow,
            "flow_mask": torch.arange(flow.shape[1]) < torch.tensor(lengths)[:, None],
            "words": words,
            "words_mask": words_mask,
            "first": first,
            "last": last,
        }

    def forward(
        self,
        flow: Tensor,
        flow_mask: Tensor,
        words: Tensor,
        words_mask: Tensor,
        first: Tensor,
        last: Tensor,
    ) -> dict[str, Tensor]:
        """{"loss"}, and in eval mode {"spans": (B, 2) the best span's first and last token}."""
        start, end = self.bridge(flow, flow_mask, words, words_mask)
        outputs = {"loss": span_loss(start, end, first, last)}
        if not self.training:
            best = [(spans[0].first, spans[0].last) for spans in decode(start, end, flow_mask)]
            outputs["spans"] = torch.tensor(best, device=flow.device)
        return outputs

    def save(self, folder: Path) -> None:
        """Write the bridge and its tokenizer."""
        save_bridge(folder / BRIDGE, self.bridge)
        self.tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.bridge.load_state_dict(load_bridge(folder / BRIDGE).state_dict())


def span_metrics(prediction: Any) -> dict[str, float]:
    """Mean IoU with the labels, and the shares above GOOD_IOUS, of the held-out spans."""
    values = np.array(
        [
            iou((a, b + 1), (first, last + 1))
            for (a, b), first, last in zip(
                prediction.predictions, *prediction.label_ids, strict=True
            )
            if first != NO_LABEL
        ]
    )
    shares = {f"iou_{good}": float((values >= good).mean()) for good in GOOD_IOUS}
    return {"iou": float(values.mean()), **shares}


def bridge_task(experiment: Experiment, dataset: Dataset, videos: Path, output: Path) -> Task:
    """TG: the bridge alone; no answerer is loaded.

    Raises:
        UserError: data or a checkpoint are missing, or do not fit.
    """
    del videos  # their flow is read in their place
    data = experiment.data
    if data.val_split and data.labels:
        raise UserError(
            f"data.labels={data.labels} is the file of one split, so it does not go with"
            f" data.val_split={data.val_split}: grounding.labels --split {data.val_split} --labels"
            " FILE puts labels where each split has its own"
        )
    reader = reader_of(experiment, output)

    def examples_of(split: str) -> SpanExamples:
        path = labels_file(dataset, split, data.labels)
        rows = read_labels(path, data.min_confidence)
        check_labels(path, rows, read_questions(dataset, split))
        labels = {name: row["span_ratio"] for name, row in rows.items()}
        config = reader.bridge.config
        questions = with_flow(dataset, split, config.extractor, labels)
        return SpanExamples(dataset, questions, labels, config)

    held_out = examples_of(data.val_split) if data.val_split else None
    return Task(
        reader,
        examples_of(data.split),
        held_out,
        reader.encode,
        ["first", "last"],
        reader.save,
        reader.load,
        metrics=span_metrics,
        best="iou" if held_out else None,
    )


def labels_file(dataset: Dataset, split: str, labels: str | None) -> Path:
    """The file that data.labels means for a split."""
    return Path(labels) if labels else dataset.pseudo_labels(split)


def with_flow(
    dataset: Dataset,
    split: str,
    extractor: str,
    labels: Mapping[str, Ratios] | None = None,
    folder: Path | None = None,
) -> list[Question]:
    """The questions of a split whose videos have flow.

    Args:
        labels: by question, each must have one; None: none is asked for.
        folder: of the videos, which must be there, and answers with them; None: neither.

    Raises:
        UserError: there are none.
    """
    if extractor not in EXTRACTORS:
        raise UserError(
            f"model.of_extractor_name_or_path={extractor} is none of {', '.join(EXTRACTORS)}"
            f"{did_you_mean(extractor, EXTRACTORS)}"
        )
    left_out: Counter[str] = Counter()
    kept = []
    for question in read_questions(dataset, split):
        if question.context["media"] != "video":
            left_out[f"media {question.context['media']}"] += 1
        elif labels is not None and question.id not in labels:
            left_out["no label"] += 1
        elif folder and question.answer is None:
            left_out["no answer"] += 1
        elif folder and not (folder / str(question.video)).is_file():
            left_out["missing file"] += 1
        elif not dataset.flow(extractor, str(question.video_id)).exists():
            left_out["no flow"] += 1
        else:
            kept.append(question)
    reasons = ", ".join(f"{reason} {count}" for reason, count in left_out.most_common())
    if not kept:
        raise UserError(
            f"{dataset.name}/{split}: no question can be used ({reasons or 'it is empty'});"
            f" python -m grounding.flow computes the flow of {extractor}"
        )
    if reasons:
        print(f"{dataset.name}/{split}: questions left out: {reasons}")
    return kept


def reader_of(experiment: Experiment, output: Path) -> SpanReader:
    """The bridge that an experiment begins with: a trained one, one with BERT's weights, or a new
    one."""
    model, data = experiment.model, experiment.data
    trained = model.sampler_name_or_path
    if trained and (Path(trained) / BRIDGE).is_file():
        bridge = load_bridge(Path(trained) / BRIDGE)
        if bridge.config.extractor != model.of_extractor_name_or_path:
            raise UserError(
                f"{trained} reads flow of {bridge.config.extractor}: give"
                f" model.of_extractor_name_or_path={bridge.config.extractor}"
            )
        return SpanReader(bridge, open_tokenizer(Path(trained)))
    if experiment.tiny:
        from inference.tiny.blip import wordpiece

        tokenizer, trained = wordpiece(), None
    else:
        name = data.sampler_processor_name
        tokenizer = transformers.AutoTokenizer.from_pretrained(local_folder(name))
    torch.manual_seed(experiment.seed)
    config = BridgeConfig(
        vocabulary=len(tokenizer),
        extractor=model.of_extractor_name_or_path,
        **vars(model.bridge),
    )
    bridge = Bridge(config)
    if trained:
        loaded = load_weights(bridge, read_tensors(local_folder(trained)))
        print(f"{trained}: {len(loaded.filled)} tensors of the bridge begin with its weights")
    return SpanReader(bridge, tokenizer)
