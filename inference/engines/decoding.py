"""Two costs of the library's decoding that grow with batch and length, and need not be there.

The keys and values of all tokens so far are copied for every new one, in every layer; and the mask
of a padded batch is built by a general machinery and turned from booleans into numbers once more in
every layer. On a CPU the two take half of a small model's time.
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
    """The mask that torch's attention adds to its logits, (batch, 1, queries, keys).

    Takes the place of the library's own for left-padded batches with causal attention; anything
    else is handed on to it.
    """
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
    there = attention_mask[:, kv_offset : kv_offset + kv_length].bool()
    seen = (keys <= cache_position[:, None])[None, None] & there[:, None, None]
    nothing = torch.zeros((), dtype=dtype, device=seen.device)
    return torch.where(seen, nothing, torch.finfo(dtype).min)


def use_padded_causal_mask() -> None:
    """Let every model of this process that attends through torch use `padded_causal_mask`."""
    AttentionMaskInterface.register("sdpa", padded_causal_mask)
