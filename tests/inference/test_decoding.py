"""The mask and the cache of decoding give what the library's own give."""

import pytest
import torch
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import sdpa_mask, sliding_window_causal_mask_function

from inference.engines.decoding import GROWTH, padded_causal_mask, preallocated_cache

PADDED = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])


def allowed(mask):
    return mask if mask.dtype == torch.bool else mask == 0


@pytest.mark.parametrize("queries", [torch.arange(5), torch.tensor([4])])
def test_a_padded_batch_s_mask_is_the_library_s(queries):
    given = {"batch_size": 3, "cache_position": queries, "kv_length": 5}
    ours = padded_causal_mask(**given, attention_mask=PADDED)
    theirs = sdpa_mask(**given, attention_mask=PADDED.bool(), allow_is_causal_skip=False)
    # Of a query that is padding itself nothing is read.
    there = PADDED[:, queries].bool()[:, None, :, None]
    assert torch.equal(allowed(ours) & there, theirs & there)


def test_other_masks_are_the_library_s():
    window = sliding_window_causal_mask_function(2)
    given = {"batch_size": 3, "cache_position": torch.arange(5), "kv_length": 5}
    given |= {"mask_function": window, "attention_mask": PADDED.bool()}
    assert torch.equal(padded_causal_mask(**given), sdpa_mask(**given))
    # Without padding torch is told that attention is causal, and needs no mask.
    whole = torch.ones(3, 5, dtype=torch.bool)
    unpadded = {"batch_size": 3, "cache_position": torch.arange(5), "kv_length": 5}
    assert padded_causal_mask(**unpadded, attention_mask=whole) is None


def test_a_preallocated_cache_holds_what_the_library_s_holds():
    ours, theirs = preallocated_cache(), DynamicCache()
    generator = torch.Generator().manual_seed(0)
    for tokens in (7, *[1] * (GROWTH + 5), 3):  # grows in between
        for layer in range(2):
            keys, values = torch.randn(2, 2, 3, tokens, 4, generator=generator)
            actual = ours.update(keys, values, layer)
            expected = theirs.update(keys, values, layer)
            assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    assert ours.get_seq_length() == theirs.get_seq_length() == 7 + GROWTH + 5 + 3
