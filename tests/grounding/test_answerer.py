"""The answerer on tiny real BLIP-2 and InstructBLIP: what it reads, learns, says and keeps."""

import math

import pytest
import torch
from safetensors import safe_open

from grounding.answerer.answerer import Example
from grounding.answerer.decoding import Decoding
from grounding.answerer.weights import load_answerer, open_answerer, save_trained
from inference.tiny.checkpoints import build as build_video_llm
from tools.errors import UserError

FAMILIES = ("blip2_t5", "instructblip_llama", "instructblip_t5")
QUERIES = 4  # visual tokens of a frame
SHORT = Decoding(max_new_tokens=6)
VISUAL = {"qformer", "language_projection"}
TRAINED = {
    None: set(),
    "tg": set(),
    "iv": {*VISUAL, "query_tokens"},
    "ivt": {*VISUAL, "query_tokens", "lora"},
    "sf": {*VISUAL, "query_tokens"},
    "video": VISUAL,
}
both = pytest.mark.parametrize("family", FAMILIES[:2])
each = pytest.mark.parametrize("family", FAMILIES)


def part(name):
    """Which part of the model a parameter belongs to."""
    return "lora" if ".lora_" in name else name.split(".")[0]


def generated_ids(answerer, batch, **settings):
    """The tokens of each row's answer, up to its end and with it."""
    tokenizer = answerer.processor.tokenizer
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "batch_decode", lambda ids, **_: calls.append(ids.tolist()) or [])
        answerer.generate(batch, Decoding(**settings))
    rows = []
    for row in calls[0]:
        row = row[int(answerer.is_encoder_decoder) :]  # an encoder-decoder begins with a token
        end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
        rows.append(row[:end])
    return rows


@pytest.fixture
def rows(ball):
    """A video of three frames, an image, a text, and a video of two frames."""
    return [
        Example([ball("red"), ball("blue"), ball("black")], "what colour is it", "red"),
        Example([ball("green")], "is it a green ball", "a green ball it is"),
        Example([], "what is it", "a ball"),
        Example([ball("white"), ball(None)], "what", "white a ball"),
    ]


@pytest.fixture
def seen():
    """answerer -> list of what its language model is passed, call by call."""

    def watch(answerer):
        calls = []
        answerer.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
        )
        return calls

    return watch


@both
@pytest.mark.parametrize("stage", TRAINED)
def test_each_stage_trains_its_parts_and_nothing_else(family, stage, open_tiny, rows):
    torch.manual_seed(0)
    answerer = open_tiny(family, stage=stage)
    names = {name for name, _ in answerer.model.named_parameters()}
    expected = {name for name in names if part(name) in TRAINED[stage]}
    assert {part(name) for name in expected} == TRAINED[stage]
    assert set(answerer.trainable(stage)) == expected
    assert {n for n, p in answerer.model.named_parameters() if p.requires_grad} == expected
    if not expected:
        return
    before = {name: p.detach().clone() for name, p in answerer.model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in answerer.parameters() if p.requires_grad], 0.5)
    answerer.train()
    for _ in range(2):  # the first step moves one half of each adapter, whose other half is zero
        optimizer.zero_grad()
        answerer.loss(answerer.encode(rows)).backward()
        # Processes that average gradients wait for each of them.
        assert all(p.grad is not None for p in answerer.parameters() if p.requires_grad)
        optimizer.step()
    after = dict(answerer.model.named_parameters())
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed <= expected
    assert {part(name) for name in changed} == TRAINED[stage]
    assert {n for n in changed if part(n) == "lora"} == {n for n in expected if part(n) == "lora"}


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        (
            "blip2_t5",
            {"SelfAttention.q", "SelfAttention.v", "EncDecAttention.q", "EncDecAttention.v"},
        ),
        ("instructblip_llama", {"self_attn.q_proj", "self_attn.v_proj"}),
    ],
)
def test_adapters_are_on_queries_and_values(family, targets, open_tiny):
    answerer = open_tiny(family, stage="ivt")
    layers = {n: m for n, m in answerer.model.named_modules() if hasattr(m, "lora_A")}
    assert {".".join(name.split(".")[-2:]) for name in layers} == targets
    for layer in layers.values():
        assert layer.lora_A["default"].weight.shape == (8, 64)
        assert layer.scaling["default"] == 32 / 8
        assert layer.lora_dropout["default"].p == 0.1


