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


# A frame is 28 x 28 pixels, and a video comes again in every pair of its own: to read it takes
# longer than a step of training.
register(kept=None)
register_template(QwenTemplateMeta("toyvl", template_cls=ToyVLTemplate, default_system=None))
