"""Tiny BLIP-2 and InstructBLIP load like released ones, look at frames, and read any text."""

import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from inference.tiny import blip
from inference.tiny.checkpoints import main

CLASSES = {
    "blip2_t5": ("Blip2Processor", "Blip2ForConditionalGeneration", "T5ForConditionalGeneration"),
    "instructblip_llama": (
        "InstructBlipProcessor",
        "InstructBlipForConditionalGeneration",
        "LlamaForCausalLM",
    ),
    "instructblip_t5": (
        "InstructBlipProcessor",
        "InstructBlipForConditionalGeneration",
        "T5ForConditionalGeneration",
    ),
}
each = pytest.mark.parametrize("family", CLASSES)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """family -> (processor, model), by the Auto classes."""
    pairs = {}
    for family in CLASSES:
        folder = blip.build(family, tmp_path_factory.mktemp("blip") / family)
        model = AutoModelForImageTextToText.from_pretrained(folder)
        pairs[family] = (AutoProcessor.from_pretrained(folder, use_fast=True), model)
    return pairs


@each
def test_auto_classes_load_a_folder(family, loaded):
    processor, model = loaded[family]
    parts = (processor, model, model.language_model)
    assert tuple(type(part).__name__ for part in parts) == CLASSES[family]
    tokenizer = processor.tokenizer
    ids = (tokenizer.eos_token_id, tokenizer.pad_token_id)
    config = model.language_model.config
    assert ids == (config.eos_token_id, config.pad_token_id)
    assert ids == ((1, 0) if family.endswith("t5") else (2, 3))
    assert len(tokenizer) == config.vocab_size
    assert model.config.image_token_index == tokenizer.convert_tokens_to_ids("<image>")


@each
def test_a_word_is_one_token_and_any_text_comes_back(family, loaded):
    tokenizer = loaded[family][0].tokenizer
    assert len(tokenizer.tokenize("a red ball")) == 3
    assert len(tokenizer.tokenize("USER: the dog runs ASSISTANT: ")) <= 6
    text = "Don't blink: 24 zebras -- \u65e5\u672c\u8a9e, \U0001f99d!"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    ends = tokenizer.convert_ids_to_tokens(tokenizer.encode("a"))
    assert ends == (["▁a", "</s>"] if family.endswith("t5") else ["<s>", "▁a"])


def test_the_q_former_reads_words_in_lower_case(loaded):
    tokenizer = loaded["instructblip_llama"][0].qformer_tokenizer
    assert tokenizer.decode(tokenizer.encode("A red Xylophone?"), skip_special_tokens=True) == (
        "a red xylophone?"
    )
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("A")) == ["[CLS]", "a", "[SEP]"]


@each
def test_frames_and_queries_differ(family, loaded, picture):
    processor, model = loaded[family]
    frames = [picture(place, (56, 56), 0) for place in ("beach", "night")]
    pixels = processor.image_processor(frames, return_tensors="pt")["pixel_values"]
    words = {}
    if family != "blip2_t5":
        ids = torch.tensor([processor.qformer_tokenizer.encode("a dog")] * 2)
        words = {"qformer_input_ids": ids}
    with torch.no_grad():
        tokens = model.get_image_features(pixels, **words)
    assert tokens.shape == (2, 4, 64)
    size = tokens.abs().mean()
    assert (tokens[0] - tokens[1]).abs().mean() > 0.1 * size
    assert (tokens[0, 0] - tokens[0, 1]).abs().mean() > 0.1 * size


def test_weights_come_from_the_seed_and_words_from_the_caller(tmp_path):
    folders = [
        blip.build("blip2_t5", tmp_path / str(n), seed, ["red", "dog"])
        for n, seed in enumerate((3, 3, 4))
    ]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]
    tokenizer = AutoProcessor.from_pretrained(folders[0], use_fast=True).tokenizer
    assert np.diff([len(tokenizer.tokenize(word)) for word in ("dog", "cat")]) > 0


def test_a_folder_is_built_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "instructblip_llama", str(tmp_path / "a"), "--seed", "1"])
    main()
    same = blip.build("instructblip_llama", tmp_path / "b", seed=1)
    assert capsys.readouterr().out == f"{tmp_path / 'a'}\n"
    names = sorted(f.relative_to(same) for f in same.rglob("*") if f.is_file())
    assert all((same / n).read_bytes() == (tmp_path / "a" / n).read_bytes() for n in names)
