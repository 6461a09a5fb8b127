"""How many tokens a row has in training, told from its text and the header of its video.

The text is that of ms-swift's chat template of the Qwen-VL families.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tools.errors import UserError
from tools.pairs.swift_rows import MAX_LENGTH
from tools.video.budget import Budget, video_header

TOYVL = "toyvl"  # train_scripts/toyvl_template.py, which asks the tokenizer for a video's token
# What swift's templates put in front of a conversation, by the template's name.
SYSTEMS: dict[str, str | None] = {
    "qwen2_vl": "You are a helpful assistant.",
    "qwen2_5_vl": "You are a helpful assistant.",
    "mimo_vl": "You are MiMo, an AI assistant developed by Xiaomi.",
    TOYVL: None,
}
VIDEO_PAD = "<|video_pad|>"
MEDIUM = f"<|vision_start|>{VIDEO_PAD}<|vision_end|>"
SWIFT_VIDEO_PAD = 151656  # ms-swift's id of it (Qwen2VLTemplate), whatever the tokenizer says


def conversations(row: dict[str, Any], system: str | None) -> Iterator[str]:
    """The text of a row as the model reads it, once for the chosen and once for the rejected side,
    with one <|video_pad|> a video."""
    answers = [row["messages"][-1]["content"]]
    if "rejected_response" in row:
        answers.append(row["rejected_response"])
    for answer in answers:
        messages = [*row["messages"][:-1], {"role": "assistant", "content": answer}]
        if system and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": system})
        yield "".join(
            f"<|im_start|>{one['role']}\n{one['content'].replace('<video>', MEDIUM)}<|im_end|>\n"
            for one in messages
        )


class RowLengths:
    """Counts the tokens of rows for one model.

    Args:
        template: swift's name of the model's chat template, one of SYSTEMS.
        tokenizer: the model's tokenizer.json.
        budget: how videos are seen.
    """

    def __init__(self, template: str, tokenizer: Path, budget: Budget) -> None:
        self._template = template
        self._system = SYSTEMS[template]
        self._file = tokenizer
        self._budget = budget
        self._video_tokens = lru_cache(maxsize=None)(self._count_video)

    def fits(self, row: dict[str, Any], max_length: int = MAX_LENGTH) -> bool:
        """Is a row taken, or is one side of it longer than training takes?

        Raises:
            VideoError: a row that may be too long has a video whose header cannot be read.
        """
        # A token is a byte at least: nearly all rows are known to fit without more ado.
        most_video = len(row.get("videos", ())) * self._budget.most_tokens
        texts = list(conversations(row, self._system))
        if most_video + max(len(text.encode()) for text in texts) <= max_length:
            return True
        return self.count(row) <= max_length

    def count(self, row: dict[str, Any]) -> int:
        """Tokens of the longer side of a row."""
        texts = list(conversations(row, self._system))
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        videos: Sequence[str] = row.get("videos", ())
        # Each <|video_pad|> of the text becomes all of its video.
        visual = sum(self._video_tokens(path) - 1 for path in videos)
        return max(len(one.ids) for one in encoded) + visual

    def check_video_pad(self) -> None:
        """Is a video's place where ms-swift looks for it?

        Raises:
            UserError: it is not: the videos would be left out without a word.
        """
        if self._template == TOYVL:
            return
        found = self._tokenizer.token_to_id(VIDEO_PAD)
        if found != SWIFT_VIDEO_PAD:
            raise UserError(
                f"{self._file}: {VIDEO_PAD} is {found} here and {SWIFT_VIDEO_PAD} in swift, which"
                " would train without the videos and not say so: take the released tokenizer"
            )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self._file))

    def _count_video(self, path: str) -> int:
        width, height, frames, rate = video_header(Path(path))
        return self._budget.tokens(width, height, frames, rate)
