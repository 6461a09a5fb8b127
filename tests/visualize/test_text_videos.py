"""The viewer's pages Text videos and Projection: what is read and what the pages say."""

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
from streamlit.testing.v1 import AppTest

from prealignment.vectors.images import write_videos
from prealignment.vectors.step import FeatureSettings
from prealignment.vectors.texts import write_index, write_shards
from prealignment.view import TextVideos
from qa.records import Question, write_questions
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset

NASTY = "<script>window.hacked = 1</script> $x^2$ **bold**"
CLIP = "tiny"
# The cosines of the memory's rows with (1, 0), and which of them are those of each text video.
ROWS = [1.0, 0.99, 0.98, -1.0, 0.0]
PLACES = {"t0": [0, 2], "t1": [2, 1], "t2": [3, 2]}  # the first row, and how many there are


def turned(cosines: list[float]) -> np.ndarray:
    """Unit vectors of these cosines with (1, 0)."""
    return np.array([[c, np.sqrt(1 - c * c)] for c in cosines], np.float32)


def tideo(name: str, frames: list[dict[str, str]], **others: Any) -> dict[str, Any]:
    asked = {"question": f"What is in {name}?", "options": ["a cat", "a dog", "a cow", "tea", "no"]}
    asked |= {"answer": "B", "answer_open_ended": "a dog of course"}
    about = {"video_id": name, "kind": "title", "seed_text": f"seed of {name}"}
    made = {"frames": frames, "global_video_caption": f"All of {name}.", "QAs": [asked]}
    return {**about, **made, "dropped": {"equal_options": 2}, **others}


TIDEOS = [
    tideo("t0", [{"caption": "A dog runs.", "dog": "a brown one"}, {"caption": "The dog sleeps."}]),
    tideo("t1", [{"caption": NASTY, NASTY: NASTY}], global_video_caption=NASTY),
    tideo("t2", [{"caption": "A cow."}, {"caption": "Crème brûlée."}]),
    {"video_id": "t3", "filtered": True, "filter_reason": "too_few_frames"},
]


def build_texts(root: Path) -> Dataset:
    """`texts`: four text videos, of which one was filtered, their vectors and the memory."""
    texts = Dataset("texts", root / "texts")
    texts.table("tideos").write(TIDEOS)
    write_shards(texts)
    shard = texts.vectors(CLIP, "text") / "000000.safetensors"
    write_arrays(shard, {"vectors": turned(ROWS)}, {})
    table = texts.table(f"text_vectors_{CLIP}")
    table.write([{"video_id": "000000", "rows": PLACES, "without": {}}])
    write_index(texts, FeatureSettings(CLIP), table)
    return texts


def build_films(root: Path, video: Path) -> Dataset:
    """`films`: a film of three seconds with a vector a second, and one whose file is gone."""
    films = Dataset("films", root / "films")
    films.remember_video_dir(video.parent)
    about = {"dataset": "films", "split": "val", "question": "?"}
    files = {"f0": video.name, "f1": "gone.mp4"}
    write_questions(
        films.questions("val"),
        [Question(name, **about, video_id=name, video=file) for name, file in files.items()],
    )
    write_videos(films, FeatureSettings(CLIP, "val"))
    for name, cosines in (("f0", [1.0, 0.0, -1.0]), ("f1", [1.0])):
        file = films.vectors(CLIP, "image") / f"{name}.safetensors"
        write_arrays(file, {"vectors": turned(cosines)}, {"rate": 1.0, "params": {"fps": 1}})
    return films


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    return make_video(folder / "one.mp4", [("beach", 12), ("forest", 12), ("night", 12)])


@pytest.fixture
def data_root(tmp_path: Path, video: Path) -> Path:
    build_texts(tmp_path / "data")
    build_films(tmp_path / "data", video)
    return tmp_path / "data"


