import pickle
import re
import subprocess
import sys
import time
from functools import cache

import cv2
import numpy as np
import pytest

from inference.captioner import Answer, Request, Sampling
from inference.models import check_model_name, models, open_captioner, response_sampling
from tools.errors import UserError
from tools.pairs.perturbation import configs, select
from tools.text.prompts import clip_messages, parse_clip_caption, response_messages


@cache
def picture(seed=0, tint=(0, 0, 0)):
    """Smooth coloured noise of 900 x 1400, to cut frames from."""
    noise = np.random.default_rng(seed).integers(0, 256, (900, 1400, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 12).astype(np.int16)
    spread = (smooth - smooth.min()) * 127 // (smooth.max() - smooth.min())
    return np.clip(spread + tint, 0, 255).astype(np.uint8)


def frame(x=300, y=300, **kwargs):
    return picture(**kwargs)[y : y + 360, x : x + 640].copy()


def ask(*messages, **sampling):
    captioner = open_captioner("dryrun")
    captioner.load("cpu", 1)
    requests = [Request(m, seed=0) for m in messages]
    return [answer for _, answer in captioner.generate(requests, Sampling(**sampling))]


def caption(*pairs):
    """The parsed caption of the last of some clips."""
    return parse_clip_caption(ask(clip_messages(pairs, len(pairs) - 1))[0].text)


def plain(colour, size=(360, 640)):
    return np.full((*size, 3), colour, np.uint8)


def test_a_first_clip_gets_a_caption_alone():
    (answer,) = ask(clip_messages([[frame(), frame()]], 0))
    assert answer.finish_reason == "stop"
    assert answer.text == parse_clip_caption(answer.text)
    assert answer.text.startswith(("A ", "An "))


def test_a_later_clip_gets_description_connection_and_labelled_caption():
    (answer,) = ask(clip_messages([[frame(), frame()], [frame(500), frame(500)]], 1))
    description, connection, labelled = answer.text.split("\n\n")
    assert description.startswith("Video clip 2 shows ")
    assert connection.startswith("Video clip 2 follows video clip 1 and ")
    assert re.match(r"(\*\*)?Caption", labelled)


def test_parsing_leaves_no_trace_of_the_answers_shape():
    text = caption([frame(), frame()], [frame(500), frame(500)])
    assert text.startswith(("A ", "An "))
    assert not re.search(r"\*|caption|clip 1|clip 2", text, flags=re.IGNORECASE)
    assert "Compared with the previous clip, this video clip " in text


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((130, 130, 130), "gray"),
        ((220, 30, 30), "red"),
        ((40, 160, 60), "green"),
        ((40, 80, 210), "blue"),
        ((245, 225, 40), "yellow"),
        ((250, 140, 20), "orange"),
        ((120, 50, 150), "purple"),
    ],
)
def test_colours_are_named(colour, name):
    text = caption([plain(colour), plain(colour)])
    assert f" in {name} (about 100 percent)" in text


def test_colours_come_with_their_shares():
    half = plain((255, 255, 255))
    half[:, :160] = (40, 80, 210)
    assert "white (about 75 percent) and blue (about 25 percent)" in caption([half, half])


@pytest.mark.parametrize(
    ("level", "word"), [(5, "dark"), (75, "dim"), (130, "evenly lit"), (240, "bright")]
)
def test_light_is_worded(level, word):
    text = caption([plain((level,) * 3)] * 2)
    assert text.startswith((f"A {word}, flat ", f"An {word}, flat "))


@pytest.mark.parametrize(
    ("x", "y", "place"), [(0, 0, "the upper left"), (640 - 150, 240, "the lower right")]
)
def test_the_most_colourful_thing_is_placed(x, y, place):
    still = plain((128, 128, 128))
    still[y : y + 100, x : x + 150] = (230, 30, 30)
    text = caption([still, still]).lower()
    assert place in text and "red" in text.split(". ")[1]


@pytest.mark.parametrize(
    ("dx", "dy", "camera"),
    [
        (0, 0, "The camera holds still."),
        (60, 0, "The camera moves to the right."),
        (-60, 0, "The camera moves to the left."),
        (0, 40, "The camera moves down."),
        (0, -40, "The camera moves up."),
        (60, -60, "The camera moves up and to the right."),
    ],
)
def test_camera_movement_is_told(dx, dy, camera):
    assert camera in caption([frame(300, 300), frame(300 + dx, 300 + dy)])


def test_camera_zoom_is_told():
    near = cv2.resize(frame()[18:-18, 32:-32], (640, 360))
    assert "The camera moves closer" in caption([frame(), near])
    assert "The camera moves away" in caption([near, frame()])


