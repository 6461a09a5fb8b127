"""toyvl's chat template for ms-swift, which `--external_plugins` registers.

ms-swift writes a video's tokens as 151656 whatever the tokenizer says; toyvl has no such id, so its
template asks the tokenizer. Its conversations have no system turn.
"""

from typing import Any

from swift.template import register_template
from swift.template.templates.qwen import Qwen2VLTemplate, QwenTemplateMeta

from tools.training.reader import register


class ToyVLTemplate(Qwen2VLTemplate):
    """Qwen2-VL's template with the tokenizer's own ids of pictures and videos."""

    def init_processor(self, processor: Any) -> None:
        """Take the ids from the tokenizer."""
        super().init_processor(processor)
        if processor is not None:
            ids = self.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
            self.image_token_id, self.video_token_id = ids
        self.read: dict[str, tuple[list[Any], Any]] = {}

    def replace_tag(self, media_type: Any, index: int, inputs: Any) -> list[Any]:
        """Read a video once: its frames are 28 x 28 pixels, and it comes again in both answers of a
        pair and in every pair of its own, while reading takes longer than a step of training."""
        video = inputs.videos[index] if media_type == "video" else None
        if not isinstance(video, str):
            return super().replace_tag(media_type, index, inputs)
        if video not in self.read:
            tokens = super().replace_tag(media_type, index, inputs)
            self.read[video] = (tokens, inputs.videos[index])
        tokens, inputs.videos[index] = self.read[video]
        return list(tokens)


register()
register_template(QwenTemplateMeta("toyvl", template_cls=ToyVLTemplate, default_system=None))
