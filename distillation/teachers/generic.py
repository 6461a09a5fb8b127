"""Any video language model of models.yaml, or a folder of such a family, as a teacher."""

from typing import Any

from distillation.teachers.teacher import Case, LocalTeacher, View
from inference.captioner import Request, Sampling
from inference.engines.huggingface import HuggingFaceCaptioner
from tools.errors import UserError
from tools.text.qa_prompts import qa_messages


class GenericTeacher(LocalTeacher):
    """A captioner's network, shown the frames as its captioner shows them."""

    def __init__(self, captioner: HuggingFaceCaptioner, view: View | None = None) -> None:
        super().__init__(captioner.name, captioner.checkpoint, view)
        self.captioner = captioner

    def fingerprint(self) -> dict[str, Any]:
        return {"teacher": "generic", **self.captioner.fingerprint()}

    def check(self, device: str) -> None:
        self.captioner.check(device, Sampling.greedy(1), self.view.count)
        if not self.captioner.model.shared_prefix:
            raise UserError(
                f"{self.checkpoint} is of no family of models.yaml whose cache can be repeated for"
                " each option (shared_prefix)"
            )

    def open(self, device: str) -> None:
        import torch

        self.captioner.load(device, torch.get_num_threads())
        self.network, self.tokenizer = self.captioner.network, self.captioner.tokenizer

    def encode(self, case: Case, prompt: str) -> dict[str, Any]:
        request = Request(qa_messages(prompt, case.frames, case.fps), 0)
        return self.captioner.on_device(self.captioner.inputs([request]))
