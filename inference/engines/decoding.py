"""Two costs of the library's decoding on a CPU that grow with batch and length.

The library copies the keys and values of all tokens so far for every new one, in every layer, and
turns the mask of a padded batch from booleans into numbers again in every layer. In the demo's
stage 3 the copies alone double the CPU time (4 videos, 52 responses: 39 s, 18 s without them); the
mask takes a third of the time in which toyvl answers the toy benchmark (16 stories: 10.8 s, 6.9 s).
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function, sdpa_mask

ROOM = 256  # tokens that a cache grows by


class RoomyLayer(DynamicLayer):
    """Keys and values in tensors with room for the tokens to come."""

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
            self._rooms = [_room(new, end) for new in (key_states, value_states)]
        elif end > self._rooms[0].shape[-2]:
            before = self._rooms
            self._rooms = [_room(new, end) for new in (key_states, value_states)]
            for old, new in zip(before, self._rooms, strict=True):
                new[..., :start, :] = old[..., :start, :]
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., start:end, :] = new
        self.keys, self.values = (room[..., :end, :] for room in self._rooms)
        return self.keys, self.values


def _room(states: torch.Tensor, length: int) -> torch.Tensor:
    batch, heads, _, size = states.shape
    return states.new_empty((batch, heads, length + ROOM, size))


def roomy_cache() -> Cache:
    """An empty cache for one call of `generate`."""
    return Cache(layer_class_to_replicate=RoomyLayer)


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
