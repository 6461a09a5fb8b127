"""The viewer as people use it: Streamlit's own test runner for what a page says, and a real browser
for keys, links, clicks and what a caption's HTML becomes."""

import csv
import html
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from qa.predictions import Prediction, write_predictions
from qa.records import Question, write_questions
from tools.pairs.judgements import Pair, judge, read
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import dumps
from visualize.parts.address import pair_named
from visualize.screens import judge as judge_page
from visualize.screens.judge import sides_for

APP = REPOSITORY / "visualize" / "app.py"
NONE, DROP, REVERSE, SHUFFLE = (
    f"caption_caption_{name}_False_False"
    for name in ("none_1", "drop_2", "reverse_16", "shuffle_2")
)
# What a model may write: none of it is to be more than text.
NASTY = (
    'A <img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script><b>bold</b> claim:'
    " $x^2$ *is* **not** # a title, [link](javascript:alert(1)) &amp; :red[red] ![x](y)"
)
CAPTIONS = [f"Clip one, the beach. {NASTY}", "Clip two, a forest.", "Clip three, night.", "Fire."]
CHOSEN = f"First the beach, then a forest, then night, then fire. {NASTY}"
REVERSED = f"First fire, then night, then a forest, then the beach. {NASTY}"
TOLD = {DROP: [1, 3], REVERSE: [3, 2, 1, 0], SHUFFLE: [1, 0, 3, 2]}
TEXTS = {
    NONE: CHOSEN,
    DROP: "A forest, then fire.",
    REVERSE: REVERSED,
    SHUFFLE: "Short and shuffled.",
}


def build(root: Path, video: Path, videos: int = 2) -> Dataset:
    """A data set of small videos, of which only the first has a file."""
    dataset = Dataset("mine", root / "mine")
    cuts = [[shot, 12 * shot, 12 * shot + 11] for shot in range(4)]
    lines: dict[Path, list[dict[str, Any]]] = {}
    for number in range(videos):
        name = video.name if number == 0 else f"gone_{number}.mp4"
        init = {
            "video_id": f"v{number}",
            "video_path": str(video.with_name(name)),
            "video_name": name,
            "filtered": False,
        }
        scene = init | {
            "fps": 12.0,
            "raw_cuts": cuts,
            "cut_times": [[shot, shot + 1.0] for shot in range(4)],
            "filtered_cuts": cuts,
        }
        clips = scene | {
            "clip_similarity": [[1.0] * 4] * 4,
            "groups": [[0, 2], [1], [3]],
            "merged_groups": [[0, [0]], [1, [1]], [0, [2]], [2, [3]]],
            "frame_indices": [[12 * shot + 3, 12 * shot + 8] for shot in range(4)],
        }
        tables = {
            "init": init,
            "scene": scene,
            "videos": clips,
            "clip_captions_m": clips | {"raw_clip_captions": CAPTIONS, "clip_captions": CAPTIONS},
        }
        for table, record in tables.items():
            lines.setdefault(dataset.table(table).path, []).append(record)
        for config, text in TEXTS.items():
            lines.setdefault(dataset.responses("m", config).path, []).append(
                {
                    "video_id": f"v{number}",
                    "video_path": init["video_path"],
                    "frame_indices": clips["frame_indices"],
                    "response": text,
                    "info": {"selected_indices": TOLD.get(config, [0, 1, 2, 3])},
                }
            )
    few = {
        "video_id": "few",
        "video_path": "/v/few.mp4",
        "video_name": "few<b>.mp4",
        "filtered": False,
    }
    shots = few | {"fps": 12.0, "raw_cuts": cuts[:2], "filtered_cuts": cuts[:2]}
    lines[dataset.table("init").path].append(few)
    lines[dataset.table("filter_scene").path] = [
        *lines[dataset.table("scene").path],
        shots
        | {"filtered": True, "filter_reason": "too_few_shots"}
        | {"filter_detail": "min_shots 4: 2 shots"},
    ]
    lines[dataset.table("scene").path].append(shots)
    for path, records in lines.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(dumps(record) + b"\n" for record in records))
    dataset.remember_video_dir(video.parent)
    asked = {
        "dataset": "mine",
        "split": "val",
        "question": NASTY,
        "video_id": "v0",
        "video": video.name,
        "choices": ["A beach.", NASTY],
        "answer": "A beach.",
        "answer_index": 0,
    }
    write_questions(dataset.questions("val"), [Question(id=f"q{n}", **asked) for n in range(3)])
    likely = [Prediction(f"q{number}", None, [-1.0, -2.0]) for number in range(3)]
    path = dataset.predictions("val", "likely")
    write_predictions(path, likely, {"frames": 4, "protocol": "middles"})
    return dataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Streamlit makes the app the main module, which processes spawned later would run.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def dataset(tmp_path: Path, make_video: Callable[..., Path]) -> Dataset:
    shots = [(place, 12) for place in ("beach", "forest", "night", "fire")]
    return build(tmp_path / "data", make_video(tmp_path / "videos" / "one.mp4", shots))


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """The folder of a data set that no test changes, and of the viewer's cache of it."""
    folder = tmp_path_factory.mktemp("read_only")
    shots = [(place, 12) for place in ("beach", "forest", "night", "fire")]
    build(folder / "data", make_video(folder / "videos" / "one.mp4", shots))
    return folder


