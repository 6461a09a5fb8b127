"""Step 3 (IV, IVT) and videos only: the answerer learns from frames that are chosen beforehand."""

from pathlib import Path

import torch

from grounding.answerer.answerer import Answerer
from grounding.answerer.weights import load_trained, open_answerer, save_trained
from grounding.training.data import Examples, read_examples
from grounding.training.experiment import Experiment
from grounding.training.task import Task
from grounding.training.validation import validate
from qa.records import read_questions
from tools.errors import UserError
from tools.store.dataset import Dataset

AUTO = "auto"
PRECISIONS = {
    **dict.fromkeys(("32", "32-true", "fp32"), torch.float32),
    **dict.fromkeys(("bf16", "bf16-mixed"), torch.bfloat16),
    **dict.fromkeys(("16", "16-mixed", "fp16"), torch.float16),
}


def answerer_task(experiment: Experiment, dataset: Dataset, videos: Path, output: Path) -> Task:
    """IV, IVT and video only: the answerer, on frames that stand fast.

    Raises:
        UserError: data or a checkpoint are missing, or do not fit.
    """
    data = experiment.data
    if data.val_split and str(data.spans).endswith(".jsonl"):
        raise UserError(
            f"data.spans={data.spans} is the file of one split, so it does not go with"
            f" data.val_split={data.val_split}: give data.spans=NAME, which each split has spans of"
        )

    def examples_of(split: str) -> Examples:
        spans = spans_file(dataset, split, data.spans)
        examples, left_out = read_examples(dataset, split, videos, data.nframe, spans)
        for reason, count in left_out.most_common():
            print(f"{dataset.name}/{split}: {count} questions are left out: {reason}")
        return examples

    examples = examples_of(data.split)
    held_out = examples_of(data.val_split) if data.val_split else None
    answerer = answerer_of(experiment, output)

    def finish(folder: Path) -> None:
        if held_out:
            shown = (held_out[place] for place in range(len(held_out)))
            validate(answerer, held_out.questions, shown, experiment, folder)

    return Task(
        answerer,
        examples,
        held_out,
        answerer.encode,
        ["answer_ids"],
        lambda folder: save_trained(answerer, folder),
        lambda folder: load_trained(answerer, folder),
        finish=finish,
    )


def spans_file(dataset: Dataset, split: str, spans: str | None) -> Path | None:
    """The file that data.spans means for a split.

    Args:
        spans: a file; the name of a sampler that grounding.spans has asked; auto, where it has
            asked one; None: no file.

    Raises:
        UserError: there is none, or there are several.
    """
    if spans is None or spans.endswith(".jsonl"):
        return Path(spans) if spans else None
    names = dataset.span_names(split)
    if not names:
        read_questions(dataset, split)  # which names the splits that are there
        raise UserError(
            f"{dataset.name}/{split} has no spans: python -m grounding.spans {dataset.name}"
            " WORLD_SIZE --sampler DIR writes them; data.spans=null takes frames of whole videos"
        )
    if spans == AUTO and len(names) == 1:
        return dataset.spans(split, names[0])
    if spans not in names:
        raise UserError(
            f"data.spans={spans}: {dataset.name}/{split} has the spans of {', '.join(names)};"
            " choose one of these, or a file"
        )
    return dataset.spans(split, spans)


def answerer_of(experiment: Experiment, output: Path) -> Answerer:
    """The answerer that an experiment begins with."""
    model, data = experiment.model, experiment.data
    base = model.model_name_or_path
    if experiment.tiny:
        base = str(_tiny_checkpoint(model.tiny, output / "tiny", experiment.seed))
    if data.processor_name not in (None, model.model_name_or_path):
        raise UserError(
            f"data.processor_name={data.processor_name}: an answerer reads with the processor of"
            f" its own checkpoint, {base}"
        )
    stage = experiment.stage
    if not model.freeze_language:
        if stage != "sf":
            raise UserError(
                f"model.freeze_language=false goes with the stage sf, not {stage}: ivt trains"
                " adapters in the language model"
            )
        stage = "language"
    answerer = open_answerer(
        base,
        PRECISIONS[str(experiment.trainer.precision)],
        stage=stage,
        fusion=model.fusion,
        nframe=data.nframe,
        max_text=data.max_text,
    )
    own = answerer.model.config.vision_config.image_size
    if data.target_size not in (None, own) and not experiment.tiny:
        raise UserError(f"data.target_size={data.target_size}: {base} sees {own} pixels a side")
    return answerer


def _tiny_checkpoint(family: str, folder: Path, seed: int) -> Path:
    """A tiny random checkpoint, of which every process finds the same weights."""
    from filelock import FileLock

    from inference.tiny import blip

    with FileLock(f"{folder}.lock"):
        if not (folder / "config.json").exists():
            blip.build(family, folder, seed)
    return folder.absolute()
