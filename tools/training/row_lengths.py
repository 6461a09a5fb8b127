"""How many tokens a row has in training, told from its text and the header of its video.

The text is that of ms-swift's chat template of the Qwen-VL families.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from tools.errors import UserError
from tools.store.jsonl import Record
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


def conversations(row: Record, system: str | None) -> Iterator[str]:
    """The text of a row as the model reads it, once for the chosen and once for the rejected side,
    with one <|video_pad|> a video."""
    *messages, chosen = row["messages"]
    if system and row["messages"][0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    for answer in (chosen["content"], row.get("rejected_response")):
        if answer is not None:
            turns = [*messages, {"role": "assistant", "content": answer}]
            text = (f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)
            yield "".join(text).replace("<video>", MEDIUM)


class RowLengths:
    """Counts the tokens of rows for one model.

    Args:
        template: swift's name of the model's chat template, one of SYSTEMS.
        tokenizer: the model's tokenizer.json.
        budget: how videos are seen.
        header: (width, height, frames, frames a second) of a video.
    """

    def __init__(
        self,
        template: str,
        tokenizer: Path,
        budget: Budget,
        header: Callable[[Path], tuple[int, int, int, float]] = video_header,
    ) -> None:
        self._template, self._file, self._budget = template, tokenizer, budget
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._video_tokens = cache(lambda path: budget.tokens(*header(Path(path))))

    def fits(self, row: Record, max_length: int) -> bool:
        """Are both sides of a row within the length that training takes? Raises VideoError if a row
        that may be too long has a video whose header cannot be read."""
        # A token is a byte at least: nearly all rows are known to fit without more ado.
        text = max(len(text.encode()) for text in conversations(row, SYSTEMS[self._template]))
        video = len(row.get("videos", ())) * self._budget.most_tokens
        return text + video <= max_length or self.count(row) <= max_length

    def count(self, row: Record) -> int:
        """Tokens of the longer side of a row."""
        texts = list(conversations(row, SYSTEMS[self._template]))
        sides = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        # Each <|video_pad|> of the text becomes all of its video.
        video = sum(self._video_tokens(path) - 1 for path in row.get("videos", ()))
        return max(len(side.ids) for side in sides) + video

    def check_video_pad(self) -> None:
        """Raise a UserError if ms-swift would not find a video's place, and so leave it out without
        a word."""
        video_pad = self._tokenizer.token_to_id(VIDEO_PAD)
        if video_pad != SWIFT_VIDEO_PAD and self._template != TOYVL:
            raise UserError(
                f"{self._file}: {VIDEO_PAD} is {video_pad} here and {SWIFT_VIDEO_PAD} in swift,"
                " which would train without the videos and not say so: take the released tokenizer"
            )
