"""The tiny checkpoints are what they stand for: they load, have real ids, and look at frames."""

import re
import sys

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from inference.tiny.checkpoints import build, main

QWEN = ("qwen2vl", "qwen25vl")
EVERY = (*QWEN, "llava_onevision")


@pytest.fixture(scope="module")
def loaded(loaded_tiny):
    """Each family's (processor, model)."""
    return {name: loaded_tiny(name, False) for name in EVERY}


def user_turn(*parts):
    """One user turn of texts and videos (None); a video is a placeholder."""
    content = [{"type": "video"} if p is None else {"type": "text", "text": p} for p in parts]
    return [{"role": "user", "content": content}]


def prompt(processor, turns):
    """The text of a chat, up to where the answer begins."""
    return processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def encode(processor, videos, text="Describe this video."):
    """Model inputs of one user turn: each (frames, height, width, 3) video, then a text."""
    turn = user_turn(*[None] * len(videos), text)
    return processor(text=[prompt(processor, turn)], videos=videos, return_tensors="pt")


def answer(loaded_model, videos, max_new_tokens=24):
    """The greedy answer's ids."""
    processor, model = loaded_model
    inputs = encode(processor, videos)
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    return ids[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize(
    ("name", "model_type", "processor", "model"),
    [
        ("qwen2vl", "qwen2_vl", "Qwen2VLProcessor", "Qwen2VLForConditionalGeneration"),
        ("qwen25vl", "qwen2_5_vl", "Qwen2_5_VLProcessor", "Qwen2_5_VLForConditionalGeneration"),
        (
            "llava_onevision",
            "llava_onevision",
            "LlavaOnevisionProcessor",
            "LlavaOnevisionForConditionalGeneration",
        ),
    ],
)
def test_auto_classes_load_a_folder(name, model_type, processor, model, tiny, loaded_tiny):
    assert AutoConfig.from_pretrained(tiny(name)).model_type == model_type
    assert [type(part).__name__ for part in loaded_tiny(name)] == [processor, model]
    tokenizer = AutoTokenizer.from_pretrained(tiny(name))
    assert tokenizer.padding_side == "left"
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("name", QWEN)
def test_special_ids_are_the_released_ones(name, loaded):
    processor, model = loaded[name]
    assert {
        token: processor.tokenizer.encode(token) for token in processor.tokenizer.all_special_tokens
    } == {
        "<|endoftext|>": [151643],
        "<|im_start|>": [151644],
        "<|im_end|>": [151645],
        "<|object_ref_start|>": [151646],
        "<|object_ref_end|>": [151647],
        "<|box_start|>": [151648],
        "<|box_end|>": [151649],
        "<|quad_start|>": [151650],
        "<|quad_end|>": [151651],
        "<|vision_start|>": [151652],
        "<|vision_end|>": [151653],
        "<|vision_pad|>": [151654],
        "<|image_pad|>": [151655],
        "<|video_pad|>": [151656],
    }
    config = model.config
    assert (config.image_token_id, config.video_token_id) == (151655, 151656)
    assert (config.vision_start_token_id, config.vision_end_token_id) == (151652, 151653)
    assert model.get_input_embeddings().num_embeddings == 151936


@pytest.mark.parametrize("name", QWEN)
def test_a_compact_qwen_has_ids_of_its_own(name, tiny):
    folder = tiny(name)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    assert len(tokenizer) == config.text_config.vocab_size < 1000
    ids = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>", "<|vision_start|>"])
    assert ids == [config.image_token_id, config.video_token_id, config.vision_start_token_id]
    generation = GenerationConfig.from_pretrained(folder)
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert (generation.eos_token_id, generation.pad_token_id) == (ends, ends[1])


@pytest.mark.parametrize("name", EVERY)
def test_any_text_comes_back(name, loaded):
    tokenizer = loaded[name][0].tokenizer
    text = "Don't blink: 24 zebras -- \u65e5\u672c\u8a9e, \U0001f99d!\n\n\tThe end  "
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert len(tokenizer.encode(" the dog runs slowly through the red garden.")) == 9


@pytest.mark.parametrize("name", QWEN)
def test_qwen_turns_are_the_released_ones(name, loaded):
    turn = user_turn("Video clip 1:", None, "Video clip 2:", None, "Describe it.")
    assert prompt(loaded[name][0], turn) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nVideo clip 1:<|vision_start|><|video_pad|><|vision_end|>"
        "Video clip 2:<|vision_start|><|video_pad|><|vision_end|>Describe it.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A dog."},
    ]
    assert loaded[name][0].apply_chat_template(talk, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n"
        "<|im_start|>assistant\nA dog.<|im_end|>\n"
    )


