"""The Hugging Face captioner on tiny checkpoints with real processors and chat templates."""

import json
import shutil
from functools import cache

import numpy as np
import pytest

from inference.captioner import Answer, Request, Sampling
from inference.checkpoints import check_checkpoint, digest, generation_config
from inference.models import open_captioner
from inference.tiny.checkpoints import build
from tools.errors import UserError
from tools.text import prompts

GREEDY = Sampling(0, 1, 1, 1.05, 24)
DRAWN = Sampling(1.0, 0.95, 0, 1.0, 24)
FAMILIES = ("qwen2vl", "qwen25vl", "llava_onevision", "smolvlm")


@pytest.fixture(scope="session")
def captioner_of(tiny):
    """family -> a captioner ready to generate on the CPU."""

    @cache
    def load(family):
        captioner = open_captioner(str(tiny(family)))
        captioner.load("cpu", 1)
        return captioner

    return load


@pytest.fixture
def loaded(captioner_of):
    """(family, batch) -> a captioner that runs so many requests together."""

    def with_batch(family, batch):
        captioner = captioner_of(family)
        captioner.batch = batch
        return captioner

    return with_batch


def clips(count, seed=0):
    """Requests for clip captions, of frames of several sizes; every other one shows two clips."""
    rng = np.random.default_rng(seed)
    asked = []
    for number in range(count):
        size = (60 + 28 * (number % 3), 90, 3)
        pairs = [[rng.integers(0, 256, size, dtype=np.uint8) for _ in "ab"] for _ in "ab"]
        asked.append(Request(prompts.clip_messages(pairs, number % 2), seed=number))
    return asked


def lists(count):
    """Requests for responses, from 1 to 7 captions long."""
    return [
        Request(
            prompts.response_messages(
                [f"Cat {k} walks around lake {n}." for k in range(n % 7 + 1)]
            ),
            seed=n,
        )
        for n in range(count)
    ]


def answers(captioner, requests, sampling):
    found = dict(captioner.generate(iter(requests), sampling))
    assert sorted(found) == list(range(len(requests)))
    return [found[position] for position in range(len(requests))]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("asked", [clips(9), lists(9)], ids=["clips", "lists"])
def test_greedy_text_does_not_depend_on_the_batch(loaded, family, asked):
    alone = answers(loaded(family, 1), asked, GREEDY)
    assert all(isinstance(answer, Answer) for answer in alone)
    assert len({answer.text for answer in alone}) > 4  # the requests are really told apart
    assert answers(loaded(family, 4), asked, GREEDY) == alone
    assert answers(loaded(family, 4), asked[::-1], GREEDY) == alone[::-1]


def test_a_draw_depends_on_the_request_s_own_seed(loaded):
    asked = lists(6)
    first = answers(loaded("llava_onevision", 4), asked, DRAWN)
    assert answers(loaded("llava_onevision", 1), asked, DRAWN) == first
    other = [Request(request.messages, request.seed + 100) for request in asked]
    assert answers(loaded("llava_onevision", 4), other, DRAWN) != first


def test_frames_and_their_order_change_the_text(loaded):
    left, right = np.zeros((2, 60, 90, 3), np.uint8)
    left[:, :45], right[:, 45:] = 255, 255
    asked = [
        Request(prompts.clip_messages([pair], 0), 0)
        for pair in ([left, left], [right, right], [left, right], [right, left])
    ]
    assert len({answer.text for answer in answers(loaded("qwen2vl", 4), asked, GREEDY)}) == 4


def test_frames_are_as_far_apart_as_it_is_said(loaded):
    """Two frames are one time step: a second of a clip, two seconds where one is taken a second."""
    frames = [np.zeros((60, 90, 3), np.uint8)] * 4
    whole = Request(prompts.video_messages(frames, "What happens?", fps=1.0), 0)
    clip = Request(prompts.clip_messages([frames[:2]], 0), 0)
    inputs = loaded("qwen25vl", 4).inputs([whole, clip])
    assert inputs["second_per_grid_ts"].tolist() == [2.0, 1.0]


def test_a_bad_request_takes_no_other_down(loaded):
    asked = clips(5)
    expected = answers(loaded("qwen2vl", 4), asked, GREEDY)
    broken = Request(prompts.clip_messages([[np.zeros((0, 0, 3), np.uint8)] * 2], 0), 0)
    found = answers(loaded("qwen2vl", 4), [*asked[:2], broken, *asked[2:]], GREEDY)
    assert isinstance(found.pop(2), Exception)
    assert found == expected


def test_a_video_that_changes_its_size_is_taken_in_that_of_its_first_frame(loaded):
    frames = [np.full((60, 90, 3), 90, np.uint8), np.full((30, 45, 3), 90, np.uint8)]
    same = [np.full((60, 90, 3), 90, np.uint8)] * 2
    asked = [Request(prompts.clip_messages([pair], 0), 0) for pair in (frames, same)]
    first, second = answers(loaded("qwen2vl", 4), asked, GREEDY)
    assert first == second


