"""The viewer's page Chat: what it asks, from which frames, and what it shows of that."""

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from grounding.bridge.network import Bridge, BridgeConfig
from grounding.bridge.sampler import Sampler
from grounding.view import GREEDY, Answering, take_frames
from inference.tiny.blip import wordpiece
from tools.features.flow import Dis, video_flow
from tools.store.dataset import REPOSITORY, chat_votes
from visualize.conversations import Conversation
from visualize.parts.replies import time_line

WHAT = "What moves left in this video?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run_script: Callable[..., Any]) -> Path:
    """`data/toy`, a toy world of one story and its questions, and `bridge`, a random bridge."""
    made = tmp_path_factory.mktemp("chat")
    world = ["-m", "toyworld", "--videos", 1, "--events", 4, "--qa", 3, "--workers", 1]
    done = run_script(*world, "--out", made / "data" / "toy")
    assert done.returncode == 0, done.stderr
    tokenizer = wordpiece()
    torch.manual_seed(0)
    config = BridgeConfig(layers=1, dim=32, heads=4, vocabulary=len(tokenizer), pre_norm=True)
    (made / "bridge").mkdir()
    Sampler(Bridge(config), tokenizer).save(made / "bridge")
    return made


@pytest.fixture
def video(folder: Path) -> Path:
    return folder / "data" / "toy" / "video" / "toy_0000.mp4"


