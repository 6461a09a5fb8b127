"""The temporal grounding bridge: where in a video's optical flow the answer to a question lies.

One token a pair of frames goes through self-attention over time and cross-attention to the words
of the question; two logits a token say where the span starts and ends, as extractive reading
comprehension does in a text (VideoTGB, arXiv 2402.16050).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.errors import UserError, did_you_mean

POSITIONS = ("rope", "rope_window", "learned", "none", "reference")
CHANNELS = 2  # of flow: to the right and down
ROPE_BASE = 10_000.0  # RoFormer, arXiv 2104.09864
NORM_EPS = 1e-12  # BERT's
FEED_FORWARD = 4  # widths, as in BERT
SMALL = 0.02  # std of BERT's initial weights
# Sides of the picture a second. Flow of the normalisation `fixed` is divided by it, which brings
# what moves near 1, as layers like their inputs.
TYPICAL_SPEED = 1 / 14
NO_LABEL = -1  # the target of a sample that has no span
LEAST = {  # values of a config; of the learned positions [bos] and [eos] take two
    **dict.fromkeys(("layers", "window", "text_layers"), 0),
    **dict.fromkeys(("dim", "heads", "vocabulary", "grid", "patch"), 1),
    "max_positions": 3,
}

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, (length, head size / 2) each."""


@dataclass(frozen=True)
class BridgeConfig:
    """What a bridge is made of; the defaults have BERT-base's sizes, so that its weights fit.

    Attributes:
        layers: layers with self-attention over time and cross-attention to the words.
        dim, heads: width of a token, and attention heads.
        vocabulary: rows of the word embedding.
        positions: rope: rotary positions in self-attention; rope_window: the same, where a token
            sees those at most `window` before or after it; learned: a table of `max_positions`,
            added; none; reference: as in the released checkpoints, whose rotary tables are noise
            that also turns the cross-attention, with the learned table and [bos] and [eos] tokens.
        text_layers: layers of self-attention over the words before that; 0: each word by itself.
        normalise: how flow is normalised before it comes here (`tools.features.flow`).
        grid, patch: cells along a side of the flow field, and of the patches that a token weighs.
        extractor: whose flow it learns from (`grounding.flow --extractor`).
        input: flow, or rgb: a vector of `features` numbers a frame, such as a vision tower's.
        pre_norm: LayerNorm before each part of a layer, which small bridges learn better with, not
            after it, as in BERT.

    Raises:
        UserError: a value that cannot be.
    """

    layers: int = 6
    dim: int = 768
    heads: int = 12
    vocabulary: int = 30_522
    positions: str = "rope_window"
    window: int = 12
    max_positions: int = 512
    text_layers: int = 0
    normalise: str = "fixed"
    grid: int = 14
    patch: int = 2
    extractor: str = "dis"
    input: str = "flow"
    features: int = 0
    pre_norm: bool = False
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, choices in (
            ("positions", POSITIONS),
            ("normalise", ("fixed", "clip_max")),
            ("input", ("flow", "rgb")),
        ):
            value = getattr(self, name)
            if value not in choices:
                hint = did_you_mean(str(value), choices)
                raise UserError(f"bridge: {name} is {value!r}, not one of {choices}{hint}")
        for name, least in LEAST.items():
            if (value := getattr(self, name)) < least:
                raise UserError(f"bridge: {name} is {value}; it must be {least} or more")
        if not 0 <= self.dropout < 1:
            raise UserError(f"bridge: dropout is {self.dropout}; it must be from 0 to below 1")
        if self.dim % (2 * self.heads):
            raise UserError(f"bridge: dim {self.dim} is no multiple of 2 * heads ({self.heads})")
        if self.grid % self.patch:
            raise UserError(f"bridge: grid {self.grid} is no multiple of patch {self.patch}")
        if (self.input == "rgb") != (self.features > 0):
            raise UserError("bridge: input rgb and features above 0 go together")

    @classmethod
    def faithful(cls, **changes: Any) -> "BridgeConfig":
        """The sampler as released: patches of 16 pixels of flow at 224 pixels, over the clip's
        largest, and its positions."""
        released = cls(
            positions="reference",
            normalise="clip_max",
            grid=224,
            patch=16,
            extractor="raft_large",
        )
        return replace(released, **changes)

    @property
    def most_tokens(self) -> int | None:
        """Flow tokens that a clip may have; None: as many as it has."""
        if self.positions == "reference":
            return self.max_positions - 2  # beside [bos] and [eos]
        return self.max_positions if self.positions == "learned" else None


