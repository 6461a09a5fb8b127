"""What a stage of the method is to a trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Task:
    """A stage, ready for a trainer.

    Attributes:
        model: called with a batch, it gives {"loss": nats, ...}.
        examples, held_out: what it is trained on, and what its loss is computed on after every
            epoch, by position.
        collate: makes a batch of examples.
        labels: the parts of a batch that a model needs for a loss.
        save, load: write what is trained to a folder, and read it again.
        metrics: of the held-out predictions, as the library's Trainer asks for them.
        best: the metric that says which epoch is kept; None: the last.
        finish: called with the output folder at the end.
    """

    model: nn.Module
    examples: Any
    held_out: Any
    collate: Callable[[Sequence[Any]], dict[str, Any]]
    labels: list[str]
    save: Callable[[Path], None]
    load: Callable[[Path], None]
    metrics: Callable[[Any], dict[str, float]] | None = None
    best: str | None = None
    finish: Callable[[Path], None] = lambda folder: None
