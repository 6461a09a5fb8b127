"""The viewer's index: which pairs there are, what convert would make of them, and finding them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.errors import UserError
from tools.pairs import rules as pairs
from tools.pairs.judgements import Judgement, Pair
from tools.shots.spans import clip_spans
from tools.store.dataset import Dataset
from tools.store.jsonl import Table, dumps
from visualize.index import facts
from visualize.index.index import DatasetIndex
from visualize.index.view import Filters, View
from visualize.parts.texts import read_both_texts

NONE, DROP, REVERSE, SHUFFLE = (
    f"caption_caption_{name}_False_False" for name in ("none_1", "drop_2", "reverse_4", "shuffle_2")
)
CLEAN_ORDER = [0, 1, 2, 3]


pytestmark = pytest.mark.usefixtures("cache")


def row(video_id: str, response: str, told: list[int], **info: Any) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "video_path": f"/videos/{video_id}.mp4",
        "frame_indices": [[1, 2]] * 4,
        "response": response,
        "info": {"selected_indices": told, **info},
    }


def write(path: Path, *rows: dict[str, Any], mode: str = "wb") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, mode) as file:
        file.writelines(dumps(one) + b"\n" for one in rows)


def table(dataset: Dataset, config: str, model: str = "m") -> Table:
    return dataset.responses(model, config)


def view(dataset: Dataset) -> View:
    index = DatasetIndex(dataset)
    return View(index, index.renew())


def found(dataset: Dataset, **filters: Any) -> list[tuple[str, str, str]]:
    """(video, noise, reason) of the pairs that pass."""
    now = view(dataset)
    rows = now.pairs(now.select(Filters(**filters)))
    return [(one["video_id"], one["noise"], one["reason"]) for one in rows]


LONG = "A dog runs in. Then it rains. A man waits. The sun is back."


def test_pairs_are_joined_by_video_whatever_the_order_of_the_files(dataset):
    write(
        table(dataset, NONE).path, row("b", f"{LONG} B", CLEAN_ORDER), row("a", LONG, CLEAN_ORDER)
    )
    write(table(dataset, DROP).path, row("a", "Rain A", [1, 2]), row("b", "Rain B", [1, 3]))
    now = view(dataset)
    texts = {}
    for one in now.pairs(now.select(Filters())):
        pair = Pair(one["model"], one["iteration"], one["config"], one["video_id"])
        sides = [now.response(pair, chosen=chosen)["response"] for chosen in (True, False)]
        texts[pair.video_id] = (
            *sides,
            one["chosen_length"],
            one["rejected_length"],
            one["clips_used"],
        )
    assert texts == {
        "a": (LONG, "Rain A", len(LONG), 6, 2),
        "b": (f"{LONG} B", "Rain B", len(LONG) + 2, 6, 2),
    }


def test_many_texts_cost_a_question_a_configuration(dataset, monkeypatch):
    """Both texts of 200 pairs of two configurations, whose chosen sides are a third."""
    videos = [f"v{number:03}" for number in range(100)]
    for config in (NONE, DROP, REVERSE):
        write(table(dataset, config).path, *(row(v, f"{config} {v}.", [1]) for v in videos))
    write(table(dataset, DROP).path, row("lone", "No chosen side.", [1]), mode="ab")
    now, questions = view(dataset), []
    ask = View._ask
    monkeypatch.setattr(View, "_ask", lambda *words: questions.append(words) or ask(*words))
    asked = [
        Pair("m", 0, config, video) for video in reversed(videos) for config in (DROP, REVERSE)
    ]
    assert read_both_texts(now, [*asked, Pair("m", 0, DROP, "lone")]) == [
        *((f"{NONE} {pair.video_id}.", f"{pair.config} {pair.video_id}.") for pair in asked),
        ("", "No chosen side."),
    ]
    assert len(questions) == 3


def test_reasons_and_duplicates_are_those_of_convert(dataset, run_script, tmp_path):
    """Every pair of a small data set that has most ways to go wrong, against convert's funnel."""
    texts = {"a": LONG, "b": "", "c": "Short.", "d": LONG, "e": f"{LONG} <image>"}
    write(table(dataset, NONE).path, *(row(v, text, CLEAN_ORDER) for v, text in texts.items()))
    for config, told in ((DROP, [1, 2]), (REVERSE, [3, 2, 1, 0]), (SHUFFLE, [3, 2, 1, 0])):
        rows = [row(video_id, "Then it rains.", told) for video_id in "abce"]
        rows.append(row("d", LONG[::-1], told, finish_reason="length"))
        rows.append(row("f", "No chosen side.", told))
        rows.append(row("g", LONG[::-1], CLEAN_ORDER))
        write(table(dataset, config).path, *rows)
    write(
        table(dataset, NONE).path,
        *(row(v, LONG, CLEAN_ORDER) for v in "gh"),
        mode="ab",
    )
    for config in (DROP, REVERSE, SHUFFLE):
        write(table(dataset, config).path, row("h", f"{LONG[:-3]}ckk", [3, 2, 1, 0]), mode="ab")
    (tmp_path / "v").mkdir()
    for video_id in "abcdefgh":
        (tmp_path / "v" / f"{video_id}.mp4").touch()
    out = tmp_path / "out.json"
    done = run_script(
        *("convert_to_swift.py", "m", 4, 2, "--dataset", "mine", "--output", out),
        *("--data_root", dataset.root.parent, "--video_root", f"/videos={tmp_path / 'v'}"),
    )
    assert done.returncode == 0, done.stderr
    funnel = json.loads(out.with_name("out.funnel.json").read_text())["funnel"]
    expected = {
        (line["noise"], line["magnitude"]): (
            line["made"],
            line["kept"],
            line["duplicate"],
            {reason: number for reason, number in line["dropped"].items() if number},
        )
        for line in funnel
        if line["made"]
    }
    counted = {
        (row["noise"], row["magnitude"]): (
            row["made"],
            row["kept"],
            row["duplicates"],
            row["dropped"],
        )
        for row in view(dataset).kinds()
    }
    assert counted == expected
    assert len({reason for *_, dropped in expected.values() for reason in dropped}) >= 6


