"""Qwen2-VL's vision tower without flash-attention: one attention for all frames.

The library attends to each temporal patch in a loop of Python, layer by layer: a batch of 90 videos
of 16 frame pairs is 1,440 small calls a layer. Patches of one size can be attended to together;
the numbers are the same.
"""

from typing import Any

import torch
import torch.nn.functional as nn
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl

_one_by_one = qwen2_vl.VisionAttention.forward


def attend_together(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb: torch.Tensor | None = None,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    **others: Any,
) -> torch.Tensor:
    """`VisionAttention.forward` for chunks of one length; anything else is handed on to it.

    Args:
        hidden_states: (patches, width).
        cu_seqlens: where chunks begin and end, (chunks + 1,).
    """
    lengths = cu_seqlens.diff()
    plain = self.config._attn_implementation == "sdpa" and position_embeddings is not None
    if not plain or len(lengths) < 2 or not bool((lengths == lengths[0]).all()):
        return _one_by_one(
            self, hidden_states, cu_seqlens, rotary_pos_emb, position_embeddings, **others
        )
    assert position_embeddings is not None
    count, chunks = hidden_states.shape[0], len(lengths)
    query, key, value = self.qkv(hidden_states).view(count, 3, self.num_heads, -1).unbind(1)
    query, key = qwen2_vl.apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    query, key, value = (
        one.view(chunks, count // chunks, self.num_heads, -1).transpose(1, 2)
        for one in (query, key, value)
    )
    attended = nn.scaled_dot_product_attention(query, key, value, scale=self.scaling)
    return self.proj(attended.transpose(1, 2).reshape(count, -1))


def use_attend_together() -> None:
    """Let every Qwen2-VL of this process use `attend_together`."""
    qwen2_vl.VisionAttention.forward = attend_together  # type: ignore[assignment]
