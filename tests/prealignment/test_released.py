"""Files from elsewhere: adapters as TOPA's authors released them, and Meta's own Llama files."""

import argparse
import base64
import json

import pytest
import torch
import transformers
from safetensors.torch import load_file

from inference.tiny import llama
from prealignment.released import ROPE_THETA
from prealignment.weights.alignments import llm_folder, load_alignment, read_settings
from prealignment.weights.meta import SPECIAL, _halved
from tools.errors import UserError

LAYERS, HEADS, WIDTH, FEATURES, KEYS = 2, 4, 64, 16, 5


@pytest.fixture
def released():
    """The trained weights of a released file, for the tiny language model."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    gates = {
        f"layers.{layer}.attention.{gate}": draw(1, HEADS, 1, 1)
        for layer in range(LAYERS)
        for gate in ("gate1", "gate2")
    }
    return {
        "adapter_query.weight": draw(KEYS * LAYERS, WIDTH),
        "visual_proj.weight": draw(WIDTH, FEATURES),
        "temporal_emb.weight": draw(10, WIDTH),
        **gates,
    }


@pytest.fixture
def imported(released, tiny_llama, tmp_path, run_script):
    """Import weights; returns the result and the folder."""

    def run(weights=released, llm=tiny_llama, *others):
        content = {"model": weights, "epoch": 19, "args": argparse.Namespace(lr=0.1)}
        torch.save(content, tmp_path / "checkpoint_19.pth")
        words = ("--llm", llm, "--out", tmp_path / "out", *others)
        file = tmp_path / "checkpoint_19.pth"
        return run_script("-m", "prealignment.released", file, *words), tmp_path / "out"

    return run


def test_a_released_adapter_stands_where_it_belongs(released, imported, tmp_path):
    llm = llama.build(tmp_path / "llama3", words=["red"], rope_theta=500_000.0)
    result, folder = imported(llm=llm)
    assert result.returncode == 0, result.stderr
    model = load_alignment(folder).model
    for layer in range(LAYERS):
        attention = model.model.layers[layer].self_attn
        # Layer 1 has the second run of learned keys.
        wanted = released["adapter_query.weight"][layer * KEYS : (layer + 1) * KEYS]
        assert torch.equal(attention.prefix, wanted)
        assert torch.equal(attention.gate1, released[f"layers.{layer}.attention.gate1"])
        assert torch.equal(attention.gate2, released[f"layers.{layer}.attention.gate2"])
    assert torch.equal(model.visual_proj.weight, released["visual_proj.weight"])
    assert torch.equal(model.temporal_emb.weight, released["temporal_emb.weight"])
    assert model.config.rope_theta == ROPE_THETA  # whatever its own is
    assert (folder / "alignment.safetensors").stat().st_size < 30_000  # without the model
    assert read_settings(folder).features == "text:clip-vit-large-patch14"


def test_a_released_adapter_answers_about_videos(released, imported, tiny_llama, answered):
    result, folder = imported(released, tiny_llama, "--clip", "tiny-clip")
    assert result.returncode == 0, result.stderr
    result = answered(folder, "--name", "released")
    assert result.returncode == 0, result.stderr
    assert "20 questions about 20 videos" in result.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter_query.weight": torch.zeros(9, WIDTH)}, "which 2 layers cannot share"),
        ({"adapter_query.weight": torch.zeros(10, 32)}, "is it of another language model"),
        ({"layers.7.attention.gate1": torch.zeros(1, 4, 1, 1)}, "the model has no model.layers.7."),
        ({"lm_head.weight": torch.zeros(2)}, "holds lm_head.weight, which no such model has"),
    ],
)
def test_another_models_adapter_is_refused_in_one_line(change, message, released, imported):
    result, _ = imported({**released, **change})
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_would_run_code_is_refused(tmp_path, tiny_llama, run_script):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trap"), "w"))

    torch.save({"model": Trap()}, tmp_path / "trap.pth")
    words = ("--llm", tiny_llama, "--out", tmp_path / "out")
    result = run_script("-m", "prealignment.released", tmp_path / "trap.pth", *words)
    assert result.returncode == 2
    assert "is no released checkpoint" in result.stderr
    assert not (tmp_path / "trap").exists()


def test_a_language_model_that_is_no_llama_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="is a gpt2, and the gated prefix is written for Llama"):
        llm_folder(str(tmp_path))


def metas_weights(model, shards, embedding_axis):
    """The files' contents: what `weights.meta` undoes, written from Meta's model.py."""
    names = {
        "self_attn.q_proj": ("attention.wq", 0),
        "self_attn.k_proj": ("attention.wk", 0),
        "self_attn.v_proj": ("attention.wv", 0),
        "self_attn.o_proj": ("attention.wo", 1),
        "mlp.gate_proj": ("feed_forward.w1", 0),
        "mlp.down_proj": ("feed_forward.w2", 1),
        "mlp.up_proj": ("feed_forward.w3", 0),
        "input_layernorm": ("attention_norm", None),
        "post_attention_layernorm": ("ffn_norm", None),
        "embed_tokens": ("tok_embeddings", embedding_axis),
        "norm": ("norm", None),
        "lm_head": ("output", 0),
    }
    files = [{"rope.freqs": torch.zeros(8)} for _ in range(shards)]
    for name, weight in model.state_dict().items():
        bare = name.removeprefix("model.").removesuffix(".weight")
        layer, _, rest = bare.removeprefix("layers.").partition(".")
        key = rest if bare.startswith("layers.") else bare
        theirs, axis = names[key]
        if key in ("self_attn.q_proj", "self_attn.k_proj"):
            # Rows 0, 1 of a head turn together in Meta's order; 0 and d / 2 in the library's.
            heads = weight.view(-1, 2, 8, weight.shape[1])
            weight = heads.transpose(1, 2).reshape(weight.shape)
        before = f"layers.{layer}." if bare.startswith("layers.") else ""
        parts = [weight] * shards if axis is None else weight.chunk(shards, axis)
        for file, part in zip(files, parts, strict=True):
            file[f"{before}{theirs}.weight"] = part.clone()
    return files


@pytest.mark.parametrize(
    ("shards", "embedding_axis", "theta"), [(1, 1, None), (2, 1, None), (2, 0, 500000.0)]
)
def test_metas_files_become_the_same_model(shards, embedding_axis, theta, tmp_path, tiny_llama):
    plain = transformers.LlamaForCausalLM.from_pretrained(tiny_llama)
    if theta:
        config = transformers.LlamaConfig.from_pretrained(tiny_llama, rope_theta=theta)
        plain = transformers.LlamaForCausalLM.from_pretrained(tiny_llama, config=config)
    files = metas_weights(plain, shards, embedding_axis)
    for number, content in enumerate(files):
        torch.save(content, tmp_path / f"consolidated.{number:02}.pth")
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-6}
    params |= {"vocab_size": -1, "multiple_of": 32} | ({"rope_theta": theta} if theta else {})
    (tmp_path / "params.json").write_text(json.dumps(params))
    ranks = [base64.b64encode(bytes([byte])) + b" %d" % byte for byte in range(256)]
    ranks.append(base64.b64encode(b"re") + b" 256")
    (tmp_path / "tokenizer.model").write_bytes(b"\n".join(ranks) + b"\n")

    folder = llm_folder(str(tmp_path))
    ids = torch.arange(4, 44)[None]
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, plain(ids).logits, atol=1e-6, rtol=0)
    made = (folder / "config.json").stat().st_mtime_ns
    assert llm_folder(str(tmp_path)) == folder
    assert (folder / "config.json").stat().st_mtime_ns == made  # converted once

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast
    assert tokenizer("red", add_special_tokens=False)["input_ids"] == [256, ord("d")]
    assert tokenizer.bos_token_id == 257
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") == 257 + 9  # 128009 of 128000 words
    assert len(SPECIAL) == len(set(SPECIAL)) == 256


def test_scaled_positions_of_llama_3_1_are_refused(tmp_path):
    (tmp_path / "params.json").write_text('{"rope_theta": 500000.0, "use_scaled_rope": true}')
    (tmp_path / "consolidated.00.pth").touch()
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\n")
    with pytest.raises(UserError, match="its rotary positions are scaled"):
        llm_folder(str(tmp_path))


def test_the_tokenizer_of_llama_2_is_read_from_the_folder_above(tmp_path, tiny_llama):
    import sentencepiece

    folder = tmp_path / "7B"
    folder.mkdir()
    (tmp_path / "text").write_text("a red circle moves left\nwhat does the red circle do\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(tmp_path / "tokenizer"),
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        minloglevel=2,
    )
    plain = transformers.LlamaForCausalLM.from_pretrained(tiny_llama)
    torch.save(metas_weights(plain, 1, 1)[0], folder / "consolidated.00.pth")
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-6}
    (folder / "params.json").write_text(json.dumps(params))
    tokenizer = transformers.AutoTokenizer.from_pretrained(llm_folder(str(folder)))
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    ids = tokenizer("a red circle")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == "a red circle"
    assert load_file(folder / "hf" / "model.safetensors").keys() == plain.state_dict().keys()


def test_rows_of_a_head_are_reordered():
    weight = torch.arange(8.0)[:, None]  # two heads of four rows
    assert _halved(weight, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