@pytest.fixture
def page(
    data_root: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_screen: Callable[..., AppTest],
) -> Callable[..., AppTest]:
    """Run a page in this process, with an address's words."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    names = {"tideos": "texts", "projection": "films"}
    return lambda name, **address: run_screen(name, data_root, {"dataset": names[name], **address})


def words(app: AppTest) -> str:
    """All that the page says in HTML."""
    assert not app.exception, app.exception
    return "\n".join(element.proto.body for element in app.get("html"))


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def rows(app: AppTest, number: int = 0) -> list[list[str]]:
    """The cells of a table, as text."""
    tables = [body for body in words(app).split("<table") if 't-table"' in body]
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in tables[number].split("<tr>")[1:]
    ]


def strip_of(app: AppTest) -> dict[str, Any]:
    protos = [element.proto for element in app.get("bidi_component")]
    [data] = [json.loads(p.json) for p in protos if p.component_name.endswith("temple_strip")]
    return data


# Text videos


def test_a_text_video_shows_its_frames_objects_and_questions(page):
    app = page("tideos")
    text = words(app)
    assert "<h2>t0</h2>" in text
    assert "1 of 4" in text
    assert "seed of t0" in text
    assert "All of t0." in text
    assert rows(app) == [
        ["frame", "caption", "objects"],
        ["1", "A dog runs.", "dog a brown one"],
        ["2", "The dog sleeps.", ""],
    ]
    assert rows(app, 1) == [
        ["question", "options", "open answer"],
        ["What is in t0?", "A a cat B a dog rightC a cow D tea E no", "a dog of course"],
    ]
    assert "equal\\_options 2" in captions(app)


def test_a_filtered_text_video_says_why(page):
    app = page("tideos", status="too_few_frames")
    assert "Filtered: too_few_frames (fewer than 5 frames have a caption)." in words(app)
    assert "1 of 1" in words(app)
    assert app.selectbox(key="status").options == ["any", "good", "too_few_frames"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [("dog", ["t0", "t1", "t2"]), ("BROWN", ["t0"]), ("crème", ["t2"]), ("seed of t1", ["t1"])],
)
def test_the_search_looks_through_all_texts(data_root, text, ids):
    assert TextVideos(Dataset("texts", data_root / "texts")).select("", text) == ids


def test_steps_follow_the_filters(page):
    app = page("tideos", status="good", tideo="t1")
    assert "2 of 3" in words(app)
    next(button for button in app.button if button.label == "Next").click().run()
    assert app.query_params["tideo"] == "t2"
    assert next(button for button in app.button if button.label == "Next").disabled


def test_whatever_a_text_video_says_is_text(page):
    app = page("tideos", tideo="t1")
    text = words(app)
    assert "<script" not in text
    assert text.count("&lt;script&gt;window.hacked = 1&lt;/script&gt; $x^2$ **bold**") == 4


def test_what_is_not_there_is_said(page, data_root):
    assert "There is no such text video: &lt;b&gt;" in words(page("tideos", tideo="<b>"))
    assert "No text video passes these filters." in words(page("tideos", q="no such words"))
    Dataset("texts", data_root / "texts").table("tideos").path.unlink()
    assert "This dataset has no text videos" in words(page("tideos"))


# Projection


def test_a_frame_shows_the_rows_that_it_is_projected_on(page):
    app = page("projection")
    weights = np.exp(100 * np.array([1, 0.99, 0.98, 0, -1]))
    shares = [f"{weight:.1%}" for weight in weights / weights.sum()]
    assert shares[:3] == ["66.5%", "24.5%", "9.0%"]
    assert rows(app) == [
        ["weight", "cosine", "text of the row", "text video"],
        [shares[0], "1.000", "A dog runs. dog: a brown one", "t0, frame 1"],
        [shares[1], "0.990", "The dog sleeps.", "t0, frame 2"],
        [shares[2], "0.980", *rows(app)[3][2:3], "t1, frame 1"],
        [shares[3], "0.000", "Crème brûlée.", "t2, frame 2"],
        [shares[4], "-1.000", "A cow.", "t2, frame 1"],
    ]
    assert "<script" not in words(app)
    assert 'href="tideos?dataset=texts&amp;tideo=t0"' in words(app)
    assert "mean of all 5 rows of texts" in captions(app)
    titles = [clip["title"] for clip in strip_of(app)["clips"]]
    assert titles == [f"frame {n} of 3, at {n - 0.5:.1f} s" for n in (1, 2, 3)]
    pictures = {clip["frames"][0] for clip in strip_of(app)["clips"]}
    assert len(pictures) == 3
    assert all(picture.startswith("data:image/jpeg") for picture in pictures)


def test_the_address_names_the_frame(page):
    app = page("projection", frame="3")
    assert strip_of(app)["on"] == 2
    assert rows(app)[1][:3] == ["100.0%", "1.000", "A cow."]


def test_a_video_that_is_gone_still_shows_its_rows(page):
    app = page("projection", video="f1")
    assert "The frames cannot be shown: no such file" in words(app)
    assert strip_of(app)["clips"] == [{"title": "frame 1 of 1", "frames": [""]}]
    assert rows(app)[1][3] == "t0, frame 1"


def test_texts_that_are_not_those_of_the_memory_are_not_shown(page, data_root):
    Dataset("texts", data_root / "texts").table("tideos").write([*TIDEOS[:2], TIDEOS[3]])
    app = page("projection")
    assert "The texts of the rows are not known: the text vectors of texts" in words(app)
    assert rows(app)[1] == ["66.5%", "1.000", "", "row 0"]


def test_without_vectors_or_a_memory_the_page_says_what_makes_them(page, data_root):
    Dataset("texts", data_root / "texts").memory(CLIP).unlink()
    assert "No data set has a memory by tiny" in words(page("projection"))
    for file in Dataset("films", data_root / "films").vectors(CLIP, "image").iterdir():
        file.unlink()
    assert "No videos of this dataset have image vectors" in words(page("projection"))


# In a real browser


def test_browser_goes_from_a_frame_to_the_text_that_it_is_projected_on(
    serve: Callable[..., AbstractContextManager[str]], tab: Any, tmp_path: Path, video: Path
):
    build_texts(tmp_path / "data")
    build_films(tmp_path / "data", video)
    tab.set_default_timeout(120_000)  # the server loads PyTorch first
    with serve(tmp_path) as address:
        tab.goto(f"{address}/projection?dataset=films")
        tab.wait_for_selector(".clip img")
        tab.wait_for_selector("text=A dog runs.")
        tab.locator(".clip[data-clip='3']").click()
        tab.wait_for_selector("text=frame 3 of 3")
        assert "frame=3" in tab.evaluate("location.href")
        tab.wait_for_selector("tr:nth-child(2):has-text('A cow.')")
        for width in (1280, 1920):
            assert fits(tab, width)
        tab.locator(".t-table a").first.click()
        tab.wait_for_selector("h2:has-text('t2')")
        tab.wait_for_selector("text=Crème brûlée.")
        tab.locator("h2").first.click()
        tab.keyboard.press("ArrowLeft")
        tab.wait_for_selector("h2:has-text('t1')")
        tab.wait_for_selector(".t-side:has-text('window.hacked')")
        tab.wait_for_selector("td:has-text('window.hacked') >> nth=1")
        assert "tideo=t1" in tab.evaluate("location.href")
        assert tab.inner_text(".stMain").count(NASTY) == 4
        assert tab.evaluate("window.hacked") is None
        for width in (1280, 1920):
            assert fits(tab, width)


def fits(tab: Any, width: int) -> bool:
    """Whether nothing on the page is wider than a window of this width, once it is laid out."""
    tab.set_viewport_size({"width": width, "height": 1000})
    time.sleep(0.5)
    main = "document.querySelector('[data-testid=stMain]')"
    return bool(tab.evaluate(f"{main}.scrollWidth <= {main}.clientWidth"))