def test_llava_turns_are_the_released_ones(loaded):
    turn = user_turn("Video clip 1:", None, "Video clip 2:", None, "Describe it.")
    assert prompt(loaded["llava_onevision"][0], turn) == (
        "<|im_start|>user <video><video>\nVideo clip 1:\nVideo clip 2:\nDescribe it.<|im_end|>"
        "<|im_start|>assistant\n"
    )


# 112 x 140 pixels are 4 x 5 merged patches; LLaVA-OneVision makes any frame 2 x 2 pooled ones.
@pytest.mark.parametrize(
    ("name", "frames", "tokens"),
    [
        ("qwen2vl", 2, 20),
        ("qwen2vl", 3, 40),
        ("qwen25vl", 2, 20),
        ("llava_onevision", 2, 9),
        ("llava_onevision", 3, 13),
    ],
)
def test_a_video_becomes_its_tokens(name, frames, tokens, loaded):
    processor, model = loaded[name]
    inputs = encode(processor, [np.zeros((frames, 112, 140, 3), np.uint8)])
    assert (inputs["input_ids"] == model.config.video_token_id).sum() == tokens


@pytest.mark.parametrize("name", QWEN)
def test_qwen_decodes_as_the_released_ones_do(name, tiny):
    config = GenerationConfig.from_pretrained(tiny(name, False))
    assert (config.do_sample, config.top_k, config.top_p) == (True, 1, 0.001)
    assert (config.temperature, config.repetition_penalty) == (0.1, 1.05)
    assert (config.eos_token_id, config.pad_token_id) == ([151645, 151643], 151643)


@pytest.mark.parametrize("name", EVERY)
def test_greedy_text_depends_on_the_frames_and_their_order(name, loaded, picture):
    clips = [
        np.stack([picture(place, (140, 112), moment) for moment in (0, 30)])
        for place in ("beach", "forest", "night", "fire", "snow", "party")
    ]
    shown = [[clip] for clip in clips] + [clips[:2], clips[1::-1], [clips[3][::-1].copy()]]
    answers = [answer(loaded[name], videos) for videos in shown]
    assert len(set(map(tuple, answers))) == len(shown)
    tokenizer = loaded[name][0].tokenizer
    for ids in answers:
        assert re.fullmatch(r"( [a-z]+|[,.])+(<\|im_end\|>)?", tokenizer.decode(ids))
        assert len(set(ids)) > len(ids) / 2


@pytest.mark.parametrize("name", EVERY)
def test_an_answer_ends_by_itself(name, loaded, picture):
    ids = answer(loaded[name], [np.stack([picture("night", (140, 112), 0)] * 2)], 400)
    assert ids[-1] == loaded[name][1].generation_config.eos_token_id[0]


def test_weights_come_from_the_seed_alone(tmp_path):
    weights = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        folder = build("llava_onevision", tmp_path / str(number), seed)
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_a_folder_is_built_from_the_command_line(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "new" / "tiny"
    monkeypatch.setattr(sys, "argv", ["", "llava_onevision", str(folder), "--seed", "1"])
    main()
    assert capsys.readouterr().out == f"{folder}\n"
    same = build("llava_onevision", tmp_path / "same", seed=1)
    names = sorted(file.name for file in same.iterdir())
    assert names == sorted(file.name for file in folder.iterdir())
    assert all((same / name).read_bytes() == (folder / name).read_bytes() for name in names)