@pytest.fixture
def page(
    request: pytest.FixtureRequest,
    read_only: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_screen: Callable[..., AppTest],
) -> Callable[..., AppTest]:
    """Run the viewer's page of a name in this process, with an address's words: of the test's own
    `dataset` if it has one."""
    if "dataset" in request.fixturenames:
        data_root = request.getfixturevalue("dataset").root.parent
    else:
        data_root = read_only / "data"
        monkeypatch.setenv("XDG_CACHE_HOME", str(read_only / "cache"))

    def run(name: str = "pairs", /, **address: str) -> AppTest:
        if name != "pairs":
            return run_screen(name, data_root, address)
        monkeypatch.setattr(sys, "argv", ["app.py", "--data_root", str(data_root)])
        app = AppTest.from_file(str(APP), default_timeout=30)
        for key, value in address.items():
            app.query_params[key] = value
        return app.run()

    return run


def words(app: AppTest) -> str:
    """All that the page says in HTML."""
    assert not app.exception, app.exception
    return "\n".join(one.proto.body for one in app.get("html"))


def plain(html: str) -> str:
    """HTML without the marks of what differs."""
    return re.sub("</?mark>", "", html)


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label == label)


def test_a_pair_is_shown_side_by_side(page):
    app = page()
    text = words(app)
    assert "one.mp4" in text
    assert "reverse 16" in text
    assert "1 of 6" in text
    assert not any(box.key == "beside" for box in app.selectbox)  # there is one run only
    assert "First <mark>the beach" in text
    assert "First <mark>fire" in text


def test_whatever_a_model_wrote_is_text(page):
    app = page()
    text = words(app)
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "$x^2$" in text
    # No element that reads Markdown or LaTeX holds it.
    assert not any("x^2" in one.value for one in [*app.markdown, *app.caption])


def test_a_link_opens_its_pair(page):
    app = page(pair=f"m~0~{DROP.removeprefix('caption_caption_')}~v1")
    text = words(app)
    assert "gone_1.mp4" in text
    assert "drop 2" in text
    assert "5 of 6" in text
    assert '<div class="text">A forest, then fire.</div>' in plain(text)


def test_a_link_to_a_pair_outside_the_filters_still_opens_it(page):
    app = page(pair="m~0~drop_2_False_False~v0", noise="reverse")
    assert "drop 2" in words(app)
    assert "not among 2" in words(app)


@pytest.mark.parametrize("name", ["nonsense", "m~x~drop_2_False_False~v0", "m~0~no~<b>", "~~~"])
def test_a_link_to_no_pair_is_said(page, name):
    text = words(page(pair=name))
    assert f"There is no such pair in this dataset: {html.escape(name)}" in text or not pair_named(
        name
    )
    assert "1 of 6" in text


