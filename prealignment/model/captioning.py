"""The step that describes videos: the likeliest words, up to the first full stop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prealignment.model.config import CaptionSettings
from prealignment.model.layouts import Row, Sample, lay_out
from prealignment.training.visits import batch_of
from prealignment.vectors.rows import sampled
from prealignment.vectors.sources import Source, open_memory, projected, shaped_by
from prealignment.weights.alignments import Aligned, load_alignment
from qa.records import Question
from tools.errors import UserError
from tools.runner.step import Step
from tools.store.dataset import Dataset
from tools.store.jsonl import Record

BATCH = 32  # videos that are described at once


@dataclass
class CaptionStep(Step):
    """Describe the videos of a split."""

    dataset: Dataset
    settings: CaptionSettings
    source: Source
    memory_path: Path | None
    frames: int
    questions: dict[str, Question] = field(repr=False)  # video_id -> one that has its references

    name = "video_captions"
    batch_size = BATCH

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(f"described_videos_{self.settings.split}")
        self.writes = (self.dataset.table(f"video_captions_{self.settings.name}"),)

    def params(self) -> dict[str, Any]:
        settings = self.settings
        return {
            **self._shaped_by,
            "split": settings.split,
            "top": settings.top,
            "question": settings.question,
            "begin": settings.begin,
            "max_new_tokens": settings.max_new_tokens,
        }

    @cached_property
    def _shaped_by(self) -> dict[str, Any]:
        given = self.settings
        questions = self.questions.values()
        return shaped_by(given.checkpoint, given.llm, self.source, questions, self.memory_path)

    def write_videos(self) -> None:
        """List the videos of the split; of vectors that were imported, there may be no others."""
        self.reads.write({"video_id": video_id} for video_id in self.questions)

    def setup(self, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        self.aligned = load_alignment(self.settings.checkpoint, self.settings.llm, dtype)
        self.aligned.model.to(device)
        self.device = device
        self.memory = open_memory(self.memory_path, self.source.clip)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Add a caption."""
        described, vectors = [], []
        for position, record in enumerate(records):
            try:
                rows = self.source.read(self.questions[record["video_id"]])
                vectors.append(sampled(rows, self.frames))
                described.append(position)
            except UserError as error:
                yield position, error
        if vectors and self.memory:
            vectors = projected(vectors, self.memory, self.device, self.settings.top)
        captions = describe(self.aligned, vectors, self.settings) if vectors else []
        for position, caption in zip(described, captions, strict=True):
            yield position, {**records[position], "caption": caption}


def describe(
    aligned: Aligned, vectors: Sequence[np.ndarray], settings: CaptionSettings
) -> list[str]:
    """A caption of each video, of its (F, width) vectors; greedy, up to the first full stop."""
    tokenizer, model = aligned.tokenizer, aligned.model
    task, question = ("open", settings.question) if settings.question else ("caption", "")
    rows = []
    for own in vectors:
        row = lay_out(tokenizer, Sample(task, settings.begin or None, question), len(own))
        end = len(row.ids) - 1 if settings.begin else len(row.ids)  # without the end token
        rows.append(Row(row.ids[:end], row.slots, range(end, end)))
    batch = {name: v.to(model.device) for name, v in batch_of(rows, vectors, "left").items()}
    with torch.inference_mode():
        ids = model.generate(
            **batch,
            max_new_tokens=settings.max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
    texts = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.partition(".")[0].strip() for text in texts]
