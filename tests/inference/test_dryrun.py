"""The dry run: a text for each clip's pixels, joined in the captions' order."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from inference.captioner import Answer, Request, Sampling
from inference.models import check_model_name, models, open_captioner, response_sampling
from tools.errors import UserError
from tools.pairs.perturbation import configs, select
from tools.text.answers import parse_clip_caption
from tools.text.prompts import clip_messages, response_messages


def ask(*messages, seed=0, threads=1, **sampling):
    captioner = open_captioner("dryrun")
    captioner.load("cpu", threads)
    requests = [Request(m, seed) for m in messages]
    return [answer for _, answer in captioner.generate(requests, Sampling(**sampling))]


def caption(*pairs):
    """The parsed caption of the last of some clips."""
    return parse_clip_caption(ask(clip_messages(pairs, len(pairs) - 1))[0].text)


def plain(colour, size=(36, 64)):
    return np.full((*size, 3), colour, np.uint8)


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (36, 64, 3), dtype=np.uint8)


RED, NIGHT = [plain((205, 35, 35))] * 2, [plain((20, 30, 60))] * 2


def test_a_first_clip_gets_a_caption_alone():
    (answer,) = ask(clip_messages([RED], 0))
    assert answer == Answer("A light red scene named Remolinire.", "stop")


def test_a_later_clip_gets_an_answer_that_must_be_parsed():
    (answer,) = ask(clip_messages([NIGHT, RED], 1))
    assert answer.text == (
        "Video clip 2 follows video clip 1.\n\n**Caption:** A light red scene named Remolinire."
    )
    assert caption(NIGHT, RED) == caption(RED)


@pytest.mark.parametrize(
    ("colour", "words"),
    [
        ((0, 0, 0), "A dark gray scene"),
        ((90, 80, 85), "A dim gray scene"),
        ((255, 255, 255), "A light gray scene"),
        ((40, 160, 60), "A bright green scene"),
        ((20, 30, 60), "A dark blue scene"),
        ((240, 220, 50), "A light yellow scene"),
        ((25, 135, 135), "A bright cyan scene"),
        ((215, 40, 200), "A light magenta scene"),
    ],
)
def test_mean_colour_and_brightness_are_named(colour, words):
    assert caption([plain(colour)] * 2).startswith(f"{words} named ")


def test_different_clips_get_different_captions():
    captions = {caption([noise(seed), noise(seed + 1)]) for seed in range(200)}
    assert len(captions) == 200
    assert caption([noise(0), noise(1)]) != caption([noise(1), noise(0)])


def test_the_text_depends_on_the_pixels_alone():
    messages = clip_messages([[noise(0), noise(1)], [noise(2), noise(3)]], 1)
    texts = {ask(messages, seed=seed, threads=seed + 1)[0].text for seed in range(3)}
    assert len(texts) == 1


def test_a_gray_level_of_another_decoder_changes_nothing():
    picture = np.kron(np.random.default_rng(0).integers(0, 32, (16, 16, 3)), np.ones((4, 4, 1)))
    picture = (8 * picture + 4).astype(np.uint8)  # cells of one colour, as in flat pictures
    assert caption([picture] * 2) == caption([picture + 1, picture - 1])


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 333), (900, 100), (1080, 1920)])
def test_a_frame_of_any_size_is_captioned(size):
    assert caption([plain((205, 35, 35), size)] * 2) == caption(RED)


def test_a_bad_request_fails_alone():
    good = clip_messages([RED], 0)
    bad = clip_messages([[np.zeros((0, 0, 3), np.uint8)] * 2], 0)
    first, second, third, fourth = ask(good, bad, response_messages([]), good)
    assert isinstance(second, Exception) and isinstance(third, ValueError)
    assert isinstance(first, Answer) and first == fourth


def test_an_answer_is_cut_off_at_the_limit():
    (cut,) = ask(clip_messages([RED], 0), max_new_tokens=4)
    assert cut == Answer("A light red scene", "length")


def response(captions):
    return ask(response_messages(captions))[0].text


def test_a_response_joins_the_captions_in_their_order():
    assert response(["A cat sleeps.", "An owl calls.", "A dog runs."]) == (
        "The video opens with a cat sleeps. Next comes an owl calls. Next comes a dog runs."
        " The video closes after scene 3."
    )


@pytest.mark.parametrize("n", [4, 9, 32])
def test_responses_keep_the_rules_of_pairs(n):
    captions = [f"A scene of number {k}. " + "It goes on. " * (k % 3) for k in range(n)]
    texts = {}
    for config in configs():
        kept = select(config, n, 0, "v").indices
        texts[config.name] = (tuple(kept), response([captions[k] for k in kept]))
    (order, chosen), *_ = texts.values()
    for name, (indices, rejected) in texts.items():
        if "drop" in name:
            assert len(rejected) < len(chosen)
        elif "none" not in name:
            assert abs(len(rejected) - len(chosen)) < 5
        if indices != order:
            assert chosen not in rejected and rejected not in chosen


def test_models_known_by_name():
    assert list(models()) == [
        "dryrun", "qwen2vl7b", "qwen25vl7b", "qwen3vl8b", "mimovl", "internvl3-8b",
        "llava-onevision-7b", "smolvlm2", "toyvl",
    ]  # fmt: skip
    mimo = models()["mimovl"]
    assert (mimo.checkpoint, mimo.reasoning) == ("XiaomiMiMo/MiMo-VL-7B-SFT", True)
    assert (mimo.max_new_tokens, models()["qwen2vl7b"].max_new_tokens) == (8192, 2048)
    assert models()["qwen2vl7b"].max_pixels == 28 * 28 * 512


def test_an_unknown_model_is_one_line_with_the_names_there_are():
    with pytest.raises(UserError) as error:
        open_captioner("gpt")
    assert str(error.value) == (
        "unknown model 'gpt'; the models are: dryrun, qwen2vl7b, qwen25vl7b, qwen3vl8b, mimovl, "
        "internvl3-8b, llava-onevision-7b, smolvlm2, toyvl"
    )


@pytest.mark.parametrize("name", ["../x", "a b", "", ".hidden", "a/b", "x" * 65, "ü"])
def test_a_models_name_must_fit_into_a_files_name(name, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="not a model name"):
        check_model_name(name)
    text = f"families: {{}}\nmodels: {{{name!r}: {{engine: dryrun, family: null}}}}\n"
    (tmp_path / "models.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr("inference.models.MODELS_YAML", tmp_path / "models.yaml")
    with pytest.raises(UserError, match="not a model name"):
        models()


def test_responses_are_sampled_as_the_reference_does():
    assert response_sampling(open_captioner("dryrun")) == Sampling()
    assert Sampling().as_dict() == {
        "temperature": 0.7,
        "top_p": 0.001,
        "top_k": 1,
        "repetition_penalty": 1.05,
        "max_new_tokens": 8192,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("top_p", 0), ("top_p", 1.1), ("top_k", -1), ("max_new_tokens", 0)],
)
def test_sampling_out_of_range_is_a_users_mistake(field, value):
    with pytest.raises(UserError, match=f"^{field} is {value}; it must be "):
        Sampling(**{field: value})


def test_the_dry_run_says_what_it_is():
    captioner = pickle.loads(pickle.dumps(open_captioner("dryrun")))
    assert captioner.name == "dryrun"
    assert "not a model" in captioner.fingerprint()["engine"]


def test_the_dry_run_needs_no_model_library():
    code = (
        "import sys; from inference.models import open_captioner; open_captioner('dryrun'); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