def test_next_and_previous_follow_the_order(page):
    app = page(sort="lowest ratio")
    first = words(app)
    button(app, "Next").click()
    assert "2 of 6" in words(app.run())
    button(app, "Previous").click()
    assert words(app.run()) == first


def test_filters_come_from_the_address_and_go_there(page):
    app = page(noise="shuffle", q="SHUFFLED")
    assert "1 of 2" in words(app)
    assert "dropped: length_ratio" in words(app)
    app.selectbox(key="outcome").set_value("kept")
    assert "No pair passes these filters." in words(app.run())


def test_a_filter_that_the_pair_does_not_pass_goes_on_to_one_that_does(page):
    app = page(pair="m~0~drop_2_False_False~v1")
    assert "5 of 6" in words(app)
    app.text_input(key="q").set_value("shuffled")
    assert "1 of 2" in words(app.run())


def test_another_run_of_the_same_pair_stands_below(page, dataset):
    name = "m~0~reverse_16_False_False~v0"
    for config, text in ((NONE, "The beach, seen by n."), (REVERSE, "Fire, seen by n.")):
        (row, _) = dataset.responses("m", config).read()
        dataset.responses("n", config).write([{**row, "response": text}])
    app = page(pair=name)
    assert app.selectbox(key="beside").options == ["none", "n iter 0"]
    assert "seen by n" not in words(app)
    text = plain(words(page(pair=name, beside="n iter 0")))
    assert "First the beach" in text
    assert text.count("by n iter 0") == 2
    assert "The beach, seen by n." in text and "Fire, seen by n." in text


def test_a_pair_of_a_video_that_has_moved_shows_its_frames(page, dataset):
    records = list(dataset.table("init").read())
    old = Path(records[0]["video_path"])
    records[0]["video_path"] = str(old.rename(old.with_name("moved.mp4")))
    dataset.table("init").write(records)
    assert "cannot be shown" not in words(page(pair="m~0~reverse_16_False_False~v0"))


def test_the_list_has_a_row_for_each_pair(page):
    app = page(list="yes")
    frame = app.dataframe[0].value
    assert frame["noise"].tolist() == ["reverse", "drop", "shuffle"] * 2
    assert frame["convert"].tolist() == ["kept", "kept", "length_ratio"] * 2


def test_a_missing_video_leaves_the_rest_of_the_page(page):
    text = words(page(pair="m~0~reverse_16_False_False~v1"))
    assert "The video cannot be shown: no such file" in text
    assert "First <mark>the beach" in text


def test_captions_that_went_in_are_there_with_their_place(page):
    text = words(page(pair="m~0~drop_2_False_False~v0"))
    assert "Clip two, a forest. <span" in text
    assert text.count(">dropped</span>") == 2
    assert ">number 2</span>" in text


@pytest.mark.parametrize(
    ("noise", "order", "told"),
    [
        ("swap", [1, 0, 2, 3], "from the clips, some neighbours swapped"),
        ("repeat", [0, 0, 2, 3], "from the clips, some twice in place of a neighbour"),
    ],
)
def test_a_pair_of_the_finest_level_is_shown(page, dataset, noise, order, told):
    row = json.loads(dataset.responses("m", SHUFFLE).path.read_text().splitlines()[0])
    row["info"]["selected_indices"] = order
    table = dataset.responses("m", f"caption_caption_{noise}_1_False_False")
    table.path.write_bytes(dumps(row) + b"\n")
    text = words(page(pair=f"m~0~{noise}_1_False_False~v0"))
    assert f"{noise} 1" in text
    assert "finer than the paper" in text
    assert told in text


def test_a_response_that_is_being_written_appears(page, dataset):
    app = page()
    assert "1 of 6" in words(app)
    lines = {}
    for config in TEXTS:
        path = dataset.responses("m", config).path
        row = json.loads(path.read_text().splitlines()[0]) | {"video_id": "v9"}
        lines[config] = dumps(row) + b"\n"
        dataset.responses("m", config).part(0, 1).write_bytes(lines[config][:-30])
    time.sleep(2.1)  # visualize.session.REST_SECONDS
    assert "1 of 6" in words(app.run())
    for config, line in lines.items():
        dataset.responses("m", config).part(0, 1).write_bytes(line)
    # A renewal that took long, on a busy machine, is followed by a longer rest.
    assert eventually(lambda: "1 of 9" in words(app.run()), 60)