def test_out_of_memory_halves_the_batch_and_goes_on(tiny, monkeypatch):
    import torch

    captioner = open_captioner(str(tiny("llava_onevision")), batch=8)
    captioner.load("cpu", 1)
    asked = lists(16)
    expected = answers(captioner, asked, GREEDY)
    generate, sizes = captioner.network.generate, []

    def small(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(captioner.network, "generate", small)
    assert answers(captioner, asked, GREEDY) == expected
    assert captioner.batch == 2
    assert sizes[:3] == [2, 4, 2]  # the first batch is a small one
    monkeypatch.setattr(captioner.network, "generate", generate)

    def full(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(captioner.network, "generate", full)
    found = answers(captioner, asked[:3], GREEDY)
    assert all(isinstance(answer, torch.OutOfMemoryError) for answer in found)


def test_a_broken_device_ends_its_worker(tiny, monkeypatch, capsys):
    import torch

    captioner = open_captioner(str(tiny("llava_onevision")), batch=8)
    captioner.load("cpu", 1)

    def broken(**_):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(captioner.network, "generate", broken)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(torch.AcceleratorError, match="device-side"):
        answers(captioner, lists(3), GREEDY)  # this process is no worker
    monkeypatch.setattr("inference.engines.local.parent_process", lambda: "the runner")
    with pytest.raises(SystemExit, match="70"):
        answers(captioner, lists(3), GREEDY)
    assert "device is broken" in capsys.readouterr().err


def test_an_answer_cut_off_says_so_and_keeps_special_tokens(loaded):
    captioner = loaded("qwen2vl", 4)
    short = answers(captioner, lists(3), Sampling(0, 1, 1, 1.0, 2))
    assert {answer.finish_reason for answer in short} == {"length"}
    word, image = captioner.tokenizer.encode(" ball<|image_pad|>")
    end = captioner.tokenizer.eos_token_id
    assert captioner._read([word, image, word, end], 10) == Answer("ball<|image_pad|> ball", "stop")
    assert captioner._read([word, end, end], 2) == Answer("ball", "stop")


def test_requests_are_taken_while_answers_come(loaded):
    taken = []

    def asked():
        for number, request in enumerate(lists(40)):
            taken.append(number)
            yield request

    stream = loaded("llava_onevision", 2).generate(asked(), GREEDY)
    next(stream)
    assert len(taken) < 40
    stream.close()


# How a checkpoint decodes.


def test_decoding_is_the_checkpoint_s(tiny):
    assert generation_config(str(tiny("qwen2vl")), 2048) == Sampling(0.1, 0.001, 1, 1.05, 2048)
    assert generation_config(str(tiny("llava_onevision")), 9) == Sampling(0.7, 0.8, 20, 1.1, 9)


@pytest.mark.parametrize(
    ("said", "decoding"),
    [
        (None, Sampling(0.0, 1.0, 1, 1.0, 64)),
        ({"do_sample": False, "temperature": 0.3}, Sampling(0.0, 1.0, 1, 1.0, 64)),
        ({"do_sample": True}, Sampling(1.0, 1.0, 50, 1.0, 64)),
        ({"do_sample": True, "top_p": 0.8, "top_k": None}, Sampling(1.0, 0.8, 50, 1.0, 64)),
    ],
)
def test_what_generation_config_leaves_open_is_the_library_s_default(tmp_path, said, decoding):
    if said is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(said))
    assert generation_config(str(tmp_path), 64) == decoding


def test_the_digest_is_the_weights_own_wherever_they_lie(tiny, tmp_path):
    folder = tiny("llava_onevision")
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert digest(str(copy)) == digest(str(folder))
    other = build("llava_onevision", tmp_path / "other", seed=1)
    assert digest(str(other)) != digest(str(folder))


# What is no checkpoint.


def broken(folder, what):
    if what == "no config.json":
        (folder / "config.json").unlink()
    elif what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "half fetched":
        shards = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": shards}))
    else:
        config = json.loads((folder / "config.json").read_text())
        config["model_type"] = what
        if what == "its_own":
            config["auto_map"] = {"AutoModelForImageTextToText": "code.Model"}
        if what == "internvl_chat":
            config["auto_map"] = {"AutoModel": "code.Model"}
        (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("no config.json", "no config.json that names a model_type"),
        ("no weights", "not all of its weights are there"),
        ("half fetched", "not all of its weights are there"),
        ("bert", r"not a vision-language model .*\(model_type bert\)"),
        ("internvl_chat", r"not a vision-language model .* ends in -hf"),
        ("its_own", "brings code of its own: add --trust_remote_code"),
    ],
)
def test_what_is_no_model_is_said_before_any_work(tiny, tmp_path, what, line):
    folder = shutil.copytree(tiny("llava_onevision"), tmp_path / "model")
    broken(folder, what)
    with pytest.raises(UserError, match=line):
        check_checkpoint(str(folder))


def test_code_of_its_own_is_fine_where_it_is_trusted(tiny, tmp_path):
    folder = shutil.copytree(tiny("llava_onevision"), tmp_path / "model")
    broken(folder, "its_own")
    check_checkpoint(str(folder), trust_remote_code=True)


@pytest.mark.parametrize(
    ("what", "line"),
    [("truncated weights", "cannot be loaded on cpu: "), ("no template", "has no chat template")],
)
def test_what_only_loading_finds_out_is_one_line(tiny, tmp_path, what, line):
    folder = shutil.copytree(tiny("llava_onevision"), tmp_path / "model")
    if what == "truncated weights":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        (folder / "chat_template.jinja").unlink()
    captioner = open_captioner(str(folder))
    with pytest.raises(UserError, match=line) as error:
        captioner.load("cpu", 1)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_captioner(str(tmp_path / "nothing"))


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match=r"the weights of Qwen/Nothing-7B are not here .*dryrun"
    ) as e:
        check_checkpoint("Qwen/Nothing-7B")
    assert "\n" not in str(e.value)
