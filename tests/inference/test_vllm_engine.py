"""The vLLM captioner: what the engine is given, and, where vLLM is installed, what comes of it.

vLLM is not in requirements.txt. In an environment made from requirements-vllm.txt, or with a vLLM
built for CPUs, the last tests of this file run the engine itself on tiny checkpoints.
"""

import importlib.util
import re
import sys
import time
import types
from dataclasses import dataclass

import numpy as np
import pytest

from inference.captioner import Answer, Model, Request, Sampling
from inference.engines import vllm as vllm_engine
from inference.engines.vllm import VllmCaptioner, sampling_values
from inference.tiny import checkpoints as tiny_checkpoints
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.text.prompts import clip_messages, response_messages

GREEDY = Sampling(0.0, 1.0, 1, 1.0, 30)
VIDEO = {"size": {"shortest_edge": 3136, "longest_edge": 401408}}
# family of models.yaml -> family of tiny checkpoints
TINY = {"qwen2-vl": "qwen2vl", "qwen2.5-vl": "qwen25vl", "llava-onevision": "llava_onevision"}


@pytest.fixture(scope="module")
def folders(tiny):
    """Tiny checkpoints, whose weights are not run."""
    return {family: tiny(name) for family, name in TINY.items()}


@pytest.fixture(scope="module")
def wide_folders(tmp_path_factory):
    """Tiny checkpoints whose attention heads are as wide as vLLM wants them: 32."""
    folder = tmp_path_factory.mktemp("wide")
    with pytest.MonkeyPatch.context() as patch:
        for name in TINY.values():
            text = tiny_checkpoints.FAMILIES[name]["config"]["text_config"]
            patch.setitem(text, "num_attention_heads", 1)
            if "rope_scaling" in text:
                patch.setitem(text["rope_scaling"], "mrope_section", [4, 6, 6])
        return {
            family: tiny_checkpoints.build(name, folder / name) for family, name in TINY.items()
        }


def captioner_of(folders, family, **settings):
    video = VIDEO if family.startswith("qwen") else {}
    model = Model("tiny", "vllm", str(folders[family]), family, video=video)
    return VllmCaptioner(model, **settings)


def with_processor(folders, family):
    from transformers import AutoProcessor

    captioner = captioner_of(folders, family)
    captioner.processor = AutoProcessor.from_pretrained(folders[family])
    return captioner


def text_request(text, seed=0):
    return Request([{"role": "user", "content": [{"type": "text", "text": text}]}], seed)


# What the engine is given


def test_a_clip_prompt_has_a_placeholder_and_an_array_for_every_clip(folders):
    clips = [[np.full((90, 160, 3), value + i, np.uint8) for i in (0, 1)] for value in (10, 200)]
    messages = clip_messages(clips, 1)
    prompt = with_processor(folders, "qwen2-vl").prompt(Request(messages, 0))

    assert prompt.keys() == {"prompt", "multi_modal_data"}
    assert prompt["prompt"] == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n"
        "Video clip 1:<|vision_start|><|video_pad|><|vision_end|>"
        "Video clip 2:<|vision_start|><|video_pad|><|vision_end|>"
        f"{messages[0]['content'][-1]['text']}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt["multi_modal_data"].keys() == {"video"}
    (first, about_first), (second, about_second) = prompt["multi_modal_data"]["video"]
    assert first.shape == second.shape == (2, 90, 160, 3)
    assert first.dtype == second.dtype == np.uint8
    assert first[:, 0, 0, 0].tolist() == [10, 11]
    assert second[:, 0, 0, 0].tolist() == [200, 201]
    # What Qwen3-VL's processor asks for; others are content without.
    assert (
        about_first
        == about_second
        == {
            "total_num_frames": 2,
            "fps": 2.0,
            "duration": 1.0,
            "frames_indices": [0, 1],
            "do_sample_frames": False,
        }
    )