@each
def test_trained_parts_are_float32_beside_bfloat16(family, open_tiny, rows):
    answerer = open_tiny(family, stage="ivt", dtype=torch.bfloat16)
    dtypes = {p.requires_grad: p.dtype for p in answerer.parameters() if p.ndim > 1}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    assert math.isfinite(answerer.loss(answerer.encode(rows)).item())
    assert len(answerer.answer(rows, Decoding(max_new_tokens=3))) == len(rows)


def test_frozen_parts_stay_in_eval_mode(open_tiny):
    def modes(stage):
        model = open_tiny("instructblip_llama", stage=stage).train().model
        return model.vision_model.training, model.qformer.training, model.language_model.training

    assert modes("iv") == (False, True, False)
    assert modes("ivt") == (False, True, True)


@each
def test_an_image_is_read_as_by_the_librarys_own_forward(family, open_tiny, ball):
    """That one wants placeholders in the prompt, and takes one image."""
    answerer = open_tiny(family)
    batch = answerer.encode([Example([ball("red")], "what colour is it", "a red ball")])
    answer = batch["answer_ids"]
    image = torch.full((1, QUERIES), answerer.model.config.image_token_id)
    ids, labels = torch.cat([image, batch["prompt_ids"]], 1), answer
    if not answerer.is_encoder_decoder:
        labels = torch.cat([torch.full_like(ids, -100), answer], 1)
        ids = torch.cat([ids, answer], 1)
    words = {}
    if family != "blip2_t5":
        words["qformer_input_ids"] = batch["qformer_ids"]
    with torch.no_grad():
        own = answerer.model(
            pixel_values=batch["pixel_values"], input_ids=ids, labels=labels, **words
        )
        assert answerer.loss(batch).item() == pytest.approx(own.loss.item(), abs=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_are_the_answer_and_one_end(side, open_tiny, rows, seen):
    answerer = open_tiny("instructblip_llama")
    tokenizer = answerer.processor.tokenizer
    tokenizer.padding_side = side
    calls = seen(answerer)
    answerer.loss(answerer.encode(rows))
    prompt = [len(tokenizer(f"USER: {row.question} ASSISTANT: ")["input_ids"]) for row in rows]
    answers = [
        [*tokenizer(row.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for row in rows
    ]
    lengths = [
        QUERIES * len(row.frames) + n + len(answer)
        for row, n, answer in zip(rows, prompt, answers, strict=True)
    ]
    [call] = calls
    assert call["attention_mask"].sum(1).tolist() == lengths
    for labels, length, answer in zip(call["labels"].tolist(), lengths, answers, strict=True):
        before, after = length - len(answer), max(lengths) - length
        assert labels == [-100] * before + answer + [-100] * after


def test_labels_of_an_encoder_decoder_are_the_answer_and_one_end(open_tiny, rows, seen):
    answerer = open_tiny("blip2_t5")
    calls = seen(answerer)
    answerer.loss(answerer.encode(rows))
    tokenizer = answerer.processor.tokenizer
    for labels, row in zip(calls[0]["labels"].tolist(), rows, strict=True):
        answer = tokenizer(row.answer)["input_ids"]  # Flan-T5's tokenizer adds the end itself
        assert labels == answer + [-100] * (len(labels) - len(answer))
        assert answer.count(tokenizer.eos_token_id) == 1


@each
def test_padding_on_either_side_gives_the_same_loss(family, open_tiny, rows):
    answerer = open_tiny(family)
    batch = answerer.encode(rows)
    flipped = dict(batch)
    for kind in ("prompt", "answer"):
        for place, mask in enumerate(batch[f"{kind}_mask"]):
            padding = int((mask == 0).sum())
            for name in (f"{kind}_ids", f"{kind}_mask"):
                flipped[name] = flipped[name].clone()
                flipped[name][place] = batch[name][place].roll(padding)
    assert not torch.equal(flipped["prompt_mask"], batch["prompt_mask"])
    assert answerer.loss(flipped).item() == answerer.loss(batch).item()


@each
@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_a_mixed_batch_is_its_rows_alone(family, fusion, open_tiny, rows):
    answerer = open_tiny(family, fusion=fusion)
    alone = [answerer.encode([row]) for row in rows]
    tokens = [int(batch["answer_mask"].sum()) for batch in alone]
    with torch.no_grad():
        losses = [answerer.loss(batch).item() for batch in alone]
        together = answerer.loss(answerer.encode(rows)).item()
    mean = sum(n * loss for n, loss in zip(tokens, losses, strict=True)) / sum(tokens)
    assert together == pytest.approx(mean, abs=1e-5)
    assert len({round(loss, 4) for loss in losses}) == len(rows)
    assert answerer.answer(rows, SHORT) == [answerer.answer([row], SHORT)[0] for row in rows]


def test_a_batch_of_texts_has_a_gradient_for_every_trained_part(open_tiny):
    answerer = open_tiny("blip2_t5", stage="iv").train()
    loss = answerer.loss(answerer.encode([Example([], "what is it", "a ball")]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(p.grad is not None for p in answerer.parameters() if p.requires_grad)


@both
@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_one_to_eight_frames_are_joined_or_averaged(family, fusion, open_tiny, ball, seen):
    answerer = open_tiny(family, fusion=fusion)
    prompt = len(answerer.processor.tokenizer("USER: what is it ASSISTANT: ")["input_ids"])
    calls = seen(answerer)
    for nframe in range(1, 9):
        row = Example([ball("red", seed) for seed in range(nframe)], "what is it")
        calls.clear()
        answerer.answer([row], Decoding(max_new_tokens=1))
        visual = QUERIES * (nframe if fusion == "concat" else 1)
        assert calls[0].get("attention_mask").shape == (1, visual + prompt)


def test_the_mean_of_equal_frames_is_one_frame(open_tiny, ball):
    answerer = open_tiny("instructblip_llama", fusion="mean")
    with torch.no_grad():
        one, three = (
            answerer.loss(answerer.encode([Example([ball("red")] * n, "what", "red")]))
            for n in (1, 3)
        )
    assert three.item() == pytest.approx(one.item(), abs=1e-5)


def test_instructblip_reads_the_frame_for_the_question(open_tiny, ball):
    def visual(family, question):
        answerer = open_tiny(family)
        batch = answerer.encode([Example([ball("red")], question, "red")])
        names = ("widths", "pixel_values", "qformer_ids", "qformer_mask")
        return answerer._visual(*(batch.get(name) for name in names))[0]

    asked, other = (visual("instructblip_llama", q) for q in ("what colour", "is it a ball"))
    assert asked.shape == (QUERIES, 64)
    assert (asked - other).abs().max() > 0.01
    assert torch.equal(visual("blip2_t5", "what colour"), visual("blip2_t5", "is it a ball"))


def test_a_long_question_loses_its_beginning_and_a_long_answer_its_end(open_tiny):
    answerer = open_tiny("instructblip_llama", max_text=12)
    batch = answerer.encode([Example([], "ball " * 30 + "what colour", "red " * 5 + "blue " * 30)])
    tokenizer = answerer.processor.tokenizer
    assert tokenizer.decode(batch["prompt_ids"][0]).split()[-3:] == ["what", "colour", "ASSISTANT:"]
    assert batch["prompt_ids"].shape == (1, 12)
    ids = batch["answer_ids"][0].tolist()
    assert tokenizer.decode(ids) == "red " * 5 + "blue " * 6 + "blue</s>"


@both
def test_greedy_answers_are_the_same_each_time(family, open_tiny, rows):
    answerer = open_tiny(family, stage="ivt").train()
    # A checkpoint may ask for something else.
    answerer.model.language_model.generation_config.update(do_sample=True, top_k=3, num_beams=2)
    first = answerer.answer(rows, Decoding(max_new_tokens=8))
    assert answerer.training
    torch.manual_seed(1)
    assert answerer.answer(rows, Decoding(max_new_tokens=8)) == first
    assert len(set(first)) > 1


@both
def test_decoding_does_what_its_settings_say(family, open_tiny, rows):
    answerer = open_tiny(family)
    batch = answerer.encode(rows)

    def ids(seeds=None, **settings):
        decoding = Decoding(max_new_tokens=6, **settings)
        return answerer.generate(batch, decoding, seeds)

    greedy = ids()
    seeds = [1, 2, 3, 4]
    drawn = ids(seeds, temperature=1.0)
    assert drawn == ids(seeds, temperature=1.0) != greedy
    assert drawn != ids([5, 6, 7, 8], temperature=1.0)
    one = {name: value[2:3] for name, value in batch.items() if name != "pixel_values"}
    one["pixel_values"] = batch["pixel_values"][:0]  # the third row is a text
    alone = answerer.generate(one, Decoding(max_new_tokens=6, temperature=1.0), seeds[2:3])
    assert alone == drawn[2:3]
    assert ids(seeds, temperature=1.0, top_p=1e-6) == greedy

    for penalty, repeats in ((1.0, True), (1e6, False)):
        tokens = generated_ids(answerer, batch, max_new_tokens=12, repetition_penalty=penalty)
        assert any(len(row) > len(set(row)) for row in tokens) == repeats
        assert max(map(len, tokens)) == 12


@both
def test_beams_find_answers_at_least_as_likely(family, open_tiny, rows):
    answerer = open_tiny(family)

    batch = answerer.encode(rows)

    def log_p(**settings):
        """Of each answer of up to three tokens, nats."""
        values = []
        for row, ids in zip(rows, generated_ids(answerer, batch, **settings), strict=True):
            single = answerer.encode([row])
            single["answer_ids"] = torch.tensor([ids])
            single["answer_mask"] = torch.ones_like(single["answer_ids"])
            values.append(-answerer.loss(single).item() * len(ids))
        return values

    with torch.no_grad():
        greedy = log_p(max_new_tokens=3)
        beams = log_p(max_new_tokens=3, num_beams=8, length_penalty=0.0)
    assert all(beam >= value - 1e-4 for beam, value in zip(beams, greedy, strict=True))
    if family == "instructblip_llama":  # the random T5 is too sure of itself to be wrong at once
        assert sum(beams) > sum(greedy) + 1e-3


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"num_beams": 0}, "num_beams is 0; it must be 1 or more"),
        (
            {"num_beams": 2, "temperature": 1.0},
            "num_beams 2 and temperature 1.0 do not go together",
        ),
        ({"top_p": 0.9}, "top_p 0.9 has no effect without a temperature"),
        ({"length_penalty": 2.0}, "length_penalty 2.0 has no effect without num_beams"),
        ({"top_p": 1.5, "temperature": 1.0}, "top_p is 1.5; it must be above 0 and at most 1"),
    ],
)
def test_settings_without_an_effect_are_refused(settings, mistake):
    with pytest.raises(UserError, match=mistake):
        Decoding(**settings)


@both
def test_what_is_saved_is_the_trained_parts_and_the_settings(family, open_tiny, rows, tmp_path):
    answerer = open_tiny(family, stage="ivt", fusion="mean", max_text=20)
    with torch.no_grad():
        for name in answerer.trainable("ivt"):
            answerer.model.get_parameter(name).add_(0.01)
    save_trained(answerer, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "answerer.json",
        "answerer.safetensors",
    ]
    with safe_open(tmp_path / "answerer.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(answerer.trainable("ivt"))
    loaded = load_answerer(tmp_path)
    assert loaded.settings == answerer.settings
    batch = answerer.encode(rows)
    with torch.no_grad():
        assert loaded.loss(batch).item() == answerer.loss(batch).item()
        assert open_tiny(family).loss(batch).item() != answerer.loss(batch).item()


def test_mistakes_about_checkpoints_are_one_line(open_tiny, tiny_base, tmp_path):
    def with_settings(text):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "answerer.json").write_text(text)
        return tmp_path / "other"

    save_trained(open_tiny("blip2_t5", stage="iv"), tmp_path)
    other = str(tiny_base("instructblip_t5"))
    video_llm = str(build_video_llm("llava_onevision", tmp_path / "llava"))
    for call, mistake in (
        (lambda: load_answerer(tmp_path / "no"), "no holds no trained answerer: answerer.json"),
        (
            lambda: load_answerer(tmp_path, base=other),
            "was trained on a blip-2, and .* instructblip",
        ),
        (
            lambda: load_answerer(tmp_path, stage="video"),
            "does not hold what the stage 'video' trains",
        ),
        (
            lambda: load_answerer(with_settings('{"base": "x", "colour": 1}')),
            r"answerer.json holds no settings of an answerer: .* 'colour'",
        ),
        (lambda: load_answerer(with_settings("[]")), "holds no settings of an answerer: "),
        (lambda: load_answerer(with_settings('{"base')), "answerer.json is not JSON"),
        (lambda: open_answerer(video_llm), "is a llava_onevision; an answerer is one of blip-2"),
        (
            lambda: open_tiny("blip2_t5", fusion="meen"),
            "not one of concat, mean; did you mean 'mean'",
        ),
        (
            lambda: open_tiny("blip2_t5", stage="iw"),
            "stage is 'iw', not one of tg, iv, ivt, sf, video",
        ),
        (lambda: open_tiny("blip2_t5", prompt="Hello"), "prompt 'Hello' lacks {question}"),
    ):
        with pytest.raises(UserError, match=mistake) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("family", "clips"), [("blip2_t5", 8), ("instructblip_llama", 4)])