@pytest.fixture
def page(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_screen: Callable[..., AppTest],
) -> Callable[..., AppTest]:
    """Run the page with flags in this process; votes of other tests are away."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    chat_votes(folder / "data").unlink(missing_ok=True)

    def run(*flags: str, **address: str) -> AppTest:
        given = flags or ("--checkpoint", "toyvl", "--sampler", str(folder / "bridge"))
        return run_screen("chat", folder / "data", address, *given)

    return run


def words(app: AppTest) -> str:
    """All that the page says in HTML and captions."""
    assert not app.exception, app.exception
    html = [element.proto.body for element in app.get("html")]
    return "\n".join([*html, *(caption.value for caption in app.caption)])


def strips(app: AppTest) -> list[list[dict[str, Any]]]:
    """The frames of each strip on the page."""
    protos = [element.proto for element in app.get("bidi_component")]
    return [
        json.loads(p.json)["clips"] for p in protos if p.component_name.endswith("temple_strip")
    ]


def ask(app: AppTest, question: str = WHAT) -> AppTest:
    return app.chat_input[0].set_value(question).run()


def talk(app: AppTest) -> Conversation:
    return app.session_state["chat"]


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label == label)


def votes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in chat_votes(folder / "data").read_bytes().splitlines()]


# What is asked and shown


def test_a_question_is_answered_from_frames_of_the_span(page, folder, video):
    app = ask(page())
    flow = video_flow(video, Dis())
    found = Sampler.open(folder / "bridge").ground(flow, WHAT)
    model = Answering("toyvl")
    model.load()
    frames = take_frames(video, found.spans, 4)
    answer, _ = model.answer(WHAT, [], frames, found.spans, GREEDY, 0)
    [turn] = talk(app).turns
    [(start, end)] = found.spans
    assert turn.answer == answer
    assert turn.shown.times == frames.times
    assert turn.shown.spans == found.spans
    text = words(app)
    assert f'<div class="t-said">{answer}</div>' in text
    assert f"The bridge looks at 0:{start:04.1f} to 0:{end:04.1f}." in text
    assert text.count("<u style=") == 4
    [shown] = strips(app)
    assert [frame["title"] for frame in shown] == [
        f"0:{time:04.1f}, and the flow there" for time in frames.times
    ]
    assert all(len(frame["frames"]) == 2 for frame in shown)


def test_without_a_bridge_frames_are_spread_evenly_and_the_page_says_so(page):
    app = ask(page("--checkpoint", "toyvl"))
    # The middles of four equal parts of 8 s; the frame on the screen then may be a bit older.
    assert talk(app).turns[0].shown.times == pytest.approx([1, 3, 5, 7], abs=0.2)
    text = words(app)
    assert "There is no bridge" in text
    assert "spread evenly over the whole video" in text
    assert "t-curves" not in text


def test_by_default_toyvl_answers_and_the_toy_bridge_chooses(page, run_screen, folder):
    page()  # for its environment
    app = ask(run_screen("chat", folder / "data", {}))
    settings = talk(app).turns[0].settings
    assert settings["model"] == "toyvl"
    assert settings["bridge"] == str(REPOSITORY / "grounding" / "toybridge")


def test_the_bridge_can_be_left_out_to_compare(page):
    app = page()
    app.segmented_control(key="frames").set_value("uniform").run()
    assert talk(ask(app)).turns[0].shown.spans is None


@pytest.mark.parametrize("number", [1, 8])
def test_as_many_frames_are_shown_as_are_asked_for(page, number):
    app = ask(page(nframe=str(number)))
    assert len(talk(app).turns[0].shown.times) == number
    assert [len(strip) for strip in strips(app)] == [number]


def test_more_spans_do_not_overlap(page):
    [(a, b), (c, d)] = sorted(talk(ask(page(spans="2"))).turns[0].shown.spans)
    assert a < b <= c < d


def test_earlier_turns_go_with_a_question(page, monkeypatch):
    sent = []
    answer = Answering.answer

    def recorded(self: Answering, question: str, earlier: Any, *rest: Any) -> tuple[str, bool]:
        sent.append((question, list(earlier)))
        return answer(self, question, earlier, *rest)

    monkeypatch.setattr(Answering, "answer", recorded)
    app = ask(ask(page()), "And what grows?")
    first, second = talk(app).turns
    assert sent == [(WHAT, []), ("And what grows?", [(WHAT, first.answer)])]
    assert words(app).count("t-said") == 2
    # Made again, the second still follows the first alone.
    button(app, "Regenerate").click().run()
    assert sent[2] == sent[1]
    assert [turn.question for turn in talk(app).turns] == [WHAT, "And what grows?"]
    assert talk(app).turns[1].id != second.id


def test_regenerate_keeps_the_frames_and_takes_the_new_settings(page):
    app = ask(page())
    [before] = talk(app).turns
    app.slider(key="nframe").set_value(2)
    app.segmented_control(key="decoding").set_value("nucleus").run()
    app.slider(key="temperature").set_value(2.0)
    app.slider(key="top_p").set_value(1.0)
    answers = {before.answer}
    for draw in (1, 2, 3):
        button(app, "Regenerate").click().run()
        [turn] = talk(app).turns
        assert (turn.shown, turn.draws) == (before.shown, draw)
        answers.add(turn.answer)
    assert len(answers) > 1
    assert turn.settings["decoding"]["temperature"] == 2
    assert "toyvl, temperature 2" in words(app)


def test_an_answer_ends_at_the_longest_length(page):
    app = page()
    app.number_input(key="tokens").set_value(1)
    app = ask(app)
    assert "cut off at its longest length" in words(app)
    assert len(talk(app).turns[0].answer.split()) <= 1


def test_reset_begins_again_with_the_same_video(page):
    app = ask(page())
    button(app, "Reset").click().run()
    assert talk(app).turns == []
    assert "toy_0000.mp4" in words(app)


def test_questions_of_the_data_set_are_suggested(page):
    app = page()
    first = app.button[0]
    assert first.label.startswith("What")
    first.click().run()
    assert talk(app).turns[0].question.startswith("What")
    assert not [one for one in app.button if one.key and one.key.startswith("try_")]


def test_what_a_person_and_a_model_write_is_text(page, monkeypatch):
    nasty = "<script>window.hacked = 1</script> $x^2$ **bold**"
    monkeypatch.setattr(Answering, "answer", lambda *_: (nasty, False))
    app = ask(page(), nasty)
    assert "<script" not in words(app)
    assert "&lt;script&gt;window.hacked = 1&lt;/script&gt; $x^2$ **bold**" in words(app)
    assert [text.value for text in app.text] == [nasty]


# Votes


def test_a_vote_is_a_line_and_a_change_another(page, folder):
    app = ask(page())
    for value in (1, 0, None):
        app.feedback[0].set_value(value).run()
    up, down, withdrawn = votes(folder)
    assert [line["vote"] for line in (up, down, withdrawn)] == ["up", "down", None]
    [turn] = talk(app).turns
    assert {line["id"] for line in (up, down, withdrawn)} == {turn.id}
    assert up["dataset"] == "toy"
    assert up["video"] == "toy_0000.mp4"
    assert (up["question"], up["answer"], up["earlier"]) == (WHAT, turn.answer, [])
    assert up["frame_times"] == turn.shown.times
    assert up["span_time"] == [list(span) for span in turn.shown.spans]
    assert (up["model"], up["bridge"]) == ("toyvl", str(folder / "bridge"))
    assert up["decoding"]["num_beams"] == 1


# Uploads, and what goes wrong


def test_an_upload_can_be_talked_about_without_a_data_set(
    run_screen, folder, tmp_path, video, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    flags = ("--checkpoint", "toyvl", "--sampler", str(folder / "bridge"))
    app = run_screen("chat", tmp_path / "none", {}, *flags)
    assert "upload one" in words(app)
    app.file_uploader[0].upload("mine & yours.mp4", video.read_bytes(), "video/mp4").run()
    assert "mine &amp; yours.mp4" in words(app)
    app = ask(app)
    assert len(strips(app)[0]) == 4
    app.feedback[0].set_value(1).run()
    (tmp_path / "none" / "chat_votes.jsonl").read_bytes().index(b"mine & yours.mp4")


def test_an_upload_that_is_no_video_is_said_in_one_line(page):
    app = page()
    app.file_uploader[0].upload("x.mp4", b"no video", "video/mp4").run()
    [line] = re.findall('<div class="t-note">(.*?)</div>', words(app))
    assert line.startswith("x.mp4: ")


def test_a_video_that_is_gone_is_said(page, video):
    page()
    away = video.rename(video.with_name("away.mp4"))
    try:
        assert "toy_0000.mp4: no such file" in words(page())
    finally:
        away.rename(video)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--checkpoint", "toyvlm"), "unknown model"),
        (("--checkpoint", "toyvl", "--sampler", "/none"), "/none holds no trained bridge"),
        (("--nonsense",), "the viewer takes -- --data_root DIR"),
    ],
)
def test_a_model_that_is_not_there_is_said(page, flags, line):
    app = page(*flags)
    assert line in words(app)


def test_a_model_that_fails_leaves_the_page_and_the_question_can_be_asked_again(page, monkeypatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as broken:
        broken.setattr(Answering, "answer", fail)
        app = ask(page())
        assert "there is no answer: RuntimeError: out of luck" in words(app)
        assert talk(app).turns == []
    assert len(talk(ask(app)).turns) == 1
    assert "out of luck" not in words(app)


# The time line


def test_the_time_line_has_the_span_the_curves_and_the_frames_in_their_places():
    times = np.array([[0, 2], [2, 4], [4, 6], [6, 8]], np.float32)
    html = time_line(
        8.0,
        times,
        np.array([0.0, 0.5, 1.0, 0.0]),
        np.array([0.1, 0.7, 0.1, 0.1]),
        np.array([0.2, 0.2, 0.4, 0.2]),
        [(2.0, 6.0)],
        [3.0, 5.0],
    )
    assert '<i style="left:25.00%;width:50.00%" title="0:02.0 to 0:06.0">' in html
    assert re.findall('<u style="left:(.*?)%"', html) == ["37.50", "62.50"]
    assert "starts here: at most 70%" in html
    assert "ends here: at most 40%" in html


# In a real browser


def test_browser_asks_and_moves_to_the_frame_that_is_clicked(folder, serve, tab):
    """Sends, sees curves and flow, clicks a frame, plays from there, votes, and resets."""
    flags = ("--checkpoint", "toyvl", "--sampler", str(folder / "bridge"))
    chat_votes(folder / "data").unlink(missing_ok=True)
    server: AbstractContextManager[str] = serve(folder, *flags)
    with server as address:
        tab.set_default_timeout(120_000)
        tab.goto(f"{address}/chat")
        tab.get_by_placeholder("Ask about the video").fill(WHAT)
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".clip")
        curves = tab.locator(".t-curves img")
        assert curves.evaluate("image => image.complete && image.naturalWidth > 0")
        assert tab.locator(".clip").count() == 4
        assert tab.locator(".clip img").count() == 8
        tab.locator(".clip[data-clip='2']").click()
        tab.wait_for_selector(".clip.on[data-clip='2']")
        shown = tab.locator(".clip.on").get_attribute("title").split(",")[0]
        tab.wait_for_selector(f".st-key-chat_player >> text={shown}")
        tab.get_by_role("button", name="Play").click()
        tab.wait_for_selector(f".st-key-chat_player >> text=from {shown}")
        tab.wait_for_function("document.querySelector('video')?.readyState >= 2")
        left = 8 - float(shown.split(":")[1])
        assert tab.evaluate("document.querySelector('video').duration") == pytest.approx(left, 0.1)
        tab.locator("[data-testid='stFeedback'] button").first.click()
        end = time.monotonic() + 20
        while not chat_votes(folder / "data").exists() and time.monotonic() < end:
            time.sleep(0.2)
        assert votes(folder)[0]["vote"] == "up"
        # Below a chat input Streamlit scrolls another element than on other pages.
        main = "document.querySelector('[data-testid=stAppScrollToBottomContainer]')"
        assert tab.evaluate(f"{main}.scrollWidth <= {main}.clientWidth")
        tab.get_by_role("button", name="Reset").click()
        tab.wait_for_selector("text=What >> nth=0")
        tab.wait_for_selector(".t-said", state="detached")
