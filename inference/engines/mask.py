"""The mask of a left-padded batch for torch's attention, made once a token.

The library turns its mask from booleans into numbers again in every layer. On a CPU that takes a
third of the time in which toyvl answers (16 stories of the toy benchmark: 10.8 CPU seconds, 6.9
with this mask).
"""

from typing import Any

import torch
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function, sdpa_mask


def padded_causal_mask(
    batch_size: int,
    cache_position: torch.Tensor,
    kv_length: int,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    **others: Any,
) -> torch.Tensor | None:
    """What torch's attention adds to its logits, (batch, 1, queries, keys), where attention is
    causal and rows are padded on the left; for anything else the library's own mask."""
    plain = mask_function is causal_mask_function and others.get("local_size") is None
    if not plain or attention_mask is None or attention_mask.all():
        return sdpa_mask(
            batch_size=batch_size,
            cache_position=cache_position,
            kv_length=kv_length,
            kv_offset=kv_offset,
            mask_function=mask_function,
            attention_mask=attention_mask,
            dtype=dtype,
            **others,
        )
    keys = torch.arange(kv_offset, kv_offset + kv_length, device=cache_position.device)
    unpadded = attention_mask[:, kv_offset : kv_offset + kv_length].bool()
    seen = (keys <= cache_position[:, None])[None, None] & unpadded[:, None, None]
    return torch.where(seen, torch.zeros((), dtype=dtype), torch.finfo(dtype).min)


def use_padded_causal_mask() -> None:
    """Let every model of this process that attends through torch use `padded_causal_mask`."""
    AttentionMaskInterface.register("sdpa", padded_causal_mask)
