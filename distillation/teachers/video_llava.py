"""Video-LLaVA (Lin et al., EMNLP 2024, arXiv 2311.10122): eight frames, 257 tokens each."""

from typing import Any

from distillation.teachers.teacher import Case, LocalTeacher, whole_network
from inference.checkpoints import local_folder
from tools.text.chat import VIDEO_PROMPT

CHECKPOINT = "LanguageBind/Video-LLaVA-7B-hf"


class VideoLlava(LocalTeacher):
    """VideoLlavaForConditionalGeneration with its own processor."""

    processor: Any

    model_type = "video_llava"

    def open(self, device: str) -> None:
        from transformers import VideoLlavaForConditionalGeneration, VideoLlavaProcessor

        folder = local_folder(self.checkpoint)
        self.processor = VideoLlavaProcessor.from_pretrained(folder)
        self.tokenizer = self.processor.tokenizer
        arguments = self.weights.arguments(device)
        self.network = whole_network(VideoLlavaForConditionalGeneration, folder, arguments)

    def encode(self, case: Case, prompt: str) -> dict[str, Any]:
        inputs = self.processor(
            text=VIDEO_PROMPT.format(question=prompt), videos=[case.frames], return_tensors="pt"
        )
        return dict(inputs.to(self.network.device, self.network.dtype))
