"""Released checkpoints, made up with their names and shapes, become folders of this toolkit."""

import pytest
import torch

from grounding.answerer.answerer import Example
from grounding.answerer.decoding import Decoding
from grounding.answerer.weights import load_answerer, load_released, released_answerer
from grounding.bridge.sampler import Sampler
from inference.tiny.blip import wordpiece
from tools.errors import UserError

WRAPPED = "language_model.base_model.model."


class Settings:
    """An object of the training code, which Lightning stores beside the weights."""


def lightning(answerer):
    """The tensors of an answerer by the names that they have in a Lightning checkpoint."""
    state = {"model.temporal_projection.weight": torch.zeros(2, 2)}
    state["of_extractor.fnet.conv1.weight"] = torch.zeros(2, 2)
    adapted = answerer.settings.stage == "ivt"
    for name, tensor in answerer.model.state_dict().items():
        name = name.replace(".base_layer.", ".")
        if adapted:
            name = name.replace("language_model.", WRAPPED)
        state[f"model.{name}"] = tensor.clone()
    return state


def changed(answerer):
    """The answerer, each trained parameter of which is another than its base's."""
    rng = torch.Generator().manual_seed(1)
    for parameter in answerer.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    return answerer


def test_peft_puts_base_layer_into_names_from_0_7_on():
    [name] = released_answerer({"model.language_model.base_model.model.a.q.base_layer.weight": 0})
    assert name == "language_model.a.q.weight"


def test_an_answerer_with_lora_and_its_sampler(
    open_tiny, tiny_base, released, run_script, tmp_path, ball
):
    trained = changed(open_tiny("blip2_t5", stage="ivt", fusion="mean"))
    words = wordpiece()
    words.save_pretrained(tmp_path / "words")
    sampler = {f"temporal_encoder.{k}": v for k, v in released(len(words)).items()}
    state = lightning(trained) | sampler
    torch.save({"state_dict": state, "hyper_parameters": Settings()}, tmp_path / "epoch.ckpt")
    out = tmp_path / "out"
    flags = ("--base", tiny_base("blip2_t5"), "--tokenizer", tmp_path / "words")
    run = run_script("-m", "grounding.released", tmp_path / "epoch.ckpt", "--out", out, *flags)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        f"{out}: an answerer of the stage ivt\n{out}: a sampler that reads flow of raft_large\n"
    )
    answerer = load_answerer(out)
    assert (answerer.settings.stage, answerer.settings.fusion) == ("ivt", "mean")
    expected = dict(trained.model.named_parameters())
    assert all(p.equal(expected[name]) for name, p in answerer.model.named_parameters())
    asked = ([Example([ball("red")] * 2, "what is it")], Decoding(max_new_tokens=6))
    assert answerer.answer(*asked) == trained.answer(*asked)
    bridge = Sampler.open(out).bridge
    assert (bridge.config.layers, bridge.config.dim, bridge.config.heads) == (6, 24, 2)
    assert (bridge.config.positions, bridge.config.normalise) == ("reference", "clip_max")
    assert bridge.head.weight.equal(sampler["temporal_encoder.mrc_head.weight"])


def test_a_file_of_the_sampler_alone(released, run_script, tmp_path):
    wordpiece().save_pretrained(tmp_path / "words")
    state = {f"module.{k}": v for k, v in released(len(wordpiece())).items()}
    torch.save(state, tmp_path / "sampler.pth")
    flags = ("--out", tmp_path / "out", "--tokenizer", tmp_path / "words")
    run = run_script("-m", "grounding.released", tmp_path / "sampler.pth", *flags)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == [
        "bridge.safetensors"
    ]


@pytest.mark.parametrize(("part", "stage"), [("qformer", "iv"), ("language_model", "language")])
def test_the_stage_is_what_was_trained(part, stage, open_tiny, tiny_base):
    trained = open_tiny("blip2_t5")
    for name, parameter in trained.model.named_parameters():
        if name.startswith(part):
            parameter.data += 0.01
    tensors = released_answerer(lightning(trained))
    answerer = load_released(str(tiny_base("blip2_t5")), tensors, "concat")
    assert (answerer.settings.stage, answerer.settings.fusion) == (stage, "concat")
    expected = dict(trained.model.named_parameters())
    assert all(p.equal(expected[name]) for name, p in answerer.model.named_parameters())


def test_a_checkpoint_of_another_base_is_one_line(open_tiny, tiny_base, run_script, tmp_path):
    tensors = lightning(open_tiny("instructblip_t5"))
    with pytest.raises(UserError, match=r"was not trained from .*blip2_t5"):
        load_released(str(tiny_base("blip2_t5")), released_answerer(tensors), "mean")
    seen = {**tensors, "model.vision_model.post_layernorm.bias": torch.ones(64)}
    with pytest.raises(UserError, match=r"1 tensors differ .* vision_model\.post_layernorm\.bias"):
        load_released(str(tiny_base("instructblip_t5")), released_answerer(seen), "mean")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    run = run_script("-m", "grounding.released", tmp_path / "a.pth", "--out", tmp_path / "out")
    assert run.returncode == 2
    assert "a.pth holds no sampler, and no answerer of --base None" in run.stderr