def test_a_line_that_is_no_record_is_said_and_the_rest_shown(page, dataset):
    path = dataset.responses("m", DROP).path
    path.write_bytes(b"<b>nonsense\n" + path.read_bytes())
    text = words(page())
    assert "1 lines are no records and are left out" in text
    assert "1 of 6" in text


def test_names_in_the_address_are_text(page):
    nasty = "![x](http://evil.example/x) <b>"
    app = page("judge", judge=nasty)
    assert app.get("progress")[0].proto.text.endswith(
        r"\!\[x\]\(http\:\/\/evil\.example\/x\) \<b\>".replace(r"\/", "/")
    )
    text = words(page(of=nasty, between="ratio:<b>:2"))
    assert "<b>" not in text


def test_no_data_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["app.py", "--data_root", str(tmp_path / "none")])
    app = AppTest.from_file(str(APP), default_timeout=30).run()
    assert f"no dataset in {tmp_path / 'none'}: preprocess.py makes the first" in words(app)
    monkeypatch.setattr(sys, "argv", ["app.py", "--dataroot", "x"])
    app = AppTest.from_file(str(APP), default_timeout=30).run()
    assert "the viewer takes -- --data_root DIR" in words(app)
    assert "not --dataroot x" in words(app)


def test_a_dataset_that_the_address_invents_is_not_opened(page):
    app = page(dataset="../../<b>etc")
    assert app.selectbox(key="dataset").value == "mine"
    assert "There is no dataset ../../&lt;b&gt;etc in" in words(app)
    assert "There is no dataset" not in words(page(dataset="mine"))


def test_judging_asks_for_a_name_first(page):
    app = page("judge")
    assert "Who judges?" in words(app)
    assert not any(one.label == "Accept" for one in app.button)


def test_an_answer_goes_to_the_file_and_the_next_pair_comes(page, dataset):
    app = page("judge", judge="ada")
    app.text_input(key="comment").set_value("too short")
    button(app, "Reject").click()
    app.run()
    assert not app.exception
    (line,) = read(dataset)
    assert (line.judge, line.verdict, line.blind, line.sides, line.comment) == (
        *("ada", "reject", False, ("chosen", "rejected"), "too short"),
    )
    assert app.text_input(key="comment").value == ""
    button(app, "Accept").click()
    app.run()
    assert len({one.pair for one in read(dataset)}) == 2


def test_a_key_meant_for_the_pair_before_changes_no_verdict(page, dataset, monkeypatch):
    """A key that is pressed while the next pair loads is one more answer to the pair before."""
    app = page("judge", judge="ada")
    button(app, "Accept").click().run()

    def judge_twice(*args: Any, **kwargs: Any) -> None:
        answer(*args, **kwargs)
        answer(*args, **kwargs)

    answer = judge_page._answer
    monkeypatch.setattr(judge_page, "_answer", judge_twice)
    app = page("judge", judge="ada")
    button(app, "Reject").click()
    app.run()
    assert [one.verdict for one in read(dataset)] == ["accept", "reject"]


def test_judging_goes_on_to_the_end_and_back(page, dataset):
    app = page("judge", judge="ada")
    for _ in range(4):
        button(app, "Unsure").click()
        app.run()
    assert "Nothing left to judge" in words(app)
    found = list(read(dataset))
    # Convert keeps four of the six.
    assert len({one.pair for one in found}) == 4


def test_back_judges_the_last_pair_again(page, dataset):
    app = page("judge", judge="ada")
    button(app, "Accept").click()
    app.run()
    button(app, "Back").click()
    app.run()
    button(app, "Reject").click()
    app.run()
    first, second = read(dataset)
    assert first.pair == second.pair
    assert (first.verdict, second.verdict) == ("accept", "reject")


