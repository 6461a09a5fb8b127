"""Rewards for telling a video in order, which need no labels; grpo.sh loads them into ms-swift.

`order`: the share of pairs of a video's clips that an answer tells in the order of the clips, by
the model's own captions of the single clips. `reverse`: the same, but a pair counts only where the
model's text about the video played backwards does not tell it in that order too. That text is made
once, before the training (the idea of a reward from reversed videos is ArrowRL's, arXiv
2506.03340, whose own reward differs).
"""

import os
from collections.abc import Sequence
from typing import Any

from swift.rewards import ORM, orms
from swift.template.templates.qwen import Qwen2VLTemplate

from tools.text.order import MATCH, agreement, agreement_but_backwards

LEAST = float(os.environ.get("ORDER_MATCH", MATCH))


class OrderReward(ORM):  # type: ignore[misc]
    """Agreement with the order of the clip captions, 0 to 1."""

    def __call__(
        self, completions: Sequence[str], clip_captions: Sequence[Sequence[str]], **_: Any
    ) -> list[float]:
        """The reward of each answer."""
        pairs = zip(completions, clip_captions, strict=True)
        return [agreement(text, events, LEAST) for text, events in pairs]


class ReverseReward(ORM):  # type: ignore[misc]
    """Agreement with the order of the clip captions in pairs that the model tells otherwise of the
    reversed video, 0 to 1; 0 where there is no text of that."""

    def __call__(
        self,
        completions: Sequence[str],
        clip_captions: Sequence[Sequence[str]],
        reversed: Sequence[str | None],
        **_: Any,
    ) -> list[float]:
        """The reward of each answer."""
        return [
            agreement_but_backwards(text, backwards, events, LEAST) if backwards else 0.0
            for text, events, backwards in zip(completions, clip_captions, reversed, strict=True)
        ]


def generate(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Let the model compute its own positions: transformers 4.57 cuts those of ms-swift 4.6, which
    are (4, batch, length), along the batch in every step after the first."""
    kwargs.pop("position_ids", None)
    return super(Qwen2VLTemplate, self).generate(model, *args, **kwargs)


Qwen2VLTemplate.generate = generate
orms["order"], orms["reverse"] = OrderReward, ReverseReward
