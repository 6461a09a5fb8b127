"""The library's Trainer, with the method's optimizer, and checkpoints of what is trained alone."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from prealignment.model.llama import AlignedLlama
from prealignment.training.visits import Examples
from prealignment.weights.alignments import Settings, load_weights, save_alignment

BETAS = (0.9, 0.95)
UNDECAYED = (".gate1", ".gate2", "temporal_emb.weight")


class AlignmentTrainer(Trainer):
    """Visits the examples in their own order, which is drawn already."""

    def __init__(
        self,
        model: AlignedLlama,
        about: Settings,
        weight_decay: float,
        args: TrainingArguments,
        examples: Examples,
    ) -> None:
        self.aligned, self.about, self.examples = model, about, examples
        added = dict(model.added_parameters())
        decayed = [p for name, p in added.items() if not name.endswith(UNDECAYED)]
        others = [p for name, p in added.items() if name.endswith(UNDECAYED)]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, betas=BETAS)
        # Of several GPUs the library would use all in one process, and take as many rows a step.
        args._n_gpu = min(1, args.n_gpu)
        super().__init__(
            model=model,
            args=args,
            train_dataset=examples,
            data_collator=examples.collate,
            optimizers=(optimizer, None),
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.examples)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        # Where no row of a step has labels, the loss is 0, and not 0 / 0.
        count = super()._get_num_items_in_batch(batch_samples, device)
        return count.clamp(min=1) if torch.is_tensor(count) else count

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_alignment(Path(str(output_dir or self.args.output_dir)), self.aligned, self.about)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.aligned, Path(resume_from_checkpoint))
