"""Teachers by tiny random checkpoints: one reading of the video for all options of a question."""

import random
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distillation.teachers.chat_univi import ChatUniVi
from distillation.teachers.generic import GenericTeacher
from distillation.teachers.idefics import Idefics
from distillation.teachers.teacher import (
    Case,
    LocalTeacher,
    View,
    Weights,
    letter_prompts,
    letter_tokens,
    over_orders,
)
from distillation.teachers.video_llava import VideoLlava
from inference.models import open_captioner
from inference.tiny import teachers as tiny_teachers
from inference.tiny.checkpoints import build
from tools.errors import Filtered, UserError
from tools.text.qa_prompts import question_prompt

KINDS = {
    "video_llava": VideoLlava,
    "idefics": Idefics,
    "chat_univi": ChatUniVi,
}
GENERIC = ("qwen2vl", "llava_onevision")
OPTIONS = [
    "red",
    "a red ball moves to the left of the house above",
    "a green ball",
    "the lamp falls",
    "no",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """kind -> the folder of its tiny checkpoint; read it only."""

    @cache
    def of(kind):
        path = tmp_path_factory.mktemp("teachers") / kind
        if kind in GENERIC:
            return build(kind, path, compact=True)
        return getattr(tiny_teachers, kind)(path)

    return of


@pytest.fixture(scope="module")
def teacher(folder):
    """(kind, **settings) -> a loaded teacher."""

    def load(kind, **settings):
        made = (
            GenericTeacher(open_captioner(str(folder(kind))))
            if kind in GENERIC
            else KINDS[kind]("tiny", str(folder(kind)), **settings)
        )
        made.check("cpu")
        made.load("cpu", 1)
        return made

    return cache(load)


def case(seed=0, count=8, options=OPTIONS, last=None):
    """A question about `count` frames of noise; `last` seeds another noise of the last one."""
    frames = [np.random.default_rng([seed, n]).integers(0, 256, (64, 80, 3)) for n in range(count)]
    if last is not None:
        frames[-1] = np.random.default_rng([last, 99]).integers(0, 256, (64, 80, 3))
    shown = [frame.astype(np.uint8) for frame in frames]
    return Case("q", shown, 2.0, "what happens first", list(options))


def judge(teacher, case, by="text"):
    [(_, judged)] = teacher.judge([case], by)
    if isinstance(judged, Exception):
        raise judged
    return judged


@torch.inference_mode()
def whole_forwards(teacher, case):
    """log p of each option from a forward pass of its own, and the state before it."""
    inputs = teacher.encode(case, question_prompt(case.question))
    values = []
    for option in case.options:
        ids = torch.tensor([teacher.tokenizer.encode(option, add_special_tokens=False)])
        own = dict(inputs)
        length = own["attention_mask"].shape[1]
        own["attention_mask"] = torch.ones(1, length + ids.shape[1], dtype=torch.long)
        if "inputs_embeds" in own:
            embed = teacher.network.get_input_embeddings()
            own["inputs_embeds"] = torch.cat([own["inputs_embeds"], embed(ids)], 1)
        else:
            own["input_ids"] = torch.cat([own["input_ids"], ids], 1)
        if "image_attention_mask" in own:
            mask = own["image_attention_mask"]
            own["image_attention_mask"] = torch.cat(
                [mask, mask[:, -1:].expand(1, ids.shape[1], -1)], 1
            )
        output = teacher.network(**own, output_hidden_states=True)
        # Sums of 150 nats are no multiples of 1e-5 in single precision.
        log_p = output.logits[0, length - 1 : -1].double().log_softmax(-1)
        values.append(float(log_p.gather(1, ids[0][:, None]).sum()))
    return values, output.hidden_states[-1][0, length - 1].numpy()


@pytest.mark.parametrize("kind", [*KINDS, *GENERIC])
def test_one_reading_gives_what_a_forward_pass_of_each_option_gives(kind, teacher):
    own, asked = teacher(kind), case()
    shapes = []
    hook = own.network.register_forward_hook(lambda *given: shapes.append(given[2].logits.shape))
    judged = judge(own, asked)
    hook.remove()
    expected, state = whole_forwards(own, asked)
    lengths = [len(own.tokenizer.encode(text, add_special_tokens=False)) for text in OPTIONS]
    assert judged.judgement.tokens == lengths and (min(lengths), max(lengths)) != (1, 1)
    # A token: over ten of them, single precision differs by 2e-5 from one processor to another.
    by_token = np.divide(judged.judgement.log_p, lengths)
    assert by_token == pytest.approx(np.divide(expected, lengths), abs=1e-5)
    assert judged.judgement.letter_log_p is None and judged.judgement.frames == 8
    assert judged.feature.astype(float) == pytest.approx(state, abs=2e-3, rel=1e-3)
    # The prompt once, then a row an option.
    assert [shape[0] for shape in shapes] == [1, len(OPTIONS)]
    assert len(set(np.round(expected, 3))) == len(OPTIONS)


@pytest.mark.parametrize("kind", [*KINDS, *GENERIC])
def test_options_of_one_token_need_no_second_forward(kind, teacher):
    own = teacher(kind)
    asked = case(options=["red", "no"] if kind in KINDS else ["!", "?"])
    judged = judge(own, asked)
    assert judged.judgement.tokens == [1, 1]
    assert judged.judgement.log_p == pytest.approx(whole_forwards(own, asked)[0], abs=1e-5)


@pytest.mark.parametrize("kind", ["video_llava", "idefics", "qwen2vl"])
def test_the_order_of_eight_frames_changes_the_judgement(kind, teacher):
    asked = case()
    reversed_frames = Case("q", asked.frames[::-1], 2.0, asked.question, asked.options)
    ours, theirs = (judge(teacher(kind), c).judgement.log_p for c in (asked, reversed_frames))
    assert np.abs(np.subtract(ours, theirs)).max() > 1e-3


def test_chat_univi_cannot_know_the_order_of_eight_frames(teacher):
    own, asked = teacher("chat_univi"), case()
    changed = Case("q", asked.frames[::-1], 2.0, asked.question, asked.options)
    ours, theirs = (judge(own, c).judgement.log_p for c in (asked, changed))
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert own.order_blind_below == 17
    assert judge(own, case(seed=5)).judgement.log_p != pytest.approx(ours, abs=1e-3)


@pytest.mark.parametrize("attend_all", [False, True])
def test_idefics_hears_of_its_first_frames(attend_all, teacher):
    own = teacher("idefics", attend_all=attend_all)
    same_last = [judge(own, case(seed, last=7)).judgement.log_p for seed in (0, 1)]
    assert np.abs(np.subtract(*same_last)).max() > 1e-4
    mask = own.encode(case(), "what happens")["image_attention_mask"][0, -1]
    assert mask.tolist() == [1] * 8 if attend_all else mask.tolist() == [0] * 7 + [1]
    expected, _ = whole_forwards(own, case())
    assert judge(own, case()).judgement.log_p == pytest.approx(expected, abs=1e-5)


def test_letters_are_scored_once_an_order_and_averaged(teacher):
    own, asked = teacher("video_llava"), case(options=OPTIONS[:3])
    prompts = letter_prompts(asked)
    assert [prompt.splitlines()[1] for prompt in prompts] == [
        f"A. {option}" for option in OPTIONS[:3]
    ]
    assert prompts[2].splitlines()[1:4] == [
        f"A. {OPTIONS[2]}",
        f"B. {OPTIONS[0]}",
        f"C. {OPTIONS[1]}",
    ]
    letters = [own.tokenizer.convert_tokens_to_ids(f"▁{letter}") for letter in "ABC"]
    with torch.inference_mode():
        logits = [own.network(**own.encode(asked, prompt)).logits[0, -1] for prompt in prompts]
    rows = torch.stack([row[letters].log_softmax(-1) for row in logits])
    option_values = [
        float(rows[0, place] + rows[1, place - 1] + rows[2, place - 2]) / 3 for place in range(3)
    ]
    judged = judge(own, asked, "letter").judgement
    assert judged.log_p is None
    expected = torch.tensor(option_values).log_softmax(-1).tolist()
    assert judged.letter_log_p == pytest.approx(expected, abs=1e-5)


def test_a_model_that_always_says_a_is_undecided_over_the_orders():
    always_a = np.log([0.9, 0.05, 0.03, 0.02])
    assert np.exp(over_orders([always_a] * 4)) == pytest.approx([0.25] * 4)
    # Option 1 has the letter B in order 0, A in order 1, C in order 2.
    sees = np.log([[0.2, 0.6, 0.2], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6]])
    assert np.exp(over_orders(sees)) == pytest.approx([0.2, 0.6, 0.2])


