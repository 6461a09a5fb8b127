"""The student: a question about a video is answered by the cosine of one vector with each option's.

A frozen CLIP gives the tokens of each frame, the tokens of the text line that belongs to the frame,
and the vectors of question and options (`distillation.features`). Trained are one cross-attention
from frame tokens to their line, a temporal transformer of two layers, and the projections around
them: 7.4 million parameters at CLIP ViT-B/16's width of 512.

`preset="faithful"` is the public code: no masks, no question (the option's text holds it), the mean
over frames as readout, cosines without a scale. The default reads out a token of the question. Why
they differ, in numbers, is in docs/distillation.md.

Shapes: b views, Q questions of any of them, T frames, N tokens a frame, L tokens a line, C options,
d width.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.cli import positive, setting

PRESETS = ("default", "faithful")
FIRST_SCALE = 14.3  # 1 / 0.07, where CLIP's own scale began (arXiv 2103.00020)
MOST_SCALE = 100.0
INIT_STD = 0.02
NO_OPTION = -1e9  # the logit of an option that is padding


@dataclass(frozen=True)
class StudentConfig:
    """What a student is made of; see the help of each field that is a flag.

    Attributes:
        clip_width: numbers of a token and of a text's vector.
        frames: T.
        reads_lines: whether it has the cross-attention to text lines.
        teacher_width: numbers of a teacher's vector that the student learns to give; None: none.
    """

    clip_width: int
    frames: int
    reads_lines: bool = True
    teacher_width: int | None = None
    preset: str = setting(
        "default",
        "default, or faithful: the public code's student, losses and training",
        choices=list(PRESETS),
        group="the student",
    )
    d_model: int | None = setting(
        None, "width (default: that of CLIP; another one adds a projection)", type=positive
    )
    heads: int = setting(8, "of the cross-attention", type=positive)
    temporal_heads: int = setting(4, "of the temporal transformer", type=positive)
    layers: int = setting(2, "of the temporal transformer", type=positive)
    ffn: int = setting(4, "width of its feed-forward layers, times d_model", type=positive)
    dropout: float = setting(0.1, "share of activations", type=float)

    @property
    def width(self) -> int:
        """d."""
        return self.d_model or self.clip_width

    @property
    def faithful(self) -> bool:
        """Whether it is the public code's."""
        return self.preset == "faithful"


class Reading(NamedTuple):
    """Logits (Q, C), the readout h (Q, d), and what the student takes for the teacher's vectors,
    (Q, teacher width), or None."""

    logits: Tensor
    h: Tensor
    taught: Tensor | None


class Student(nn.Module):
    """See the module.

    The statistics of the training set, by which inputs are normalised, are buffers: they are kept
    with the weights. In the faithful preset they are 0 and 1.
    """

    visual_mean: Tensor
    visual_std: Tensor
    question_mean: Tensor
    question_std: Tensor
    option_mean: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        clip, d = config.clip_width, config.width
        for name in ("visual_mean", "question_mean", "option_mean"):
            self.register_buffer(name, torch.zeros(clip))
        for name in ("visual_std", "question_std"):
            self.register_buffer(name, torch.ones(clip))
        self.enter = nn.Identity() if d == clip else nn.Linear(clip, d)
        self.dropout = nn.Dropout(config.dropout)
        self.norm_tokens = nn.LayerNorm(d)
        self.time = nn.Parameter(INIT_STD * torch.randn(1, config.frames, d))
        layer = nn.TransformerEncoderLayer(
            *(d, config.temporal_heads, config.ffn * d, config.dropout, "gelu"),
            batch_first=True,
            norm_first=True,
        )
        self.temporal = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm_out = nn.LayerNorm(d)
        if not config.faithful:
            self.question = nn.Linear(d, d)
            self.question_kind = nn.Parameter(INIT_STD * torch.randn(d))
            self.option = nn.Linear(d, d)
            nn.init.eye_(self.option.weight)
            nn.init.zeros_(self.option.bias)
            self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
        # What only some students have comes last: the others' first weights are the same.
        if config.reads_lines:
            self.norm_query, self.norm_line = nn.LayerNorm(d), nn.LayerNorm(d)
            self.attend = nn.MultiheadAttention(d, config.heads, config.dropout, batch_first=True)
        if config.teacher_width:
            self.to_teacher = nn.Linear(d, config.teacher_width)

    def frame_vectors(
        self, visual: Tensor, lines: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """(b, T, d) vectors of frames.

        Args:
            visual: (b, T, N, clip width).
            lines: (b, T, L, clip width), tokens of each frame's line; None: no line is read.
            live: (b, T, L) bool, False where there is no token; a frame without a token reads
                none. The faithful preset reads what is there, padding too.
        """
        b, t = visual.shape[:2]
        tokens = self.enter((visual - self.visual_mean) / self.visual_std).flatten(0, 1)
        if lines is not None and self.config.reads_lines:
            assert live is not None
            live = torch.ones_like(live) if self.config.faithful else live
            tokens = self._with_lines(tokens, self.enter(lines).flatten(0, 1), live.flatten(0, 1))
        return self.norm_tokens(tokens).mean(1).unflatten(0, (b, t)) + self.time[:, :t]

    def _with_lines(self, tokens: Tensor, lines: Tensor, live: Tensor) -> Tensor:
        """(frames, N, d) tokens after the cross-attention to (frames, L, d) lines; those of a frame
        without a live token are left as they are: attention over nothing would be nan."""
        reading = live.any(1).nonzero()[:, 0]
        if not len(reading):
            return tokens
        keys, queries = self.norm_line(lines[reading]), self.norm_query(tokens[reading])
        masked = ~live[reading]
        read, _ = self.attend(queries, keys, keys, key_padding_mask=masked, need_weights=False)
        return tokens.index_add(0, reading, self.dropout(read).to(tokens))

    def forward(
        self,
        visual: Tensor,
        question: Tensor,
        options: Tensor,
        is_option: Tensor,
        owner: Tensor,
        lines: Tensor | None = None,
        live: Tensor | None = None,
    ) -> Reading:
        """Answer Q questions.

        Args:
            visual, lines, live: see `frame_vectors`.
            question: (Q, clip width) vectors of questions; the faithful preset does not read them.
            options: (Q, C, clip width), vectors of options.
            is_option: (Q, C) bool, False where a question has fewer options.
            owner: (Q,) which of the b views each question is about.
        """
        frames = self.frame_vectors(visual, lines, live)
        vectors = self.enter(options - self.option_mean)
        if self.config.faithful:
            h = self.norm_out(self.temporal(frames)).mean(1)[owner]
            logits = F.cosine_similarity(h[:, None], vectors, dim=-1)
        else:
            asked = self.enter((question - self.question_mean) / self.question_std)
            first = (self.question(asked) + self.question_kind)[:, None]
            h = self.norm_out(self.temporal(torch.cat([first, frames[owner]], 1))[:, 0])
            cosines = F.cosine_similarity(h[:, None], self.option(vectors), dim=-1)
            logits = self.scale * cosines
        taught = self.to_teacher(h) if self.config.teacher_width else None
        return Reading(logits.masked_fill(~is_option, NO_OPTION), h, taught)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by, at most MOST_SCALE."""
        return self.log_scale.exp().clamp(max=MOST_SCALE)
