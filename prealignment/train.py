"""Train a language model to read videos: on text videos (pre-alignment), or on labelled questions.

    python -m prealignment.train textvid --llm meta-llama/Llama-2-7b-hf --out exp/topa/llama2_7b
    torchrun --nproc_per_node 4 -m prealignment.train textvid --llm ~/llama2/7B --out exp/topa/7b
    python -m prealignment.train nextqa --init exp/topa/llama2_7b
    python -m prealignment.train nextqa --init exp/topa/llama2_7b --labels 0.1 ...

A data set with text videos (`prealignment.tideos`) is learned from their vectors; --split NAME
takes the questions of that split and the vectors of real videos. train_scripts/topa_*.sh hold the
method's hyper-parameters. --out holds alignment.safetensors and alignment.json, without the
language model, and so does each of its checkpoint-STEP, one a pass. The same command goes on after
an interruption.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from prealignment.model.config import AlignmentConfig
from tools.cli import (
    add_data_root,
    add_dataset,
    add_settings,
    amount,
    new_folder,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
    share,
)
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import CorruptLine, read_json, write_json

DTYPES = ("auto", "bfloat16", "float32")
TRAINING = "training.json"
SAMPLES = 256  # items whose vectors tell whether a training that goes on has the same ones


@dataclass(frozen=True)
class TrainSettings:
    """See the help of each field. The defaults are those of pre-alignment with Llama-2 7B; with
    --init, rate and passes are those of its fine-tuning."""

    out: Path = setting(
        Path("exp/topa/run"), "folder of what is trained", type=new_folder, metavar="DIR"
    )
    llm: str | None = setting(
        None,
        "the language model: a folder or an id of a Llama, or a folder of Meta's own files"
        " (default: that of --init)",
        metavar="MODEL",
    )
    init: Path | None = setting(
        None, "go on from this alignment (default: begin anew)", type=Path, metavar="DIR"
    )
    split: str | None = setting(
        None,
        "learn from the questions of a split (default: from text videos, and from train where the"
        " data set has none)",
        metavar="NAME",
        group="what is learned from",
    )
    clip: str | None = setting(
        None, "whose vectors are read (default: the only CLIP's that has been run)", metavar="NAME"
    )
    labels: float = setting(
        1.0, "share of the videos that is learned from, in as many steps as all take", type=share
    )
    choice_share: float | None = setting(
        None, "how often a choice is asked (default: 0.5 for text videos, else 1)", type=share
    )
    caption_share: float | None = setting(
        None,
        "how often a description is (default: 0.25 for text videos, else 0); what is left are open"
        " questions",
        type=share,
    )
    blind: bool = setting(False, "vectors of zero, as a control")
    variance: float = setting(
        0.0, "of the noise that is added to vectors (default: none, as in the method)", type=float
    )
    lr: float | None = setting(
        None,
        "learning rate (default: 5.63e-3; 1.25e-2 with --init)",
        type=amount,
        group="optimisation",
    )
    epochs: float | None = setting(
        None, "passes over the data, of all labels (default: 20; 5 with --init)", type=amount
    )
    warmup_epochs: float = setting(1.0, "of them, in which the learning rate rises")
    effective_batch: int = setting(288, "rows of a step, over all GPUs", type=positive)
    batch_size: int = setting(18, "rows that a GPU takes at once", type=positive)
    weight_decay: float = setting(0.1, "of what is neither a gate nor a slot's vector", type=float)
    max_grad_norm: float = setting(1.0, "largest norm of the gradient", type=amount)
    max_length: int = setting(150, "longest row, tokens", type=positive)
    dtype: str = setting(
        "auto",
        "of the frozen weights (default auto: bfloat16 on a GPU, float32 on a CPU)",
        choices=list(DTYPES),
    )
    seed: int = setting(0, "of first values and of all that is drawn")
    workers: int = setting(2, "processes that lay rows out, for each GPU", group="running")


BEGINNING, GOING_ON = (5.63e-3, 20.0), (1.25e-2, 5.0)  # rate and passes
OF_A_RUN = ("out", "batch_size", "workers", "dtype")  # they do not shape what is learned


def train(dataset: Dataset, settings: TrainSettings, config: Any, device: str = "auto") -> None:
    """Train into settings.out, or go on with what has begun there.

    Args:
        config: a function of the vectors' width that gives the AlignmentConfig of a new alignment.

    Raises:
        UserError: data, vectors or a model are missing or do not fit, or the folder holds another
            training.
    """
    import torch
    from transformers import TrainingArguments, set_seed

    from inference.checkpoints import digest
    from prealignment.training.trainer import AlignmentTrainer
    from prealignment.training.visits import QUESTION_SHARES, TEXT_SHARES, Examples, of_share
    from prealignment.vectors.sources import open_source
    from prealignment.weights.alignments import (
        Settings,
        load_weights,
        open_aligned,
        read_settings,
        save_alignment,
    )

    # What is learned from.
    items, tower = _items(dataset, settings)
    source = open_source(dataset, f"{tower}:{settings.clip}" if settings.clip else tower)
    items = source.covered(items)
    shares = TEXT_SHARES if tower == "text" else QUESTION_SHARES
    given = {"choice": settings.choice_share, "caption": settings.caption_share}
    shares = replace(shares, **{name: value for name, value in given.items() if value is not None})

    lr, epochs = GOING_ON if settings.init else BEGINNING
    settings = replace(settings, lr=settings.lr or lr, epochs=settings.epochs or epochs)
    assert settings.lr and settings.epochs

    # The model.
    use_gpu = device_of(device) != "cpu"
    name = settings.dtype if settings.dtype != "auto" else ("bfloat16" if use_gpu else "float32")
    set_seed(settings.seed)
    if settings.init:
        about = read_settings(settings.init, settings.llm)
        _refuse_another(config(about.alignment.width), about.alignment)
        if about.features.partition(":")[2] != source.clip:
            raise UserError(
                f"{settings.init} reads vectors {about.features}, and those of {dataset.name} are"
                f" {source.kind}: both must come from one CLIP"
            )
        source.check_width(items, about.alignment.width)
        about = replace(about, features=source.kind, training={})
    elif settings.llm:
        about = Settings(settings.llm, config(source.width(items)), source.kind)
    else:
        raise UserError("give --llm, a Llama to begin with, or --init, an alignment to go on from")
    aligned = open_aligned(about, getattr(torch, name), settings.seed)
    model = aligned.model
    if settings.init:
        load_weights(model, settings.init)

    # How long, and in which steps.
    visits = int(settings.epochs * len(items))
    kept = of_share(items, settings.labels, settings.seed)
    if not visits or not kept:
        raise UserError(
            f"--epochs {settings.epochs:g} and --labels {settings.labels:g} of {len(items)} items"
            " leave nothing to learn from"
        )
    steps_a_pass = max(1, len(items) // settings.effective_batch)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    accumulated, left = divmod(settings.effective_batch, settings.batch_size * processes)
    if left or not accumulated:
        raise UserError(
            f"a step of {settings.effective_batch} rows cannot be shared by {processes} processes"
            f" of {settings.batch_size} rows each: change --effective_batch or --batch_size"
        )
    examples = Examples(
        kept,
        source.read,
        aligned.tokenizer,
        shares,
        visits,
        about.alignment.frames,
        settings.max_length,
        settings.seed,
        settings.blind,
        settings.variance,
    )
    arguments = TrainingArguments(
        output_dir=str(settings.out),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=accumulated,
        num_train_epochs=1,  # the passes are in the examples
        learning_rate=settings.lr,
        lr_scheduler_type="cosine",
        warmup_ratio=min(1.0, settings.warmup_epochs / settings.epochs),
        max_grad_norm=settings.max_grad_norm,
        use_cpu=not use_gpu,
        seed=settings.seed,
        save_steps=steps_a_pass,
        logging_steps=10,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_num_workers=settings.workers,
        ddp_find_unused_parameters=False,
        report_to=[],
        disable_tqdm=not sys.stderr.isatty(),
    )
    training = {
        **{key: value for key, value in asdict(settings).items() if key not in OF_A_RUN},
        **{"dataset": dataset.name, "items": len(kept), "choice_share": shares.choice},
        **{"caption_share": shares.caption, "alignment": asdict(about.alignment)},
        **{"features": source.kind, **_digests(kept, source.read)},
        "init_digest": digest(str(settings.init)) if settings.init else None,
    }
    training = {key: str(v) if isinstance(v, Path) else v for key, v in training.items()}
    _claim(settings.out, training)
    about = replace(about, training=training)
    trainer = AlignmentTrainer(model, about, settings.weight_decay, arguments, examples)
    trained = sum(parameter.numel() for _, parameter in model.added_parameters())
    if trainer.is_world_process_zero():
        noun = "text videos" if tower == "text" else "questions"
        print(
            f"{trained:,} parameters are trained on {len(kept)} of {len(items)} {noun},"
            f" {visits} visits"
        )
    try:
        trainer.train(resume_from_checkpoint=_last_whole(settings.out))
    except UserError as error:
        # Of a process that lays rows out, the library passes on the traceback as the text.
        last = str(error).strip().splitlines()[-1]
        raise UserError(last.removeprefix("tools.errors.UserError: ")) from None
    if trainer.is_world_process_zero():
        save_alignment(settings.out, model, about)
        trainer.state.save_to_json(str(settings.out / "trainer_state.json"))
        print(settings.out)


def _items(dataset: Dataset, settings: TrainSettings) -> tuple[list[Any], str]:
    """What is learned from, and the tower of CLIP that has read it."""
    from qa.records import read_questions

    texts = dataset.table("tideos")
    if settings.split is None and texts.exists():
        records = [record for record in texts.sorted_records() if not record.get("filtered")]
        return records, "text"
    questions = read_questions(dataset, settings.split or "train")
    labelled = [question for question in questions if question.answer is not None]
    if len(labelled) < len(questions):
        print(f"{len(questions) - len(labelled)} of {len(questions)} questions have no answer")
    return labelled, "image"


def _refuse_another(given: Any, own: Any) -> None:
    """Raise UserError where flags of a new alignment ask for another one than --init has."""
    usual = type(given)(given.width)
    for field in fields(given):
        asked = getattr(given, field.name)
        if asked not in (getattr(usual, field.name), getattr(own, field.name)):
            raise UserError(
                f"--{field.name} {asked} is of a new alignment, and that of --init has"
                f" {getattr(own, field.name)}: leave it out"
            )


def _digests(items: Sequence[Any], read: Callable[[Any], np.ndarray]) -> dict[str, str]:
    """What changes with the items, and with the vectors of `SAMPLES` of them: reading all may take
    minutes, and other videos may get theirs meanwhile."""
    texts, vectors = hashlib.sha256(), hashlib.sha256()
    for item in items:
        texts.update(orjson.dumps(item))
    for place in np.linspace(0, len(items) - 1, min(SAMPLES, len(items)), dtype=int):
        vectors.update(read(items[place]).tobytes())
    return {"items_digest": texts.hexdigest()[:12], "vectors_digest": vectors.hexdigest()[:12]}


def _last_whole(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, where its trainer_state.json stands."""
    for checkpoint in sorted(folder.glob("checkpoint-[0-9]*"), key=_step, reverse=True):
        with suppress(CorruptLine):
            if read_json(checkpoint / "trainer_state.json"):
                return str(checkpoint)
        print(f"{checkpoint} is not whole and is passed over", file=sys.stderr)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _claim(folder: Path, training: dict[str, Any]) -> None:
    """Note what is trained in a folder; raises UserError where it is another training's."""
    before = read_json(folder / TRAINING)
    if before is not None and any(folder.glob("checkpoint-*")) and before != training:
        other = [key for key in training if before.get(key) != training[key]]
        raise UserError(
            f"{folder} holds another training: {', '.join(other[:3])} differ; choose another --out,"
            " or delete it"
        )
    if int(os.environ.get("RANK", 0)) == 0:
        write_json(folder / TRAINING, training)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what the command line says."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, TrainSettings)
    add_settings(parser, AlignmentConfig)
    add_device_flag(parser)
    add_data_root(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # rows are laid out in processes
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, TrainSettings)
    train(
        dataset,
        settings,
        lambda width: settings_from(args, AlignmentConfig, width=width),
        args.device,
    )


if __name__ == "__main__":
    run_script(main)