class Attention(nn.Module):
    """Multi-head attention, queries and keys rotated where a rotation is given."""

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query, self.key, self.value, self.out = (
            nn.Linear(config.dim, config.dim) for _ in range(4)
        )

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        mask: Tensor,
        turn_x: Rotation | None = None,
        turn_source: Rotation | None = None,
    ) -> Tensor:
        """x (B, L, dim) reads from source (B, S, dim) where mask (B, 1, L or 1, S) is true."""
        query, key, value = (
            layer(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, part in ((self.query, x), (self.key, source), (self.value, source))
        )
        query = query if turn_x is None else rotate(query, turn_x)
        key = key if turn_source is None else rotate(key, turn_source)
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(query, key, value, mask, dropout)
        return self.out(read.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Self-attention, cross-attention to the words where `crosses`, and two linear layers."""

    def __init__(self, config: BridgeConfig, crosses: bool) -> None:
        super().__init__()
        dim = config.dim
        self.pre_norm = config.pre_norm
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(dim, NORM_EPS)
        if crosses:
            self.cross = Attention(config)
            self.cross_norm = nn.LayerNorm(dim, NORM_EPS)
        self.widen = nn.Linear(dim, FEED_FORWARD * dim)
        self.narrow = nn.Linear(FEED_FORWARD * dim, dim)
        self.feed_norm = nn.LayerNorm(dim, NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def _add(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        if self.pre_norm:
            return x + self.dropout(part(norm(x)))
        return norm(x + self.dropout(part(x)))

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        turn: Rotation | None,
        words: Tensor | None = None,
        words_mask: Tensor | None = None,
        turn_cross: tuple[Rotation, Rotation] | tuple[None, None] = (None, None),
    ) -> Tensor:
        """x (B, L, dim) -> (B, L, dim); the masks as in `Attention`."""
        x = self._add(x, self.attention_norm, lambda x: self.attention(x, x, mask, turn, turn))
        if words is not None:
            x = self._add(
                x, self.cross_norm, lambda x: self.cross(x, words, words_mask, *turn_cross)
            )
        return self._add(x, self.feed_norm, lambda x: self.narrow(F.gelu(self.widen(x))))


class FlowTokens(nn.Module):
    """A token a flow field: one weighted average of its patches, projected.

    That is what the released convolution over patches and linear layer over their places come to,
    since nothing nonlinear stands between them.
    """

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.scale = 1 / TYPICAL_SPEED if config.normalise == "fixed" else 1.0
        patches = (config.grid // config.patch) ** 2
        self.weights = nn.Parameter(torch.randn(patches) / patches**0.5)
        self.projection = nn.Linear(CHANNELS * config.patch**2, config.dim)

    def forward(self, flow: Tensor) -> Tensor:
        """(B, L, 2, grid, grid) -> (B, L, dim)."""
        rows = flow.unflatten(-1, (-1, self.patch)).unflatten(-3, (-1, self.patch))
        # (batch, time, channel, patch row, row in it, patch column, column in it)
        patches = rows.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)
        average = torch.einsum("blpk,p->blk", patches * self.scale, self.weights)
        return self.projection(average)


class Bridge(nn.Module):
    """The network; `grounding.bridge.weights` saves and loads it."""

    time_table: Tensor  # these two of positions "reference" alone
    word_table: Tensor

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.config = config
        dim, rows = config.dim, config.max_positions
        if config.input == "flow":
            self.tokens: nn.Module = FlowTokens(config)
        else:
            self.tokens = nn.Linear(config.features, dim)
        self.tokens_norm = nn.LayerNorm(dim, NORM_EPS)
        if config.positions in ("learned", "reference"):
            self.learned = nn.Parameter(SMALL * torch.randn(rows, dim))
        if config.positions == "reference":
            self.bos = nn.Parameter(SMALL * torch.randn(dim))
            self.eos = nn.Parameter(SMALL * torch.randn(dim))
            # Meant as sines and cosines, but the released initialisation draws them like weights.
            for name in ("time_table", "word_table"):
                self.register_buffer(name, SMALL * torch.randn(rows, dim // config.heads))
        self.words = nn.Embedding(config.vocabulary, dim)
        self.words_norm = nn.LayerNorm(dim, NORM_EPS)
        self.text_layers = nn.ModuleList(Layer(config, False) for _ in range(config.text_layers))
        self.layers = nn.ModuleList(Layer(config, True) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(dim, NORM_EPS) if config.pre_norm else nn.Identity()
        self.head = nn.Linear(dim, 2)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, flow: Tensor, flow_mask: Tensor, words: Tensor, words_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where the span starts and where it ends.

        Args:
            flow: (B, L, 2, grid, grid) as the config normalises it, or (B, L, features) of rgb.
            flow_mask: (B, L) true or 1 for the tokens of each clip, which come first.
            words: (B, W) ids of the question.
            words_mask: (B, W) true or 1 for the words, at least one a question.

        Returns:
            Logits of the start and of the end, (B, L) each; -inf where the mask is 0.

        Raises:
            UserError: the clip has more tokens than the config's learned positions.
        """
        flow_mask, words_mask = flow_mask.bool(), words_mask.bool()
        text = self._text(words, words_mask)
        x, mask = self.tokens(flow), flow_mask
        if self.config.positions == "reference":
            x, mask = self._with_ends(x, mask)
        length, size = x.shape[1], self.config.dim // self.config.heads
        if self.config.positions in ("learned", "reference"):
            if length > len(self.learned):
                raise UserError(
                    f"the bridge has {len(self.learned)} learned positions, and a clip has {length}"
                    " tokens: positions rope_window takes clips of any length"
                )
            x = x + self.learned[:length]
        x = self.dropout(self.tokens_norm(x))
        turn: Rotation | None = None
        turn_cross: tuple[Any, Any] = (None, None)
        if self.config.positions in ("rope", "rope_window"):
            turn = rotation(length, size, x.device)
        elif self.config.positions == "reference":
            turn = _halves(self.time_table[:length])
            turn_cross = (turn, _halves(self.word_table[: words.shape[1]]))
        seen = self._seen(mask)
        for layer in self.layers:
            x = layer(x, seen, turn, text, words_mask[:, None, None], turn_cross)
        if self.config.positions == "reference":
            x = x[:, 1:-1]
        logits = self.head(self.last_norm(x)).float().masked_fill(~flow_mask[..., None], -torch.inf)
        return logits[..., 0], logits[..., 1]

    def _text(self, words: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(self.words_norm(self.words(words)))
        turn = rotation(words.shape[1], self.config.dim // self.config.heads, x.device)
        for layer in self.text_layers:
            x = layer(x, mask[:, None, None], turn)
        return x

    def _with_ends(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and mask with [bos] before and [eos] after each clip, (B, L + 2, ...)."""
        count, ends = len(x), mask.sum(1) + 1
        x = torch.cat([self.bos.to(x).expand(count, 1, -1), x, torch.zeros_like(x[:, :1])], 1)
        x[torch.arange(count, device=x.device), ends] = self.eos.to(x)
        return x, torch.arange(x.shape[1], device=x.device) <= ends[:, None]

    def _seen(self, mask: Tensor) -> Tensor:
        """(B, 1, L, L): which tokens each token sees."""
        places = torch.arange(mask.shape[1], device=mask.device)
        offsets = (places[:, None] - places).abs()
        seen = mask[:, None, None]
        if self.config.positions == "rope_window":
            seen = seen & (offsets <= self.config.window)
        # A token that sees none would be NaN, and so would all that read it with a weight of 0.
        return seen | (offsets == 0)


def rotation(length: int, size: int, device: torch.device | str = "cpu") -> Rotation:
    """Cosines and sines of position * 10000 ** (-2 j / size), for j < size / 2 (RoPE)."""
    frequencies = ROPE_BASE ** (-torch.arange(0, size, 2, device=device) / size)
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """Turn each pair of neighbouring numbers of x (..., length, size) by its angle."""
    cosines, sines = turn
    even, odd = x[..., ::2], x[..., 1::2]
    turned = torch.stack([even * cosines - odd * sines, odd * cosines + even * sines], -1)
    return turned.flatten(-2).type_as(x)


def _halves(table: Tensor) -> Rotation:
    sines, cosines = table.chunk(2, -1)
    return cosines, sines


def span_loss(start_logits: Tensor, end_logits: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """(CE(start) + CE(end)) / 2, the mean over the samples that have a label; 0 without one.

    Args:
        start_logits, end_logits: (B, L).
        first, last: (B,) int64 tokens; NO_LABEL in both of a sample without a label.
    """
    losses = [
        F.cross_entropy(logits, target, ignore_index=NO_LABEL, reduction="sum")
        for logits, target in ((start_logits, first), (end_logits, last))
    ]
    return sum(losses) / 2 / (first != NO_LABEL).sum().clamp(min=1)