def test_a_blind_judge_is_told_nothing(page, dataset):
    app = page("judge", judge="ada", blind="true")
    text = words(app)
    for word in ("one.mp4", "gone_1", "drop", "reverse", "hosen", "ejected", "as the rejected"):
        assert word not in text
    assert not any("lip " in one.value for one in app.text)


def test_a_blind_answer_says_what_stood_where(page, dataset):
    """Taking the side that holds the chosen text is accepting, wherever it stood."""
    app = page("judge", judge="ada", blind="true")
    for _ in range(4):
        texts = [one.proto.body for one in app.get("html") if "t-side" in one.proto.body]
        left_is_chosen = "First the beach" in plain(texts[0])
        assert ("First the beach" in plain(texts[1])) is not left_is_chosen
        button(app, "A is right").click()
        app.run()
        line = list(read(dataset))[-1]
        assert line.blind
        assert line.sides == (("chosen", "rejected") if left_is_chosen else ("rejected", "chosen"))
        assert line.verdict == ("accept" if left_is_chosen else "reject")


def test_blind_sides_are_shuffled():
    left = [sides_for("ada", Pair("m", 0, DROP, f"v{k}"))[0] for k in range(1000)]
    assert 430 < left.count("chosen") < 570
    pair = Pair("m", 0, DROP, "v1")
    assert sides_for("ada", pair) == sides_for("ada", pair)


def test_a_judgement_that_cannot_be_written_is_said(page, dataset):
    (dataset.root / "file").touch()
    dataset.judgements.symlink_to(dataset.root / "file" / "judgements.jsonl")
    app = page("judge", judge="ada")
    button(app, "Accept").click()
    text = words(app.run())
    assert f"cannot write {dataset.judgements}: Not a directory" in text
    assert "0 of 4 judged by ada" in app.get("progress")[0].proto.text


def test_judgements_that_cannot_be_read_are_said(page, dataset):
    dataset.judgements.mkdir()
    text = words(page())
    assert f"cannot read {dataset.judgements}: Is a directory" in text
    assert "1 of 6" in text


def test_results_show_agreement(page, dataset):
    judge(dataset, "ada", Pair("m", 0, DROP, "v0"), "accept", blind=True)
    judge(dataset, "<i>bob", Pair("m", 0, DROP, "v0"), "reject", blind=True)
    text = words(page("judge", judge="ada", results="true"))
    assert "drop 2" in text
    assert "50%" in text
    assert "&lt;i&gt;bob" in text


def test_a_video_shows_its_shots_or_why_it_was_filtered(page):
    text = words(page("videos", video="v0"))
    assert text.count('<i title="shot') == 4
    assert text.count("<u style=") == 8
    text = words(page("videos", video="few"))
    assert "few&lt;b&gt;.mp4" in text
    assert "Filtered by filter_scene: too_few_shots (fewer than 4 shots)." in text
    assert "The limit that struck: min_shots 4: 2 shots." in text
    assert "Filtered by filter_scene" in words(page("videos", status="filtered"))
    assert "No video passes these filters." in words(page("videos", name="no such name"))


def test_a_filtered_video_says_the_bound_that_it_was_filtered_by(page, dataset):
    params = {"min_shots": 3, "max_shots": 32, "max_shot_seconds": 16.0}
    dataset.table("filter_scene").meta_path.write_bytes(dumps({"params": params}))
    text = words(page("videos", video="few"))
    assert "Filtered by filter_scene: too_few_shots (fewer than 3 shots)." in text


def test_a_video_shows_its_captions(page):
    assert '<b>2</b><div class="">Clip two, a forest. <' in words(page("videos", video="v0"))


def test_a_video_that_failed_says_so(page, dataset):
    failure = {"video_id": "v1", "step": "captions", "error": "Timeout: <b>", "attempts": 2}
    dataset.table("clip_captions_m").failed.path.write_bytes(dumps(failure) + b"\n")
    assert "Failed in captions: Timeout: &lt;b&gt;" in words(page("videos", video="v1"))