def test_the_finest_level_makes_no_duplicate_of_a_paper_level(dataset, run_script, tmp_path):
    """Convert compares the levels that it is asked for."""
    swap, repeat = (f"caption_caption_{name}_1_False_False" for name in ("swap", "repeat"))
    biased = "caption_caption_drop_4_True_False"
    orders = {
        NONE: CLEAN_ORDER,
        SHUFFLE: [1, 0, 2, 3],
        swap: [1, 0, 2, 3],
        repeat: [1, 0, 2, 3],
        REVERSE: [3, 2, 1, 0],
        DROP: [1, 2],
        biased: [1, 2],
    }
    for config, order in orders.items():
        write(table(dataset, config).path, row("a", LONG[:30] if len(order) < 4 else LONG, order))
    write(table(dataset, SHUFFLE).path, row("a", f"{LONG[:-1]}!", [1, 0, 2, 3]))
    write(table(dataset, swap).path, row("a", f"{LONG[:-1]}?", [1, 0, 2, 3]))
    write(table(dataset, repeat).path, row("a", f"{LONG[:-1]};", [1, 0, 2, 3]))
    now = view(dataset)
    rows = now.pairs(now.select(Filters()))
    assert [one["config"] for one in rows if one["duplicate"]] == [repeat]
    (tmp_path / "a.mp4").touch()
    out = tmp_path / "out.json"
    done = run_script(
        *("convert_to_swift.py", "m", 4, 2, "--dataset", "mine", "--output", out),
        *("--data_root", dataset.root.parent, "--video_root", f"/videos={tmp_path}"),
    )
    assert done.returncode == 0, done.stderr
    funnel = json.loads(out.with_name("out.funnel.json").read_text())["funnel"]
    assert sum(line["duplicate"] for line in funnel) == 0