def test_a_familys_own_template_words_the_prompt(folders):
    clips = [[np.zeros((60, 60, 3), np.uint8)] * 2]
    prompt = with_processor(folders, "llava-onevision").prompt(Request(clip_messages(clips, 0), 0))
    assert prompt["prompt"].startswith("<|im_start|>user <video>\nDescribe this video clip")
    assert len(prompt["multi_modal_data"]["video"]) == 1


def test_a_response_prompt_is_text_alone(folders):
    asked = Request(response_messages(["A dog runs.", "It rests."]), 3)
    prompt = with_processor(folders, "qwen2-vl").prompt(asked)
    assert prompt.keys() == {"prompt"}
    assert "Caption 1: A dog runs.\nCaption 2: It rests." in prompt["prompt"]


@pytest.mark.parametrize(
    ("sampling", "chosen"),
    [
        pytest.param(
            Sampling(0.0, 0.9, 50, 1.0, 10),
            {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": None, "max_tokens": 10},
            id="temperature 0 is greedy",
        ),
        pytest.param(
            Sampling(0.7, 0.001, 1, 1.05, 8192),
            {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": None, "max_tokens": 8192},
            id="top_k 1 is greedy",
        ),
        pytest.param(
            Sampling(0.7, 0.9, 20, 1.05, 99),
            {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "seed": 12, "max_tokens": 99},
            id="drawn, with the request's own seed",
        ),
        pytest.param(
            Sampling(1.0, 1.0, 0, 1.0, 99),
            {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 12, "max_tokens": 99},
            id="top_k 0 is all tokens",
        ),
    ],
)
def test_no_sampling_value_is_left_to_the_engine(sampling, chosen):
    assert sampling_values(sampling, 12) == {
        **chosen,
        "repetition_penalty": sampling.repetition_penalty,
        "skip_special_tokens": False,
    }


def test_what_the_engine_is_made_with(folders):
    assert captioner_of(folders, "qwen2-vl").engine_arguments() == {
        "model": str(folders["qwen2-vl"]),
        "dtype": "bfloat16",
        "trust_remote_code": False,
        "max_model_len": 32768,
        "max_num_seqs": 256,
        "limit_mm_per_prompt": {"video": {"count": 2, "num_frames": 2}, "image": 0},
        "mm_processor_kwargs": VIDEO,
    }


def test_no_more_tokens_are_asked_for_than_the_checkpoint_has_positions(folders):
    assert captioner_of(folders, "llava-onevision").engine_arguments()["max_model_len"] == 2048


def test_the_environment_has_the_transformers_that_the_project_is_tested_with():
    def pin(name, package):
        text = (REPOSITORY / name).read_text()
        return re.search(rf"^{package}==(\S+)", text, flags=re.MULTILINE)[1]

    for package in ("transformers", "huggingface-hub", "av", "opencv-python-headless"):
        assert pin("requirements-vllm.txt", package) == pin("requirements.txt", package)


def test_a_broken_engine_ends_its_worker(monkeypatch, capsys):
    class Broken:
        def step(self):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr("inference.engines.local.parent_process", lambda: "the runner")
    with pytest.raises(SystemExit, match="70"):
        vllm_engine._step(Broken())
    assert "engine is broken" in capsys.readouterr().err


# Before any work


def complaint(captioner, device="auto"):
    with pytest.raises(UserError) as caught:
        captioner.check(device, GREEDY, 4)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vllm_is_not_installed(folders, monkeypatch):
    monkeypatch.setattr(vllm_engine, "_vllm_version", lambda: None)
    assert complaint(captioner_of(folders, "qwen2-vl")) == (
        "--engine vllm: vLLM is not installed: pip install -r requirements-vllm.txt, in an"
        " environment of its own"
    )


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (
            "auto",
            "--engine vllm needs a GPU, and there is none that torch can use; --engine huggingface"
            " runs on a CPU too",
        ),
        ("cpu", "--engine vllm needs a GPU: leave --device cpu out"),
    ],
)
def test_there_is_no_gpu(folders, monkeypatch, device, said):
    monkeypatch.setattr(vllm_engine, "_vllm_version", lambda: "0.23.0")
    monkeypatch.setattr(vllm_engine, "count_gpus", lambda: 0)
    assert complaint(captioner_of(folders, "qwen2-vl"), device) == said