def test_the_funnel_of_the_dataset(page):
    text = words(page("dataset"))
    assert "3 videos, 6 pairs" in text
    assert "1 too_few_shots" in text
    text = words(page("dataset", part="Pairs"))
    assert "length_ratio" in text
    app = page("dataset", part="Texts")
    assert not app.exception
    assert not page("dataset", part="Videos").exception


# In a real browser


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    make_video: Callable[..., Path],
    serve: Callable[..., AbstractContextManager[str]],
) -> Iterator[tuple[Dataset, str]]:
    """A data set, and the address of a viewer that shows it, started from another folder."""
    folder = tmp_path_factory.mktemp("viewer")
    shots = [(place, 12) for place in ("beach", "forest", "night", "fire")]
    video = make_video(folder / "videos" / "one.mkv", shots, pix_fmt="yuv420p10le")
    dataset = build(folder / "data", video)
    with serve(folder) as address:
        yield dataset, address


def eventually(ask: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask():
            return True
        time.sleep(0.1)
    return False


def press(tab, key):
    """Press a key once the page has come to rest: a button that is being replaced hears none."""
    tab.wait_for_selector("[data-test-script-state=notRunning]")
    tab.keyboard.press(key)


def test_browser_opens_a_pair_by_link_and_steps_by_key(world, tab):
    _, address = world
    tab.goto(f"{address}/?pair=m~0~drop_2_False_False~v0")
    tab.wait_for_selector("h2:has-text('one.mkv')")
    tab.wait_for_selector("text=2 of 6")
    tab.wait_for_selector(".clip.gone")
    assert tab.locator(".clip").count() == 8
    assert tab.locator(".clip.gone").count() == 2
    press(tab, "ArrowRight")
    tab.wait_for_selector("text=3 of 6")
    assert "pair=m~0~shuffle_2_False_False~v0" in tab.evaluate("location.href")
    press(tab, "ArrowLeft")
    tab.wait_for_selector("text=2 of 6")
    tab.reload()
    tab.wait_for_selector("text=2 of 6")


def test_browser_plays_the_clip_that_is_clicked_and_shows_html_in_its_caption_as_text(world, tab):
    """The video is 10-bit Matroska, which no browser plays."""
    _, address = world
    tab.goto(f"{address}/?pair=m~0~reverse_16_False_False~v0")
    tab.locator(".clip[data-clip='3']").first.click()
    tab.wait_for_selector("video")
    assert eventually(lambda: tab.evaluate("document.querySelector('video').readyState") >= 2)
    assert tab.evaluate("document.querySelector('video').duration") == pytest.approx(1, abs=0.2)
    assert "clip=3" in tab.evaluate("location.href")
    tab.wait_for_selector("text=Clip three, night.")
    tab.locator(".clip[data-clip='1']").first.click()
    tab.wait_for_selector("text=Clip one, the beach.")
    body = tab.inner_text("body")
    assert body.count('<img src=x onerror="window.hacked = 1">') == 3
    assert body.count("$x^2$ *is* **not** # a title, [link](javascript:alert(1)) &amp;") == 3
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("b:has-text('bold')").count() == 0
    assert tab.locator(".katex").count() == 0


def test_browser_opens_the_help_on_keys_by_key(world, tab):
    _, address = world
    tab.goto(f"{address}/pairs")
    tab.wait_for_selector("text=1 of 6")
    tab.wait_for_selector("button:has-text('Keys')")
    assert not tab.locator("dialog").is_visible()
    tab.keyboard.press("?")
    tab.wait_for_selector("dialog:has-text('accept, reject, unsure')")
    tab.keyboard.press("Escape")
    assert eventually(lambda: not tab.locator("dialog").is_visible())
    tab.get_by_label("Text").fill("")
    tab.keyboard.type("why?")
    time.sleep(0.5)
    assert not tab.locator("dialog").is_visible()


def test_browser_plays_a_whole_video(world, tab):
    _, address = world
    tab.goto(f"{address}/videos?video=v0")
    tab.wait_for_selector(".clip img")
    assert tab.locator("video").count() == 0
    tab.get_by_text("Play the whole video").click()
    tab.wait_for_selector("video")
    assert eventually(lambda: tab.evaluate("document.querySelector('video').readyState") >= 2)
    assert tab.evaluate("document.querySelector('video').duration") == pytest.approx(4, abs=0.2)


def test_browser_downloads_the_filtered_list(world, tab):
    _, address = world
    tab.goto(f"{address}/pairs?list=yes&noise=shuffle")
    for kind in ("CSV", "JSONL"):
        with tab.expect_download() as started:
            tab.get_by_role("button", name=kind, exact=True).click()
        assert started.value.suggested_filename == f"mine_pairs.{kind.lower()}"
        lines = Path(started.value.path()).read_text().splitlines()
        rows = list(csv.DictReader(lines)) if kind == "CSV" else list(map(orjson.loads, lines))
        assert [(row["video_id"], row["config"]) for row in rows] == [
            ("v0", SHUFFLE),
            ("v1", SHUFFLE),
        ]
        texts = str(len(TEXTS[SHUFFLE])) if kind == "CSV" else TEXTS[SHUFFLE]
        assert [row["rejected"] for row in rows] == [texts] * 2


def test_browser_filters_and_steps_by_key_after_a_filter_was_clicked(world, tab):
    """The pairs are also found by the name of their page."""
    _, address = world
    tab.goto(f"{address}/pairs")
    tab.wait_for_selector("text=1 of 6")
    tab.get_by_role("button", name="shuffle").click()
    tab.wait_for_selector("text=1 of 2")
    assert "noise=shuffle" in tab.evaluate("location.href")
    tab.wait_for_selector(".clip img")
    press(tab, "ArrowRight")
    tab.wait_for_selector("text=2 of 2")
    tab.get_by_label("Text").fill("no such words")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=not among 0")


def test_browser_judges_by_key(world, tab):
    dataset, address = world
    tab.goto(f"{address}/judge?judge=ada&blind=true")
    tab.wait_for_selector("text=0 of 4 judged by ada")
    tab.wait_for_selector("button:has-text('Unsure')")
    press(tab, "b")
    tab.wait_for_selector("text=1 of 4 judged by ada")
    press(tab, "u")
    tab.wait_for_selector("text=2 of 4 judged by ada")
    first, second = read(dataset)
    assert first.verdict == ("accept" if first.sides[1] == "chosen" else "reject")
    assert (second.verdict, second.blind, second.judge) == ("unsure", True, "ada")
    # A letter in the comment is a letter.
    tab.get_by_placeholder("comment, saved with your answer").fill("")
    tab.keyboard.type("bau")
    time.sleep(1)
    assert len(list(read(dataset))) == 2
    tab.keyboard.press("Enter")
    tab.locator("h2").first.click()
    press(tab, "a")
    tab.wait_for_selector("text=3 of 4 judged by ada")
    assert list(read(dataset))[-1].comment == "bau"


def test_browser_keys_pressed_too_fast_judge_no_pair_twice(world, tab):
    dataset, address = world
    tab.goto(f"{address}/judge?judge=eve")
    tab.wait_for_selector("text=0 of 4 judged by eve")
    tab.wait_for_selector("button:has-text('Unsure')")
    for key in "axuxa":
        tab.keyboard.press(key)
        time.sleep(0.08)
    tab.wait_for_selector("text=/[1-4] of 4 judged by eve|Nothing left to judge/")
    time.sleep(2)
    pairs = [one.pair for one in read(dataset) if one.judge == "eve"]
    assert pairs
    assert len(pairs) == len(set(pairs))


def test_one_bar_is_no_wider_than_one_of_eight_and_axes_are_named(page):
    """All videos have four shots, and all clips last a second."""
    charts = page("dataset", part="Videos").get("vega_lite_chart")
    specs = [orjson.loads(chart.proto.spec)["encoding"] for chart in charts]
    assert [(one["x"]["title"], one["y"]["title"]) for one in specs] == [
        ("shots of the video", "videos"),
        ("seconds", "clips"),
    ]
    low, high = specs[0]["x"]["scale"]["domain"]
    assert low <= 4 < 5 <= high
    assert high - low == 8


def test_browser_goes_from_a_bar_to_its_pairs(world, tab):
    _, address = world
    tab.goto(f"{address}/dataset?part=Texts&chart=Chosen+over+rejected")
    tab.wait_for_selector(
        "[data-testid='stVegaLiteChart'] canvas, [data-testid='stVegaLiteChart'] svg"
    )
    assert fits(tab, 1280)
    assert fits(tab, 1920)
    bars = tab.locator("[data-testid='stVegaLiteChart'] path[aria-roledescription='bar']")
    bars.first.click()
    tab.wait_for_selector("h2:has-text('2 pairs')")
    assert "between=ratio" in tab.evaluate("location.href")


def test_browser_steps_through_questions_by_key_and_plays_what_is_asked_about(world, tab):
    _, address = world
    tab.goto(f"{address}/questions?question=q1")
    tab.wait_for_selector("text=2 of 3")
    tab.wait_for_selector(".t-share")
    tab.wait_for_selector(".clip img")
    assert tab.locator(".clip").count() == 4
    press(tab, "ArrowRight")
    tab.wait_for_selector("text=3 of 3")
    assert "question=q2" in tab.evaluate("location.href")
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_selector("video")
    assert eventually(lambda: tab.evaluate("document.querySelector('video').readyState") >= 2)
    assert tab.evaluate("document.querySelector('video').duration") == pytest.approx(4, abs=0.2)
    tab.locator(".clip[data-clip='2']").click()
    tab.wait_for_selector("text=0:01.0 to 0:02.0")
    assert "clip=2" in tab.evaluate("location.href")
    assert '<img src=x onerror="window.hacked = 1">' in tab.inner_text(".t-table")
    assert tab.evaluate("window.hacked") is None
    tab.get_by_role("button", name="List").click()
    tab.wait_for_selector("h2:has-text('3 questions')")


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("?pair=m~0~drop_2_False_False~v0", "text=clip captions behind both texts"),
        ("judge?judge=bob", ".t-side"),
        ("videos?video=v0", "text=Clip captions by m"),
        ("questions?question=q1", ".t-table"),
        ("dataset", ".t-table"),
    ],
)
def test_browser_pages_fit_the_window(world, tab, path, last):
    _, address = world
    tab.goto(f"{address}/{path}")
    tab.wait_for_selector(last)
    if path.startswith("videos"):
        tab.wait_for_selector(".clip img")
        assert eventually(lambda: tab.locator(".t-line i").count() == 8)
    assert fits(tab, 1280)
    assert fits(tab, 1920)