def test_a_run_being_written_is_read_as_far_as_it_goes(dataset):
    write(table(dataset, NONE).part(0, 2), row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).part(0, 2), row("a", "Rain", [1, 2]))
    torn = dumps(row("b", "Rain", [1, 2]))[:-20]
    with open(table(dataset, DROP).part(1, 2), "wb") as file:
        file.write(torn)
    assert found(dataset) == [("a", "drop", "")]
    write(table(dataset, NONE).part(1, 2), row("b", LONG, CLEAN_ORDER))
    with open(table(dataset, DROP).part(1, 2), "ab") as file:
        file.write(dumps(row("b", "Rain", [1, 2]))[-20:] + b"\n")
    assert found(dataset) == [("a", "drop", ""), ("b", "drop", "")]


def test_a_chosen_side_that_comes_later_is_seen(dataset):
    write(table(dataset, NONE).part(0, 1), row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).part(0, 1), row("a", "Rain", [1]), row("b", "Rain", [1]))
    assert found(dataset) == [("a", "drop", ""), ("b", "drop", "no_clean")]
    write(table(dataset, NONE).part(0, 1), row("b", LONG, CLEAN_ORDER), mode="ab")
    assert found(dataset) == [("a", "drop", ""), ("b", "drop", "")]


def test_a_chosen_side_that_changes_is_compared_again(dataset):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain falls", [1]))
    assert found(dataset) == [("a", "drop", "")]
    write(table(dataset, NONE).path, row("a", "Dry.", CLEAN_ORDER))
    assert found(dataset) == [("a", "drop", "drop_not_longer")]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rejected texts that are compared with a chosen one, as it happens."""
    texts: list[str] = []
    similarity = facts.similarity

    def listen(chosen: str, rejected: str) -> float:
        texts.append(rejected)
        return similarity(chosen, rejected)

    monkeypatch.setattr(facts, "similarity", listen)
    return texts


def test_only_new_lines_are_compared(dataset, compared):
    write(table(dataset, NONE).part(0, 1), *(row(v, LONG, CLEAN_ORDER) for v in "ab"))
    write(table(dataset, DROP).part(0, 1), row("b", "Rain b", [1]))
    found(dataset)
    assert compared == ["Rain b"]
    write(table(dataset, DROP).part(0, 1), row("a", "Rain a", [1]), mode="ab")
    found(dataset)
    assert compared == ["Rain b", "Rain a"]


def test_merging_parts_compares_nothing_again(dataset, compared):
    for config, text, told in ((NONE, LONG, CLEAN_ORDER), (DROP, "Rain", [1])):
        write(table(dataset, config).part(0, 2), row("c", text, told), row("a", text, told))
        write(table(dataset, config).part(1, 2), row("b", text, told))
    before = found(dataset)
    for config in (NONE, DROP):
        one = table(dataset, config)
        one.merge(one.index())
        assert not one.parts()
    assert found(dataset) == before
    assert len(compared) == 3
    now = view(dataset)
    assert now.response(Pair("m", 0, DROP, "b"), chosen=False)["video_id"] == "b"


def test_what_is_known_stays_known_when_it_moves_to_one_file(dataset, compared, cache, monkeypatch):
    monkeypatch.setattr("visualize.index.index.MAX_KNOWN_FILES", 2)
    part = table(dataset, DROP).part(0, 1)
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER), row("b", LONG, CLEAN_ORDER))
    write(part, row("a", "Rain a", [1]))
    found(dataset)
    part.unlink()
    for text in ("Rain b", "Rain c", "Rain d"):
        write(part, row("b", text, [1]))
        assert found(dataset) == [("b", "drop", "")]
    assert compared == ["Rain a", "Rain b", "Rain c", "Rain d"]
    assert len(list(cache.rglob("known-*"))) < 5
    assert found(dataset, text="rain d") == [("b", "drop", "")]
    assert found(dataset, text="rain a") == []
    write(part, row("b", "Rain d", [1]), row("a", "Rain e", [1]))
    assert found(dataset) == [("a", "drop", ""), ("b", "drop", "")]
    assert compared[4:] == ["Rain e"]


def test_nothing_is_done_when_nothing_has_changed(dataset):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    index = DatasetIndex(dataset)
    assert index.bytes_to_read() > 0
    first = index.renew()
    assert index.bytes_to_read() == 0
    assert index.renew().generation == first.generation == 1


def test_a_record_that_two_files_hold_counts_once(dataset):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain, merged", [1]))
    write(table(dataset, DROP).part(0, 2), row("a", "Rain, in a part", [1]))
    assert found(dataset) == [("a", "drop", "")]
    text = view(dataset).response(Pair("m", 0, DROP, "a"), chosen=False)["response"]
    assert text == "Rain, merged"


def test_files_that_have_gone_are_forgotten(dataset):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain", [1]))
    assert len(found(dataset)) == 1
    table(dataset, DROP).path.unlink()
    assert found(dataset) == []


def test_a_line_that_is_no_record_is_named_and_left_out(dataset):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    with open(table(dataset, DROP).path, "wb") as file:
        file.write(b"nonsense\n" + dumps(row("a", "Rain", [1])) + b"\n")
    assert found(dataset) == [("a", "drop", "")]
    (note,) = view(dataset).notes()
    assert "caption_caption_drop_2_False_False.jsonl: 1 lines are no records" in note


def test_models_never_heard_of_and_folders_of_the_reference_are_shown(dataset):
    """Rows of the reference have no info beyond selected_indices; its last table is finalize."""
    for model in ("Gemini-9 (beta)", "o'hara"):
        write(table(dataset, NONE, model).path, row("x_1", LONG, CLEAN_ORDER))
        write(table(dataset, DROP, model).path, row("x_1", "Rain", [1]))
    plain = {key: row("x_2", "Rain", [])[key] for key in ("video_id", "video_path", "response")}
    write(table(dataset, DROP, "o'hara").path, plain, mode="ab")
    write(table(dataset, "caption_caption_melt_3_False_False").path, plain)
    record = {"video_id": "x_1", "video_path": "/v/x.mp4", "video_name": "x.mp4", "filtered": False}
    write(dataset.table("finalize").path, record)
    now = view(dataset)
    assert now.runs() == [("Gemini-9 (beta)", 0, 1), ("o'hara", 0, 2)]
    assert len(now.select(Filters(runs=(("o'hara", 0),)))) == 2
    assert now.video("x_1") == record
    assert [one["status"] for one in now.videos()] == ["kept"]


def test_an_empty_dataset_has_no_pairs_and_no_videos(dataset):
    now = view(dataset)
    assert (now.runs(), now.videos(), now.statuses(), len(now.select(Filters()))) == ([], [], [], 0)


@pytest.fixture
def world(dataset: Dataset) -> Dataset:
    """Two videos, three kinds of pairs."""
    write(
        table(dataset, NONE).path,
        row("a", "Ein Löwe schläft. It's 100% dark; he rests a while.", CLEAN_ORDER),
        row("b", "A red car stops. A man gets out. He waves.", CLEAN_ORDER),
    )
    write(table(dataset, DROP).path, row("a", "It's dark", [1]), row("b", "A man gets out.", [1]))
    write(
        table(dataset, REVERSE).path,
        row("a", "He rests a while, 100% dark. Ein Löwe schläft it's.", [3, 2, 1, 0]),
        row("b", "He waves. A man gets out. A red car stops.", [3, 2, 1, 0]),
    )
    write(table(dataset, SHUFFLE).path, row("b", "A BLUE car", [1, 0, 3, 2]))
    return dataset


def names(dataset: Dataset, **filters: Any) -> list[str]:
    return [f"{video} {noise}" for video, noise, _ in found(dataset, **filters)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"noises": ("drop",)}, ["a drop", "b drop"]),
        ({"magnitudes": (4, 2), "noises": ("reverse", "shuffle")}, None),
        ({"magnitudes": (4,)}, ["a reverse", "b reverse"]),
        ({"outcome": "length_ratio"}, ["b shuffle"]),
        ({"outcome": "kept", "noises": ("drop", "shuffle")}, ["a drop", "b drop"]),
        ({"ratio": (0.9, 1.1)}, ["a reverse", "b reverse"]),
        ({"text": "BLUE"}, ["b shuffle"]),
        ({"text": "löwe SCHLÄFT"}, ["a reverse", "a drop"]),
        ({"text": "it's"}, ["a reverse", "a drop"]),
        ({"text": "100%"}, ["a reverse", "a drop"]),
        ({"text": "%"}, ["a reverse", "a drop"]),
        ({"text": "') or true --"}, []),
        ({"text": "?"}, []),
        ({"text": "waves", "noises": ("drop",)}, ["b drop"]),
        ({"between": ("rejected_length", 9, 10)}, ["a drop"]),
        ({"between": ("similarity", 0.99, 2)}, []),
        ({"video_id": "a"}, ["a reverse", "a drop"]),
        ({"video_id": "a' or 'b"}, []),
    ],
)
def test_filters(world, filters, expected):
    if expected is None:
        expected = ["a reverse", "b reverse", "b shuffle"]
    assert names(world, **filters) == expected


def test_orders(world):
    assert names(world) == ["a reverse", "a drop", "b reverse", "b drop", "b shuffle"]
    alike = view(world).pairs(view(world).select(Filters(sort="most alike")))
    values = [one["similarity"] for one in alike]
    assert values == sorted(values, reverse=True)
    assert names(world, sort="highest ratio")[0] == "a drop"
    assert names(world, sort="lowest ratio")[-1] == "a drop"
    assert sorted(names(world, sort="random")) == sorted(names(world))


def test_judgements_filter(world):
    def said(by: str, config: str, video_id: str, verdict: str) -> Judgement:
        sides = ("chosen", "rejected")
        return Judgement("now", by, video_id, "m", 0, config, verdict, False, sides, "")

    judgements = [
        said("ada", DROP, "a", "accept"),
        said("bob", DROP, "a", "reject"),
        said("ada", REVERSE, "b", "unsure"),
    ]
    now = view(world)

    def pick(**filters: Any) -> list[str]:
        rows = now.pairs(now.select(Filters(**filters), judgements))
        return [f"{one['video_id']} {one['noise']}" for one in rows]

    assert pick(verdict="reject") == ["a drop"]
    assert pick(verdict="accept") == []
    assert pick(verdict="unjudged") == ["a reverse", "b drop", "b shuffle"]
    assert pick(not_by="ada") == ["a reverse", "b drop", "b shuffle"]
    assert pick(not_by="bob") == ["a reverse", "b reverse", "b drop", "b shuffle"]


def test_likeness_is_at_least_that_of_convert():
    one, other = "a b c d e f g h", "e f g h a b c d"
    assert facts.similarity(one, one) == 1
    assert facts.similarity(one, other) == 0.5 == pairs.similarity(one, other)
    assert facts.similarity("a x b y c", "a b c") >= pairs.similarity("a x b y c", "a b c")
    assert facts.similarity("a b", "c d") == 0


def test_histograms_count_every_pair_that_convert_keeps(world):
    bars = view(world).histogram(["chosen_length", "rejected_length"]).to_pylist()
    sums: dict[str, int] = {}
    for bar in bars:
        sums[bar["field"]] = sums.get(bar["field"], 0) + bar["n"]
        assert bar["low"] < bar["high"]
        between = (bar["field"], bar["least"], bar["most"])
        kind = {"noises": (bar["noise"],), "magnitudes": (bar["magnitude"],), "outcome": "kept"}
        assert len(names(world, between=between, **kind)) == bar["n"]
    assert sums == {"chosen_length": 4, "rejected_length": 4}


def scene(video_id: str, shots: int, **more: Any) -> dict[str, Any]:
    cuts = [[shot, 10 * shot, 10 * shot + 9] for shot in range(shots)]
    return {
        "video_id": video_id,
        "video_path": f"/v/{video_id}.mp4",
        "video_name": f"{video_id}.mp4",
        "filtered": False,
        "fps": 10.0,
        "raw_cuts": cuts,
        "filtered_cuts": cuts,
        **more,
    }


def test_what_became_of_each_video(dataset):
    keep = scene("kept", 5, merged_groups=[[0, [0, 1]], [1, [2]], [2, [3]], [3, [4]]])
    few = scene("few", 2, filtered=True, filter_reason="too_few_shots")
    anno = dataset.table
    init = [
        {key: scene(v, 0)[key] for key in ("video_id", "video_path", "video_name", "filtered")}
        for v in ("kept", "few", "broken", "waiting")
    ]
    write(anno("init").path, *init)
    write(anno("scene").path, scene("few", 2), scene("kept", 5))
    write(anno("filter_scene").path, few, scene("kept", 5))
    write(anno("videos").path, keep)
    failure = {"video_id": "broken", "step": "scene", "error": "empty file: 0 bytes", "attempts": 1}
    write(anno("scene").failed.path, failure)
    now = view(dataset)
    assert [(v["name"], v["status"], v["reason"], v["shots"]) for v in now.videos()] == [
        ("broken.mp4", "failed", "empty file: 0 bytes", None),
        ("few.mp4", "filtered", "too_few_shots", 2),
        ("kept.mp4", "kept", None, 5),
        ("waiting.mp4", "unfinished", None, None),
    ]
    assert [one["error"] for one in now.failures("broken")] == ["empty file: 0 bytes"]
    assert [v["name"] for v in now.videos(text="EW.mp")] == ["few.mp4"]
    clips = now.video_histogram("clip_seconds").to_pylist()
    assert sum(bar["n"] for bar in clips) == 4
    assert clip_spans(keep) == [(0.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 5.0)]


def test_a_file_that_is_replaced_under_the_view_is_said_in_one_line(dataset):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain", [1]))
    now = view(dataset)
    write(table(dataset, DROP).path, row("0", "Another, much longer text", [1]))
    with pytest.raises(UserError, match="is being written again"):
        now.response(Pair("m", 0, DROP, "a"), chosen=False)
    table(dataset, DROP).path.unlink()
    with pytest.raises(UserError, match="is being written again"):
        now.response(Pair("m", 0, DROP, "a"), chosen=False)


def test_an_older_view_goes_on_while_the_index_is_renewed(dataset):
    write(table(dataset, NONE).part(0, 1), row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).part(0, 1), row("a", "Rain", [1]))
    before = view(dataset)
    write(table(dataset, NONE).part(0, 1), row("b", LONG, CLEAN_ORDER), mode="ab")
    write(table(dataset, DROP).part(0, 1), row("b", "Rain", [1]), mode="ab")
    assert len(view(dataset).select(Filters())) == 2
    assert len(before.select(Filters())) == 1
    assert len(before.select(Filters(text="rain"))) == 1


def test_nothing_is_written_beside_the_data(dataset, cache):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain", [1]))

    def listing() -> list[str]:
        return sorted(str(path) for path in dataset.root.rglob("*"))

    before = listing()
    found(dataset)
    assert listing() == before
    assert list(cache.rglob("index.json"))


def test_an_index_of_another_version_is_made_anew(dataset, cache):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain", [1]))
    found(dataset)
    (path,) = cache.rglob("index.json")
    path.write_bytes(path.read_bytes().replace(b'"version": 2', b'"version": 0'))
    assert found(dataset) == [("a", "drop", "")]


def test_a_cache_that_is_emptied_is_said_and_made_good(dataset, cache):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    write(table(dataset, DROP).path, row("a", "Rain", [1]))
    now = view(dataset)
    for path in cache.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(UserError, match="index is gone"):
        now.select(Filters())
    assert found(dataset) == [("a", "drop", "")]


def test_the_index_can_be_made_beforehand(dataset, run_script, cache):
    write(table(dataset, NONE).path, row("a", LONG, CLEAN_ORDER))
    done = run_script("-m", "visualize.index", "mine", "--data_root", dataset.root.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": 1 records of 1 files\n")
    assert DatasetIndex(dataset).bytes_to_read() == 0