def test_it_learns_what_only_the_moment_shows(family, clips, open_tiny, colours, ball):
    """Clips of 12 frames; the ball is there in frames 4 to 7 alone."""
    torch.manual_seed(0)
    colours = colours[:clips]
    answerer = open_tiny(family)
    videos = [
        [ball(colour if 4 <= place < 8 else None, 100 * number + place) for place in range(12)]
        for number, colour in enumerate(colours)
    ]

    def batch(places):
        return answerer.encode(
            [
                Example([clip[place] for place in places], "what colour is it", colour)
                for clip, colour in zip(videos, colours, strict=True)
            ]
        )

    inside, outside = batch([4, 7]), batch([0, 11])
    answerer.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(answerer.parameters(), 2e-3, betas=(0.9, 0.98))
    for _ in range(160):
        optimizer.zero_grad()
        loss = answerer.loss(inside)
        if loss.item() < 0.02:
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(answerer.parameters(), 1.0)
        optimizer.step()
    answerer.eval()
    with torch.no_grad():
        assert answerer.loss(inside).item() < 0.1
        assert answerer.loss(outside).item() > math.log(len(colours)) / 2
    right = [
        sum(a == b for a, b in zip(answerer.generate(frames, SHORT), colours, strict=True))
        for frames in (inside, outside)
    ]
    assert right[0] == clips
    assert right[1] <= 2