@pytest.mark.parametrize(
    ("dx", "dy", "direction"),
    [(20, 0, "to the right"), (0, 20, "down"), (0, -20, "up"), (-20, 0, "to the left")],
)
def test_a_thing_that_moves_is_told(dx, dy, direction):
    pair = [frame(), frame()]
    for still, (x, y) in zip(pair, [(320, 180), (320 + dx, 180 + dy)], strict=True):
        cv2.circle(still, (x, y), 50, (230, 40, 40), -1)
    text = caption(pair)
    assert "The camera holds still while something at the centre moves" in text
    assert direction in text.split("moves")[1]


def test_two_unlike_frames_are_no_movement():
    assert "The view changes" in caption([frame(seed=1), frame(seed=2)])
    assert "The view changes" in caption([plain((20, 20, 20)), plain((200, 200, 200))])


def test_change_from_the_clip_before_is_told():
    night, day = plain((20, 30, 90)), plain((140, 195, 235))
    text = caption([night, night], [day, day])
    assert "this video clip is brighter and has light blue where there was navy" in text


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 333), (900, 100), (1080, 1920)])
def test_any_frame_size_is_captioned(size):
    assert caption([plain((220, 30, 30), size)] * 2).count("red") >= 1


def test_the_text_depends_on_the_pixels_alone():
    messages = clip_messages([[frame(), frame(340)], [frame(340), frame(400, 320)]], 1)
    captioner = open_captioner("dryrun")
    texts: set[Answer | Exception] = set()
    for threads, seed in ((1, 0), (2, 1), (4, 2)):
        captioner.load("cpu", threads)
        texts |= {answer for _, answer in captioner.generate([Request(messages, seed)], Sampling())}
    assert len(texts) == 1 and isinstance(texts.pop(), Answer)


def test_different_clips_get_different_captions():
    tints = [(90, 0, 0), (0, 90, 0), (0, 0, 90), (90, 90, 0), (0, 90, 90), (100, 100, 100)]
    clips = [[frame(tint=tint), frame(tint=tint)] for tint in tints]
    assert len({caption(clip) for clip in clips}) == 6


def test_a_bad_request_fails_alone():
    good = clip_messages([[frame(), frame()]], 0)
    bad = clip_messages([[np.zeros((0, 0, 3), np.uint8)] * 2], 0)
    first, second, third, fourth = ask(good, bad, response_messages([]), good)
    assert isinstance(second, Exception) and isinstance(third, ValueError)
    assert isinstance(first, Answer) and first == fourth


def test_an_answer_is_cut_off_at_the_limit():
    whole = ask(clip_messages([[frame(), frame()]], 0))[0].text
    (cut,) = ask(clip_messages([[frame(), frame()]], 0), max_new_tokens=5)
    assert cut == Answer(" ".join(whole.split()[:5]), "length")


def test_a_clip_takes_less_than_thirty_milliseconds():
    pair = [cv2.resize(frame(), (1920, 1080))] * 2
    messages = [clip_messages([pair, pair], 1)] * 20
    ask(messages[0])
    start = time.process_time()
    ask(*messages)
    assert (time.process_time() - start) / 20 < 0.030


def scenes(n):
    return [f"A scene of number {k}. " + "It goes on. " * (k % 3) for k in range(n)]


def response(captions):
    return ask(response_messages(captions))[0].text


def test_a_response_joins_the_captions_in_their_order():
    assert response(["A cat sleeps.", "An owl calls.", "A dog runs."]) == (
        "The video opens with a cat sleeps. Next comes an owl calls. Finally, there is a dog runs. "
        "The video closes after 3 scenes."
    )
    assert response(["A cat sleeps."]) == (
        "The video opens with a cat sleeps. The video closes after 1 scene."
    )


@pytest.mark.parametrize("n", [4, 9, 32])
def test_responses_keep_the_rules_of_pairs(n):
    captions = scenes(n)
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
    assert (mimo.checkpoint, mimo.reasoning, mimo.opening) == (
        "XiaomiMiMo/MiMo-VL-7B-SFT", True, True,
    )  # fmt: skip
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
def test_a_models_name_must_fit_into_a_files_name(name, tmp_path):
    with pytest.raises(UserError, match="not a model name"):
        check_model_name(name)
    text = f"families: {{}}\nmodels: {{{name!r}: {{engine: dryrun, family: null}}}}\n"
    (tmp_path / "models.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="not a model name"):
        models(tmp_path / "models.yaml")


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