def test_a_family_that_vllm_shows_no_videos(folders, monkeypatch):
    monkeypatch.setattr(vllm_engine, "_vllm_version", lambda: "0.23.0")
    monkeypatch.setattr(vllm_engine, "count_gpus", lambda: 1)
    captioner = VllmCaptioner(Model("smolvlm2", "vllm", "org/smol", "smolvlm"))
    assert complaint(captioner) == (
        "--engine vllm: vLLM shows smolvlm2 no videos; use --engine huggingface"
    )


def test_a_checkpoint_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(vllm_engine, "_vllm_version", lambda: "0.23.0")
    monkeypatch.setattr(vllm_engine, "count_gpus", lambda: 1)
    captioner = VllmCaptioner(Model("mine", "vllm", str(tmp_path / "nothing"), "qwen2-vl"))
    assert complaint(captioner) == f"checkpoint {tmp_path / 'nothing'}: no such folder"


# The stream, on a stand-in for vllm.LLM and its engine


@dataclass
class Output:
    request_id: str
    finished: bool
    outputs: list


class Engine:
    """Answers `words` steps after a request came; "fail" is refused."""

    def __init__(self):
        self.running = {}
        self.most = 0
        self.aborted = []
        self.llm_engine = self.renderer = self

    def render_cmpl(self, prompts):
        if prompts[0] == "unreadable":
            raise ValueError("no frames")
        return prompts

    def add_request(self, number, prompt, parameters):
        if prompt == "fail":
            raise ValueError("The decoder prompt is longer than the model's maximum")
        self.running[number] = len(prompt.split())
        self.most = max(self.most, len(self.running))

    def step(self):
        assert self.running
        time.sleep(0.005)
        self.running = {number: left - 1 for number, left in self.running.items()}
        ended = [number for number, left in self.running.items() if not left]
        for number in ended:
            del self.running[number]
        written = types.SimpleNamespace(text=" done ", finish_reason="stop")
        return [Output(number, True, [written]) for number in ended]

    def abort_request(self, numbers):
        self.aborted += numbers


@pytest.fixture
def stood_in(folders, monkeypatch):
    """A captioner on `Engine`, whose prompts are the requests' texts."""
    module = types.ModuleType("vllm.sampling_params")
    module.SamplingParams = dict
    module.RequestOutputKind = types.SimpleNamespace(FINAL_ONLY=2)
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", module)
    captioner = captioner_of(folders, "qwen2-vl")
    captioner.llm = Engine()
    monkeypatch.setattr(captioner, "prompt", lambda asked: asked.messages[0]["content"][0]["text"])
    return captioner


def test_answers_come_as_they_are_known(stood_in):
    given = stood_in.generate([text_request("five words are a while"), text_request("one")], GREEDY)
    assert list(given) == [(1, Answer("done", "stop")), (0, Answer("done", "stop"))]


def test_the_engine_is_kept_full_and_the_stream_taken_as_it_empties(stood_in, monkeypatch):
    monkeypatch.setattr(vllm_engine, "IN_FLIGHT", 3)
    taken = 0

    def stream():
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield text_request("two words")

    given = stood_in.generate(stream(), GREEDY)
    next(given)
    assert taken <= 3 + vllm_engine.AHEAD + 1
    assert len(list(given)) == 99 and stood_in.llm.most == 3


def test_running_requests_go_on_while_the_next_one_is_being_decoded(stood_in):
    decoded = []

    def stream():
        yield text_request("one")
        time.sleep(0.3)
        decoded.append(True)
        yield text_request("one")

    given = stood_in.generate(stream(), GREEDY)
    assert next(given)[0] == 0 and not decoded
    assert next(given)[0] == 1


@pytest.mark.parametrize("bad", ["fail", "unreadable"])
def test_a_request_that_the_engine_refuses_fails_alone(stood_in, bad):
    given = dict(
        stood_in.generate([text_request("a b"), text_request(bad), text_request("c d")], GREEDY)
    )
    assert isinstance(given.pop(1), ValueError)
    assert given == {0: Answer("done", "stop"), 2: Answer("done", "stop")}


