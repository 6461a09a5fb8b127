"""A training by the library's Trainer: the method's optimizer and schedule, checkpoints of trained
parts only, and what a recipe's keys come to."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Trainer, TrainerState, TrainingArguments, set_seed

from grounding.answerer.decoding import Decoding
from grounding.bridge.moments import BASELINES
from grounding.bridge.sampler import BRIDGE
from grounding.training.answerer import PRECISIONS, answerer_task, spans_file
from grounding.training.bridge import bridge_task, labels_file
from grounding.training.experiment import Experiment, Machine, Optimizer, flat
from grounding.training.refinement import refinement_task
from grounding.training.task import Task
from tools.errors import UserError
from tools.store.dataset import DATA_ROOT, REPOSITORY, Dataset, open_dataset
from tools.store.files import replace_atomically
from tools.training.stages import digest

TASKS = {
    **dict.fromkeys(("iv", "ivt", "video"), answerer_task),
    "tg": bridge_task,
    "sf": refinement_task,
}
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
CHECKPOINTS_KEPT = 2
SEEDS = 2**32  # numpy takes seeds below it
# Keys that do not shape what is learned: a run may go on with other values of them.
OF_A_RUN = (
    *("data.num_workers", "data.video_dir", "path.data_dir", "path.video_dir", "path.output_dir"),
    *("trainer.strategy", "trainer.accelerator", "trainer.log_every_n_steps"),
)


class StageTrainer(Trainer):
    """The library's Trainer, with the method's optimizer, and checkpoints of trained parts only."""

    def __init__(self, task: Task, optimizer: Optimizer, args: TrainingArguments) -> None:
        super().__init__(
            model=task.model,
            args=args,
            train_dataset=task.examples,
            eval_dataset=task.held_out,
            data_collator=task.collate,
            compute_metrics=task.metrics,
        )
        self.task, self.own_optimizer = task, optimizer

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Over all that is trained."""
        if self.optimizer is None:
            trained = [p for p in self.task.model.parameters() if p.requires_grad]
            self.optimizer = new_optimizer(trained, self.own_optimizer)
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.task.save(Path(str(output_dir or self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.task.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self.task.load(Path(str(self.state.best_model_checkpoint)))


def new_optimizer(weights: Sequence[torch.Tensor], settings: Optimizer) -> torch.optim.Optimizer:
    """An optimizer of some weights.

    Raises:
        ValueError: a setting is out of its range.
    """
    keys = asdict(settings)
    kind, betas = OPTIMIZERS[keys.pop("name")], tuple(keys.pop("betas"))
    if len(betas) != 2:
        raise ValueError(f"betas has {len(betas)} numbers, and must have two")
    return kind(weights, betas=betas, **keys)


def train(experiment: Experiment) -> Path:
    """Run an experiment; returns its output folder.

    Raises:
        UserError: a value does not fit, data are missing, or the folder holds another experiment.
    """
    _check(experiment)
    dataset, videos = _folders(experiment)
    output = _output_folder(experiment, _inputs(experiment, dataset))
    set_seed(experiment.seed)  # of what is drawn before the library's Trainer sets it: adapters
    task = TASKS[experiment.stage](experiment, dataset, videos, output)
    trained = sum(p.numel() for p in task.model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in task.model.parameters())
    print(
        f"stage {experiment.stage}: {trained:,} of {total:,} parameters are trained, on"
        f" {len(task.examples)} questions"
    )
    optimizer = experiment.model.optimizer
    trainer = StageTrainer(task, optimizer, _arguments(experiment, task, output))
    checkpoint = last_checkpoint(output)
    if checkpoint and (state := _finished(checkpoint)):
        # Within an epoch, the library would take one more step.
        best = Path(state.best_model_checkpoint or checkpoint).name
        task.load(Path(checkpoint).with_name(best))
        trainer.state = state
    else:
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except UserError as error:
            # Of a process that reads frames, the library passes on the traceback as the text.
            last = str(error).strip().splitlines()[-1]
            raise UserError(last.removeprefix("tools.errors.UserError: ")) from None
    if trainer.is_world_process_zero():
        task.save(output)
        trainer.state.save_to_json(str(output / "trainer_state.json"))
        task.finish(output)
    return output


def last_checkpoint(output: Path) -> str | None:
    """The last checkpoint in an output folder that is whole: what the library writes last, its
    state, can be read. None where there is none."""
    states = output.glob("checkpoint-*/trainer_state.json")
    for state in sorted(states, key=lambda file: int(file.parent.name.split("-")[1]), reverse=True):
        with suppress(ValueError):  # it is half-written
            json.loads(state.read_text(encoding="utf-8"))
            return str(state.parent)
    return None


def _finished(checkpoint: str) -> TrainerState | None:
    """The state of a checkpoint after the last step; None of an earlier one."""
    state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
    return state if 0 < state.max_steps <= state.global_step else None


def _folders(experiment: Experiment) -> tuple[Dataset, Path]:
    """The data set, and the folder of its videos."""
    data, path = experiment.data, experiment.path
    if text_dir := data.text_dir or path.text_dir:
        folder = Path(text_dir).absolute()
        if not folder.is_dir():
            raise UserError(f"text_dir {text_dir}: no such folder")
        dataset = Dataset(folder.name, folder)
    else:
        dataset = open_dataset(data.dataset, Path(path.data_dir or DATA_ROOT))
    videos = data.video_dir or path.video_dir or dataset.video_dir()
    if videos is None or not Path(videos).is_dir():
        raise UserError(
            f"the videos of {dataset.name} are not at {videos}: give their folder as data.video_dir"
        )
    return dataset, Path(videos)


def _inputs(experiment: Experiment, dataset: Dataset) -> dict[str, str | None]:
    """What is learned from, and a digest or fingerprint of it; None of what is not there."""
    data, model = experiment.data, experiment.model
    inputs = {}
    for split in filter(None, (data.split, data.val_split)):
        inputs[f"{split}_questions"] = digest(dataset.questions(split))
        if experiment.stage == "tg":
            inputs[f"{split}_labels"] = digest(labels_file(dataset, split, data.labels))
        elif experiment.stage != "sf" and (spans := spans_file(dataset, split, data.spans)):
            inputs[f"{split}_spans"] = digest(spans)
    if experiment.stage in ("tg", "sf"):
        flow = dataset.table(f"flow_{model.of_extractor_name_or_path}")
        inputs["flow"] = flow.meta().get("fingerprint")
        if model.sampler_name_or_path:
            inputs["first_bridge"] = digest(Path(model.sampler_name_or_path) / BRIDGE)
    return inputs


def _output_folder(experiment: Experiment, inputs: dict[str, str | None]) -> Path:
    """The folder of an experiment, with its keys and its inputs in experiment.yaml.

    Raises:
        UserError: another experiment has begun there.
    """
    output = Path(experiment.path.output_dir or REPOSITORY / "exp" / experiment.experiment)
    file = output / "experiment.yaml"
    keys = {**asdict(experiment), "inputs": inputs}
    if file.exists() and last_checkpoint(output):
        before = _shaping(_read_yaml(file))
        now = _shaping(keys)
        if other := [key for key in now if now[key] != before.get(key)]:
            raise UserError(
                f"{output} holds another experiment: {', '.join(other[:3])} differ; choose another"
                " path.output_dir, or delete it"
            )
    output.mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("RANK", 0)) == 0:
        with replace_atomically(file) as written:
            written.write(yaml.safe_dump(keys, sort_keys=False).encode())
    return output


def _read_yaml(file: Path) -> dict[str, Any]:
    """The keys in a file; none where it holds something else."""
    try:
        keys = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError:
        return {}
    return keys if isinstance(keys, dict) else {}


def _shaping(experiment: dict[str, Any]) -> dict[str, Any]:
    """The keys that shape what is learned, `group.key` -> value."""
    return {key: value for key, value in flat(experiment) if key not in OF_A_RUN}


def _check(experiment: Experiment) -> None:
    """See that values are in their ranges, so that none of them stops a training at its end."""
    data, trainer = experiment.data, experiment.trainer
    for key, value, choices in (
        ("stage", experiment.stage, tuple(TASKS)),
        ("trainer.strategy", trainer.strategy, ("auto", "ddp")),
        ("trainer.accelerator", trainer.accelerator, ("auto", "cpu", "gpu", "cuda")),
        ("trainer.precision", trainer.precision, tuple(PRECISIONS)),
        ("model.optimizer.name", experiment.model.optimizer.name, tuple(OPTIMIZERS)),
        ("data.baseline", data.baseline, tuple(BASELINES)),
    ):
        if value not in choices:
            raise UserError(f"{key}={value}: choose one of {', '.join(choices)}")
    for key in ("devices", "num_nodes"):
        if (value := getattr(trainer, key)) < 1:
            raise UserError(
                f"trainer.{key}={value}: give a number from 1 on; torchrun --nproc_per_node N"
                " --nnodes M starts the processes"
            )
    for group, names, least in (
        ("data", ("nframe", "batch_size", "max_text"), 1),
        ("data", ("num_workers",), 0),
        ("trainer", ("max_epochs", "accumulate_grad_batches"), 1),
        ("trainer", ("log_every_n_steps", "save_every_n_steps"), 1),
    ):
        for name in names:
            if (value := getattr(getattr(experiment, group), name)) < least:
                raise UserError(f"{group}.{name}={value}: it must be {least} or more")
    try:
        new_optimizer([torch.zeros(1)], experiment.model.optimizer)
    except ValueError as error:
        raise UserError(f"model.optimizer: {error}") from None
    warmup = experiment.model.scheduler.warmup_ratio
    if not 0 <= warmup <= 1:
        raise UserError(f"model.scheduler.warmup_ratio={warmup}: it must be from 0 to 1")
    if trainer.max_steps < 1 and trainer.max_steps != -1:
        raise UserError(
            f"trainer.max_steps={trainer.max_steps}: give a number from 1 on, or -1 for the steps"
            " of the epochs"
        )
    if not 0 <= experiment.seed < SEEDS:
        raise UserError(f"seed={experiment.seed}: it must be from 0 to {SEEDS - 1}")
    Decoding(**vars(experiment.model.generate_configs))  # which refuses what does not go together
    no_gpu = trainer.accelerator == "cpu" or not torch.cuda.is_available()
    if no_gpu and trainer.accelerator in ("gpu", "cuda"):
        raise UserError(f"trainer.accelerator={trainer.accelerator}: torch finds no GPU here")
    if no_gpu and PRECISIONS[trainer.precision] == torch.float16:
        raise UserError(f"trainer.precision={trainer.precision}: a CPU takes bf16 or 32")


def _arguments(experiment: Experiment, task: Task, output: Path) -> TrainingArguments:
    trainer, data = experiment.trainer, experiment.data
    dtype = PRECISIONS[trainer.precision]
    arguments = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=data.batch_size,
        per_device_eval_batch_size=data.batch_size,
        gradient_accumulation_steps=_accumulation(trainer),
        num_train_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        learning_rate=experiment.model.optimizer.lr,
        lr_scheduler_type="cosine",
        warmup_ratio=experiment.model.scheduler.warmup_ratio,
        max_grad_norm=trainer.gradient_clip_val,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=trainer.accelerator == "cpu",
        seed=experiment.seed,
        logging_steps=trainer.log_every_n_steps,
        save_strategy="epoch" if task.best else "steps",
        save_steps=trainer.save_every_n_steps,
        save_total_limit=CHECKPOINTS_KEPT,
        eval_strategy="epoch" if data.val_split else "no",
        prediction_loss_only=task.metrics is None,
        label_names=task.labels,
        metric_for_best_model=task.best,
        load_best_model_at_end=task.best is not None,
        remove_unused_columns=False,
        dataloader_num_workers=data.num_workers,
        ddp_find_unused_parameters=False,
        report_to=[],
        disable_tqdm=not sys.stderr.isatty(),
    )
    if arguments.n_gpu > 1:
        print(
            f"one of {arguments.n_gpu} GPUs is used: torchrun --nproc_per_node {arguments.n_gpu} -m"
            " grounding.train starts a process on each"
        )
        # Or the library wraps the model in nn.DataParallel, which cuts a batch's frames, words and
        # rows into as many parts each, though they do not belong together, and takes more examples
        # to a step.
        arguments._n_gpu = 1
    return arguments


def _accumulation(trainer: Machine) -> int:
    """Batches of a process to a step, so that a step takes as many examples as the recipe says,
    whatever the number of processes."""
    planned = trainer.devices * trainer.num_nodes
    processes = int(os.environ.get("WORLD_SIZE", 1))
    batches, left = divmod(trainer.accumulate_grad_batches * planned, processes)
    if left or not batches:
        raise UserError(
            f"{processes} processes cannot share the {planned} x"
            f" {trainer.accumulate_grad_batches} batches of a step: give trainer.devices="
            f"{processes} trainer.num_nodes=1"
        )
    if processes != planned:
        print(
            f"{processes} of the recipe's {planned} processes: each takes {batches} batches to a"
            " step"
        )
    return batches
