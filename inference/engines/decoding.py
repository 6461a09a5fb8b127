"""A cache and a mask for decoding on a CPU, without two costs that grow with batch and length.

The library copies the keys and values of all tokens so far for every new one, in every layer, and
turns the mask of a padded batch from booleans into numbers again in every layer. In the demo's
stage 3 the copies alone double the CPU time (4 videos, 52 responses: 39 s, 18 s without them); the
mask takes a third of the time in which toyvl answers the toy benchmark (16 stories: 10.8 s, 6.9 s).
"""

from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer
from transformers.masking_utils import causal_mask_function, sdpa_mask

GROWTH = 256  # tokens that a cache grows by


class PreallocatedLayer(DynamicLayer):
    """Keys and values in buffers that are longer than the tokens so far."""

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the new tokens behind those that are here; returns all keys and all values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states)
            self._buffers = [states[..., :0, :] for states in (key_states, value_states)]
        if end > self._buffers[0].shape[-2]:
            more = (0, 0, 0, end + GROWTH - start)  # along the tokens, the last dimension but one
            self._buffers = [pad(buffer[..., :start, :], more) for buffer in self._buffers]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:end, :] = new
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
        return self.keys, self.values


def preallocated_cache() -> Cache:
    """An empty cache for one call of `generate`."""
    return Cache(layer_class_to_replicate=PreallocatedLayer)


def padded_causal_mask(**given: Any) -> torch.Tensor | None:
    """What torch's attention adds to its logits, (batch, 1, queries, keys), where attention is
    causal and rows are padded on the left; for anything else the library's own mask.

    Args:
        given: arguments of `transformers.masking_utils.sdpa_mask`.
    """
    mask_function = given.get("mask_function", causal_mask_function)
    plain = mask_function is causal_mask_function and given.get("local_size") is None
    attention_mask = given.get("attention_mask")
    if not plain or attention_mask is None or attention_mask.all():
        return sdpa_mask(**given)
    queries, dtype = given["cache_position"], given.get("dtype", torch.float32)
    first = given.get("kv_offset", 0)
    end = first + given["kv_length"]
    keys = torch.arange(first, end, device=queries.device)
    unpadded = attention_mask[:, first:end].bool()
    seen = (keys <= queries[:, None])[None, None] & unpadded[:, None, None]
    return torch.where(seen, torch.zeros((), dtype=dtype), torch.finfo(dtype).min)
