"""Weights that others have made: BERT's, and the sampler's of the released checkpoints."""

from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from grounding.bridge.network import Bridge, BridgeConfig
from grounding.bridge.weights import load_bridge, load_weights, read_tensors
from tools.errors import UserError

DIM, HEADS, WORDS, ROWS, LAYERS = 24, 2, 30, 40, 12
TINY = BridgeConfig(
    layers=6, dim=DIM, heads=HEADS, vocabulary=WORDS, max_positions=ROWS, dropout=0.0
)
FAITHFUL = BridgeConfig.faithful(
    dim=DIM, heads=HEADS, vocabulary=WORDS, max_positions=ROWS, dropout=0.0
)


def by_hand(state, flow, words):
    """What the spec says of the released sampler, written out for one clip: (L, 2) logits."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, (DIM,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    def turned(x, table):
        """x (heads, length, size): each pair as a complex number, times cos + i sin."""
        sines, cosines = table[: x.shape[1]].chunk(2, -1)
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.complex(cosines, sines)).flatten(-2)

    def attention(x, source, name, table):
        query, key, value = (
            linear(part, f"{name}.self.{kind}").unflatten(-1, (HEADS, -1)).transpose(0, 1)
            for kind, part in (("query", x), ("key", source), ("value", source))
        )
        query = turned(query, state["encoder.embed_positions.weight"])
        weights = (query @ turned(key, table).transpose(1, 2) / (DIM // HEADS) ** 0.5).softmax(-1)
        read = (weights @ value).transpose(0, 1).flatten(1)
        return norm(x + linear(read, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    kernel = "temporal_embeddings.projection"
    patches = F.conv2d(flow, state[f"{kernel}.weight"], state[f"{kernel}.bias"], stride=16)
    tokens = linear(patches.flatten(2), "temporal_embeddings.fc")[..., 0]
    ends = [state[f"temporal_embeddings.{name}"][None] for name in ("bos", "eos")]
    x = torch.cat([ends[0], tokens, ends[1]])
    x = x + state["temporal_embeddings.frame_pos_embed.weight"][: len(x)]
    x = norm(x, "temporal_embeddings.ln")
    text = state["embeddings.word_embeddings.weight"][words]
    text = norm(text + state["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(6, LAYERS):
        layer = f"encoder.layer.{number}"
        x = attention(x, x, f"{layer}.attention", state["encoder.embed_positions.weight"])
        table = state["encoder.c_embed_positions.weight"]
        x = attention(x, text, f"{layer}.crossattention", table)
        wide = F.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return linear(x[1:-1], "mrc_head")


def answers(bridge, flow, words):
    count = len(flow)
    logits = bridge(flow[None], torch.ones(1, count), words[None], torch.ones(1, len(words)))
    return torch.stack(logits, -1)[0]


def test_a_released_sampler_computes_what_it_did(released):
    state = released()
    bridge = Bridge(FAITHFUL).eval()
    loaded = load_weights(bridge, state)
    assert not loaded.kept
    assert {name.split(".")[0] for name in loaded.ignored} == {
        "embeddings",
        "temporal_embeddings",
        "encoder",
    }
    lower = [name for name in loaded.ignored if name.startswith("encoder.layer.")]
    assert {int(name.split(".")[2]) for name in lower} == set(range(6))
    assert sorted(set(loaded.ignored) - set(lower)) == [
        "embeddings.position_embeddings.weight",
        "temporal_embeddings.position_ids",
    ]
    torch.manual_seed(1)
    flow, words = 0.5 * torch.randn(9, 2, 224, 224), torch.randint(WORDS, (5,))
    expected = by_hand(state, flow, words)
    torch.testing.assert_close(answers(bridge, flow, words), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grid", [14, 56])
def test_a_coarser_grid_computes_the_same_for_flow_that_is_even_in_each_cell(released, grid):
    state = released()
    bridge = Bridge(replace(FAITHFUL, grid=grid, patch=grid // 14)).eval()
    load_weights(bridge, state)
    torch.manual_seed(1)
    cells, words = 0.5 * torch.randn(9, 2, grid, grid), torch.randint(WORDS, (5,))
    pixels = cells.repeat_interleave(224 // grid, 2).repeat_interleave(224 // grid, 3)
    expected = by_hand(state, pixels, words)
    torch.testing.assert_close(answers(bridge, cells, words), expected, atol=1e-4, rtol=1e-4)


@dataclass
class Settings:
    """An object of the training code, as a Lightning checkpoint holds it."""

    rate: float


ran = []


class Runs:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return ran.append, (1,)


@pytest.mark.parametrize("kind", ["lightning", "module.", "safetensors"])
def test_the_files_in_which_samplers_come(released, kind, tmp_path):
    state = released()
    if kind == "lightning":
        others = {
            "model.qformer.encoder.layer.6.attention.self.query.weight": torch.ones(1),
            "of_extractor.module.fnet.conv1.weight": torch.ones(1),
        }
        state = {f"temporal_encoder.{name}": value for name, value in state.items()} | others
        settings = {"optimizer": Settings(5e-5), "other": Runs()}
        file = tmp_path / "last.ckpt"
        torch.save({"state_dict": state, "hyper_parameters": settings, "epoch": 1}, file)
    elif kind == "module.":
        file = tmp_path / "sampler.pth"
        torch.save({f"module.{name}": value for name, value in state.items()}, file)
    else:
        file = tmp_path / "sampler.safetensors"
        save_file(state, file)
    bridge = Bridge(FAITHFUL)
    assert not load_weights(bridge, read_tensors(file)).kept
    assert torch.equal(bridge.head.weight, released()["mrc_head.weight"])
    assert not ran


def test_bert_fills_the_words_and_the_self_attention(tmp_path):
    config = BertConfig(
        vocab_size=WORDS, hidden_size=DIM, num_attention_heads=HEADS, intermediate_size=4 * DIM
    )
    bert = BertModel(config)
    bert.save_pretrained(tmp_path)
    bridge = Bridge(replace(TINY, text_layers=1))
    loaded = load_weights(bridge, read_tensors(tmp_path))
    assert torch.equal(
        bridge.layers[0].attention.query.weight, bert.encoder.layer[6].attention.self.query.weight
    )
    assert torch.equal(bridge.layers[5].narrow.bias, bert.encoder.layer[11].output.dense.bias)
    assert torch.equal(
        bridge.text_layers[0].widen.weight, bert.encoder.layer[0].intermediate.dense.weight
    )
    embeddings = bert.embeddings
    both = embeddings.word_embeddings.weight + embeddings.token_type_embeddings.weight[0]
    assert torch.equal(bridge.words.weight, both)
    parts = {name.split(".")[2] if "layers" in name else name for name in loaded.kept}
    assert parts == {
        *("cross", "cross_norm", "head.bias", "head.weight"),
        *("tokens.projection.bias", "tokens.projection.weight", "tokens.weights"),
        *("tokens_norm.bias", "tokens_norm.weight"),
    }
    assert "pooler.dense.weight" in loaded.ignored


def test_bert_s_first_names_are_known_too():
    state = {
        "bert.embeddings.LayerNorm.gamma": torch.full((DIM,), 2.0),
        "bert.encoder.layer.11.output.LayerNorm.beta": torch.full((DIM,), 3.0),
        "cls.predictions.bias": torch.ones(WORDS),
    }
    bridge = Bridge(TINY)
    loaded = load_weights(bridge, state)
    assert loaded.filled == ["layers.5.feed_norm.bias", "words_norm.weight"]
    assert loaded.ignored == ["cls.predictions.bias"]
    assert (bridge.words_norm.weight == 2).all()
    assert (bridge.layers[5].feed_norm.bias == 3).all()


def test_weights_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(UserError, match=r"head.weight of the bridge is \(2, 16\)"):
        load_weights(Bridge(replace(TINY, dim=16)), {"mrc_head.weight": torch.ones(2, DIM)})
    with pytest.raises(UserError, match="no weights of BERT"):
        load_weights(Bridge(TINY), {"model.shared.weight": torch.ones(2)})
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        read_tensors(tmp_path / "text.ckpt")
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        read_tensors(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="is no file of a bridge"):
        load_bridge(tmp_path / "text.ckpt")
    save_file({"head.bias": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="is no file of a bridge"):
        load_bridge(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no such file"):
        load_bridge(tmp_path / "missing.safetensors")