def fits(tab: Any, width: int) -> bool:
    """Whether nothing on the page is wider than a window of this width, once it is laid out."""
    tab.set_viewport_size({"width": width, "height": 1000})
    time.sleep(0.5)
    main = "document.querySelector('[data-testid=stMain]')"
    return tab.evaluate(f"{main}.scrollWidth <= {main}.clientWidth")


def _listening(port: int) -> set[str]:
    """Addresses on which this machine listens at a port, from /proc."""
    found = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(name).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            host, number = local.split(":")
            if int(number, 16) == port and state == "0A":
                found.add(host)
    return found


def test_the_viewer_listens_on_localhost_alone(world):
    _, address = world
    loopback = {"0100007F", "00000000000000000000000001000000"}
    there = _listening(int(address.rsplit(":", 1)[1]))
    assert there
    assert there <= loopback


def test_no_file_is_served_by_its_path(world):
    dataset, address = world
    for path in (
        "app/static/mine/anno/init.jsonl",
        "media/../../../../etc/passwd",
        "static/..%2f..%2f..%2fetc/passwd",
        "component/x/../../etc/passwd",
        f"media{dataset.root}/anno/init.jsonl",
    ):
        try:
            with urllib.request.urlopen(f"{address}/{path}", timeout=5) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        assert b"root:" not in body
        assert b"video_id" not in body
