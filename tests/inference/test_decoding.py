"""The mask of a padded batch lets through what the library's own lets through."""

import pytest
import torch
from transformers.masking_utils import sdpa_mask, sliding_window_causal_mask_function

from inference.engines.decoding import padded_causal_mask

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
