"""The library's Trainer with the student's losses; an epoch ends with the validation questions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, Trainer, TrainingArguments

from distillation.inputs.batches import Group, Reader
from distillation.runs.folder import accuracy_of, inputs_of, log_p_of
from distillation.student import Student
from distillation.training.losses import Teaching, label_loss, teacher_loss
from qa.records import Question


class StudentTrainer(Trainer):
    """See the module.

    Args:
        validate: reads the validation questions `validation`, all of which have labels.
    """

    def __init__(
        self,
        student: Student,
        teaching: Teaching,
        args: TrainingArguments,
        groups: list[Group],
        read: Reader,
        validation: Sequence[Question],
        validate: Reader,
    ) -> None:
        self.student, self.teaching = student, teaching
        self.validation, self.validate = validation, validate
        # The public code decays all; ours leaves norms, biases and the scale alone.
        least = 0 if student.config.faithful else 2
        parameters = [p for p in student.parameters() if p.requires_grad]
        decayed = [p for p in parameters if p.ndim >= least]
        others = [p for p in parameters if p.ndim < least]
        groups_of = [
            {"params": decayed, "weight_decay": args.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups_of, lr=args.learning_rate)
        args._n_gpu = min(1, args.n_gpu)  # a student of 7 million parameters fills no second GPU
        super().__init__(
            model=student,
            args=args,
            train_dataset=groups,  # type: ignore[arg-type]
            eval_dataset=groups,  # type: ignore[arg-type]
            data_collator=read,  # type: ignore[arg-type]
            optimizers=(optimizer, None),
        )
        self.remove_callback(PrinterCallback)  # the table of epochs is printed at the end

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The losses of the labels and of the teacher."""
        reading = model(**inputs_of(inputs))
        loss = label_loss(reading.logits, inputs["labels"])
        if self.teaching.mode != "none":
            terms = (self.teaching, reading, inputs["teacher"], inputs.get("vectors"))
            loss = loss + teacher_loss(*terms)
        return (loss, reading) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Accuracy and cross-entropy of the validation questions."""
        answers = log_p_of(self.student, self.validate, self.validation)
        losses = [
            cross_entropy(torch.tensor(answers[q.id]), torch.tensor(q.answer_index))
            for q in self.validation
        ]
        metrics = {
            "eval_accuracy": accuracy_of(self.validation, answers),
            "eval_loss": float(torch.stack(losses).mean()),
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def epochs_of(trainer: Trainer) -> list[dict[str, float]]:
    """A row an epoch: epoch, training loss, validation loss and accuracy."""
    rows: dict[int, dict[str, float]] = {}
    for entry in trainer.state.log_history:
        row = rows.setdefault(round(entry["epoch"]), {"epoch": round(entry["epoch"])})
        names = {"loss": "loss", "eval_loss": "val_loss", "eval_accuracy": "val_accuracy"}
        row.update({names[key]: value for key, value in entry.items() if key in names})
    return [row for _, row in sorted(rows.items()) if "val_accuracy" in row]


def arguments_of(
    folder: Path, *, lr: float, epochs: int, batch: int, decay: float, clip: float, **words: Any
) -> TrainingArguments:
    """Warm-up of 5 %, then a cosine to 0, a step; the best validation epoch is kept."""
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        num_train_epochs=epochs,
        learning_rate=lr,
        weight_decay=decay,
        max_grad_norm=clip,
        lr_scheduler_type="cosine",
        warmup_ratio=0.05,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        label_names=["labels"],
        remove_unused_columns=False,
        report_to=[],
        **words,
    )
