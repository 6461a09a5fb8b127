"""What tiny checkpoints read and say: their words, special tokens and chat templates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

HERE = Path(__file__).parent
FAMILIES: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "families.yaml").read_text("utf-8"))

# What the models can say, besides "," and ".": words of captions and of the prompts. Any other word
# is spelt out in its bytes, and the longer a prompt, the less the frames weigh in it.
WORDS = (HERE / "words.txt").read_text("utf-8").split()

# How the released tokenizer cuts text before it looks for merges (Qwen2's regular expression).
QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special_tokens(family: str) -> tuple[str, ...]:
    """A family's special tokens in the order of their ids."""
    settings = FAMILIES[family]
    return *settings["special"], *settings["tokenizer"]["additional_special_tokens"]


def chat_template(family: str) -> str:
    """A family's chat template, in Jinja."""
    return (HERE / FAMILIES[family]["chat_template"]).read_text("utf-8")


QWEN_SPECIAL = special_tokens("qwen2vl")
# The chat template without the system turn that it puts in front where there is none.
QWEN_TURNS = chat_template("qwen2vl").partition("{%- endif -%}")[2]


def build_tokenizer(special: Sequence[str], first_special: int | None = None) -> Tokenizer:
    """A byte-level BPE tokenizer in which " word" is one token for each of WORDS.

    Args:
        special: the special tokens; their ids follow one another.
        first_special: the id of the first of them; None: the first free one. Ids left over below it
            are held by tokens that no text becomes: where nobody holds an id, the library prints
            all such ids each time a tokenizer is saved.
    """
    ids = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in WORDS:
        for end in range(1, len(word) + 1):
            longer = f"Ġ{word[:end]}"
            if longer not in ids:
                ids[longer] = len(ids)
                merges.append((longer[:-1], longer[-1]))
    ids |= {f"<|unused_{free}|>": free for free in range(len(ids), first_special or len(ids))}
    ids |= {token: number for number, token in enumerate(special, len(ids))}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return tokenizer