def test_a_letter_of_two_tokens_is_none(teacher):
    class Spelling:
        def encode(self, text, add_special_tokens):
            return [1, 2] if text == "C" else [ord(text)]

    assert letter_tokens(Spelling(), 2) == [65, 66]
    assert letter_tokens(Spelling(), 3) is None

    class Speller(LocalTeacher):
        tokenizer = Spelling()

    with pytest.raises(Filtered, match="a letter is several tokens"):
        judge(Speller("tiny", "none"), case(options=OPTIONS[:3]), "letter")


def test_a_case_that_fails_fails_alone(teacher):
    cases = [case(), case(options=["red", ""]), case(seed=1)]
    results = dict(teacher("video_llava").judge(cases, "text"))
    assert isinstance(results[1], ValueError)
    assert results[0].judgement.log_p != results[2].judgement.log_p


def test_video_llava_loads_from_the_names_of_the_released_tensors(folder, teacher, tmp_path):
    import shutil

    source = folder("video_llava")
    shutil.copytree(source, tmp_path / "released")
    state = load_file(source / "model.safetensors")
    names = {name.split(".")[0] for name in state}
    assert names == {"language_model", "image_tower", "video_tower", "multi_modal_projector"}
    assert "language_model.lm_head.weight" in state
    state["language_model.lm_head.weight"] *= 0  # it is read, and not drawn
    save_file(state, tmp_path / "released" / "model.safetensors", {"format": "pt"})
    own = VideoLlava("tiny", str(tmp_path / "released"))
    own.load("cpu", 1)
    uniform = -np.log(len(own.tokenizer)) * np.array(judge(own, case()).judgement.tokens)
    assert judge(own, case()).judgement.log_p == pytest.approx(uniform, abs=1e-3)
    del state["language_model.lm_head.weight"]  # the library would draw it
    save_file(state, tmp_path / "released" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"missing tensor 'lm_head\.weight'"):
        own.load("cpu", 1)


