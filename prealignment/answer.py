"""Answer multiple-choice questions about videos, in one table of treatments, controls and scores.

    python -m prealignment.answer egoschema --checkpoint exp/topa/llama2_7b --memory textvid
    python -m prealignment.answer nextqa --checkpoint exp/topa/nextqa --permute 2 --controls

With --memory, a data set of text videos, each vector of a real video is used in three ways:
projected on the memory (the method), shifted by the difference of the means, and raw. Each gets
two scores: the letter that the model would say, and how likely each option is as an open answer.
Blind, all vectors are zero. Predictions go to data/DATASET/qa/predictions/SPLIT/
NAME-WAY-SCORE.jsonl, with controls beside them, which

    python evaluate_model.py qa --dataset egoschema --split val --predictions FILE

scores by type and against controls, and of which it writes submissions.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as Screen

from prealignment.model.config import check_top
from prealignment.model.layouts import Sample
from qa.asking import option_order
from qa.frames import subtitles_of
from qa.options import LETTERS
from qa.predictions import PERMUTED, Prediction, benchmark_digest, control_path, write_predictions
from qa.records import Question, read_questions
from qa.report import cell
from qa.scoring import Answers, choices_of, estimate, right_of, score_orders
from tools.cli import (
    add_data_root,
    add_dataset,
    add_settings,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.screen import BOOTSTRAP, empty_table, show
from tools.statistics import interval_of
from tools.store.dataset import Dataset, open_dataset

VectorsOf = Callable[[Question], np.ndarray]
DIGITS = 4  # of log p: what is below depends on which questions share a batch
BLIND, SHUFFLED, SINGLE = "question_only", "frames_shuffled", "single_frame"  # as in qa.predictions


@dataclass(frozen=True)
class AnswerSettings:
    """See the help of each field.

    Raises:
        UserError: --top is given without --memory.
    """

    checkpoint: Path = setting(
        Path("exp/topa/run"), "the folder of an alignment", type=Path, metavar="DIR"
    )
    memory: str | None = setting(
        None,
        "project on the memory of this data set of text videos, or on this file (default: raw"
        " vectors alone)",
        metavar="DATASET",
    )
    top: int | None = setting(
        None,
        "project on the N nearest rows of the memory alone (default: on all of them)",
        type=positive,
        metavar="N",
    )
    llm: str | None = setting(
        None, "the language model, where it is elsewhere now", metavar="MODEL"
    )
    frames: int | None = setting(
        None, "vectors of a video, at most (default: as in training)", type=positive
    )
    split: str = setting("val", "whose questions are answered", metavar="NAME")
    permute: int = setting(
        0, "also score letters with the options in N further orders, drawn for each question"
    )
    controls: bool = setting(
        False, "also shuffle the vectors, and show one alone (blind is always scored)"
    )
    max_length: int | None = setting(
        None,
        "longest row, tokens: dialogue, then question and options lose words (default: any)",
        type=positive,
    )
    batch_size: int = setting(16, "rows that the model reads at once", type=positive)
    name: str | None = setting(
        None,
        "name of the predictions' files (default: that of the checkpoint's folder, and the number"
        " of --frames)",
    )
    seed: int = setting(0, "of orders of options and of shuffled vectors")

    def __post_init__(self) -> None:
        check_top(self.top, self.memory)


class Respondent:
    """An aligned model that is asked the same questions in one way after the other."""

    def __init__(
        self, aligned: Any, questions: Sequence[Question], settings: AnswerSettings
    ) -> None:
        self.aligned, self.questions, self.settings = aligned, questions, settings

    def log_p(self, vectors_of: VectorsOf, score: str, order: int = 0) -> dict[str, list[float]]:
        """Nats of each option in the published order, by the question's id.

        Args:
            order: number of the order in which options are listed; 0 is the published one.
        """
        from prealignment.scores.options import SCORES

        orders = [option_order(q, order, self.settings.seed) for q in self.questions]
        asked = [
            (sample_of(question, places), vectors_of(question))
            for question, places in zip(self.questions, orders, strict=True)
        ]
        rows = SCORES[score](
            self.aligned, asked, self.settings.batch_size, self.settings.max_length
        )
        return {
            question.id: [round(values[places.index(n)], DIGITS) for n in range(len(places))]
            for question, places, values in zip(self.questions, orders, rows, strict=True)
        }


def sample_of(question: Question, places: Sequence[int]) -> Sample:
    """A question with its options in an order."""
    options = question.choices or []
    listed = tuple(options[place] for place in places)
    dialogue = tuple(subtitles_of(question))
    return Sample("choice", None, question.question, listed, dialogue)


def answer(
    dataset: Dataset,
    everything: Sequence[Question],
    questions: Sequence[Question],
    respondent: Respondent,
    ways: dict[str, VectorsOf],
    made_by: dict[str, Any],
) -> dict[str, dict[str, dict[str | None, Answers]]]:
    """Score and write the predictions; returns way -> score -> control -> answers.

    Args:
        everything: the split's questions; questions: those that are asked.
        ways: name -> the vectors of a question; the first one also has the further controls.
    """
    settings = respondent.settings
    first = next(iter(ways.values()))
    seed = settings.seed

    def shuffled(question: Question) -> np.ndarray:
        vectors = first(question)
        order = list(range(len(vectors)))
        random.Random(f"{seed}/{question.id}/frames").shuffle(order)
        return vectors[order]

    def single(question: Question) -> np.ndarray:
        vectors = first(question)
        return vectors[len(vectors) // 2 :][:1]

    controls: dict[str, VectorsOf] = {BLIND: lambda question: 0 * first(question)}
    if settings.controls:
        controls |= {SHUFFLED: shuffled, SINGLE: single}
    results: dict[str, dict[str, dict[str | None, Answers]]] = {way: {} for way in ways}
    for score in ("letter", "likelihood"):
        shared: dict[str | None, dict[str, list[float]]]
        shared = {name: respondent.log_p(of, score) for name, of in controls.items()}
        for way, vectors_of in ways.items():
            values: dict[str | None, dict[str, list[float]]]
            values = {None: respondent.log_p(vectors_of, score), BLIND: shared[BLIND]}
            if vectors_of is first:
                values |= shared
            if score == "letter":
                for order in range(1, settings.permute + 1):
                    values[f"{PERMUTED}{order}"] = respondent.log_p(vectors_of, score, order)
            name = f"{settings.name}-{way}-{score}"
            path = dataset.predictions(settings.split, name)
            meta = {
                "dataset": dataset.name,
                "split": settings.split,
                "model": name,
                "benchmark": benchmark_digest(everything),
                "made_by": {**made_by, "way": way, "score": score},
            }
            results[way][score] = {}
            for control, log_p in values.items():
                predictions = {key: Prediction(key, log_p=own) for key, own in log_p.items()}
                own_meta = {**meta, "control": control, "seed": seed}
                write_predictions(control_path(path, control), predictions.values(), own_meta)
                results[way][score][control] = Answers(name, predictions, own_meta)
    return results


def table_of(
    questions: Sequence[Question],
    results: dict[str, dict[str, dict[str | None, Answers]]],
    subject: str,
) -> Screen:
    """Accuracy of each way and control, by letters and by likelihood."""
    videos = len({question.unit for question in questions})
    screen = empty_table(
        f"{len(questions)} questions about {videos} videos of {subject}", BOOTSTRAP
    )
    for title in ("letter", "likelihood"):
        screen.add_column(title, justify="right")

    def add(label: str, way: str, control: str | None) -> None:
        cells = []
        for by_control in results[way].values():
            chosen = choices_of(questions, by_control[control])
            right = right_of(questions, chosen)
            cells.append(cell(interval_of(*estimate(questions, right))))
        screen.add_row(label, *cells)

    for way in results:
        add(way, way, None)
    screen.add_section()
    first = next(iter(results))
    for control in results[first]["likelihood"]:
        if control:
            label = "blind" if control == BLIND else f"{first}, {control.replace('_', ' ')}"
            add(label, first, control)
    return screen


def remarks(
    questions: Sequence[Question],
    results: dict[str, dict[str, dict[str | None, Answers]]],
    settings: AnswerSettings,
) -> Iterator[str]:
    """Which letters are chosen, and how much the order of the options decides."""
    most = max(len(question.choices or ()) for question in questions)
    places = [question.answer_index for question in questions]
    yield f"right letters: {_shares(places, most)}"
    for way, scores in results.items():
        by_control = scores["letter"]
        chosen = [c.place for c in choices_of(questions, by_control[None]).values()]
        yield f"{way}: letters chosen {_shares(chosen, most)}"
        orders = [by_control[None]]
        orders += [by_control[f"{PERMUTED}{n}"] for n in range(1, settings.permute + 1)]
        if len(orders) > 1:
            effect = score_orders(
                questions, orders, lambda question, n: option_order(question, n, settings.seed)
            )
            accuracies = ", ".join(f"{value:.3f}" for value in effect["accuracies"])
            yield (
                f"{way}: in {len(orders)} orders of the options, accuracy {accuracies}; the same"
                f" option in {effect['same_option']:.3f} of the questions"
            )


def _shares(places: Sequence[int | None], most: int) -> str:
    return " ".join(f"{LETTERS[n]} {places.count(n) / len(places):.2f}" for n in range(most))


def main(argv: Sequence[str] | None = None) -> None:
    """Answer the questions of a split."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, AnswerSettings)
    add_device_flag(parser)
    add_data_root(parser)
    args = parser.parse_args(argv)
    settings = settings_from(args, AnswerSettings)
    few = f"_{settings.frames}_frames" if settings.frames else ""
    name = settings.name or settings.checkpoint.resolve().name + few
    settings = replace(settings, name=name)
    dataset = open_dataset(args.dataset, args.data_root)
    everything = read_questions(dataset, settings.split)
    questions = [question for question in everything if question.choices is not None]
    if not questions:
        raise UserError(f"{args.dataset}/{settings.split} has no question with options")

    import torch

    from prealignment.vectors.sources import memory_of, open_memory, real_source, shaped_by, ways_of
    from prealignment.weights.alignments import load_alignment, read_settings

    about = read_settings(settings.checkpoint, settings.llm)
    source = real_source(dataset, about.features)
    source.check_width(questions, about.alignment.width)
    questions = source.covered(questions)
    memory_path = memory_of(settings.memory, source.clip, args.data_root)
    memory = open_memory(memory_path, source.clip)
    frames = min(settings.frames or about.alignment.frames, about.alignment.frames)
    device = device_of(args.device)
    ways = ways_of(source, questions, frames, memory, device, settings.top)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    aligned = load_alignment(settings.checkpoint, settings.llm, dtype)
    aligned.model.to(device)
    made_by = {
        **{"checkpoint": str(settings.checkpoint), "frames": frames, "top": settings.top},
        **shaped_by(settings.checkpoint, settings.llm, source, questions, memory_path),
    }
    respondent = Respondent(aligned, questions, settings)
    results = answer(dataset, everything, questions, respondent, ways, made_by)
    labelled = [question for question in questions if question.answer_index is not None]
    if labelled:
        show(table_of(labelled, results, f"{dataset.name}/{settings.split}"))
        for line in remarks(labelled, results, settings):
            print(line)
    for scores in results.values():
        for answers in scores.values():
            print(dataset.predictions(settings.split, answers[None].name))


if __name__ == "__main__":
    run_script(main)
