"""Llama with slots and a gated prefix: what it computes, alone, in a batch and step by step."""

import math
from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from inference.tiny import llama
from prealignment.model.config import AlignmentConfig
from prealignment.model.llama import AlignedLlama

WIDTH, BEFORE, AFTER = 16, 4, 7
SLOTS = (5, 3, 10)


@pytest.fixture
def rows():
    """Token ids, slots and vectors of three rows with different spans."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for number, slots in enumerate(SLOTS):
        before = BEFORE + number
        ids = torch.randint(4, 250, (before + slots + AFTER,), generator=generator)
        mask = torch.zeros(len(ids), dtype=torch.bool)
        mask[before : before + slots] = True
        made.append((ids, mask, torch.randn(slots, WIDTH, generator=generator)))
    return made


def batch_of(rows, side="right"):
    """The inputs of a padded batch."""
    ids, masks, videos = zip(*rows, strict=True)
    ones = [torch.ones(len(row), dtype=torch.long) for row in ids]
    pad = {"batch_first": True, "padding_side": side}
    return {
        "input_ids": pad_sequence(list(ids), **pad),
        "attention_mask": pad_sequence(ones, **pad),
        "video_mask": pad_sequence(list(masks), **pad),
        "video": pad_sequence(list(videos), batch_first=True),
    }


def logits(model, rows, side="right"):
    """Of each row, without padding."""
    inputs = batch_of(rows, side)
    with torch.no_grad():
        values = model(**inputs).logits
    return [
        value[mask.bool()] for value, mask in zip(values, inputs["attention_mask"], strict=True)
    ]


def embeddings(model, row):
    ids, mask, video = row
    embedded = model.model.embed_tokens(ids)
    return embedded.masked_scatter(
        mask[:, None], model.visual_proj(video) + model.temporal_emb.weight[: len(video)]
    )


def test_with_gates_of_zero_it_is_plain_llama_on_the_same_embeddings(open_tiny, tiny_llama, rows):
    model, plain = open_tiny(gate2=0.0), LlamaForCausalLM.from_pretrained(tiny_llama)
    for row, values in zip(rows, logits(model, rows), strict=True):
        with torch.no_grad():
            wanted = plain(inputs_embeds=embeddings(model, row)[None]).logits[0]
        torch.testing.assert_close(values, wanted, atol=1e-5, rtol=0)


def test_a_closed_video_gate_hides_the_video_from_the_text_behind_it(open_tiny, rows):
    model = open_tiny(gate2=-1e9)
    others = [(ids, mask, 5 * video) for ids, mask, video in rows]
    for values, changed, (_, mask, _) in zip(
        logits(model, rows), logits(model, others), rows, strict=True
    ):
        last = int(mask.nonzero().max())
        assert torch.equal(values[last + 1 :], changed[last + 1 :])
        assert not torch.allclose(values[mask], changed[mask])


@pytest.mark.parametrize("heads", [2, 4], ids=["grouped keys", "a key each"])
def test_a_layer_computes_the_papers_formula(heads, open_tiny, tmp_path, rows):
    folder = llama.build(tmp_path, words=["red"], num_key_value_heads=heads, num_hidden_layers=1)
    model = open_tiny(gates=True, folder=folder)
    ids, mask, _ = rows[0]
    last = int(mask.nonzero().max())
    layer, attention = model.model.layers[0], model.model.layers[0].self_attn
    with torch.no_grad():
        x = embeddings(model, rows[0])[None]
        normed, positions = layer.input_layernorm(x), torch.arange(len(ids))[None]
        q, k, v = (
            project(normed).view(1, len(ids), -1, 16).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, *model.model.rotary_emb(x, positions))
        out = torch.zeros(len(ids), 4, 16)
        for head in range(4):
            own = head * heads // 4
            scores = q[0, head] @ k[0, own].T / math.sqrt(16)
            scores[last + 1 :, mask] += attention.gate2[0, head, 0, 0]
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            keys = attention.k_proj(attention.prefix)[:, 16 * own : 16 * own + 16]
            values = attention.v_proj(attention.prefix)[:, 16 * own : 16 * own + 16]
            second = (q[0, head] @ keys.T / math.sqrt(16)).softmax(-1) @ values
            gate = torch.tanh(attention.gate1[0, head, 0, 0])
            out[:, head] = scores.softmax(-1) @ v[0, own] + gate * second
        x = x + attention.o_proj(out.flatten(1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        wanted = model.lm_head(model.model.norm(x))[0]
    torch.testing.assert_close(logits(model, rows)[0], wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_has_the_same_logits_alone_and_in_a_batch(side, open_tiny, rows):
    model = open_tiny(gates=True)
    inputs = batch_of(rows, side)
    positions = inputs["attention_mask"].cumsum(1) - 1
    with torch.no_grad():
        together = model(**inputs, position_ids=positions.clamp(min=0)).logits
    for row, values, mask in zip(rows, together, inputs["attention_mask"], strict=True):
        torch.testing.assert_close(values[mask.bool()], logits(model, [row])[0], atol=1e-5, rtol=0)


def test_no_token_sees_those_behind_it(open_tiny, rows):
    model = open_tiny(gates=True)
    ids, mask, video = rows[0]
    changed = ids.clone()
    changed[-3] = 7
    before, after = (
        logits(model, [(ids, mask, video)])[0],
        logits(model, [(changed, mask, video)])[0],
    )
    assert torch.equal(before[:-3], after[:-3])
    assert not torch.equal(before[-3:], after[-3:])


@pytest.mark.parametrize("adapter", ["prefix", "lora", "none"])
def test_generation_with_a_cache_equals_one_without_and_row_by_row(adapter, open_tiny, rows):
    model = open_tiny(adapter=adapter, gates=True)
    if adapter == "lora":
        for name, parameter in model.added_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.1)
    inputs = batch_of(rows, "left")
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 3}
    cached = model.generate(**inputs, **settings)
    plain = model.generate(**inputs, **settings, use_cache=False)
    assert torch.equal(cached, plain)
    for (ids, mask, video), texts in zip(rows, cached, strict=True):
        for _ in range(8):
            mask = F.pad(mask, (0, len(ids) - len(mask)))
            following = logits(model, [(ids, mask, video)])[0][-1].argmax()
            ids = torch.cat([ids, following[None]])
        assert texts[-8:].tolist() == ids[-8:].tolist()


def test_the_sizes_of_the_paper():
    config = LlamaConfig(num_hidden_layers=32, hidden_size=4096, num_attention_heads=32)
    config.alignment = vars(AlignmentConfig(768))
    with torch.device("meta"):
        model = AlignedLlama(config)
    assert sum(p.numel() for _, p in model.added_parameters()) == 9_742_336


@pytest.mark.parametrize("adapter", ["prefix", "lora", "none"])
def test_a_step_changes_what_was_added_alone(adapter, open_tiny, rows):
    model = open_tiny(adapter=adapter)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    added = dict(model.added_parameters())
    assert {"visual_proj.weight", "temporal_emb.weight"} <= added.keys()
    assert all(p.dtype == torch.float32 for p in added.values())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    inputs = batch_of(rows)
    changed = {}
    for step in count(1):
        optimizer.zero_grad()
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        optimizer.step()
        state = model.state_dict()
        changed[step] = {name for name, value in state.items() if not value.equal(start[name])}
        if step == 2:
            break
    # The first step cannot move what a gate of zero closes off: the prefix, or A of lora.
    closed = {name for name in added if name.endswith(".prefix") or "lora_A" in name}
    assert changed[1] == added.keys() - closed
    assert changed[2] == added.keys()