def test_what_is_in_the_engine_is_dropped_when_nobody_wants_it(stood_in):
    long = text_request("some words " * 50)
    given = stood_in.generate([text_request("one " * 20), long, long], GREEDY)
    assert next(given)[0] == 0
    given.close()
    assert stood_in.llm.aborted == ["1", "2"]


def test_no_requests_no_answers(stood_in):
    assert list(stood_in.generate([], GREEDY)) == []


# The engine itself

real = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed (requirements-vllm.txt, an environment of its own)",
)


@pytest.fixture(scope="module", params=["qwen2-vl", "qwen2.5-vl", "llava-onevision"])
def engine(request, wide_folders):
    """(family, a loaded captioner), in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        captioner = captioner_of(wide_folders, request.param, dtype="float32")
        arguments = captioner.engine_arguments()
        small = {"enforce_eager": True, "max_num_seqs": 4, "gpu_memory_utilization": 0.3}
        small["max_model_len"] = min(arguments["max_model_len"], 4096)
        patch.setattr(captioner, "engine_arguments", lambda: {**arguments, **small})
        from vllm.platforms import current_platform

        captioner.load("cpu" if current_platform.is_cpu() else "cuda:0", 1)
    return request.param, captioner


def clip_requests(picture):
    sizes = [(160, 90), (426, 240), (852, 480), (1280, 720)]
    places = ["beach", "forest", "night", "snow"]
    clips = [
        [picture(place, size, moment) for moment in (0, 20)]
        for place, size in zip(places, sizes, strict=True)
    ]
    return [Request(clip_messages(clips, k), k) for k in range(len(clips))]


def written(captioner, requests, sampling):
    answers = dict(captioner.generate(iter(requests), sampling))
    return [answers[position] for position in range(len(requests))]


@real
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(0.7, 0.5, 1, 1.05, 30)], ids=["", "penalty"])
def test_greedy_answers_are_those_of_the_hugging_face_captioner(
    engine, wide_folders, picture, sampling
):
    from inference.engines.huggingface import HuggingFaceCaptioner

    family, captioner = engine
    requests = clip_requests(picture)
    requests += [Request(response_messages(["A dog runs.", "Snow falls."][:n]), n) for n in (1, 2)]
    other = HuggingFaceCaptioner(captioner_of(wide_folders, family).model, 4)
    other.load("cpu", 1)
    assert written(captioner, requests, sampling) == written(other, requests, sampling)


@real
def test_a_drawn_answer_hangs_on_its_own_seed_alone(engine):
    _, captioner = engine
    sampling = Sampling(8.0, 0.95, 50, 1.0, 20)
    requests = [text_request("Tell me about the lake.", seed) for seed in range(6)]
    together = written(captioner, requests, sampling)
    alone = [written(captioner, [request], sampling)[0] for request in reversed(requests)]
    assert together == alone[::-1]
    assert len({answer.text for answer in together}) > 1


@real
def test_what_vllm_refuses_is_one_line(wide_folders):
    captioner = captioner_of(wide_folders, "qwen2-vl", dtype="float3")
    with pytest.raises(UserError, match=r"^vLLM cannot load .*float3") as caught:
        captioner.load("cpu", 1)
    assert "\n" not in str(caught.value)


@real
def test_a_prompt_beyond_the_engines_length_fails_alone(engine):
    _, captioner = engine
    requests = [text_request("short"), text_request("long " * 5000), text_request("short")]
    first, failed, last = written(captioner, requests, GREEDY)
    assert first == last and isinstance(first, Answer)
    assert isinstance(failed, ValueError) and "maximum" in str(failed)


@real
def test_the_engine_is_empty_after_an_end_in_the_middle(engine):
    _, captioner = engine
    given = captioner.generate((text_request("Go on.", k) for k in range(20)), GREEDY)
    next(given)
    given.close()
    assert captioner.llm.llm_engine.get_num_unfinished_requests() == 0