@pytest.fixture
def changed(folder, tmp_path):
    """change -> the folder of a Chat-UniVi whose tensors it has changed."""
    import shutil

    def write(change):
        path = tmp_path / "changed"
        shutil.copytree(folder("chat_univi"), path)
        state = torch.load(path / "pytorch_model.bin", weights_only=True)
        torch.save(change(state), path / "pytorch_model.bin")
        return ChatUniVi("tiny", str(path))

    return write


def test_chat_univi_reads_shards_and_ignores_what_is_computed(changed, teacher):
    own = changed(
        lambda state: {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    )
    path = own.checkpoint
    state = torch.load(f"{path}/pytorch_model.bin", weights_only=True)
    names = random.Random(0).sample(sorted(state), len(state))
    for shard, part in enumerate((names[::2], names[1::2]), 1):
        torch.save({n: state[n] for n in part}, f"{path}/pytorch_model-0000{shard}-of-00002.bin")
    from pathlib import Path

    Path(path, "pytorch_model.bin").unlink()
    own.load("cpu", 1)
    expected = judge(teacher("chat_univi"), case()).judgement.log_p
    assert judge(own, case()).judgement.log_p == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {**state, "vision.patch": torch.ones(1)},
            "'vision.patch' is no tensor of a Chat-UniVi",
        ),
        (
            lambda state: {**state, "model.layers.9.norm.weight": torch.ones(1)},
            "unexpected tensor 'model.layers.9.norm.weight'",
        ),
        (
            lambda state: {k: v for k, v in state.items() if k != "model.norm.weight"},
            "missing tensor 'model.norm.weight'",
        ),
        (
            lambda state: {k: v for k, v in state.items() if "mm_projector.bias" not in k},
            "bias",
        ),
        (
            lambda state: {**state, "model.norm.weight": random.Random(0)},
            "holds more than tensors",
        ),
    ],
)
def test_a_chat_univi_of_other_tensors_is_one_line(change, message, changed):
    own = changed(change)
    with pytest.raises(UserError, match=message) as error:
        own.load("cpu", 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "checkpoint", "message"),
    [
        (VideoLlava, "idefics", "is a idefics, and VideoLlava reads video_llava alone"),
        (ChatUniVi, "video_llava", "is a video_llava, and ChatUniVi reads ChatUniVi alone"),
    ],
)
def test_another_kind_of_checkpoint_is_refused(kind, checkpoint, message, folder):
    with pytest.raises(UserError, match=message):
        kind("tiny", str(folder(checkpoint))).check("cpu")


def test_four_bits_need_a_package_and_a_gpu(folder, monkeypatch):
    own = VideoLlava("tiny", str(folder("video_llava")), weights=Weights(load_in_4bit=True))
    monkeypatch.setattr("distillation.teachers.teacher.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--load_in_4bit needs the package bitsandbytes"):
        own.check("cpu")
    monkeypatch.setattr("distillation.teachers.teacher.find_spec", lambda name: name)
    with pytest.raises(UserError, match="--load_in_4bit needs a GPU"):
        own.check("cpu")


def test_the_fingerprint_holds_what_shapes_a_judgement(folder):
    path = str(folder("idefics"))
    made = [
        Idefics("tiny", path, View(4)).fingerprint(),
        Idefics("tiny", path, attend_all=True).fingerprint(),
        Idefics("tiny", path, weights=Weights("fp16")).fingerprint(),
    ]
    assert made[0] != made[1] != made[2] != made[0]
