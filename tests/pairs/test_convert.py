"""Stage 4: which pairs are made, which are dropped and why, and what is written."""

import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tools.pairs.perturbation import configs, select
from tools.pairs.rules import REASONS, Side, drop_reason, read_side, similarity
from tools.pairs.swift_rows import estimated_tokens
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import dumps
from tools.text.prompts import QUESTIONS

NONE, DROP_16, REVERSE_16, SHUFFLE_16 = (
    f"caption_caption_{noise}_False_False"
    for noise in ("none_1", "drop_16", "reverse_16", "shuffle_16")
)
SENTENCES = [
    "A cook washes rice in a steel bowl.",
    "A cat sleeps on the window sill.",
    "Two children run down the hill.",
    "A red bus stops at the corner.",
    "The sun sets over the harbour.",
    "A band plays in the square.",
    "Rain falls on a tin roof.",
    "An old man feeds the pigeons.",
]


# ---- one pair -----------------------------------------------------------------------------------


def row(response="A cook washes rice.", indices=(0, 1, 2), **info):
    return {
        "video_id": "v",
        "video_path": "/videos/v.mp4",
        "frame_indices": [[0, 1]] * 3,
        "response": response,
        "info": {"selected_indices": list(indices), **info},
    }


@pytest.mark.parametrize(
    ("given", "text", "fault"),
    [
        (row("A cook washes rice."), "A cook washes rice.", None),
        (row("Rice first.\n</think>\n\nA cook washes rice. "), "A cook washes rice.", None),
        (row("a</think>b</think>c"), "c", None),
        (row(""), "", "empty"),
        (row(" \n"), "", "empty"),
        (row("Only thinking.</think>"), "", "empty"),
        (row("<think>It never ended"), "", "empty"),
        (row(None), "", "empty"),
        (row("A cook was", finish_reason="length"), "A cook was", "cut_off"),
        (row("A cook.", finish_reason="stop"), "A cook.", None),
        (row("A cook.", unusable=True), "A cook.", "unusable"),
        (row("A cook.", unusable_reason="repeats itself"), "A cook.", "unusable"),
        (row("A <video> of a cook."), "A <video> of a cook.", "tag"),
        (row("An <image> of a cook."), "An <image> of a cook.", "tag"),
        (row("A cook.<|im_end|>"), "A cook.<|im_end|>", "tag"),
        (row("<image></think>A cook."), "A cook.", None),
        (row("A pan < 5 cm, 2 <b>big</b> pots."), "A pan < 5 cm, 2 <b>big</b> pots.", None),
        ({"video_id": "v", "filtered": True, "filter_reason": "identity_only"}, "", "skipped"),
    ],
)
def test_a_response_is_read(given, text, fault):
    found = read_side(given, "qwen2vl7b")
    assert (found.text, found.fault) == (text, fault)


@pytest.mark.parametrize("model", ["mimovl", "my-MiMo-7b"])
def test_a_mimo_response_counts_from_its_last_opening(model):
    thinking = "The video starts with rice? Yes.</think>Here: The video opens with a cook"
    found = read_side(row(f"{thinking} (Caption 1). He washes rice."), model)
    assert (found.text, found.fault) == ("The video opens with a cook. He washes rice.", None)
    assert read_side(row("A cook washes rice."), model).fault == "unusable"
    assert read_side(row(""), model).fault == "empty"


GOOD = Side("A cook washes rice, then a cat sleeps.", (0, 1))
OTHER = Side("A cat sleeps, then a cook washes rice.", (1, 0))
SHORT = Side("A cat sleeps.", (1,))


def test_good_pairs_are_kept():
    assert drop_reason("drop", GOOD, SHORT) is None
    assert drop_reason("reverse", GOOD, OTHER) is None
    assert drop_reason("shuffle", GOOD, OTHER) is None


@pytest.mark.parametrize(
    ("noise", "chosen", "rejected", "reason"),
    [
        ("drop", None, SHORT, "no_clean"),
        ("drop", Side("", (), "skipped"), SHORT, "skipped"),
        ("drop", GOOD, Side("", (), "skipped"), "skipped"),
        ("shuffle", GOOD, Side("Something else altogether, as long.", (0, 1)), "identity"),
        ("drop", Side("", (0, 1), "empty"), SHORT, "empty"),
        ("drop", GOOD, Side("A cat sl", (1,), "cut_off"), "cut_off"),
        ("reverse", GOOD, Side("", (1, 0), "unusable"), "unusable"),
        ("reverse", Side("<video>", (0, 1), "tag"), OTHER, "tag"),
        ("drop", Side("12345", (0, 1)), Side("abcde", (1,)), "drop_not_longer"),
        ("drop", Side("123456", (0, 1)), Side("abcde", (1,)), None),
        ("reverse", Side("12345", (0, 1)), Side("abcde", (1, 0)), None),
        ("reverse", Side("A cook.", (0, 1)), Side("A cook. Yes", (1, 0)), "contained"),
        ("reverse", Side("A cook.", (0, 1)), Side("A cook.", (1, 0)), "contained"),
        ("shuffle", Side("123456", (0, 1)), Side("abcd", (1, 0)), None),  # exactly 1.5 times
        ("shuffle", Side("1234567", (0, 1)), Side("abcd", (1, 0)), "length_ratio"),
        ("reverse", Side("abcd", (0, 1)), Side("1234567", (1, 0)), "length_ratio"),
        ("drop", Side("1234567", (0, 1)), Side("abc", (1,)), None),
    ],
)
def test_a_pair_is_dropped_for_a_reason(noise, chosen, rejected, reason):
    assert drop_reason(noise, chosen, rejected) == reason


def test_rules_are_asked_in_order():
    identical = Side("A cook.", (0, 1), "tag")
    assert drop_reason("reverse", Side("", (0, 1), "empty"), identical) == "identity"
    assert drop_reason("reverse", identical, Side("", (1, 0), "empty")) == "empty"
    assert drop_reason("drop", Side("A cook.", (0, 1)), Side("A cook.", (1,))) == "drop_not_longer"
    assert drop_reason("reverse", Side("ab", (0, 1)), Side("abcdef", (1, 0))) == "contained"


def test_rows_that_do_not_say_their_order_are_not_the_clean_order():
    assert drop_reason("shuffle", Side("A b.", ()), Side("B a.", ())) is None


def test_similarity_is_the_share_of_words_in_the_same_order():
    assert similarity("a b c d", "a b c d") == 1
    assert similarity("a b c d", "c d a b") == 0.5
    assert similarity("a b c d", "a b x d") == 0.75
    assert similarity("a x b y c", "a b c") == 0.75
    assert similarity("a b", "x y") == 0
    assert similarity("a b a b " * 100, "a b a b " * 100) == 1


def test_max_similarity_drops_what_is_more_alike():
    chosen, rejected = Side("a b c d", (0, 1)), Side("a b x d", (1, 0))
    assert drop_reason("reverse", chosen, rejected, max_similarity=0.75) is None
    assert drop_reason("reverse", chosen, rejected, max_similarity=0.74) == "too_similar"
    swapped = Side("c d a b", (1, 0))  # the same words in another order
    assert drop_reason("reverse", chosen, swapped, max_similarity=0.6) is None


def test_tokens_are_estimated_from_bytes():
    # 3.5 bytes a token; 11479 for the video, 24 for the chat template
    assert estimated_tokens("q" * 7, "c" * 35, "r" * 70) == 22 + 11479 + 24
    assert estimated_tokens("q" * 7, "r" * 70, "c" * 35) == 22 + 11479 + 24
    assert estimated_tokens("", "煮" * 7, "c") == 6 + 11479 + 24


# ---- whole runs ---------------------------------------------------------------------------------


def story(indices):
    return " ".join(SENTENCES[index] for index in indices)


def make_rows(folder, count, clips=6, seed=0, dataset="mine"):
    """config's name -> rows of `count` videos, as stage 3 writes them, sorted; makes the videos."""
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {config.name: [] for config in configs()}
    for number in range(count):
        video_id = f"{dataset}_{number:012x}"
        video = videos / f"{video_id}.mp4"
        video.touch()
        for config in configs():
            chosen = select(config, clips, seed, video_id)
            rows[config.name].append(
                {
                    "video_id": video_id,
                    "video_path": str(video),
                    "frame_indices": [[10 * clip, 10 * clip + 5] for clip in range(clips)],
                    "response": f"{story(chosen.indices)} Video {number}.",
                    "info": {
                        "selected_indices": chosen.indices,
                        "block_size": chosen.block_size,
                        "finish_reason": "stop",
                        "sampling": {"temperature": 0.7},
                    },
                }
            )
    return rows


def write_rows(folder, rows, dataset="mine", model="dryrun", iteration=0):
    """One sorted file a config."""
    home = Dataset(dataset, folder / "data" / dataset)
    home.anno.mkdir(parents=True, exist_ok=True)
    for name, own in rows.items():
        path = home.responses(model, name, iteration).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(dumps(one) + b"\n" for one in own))
    return home.responses(model, "", iteration).path.parent


@pytest.fixture
def convert(run_script, tmp_path):
    """Run convert_to_swift.py on the data below tmp_path; fails unless it exits as expected."""

    def run(*words, code=0, **kwargs):
        if "--dataset" not in words:
            words = (*words, "--dataset", "mine")
        words = (*words, "--data_root", tmp_path / "data")
        done = run_script("convert_to_swift.py", *words, **kwargs)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def mine(tmp_path):
    """Ten videos of six clips by dryrun, in dataset `mine`; gives the folder of the responses."""
    return write_rows(tmp_path, make_rows(tmp_path, 10))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def funnel(path):
    return read(path.with_name(f"{path.stem}.funnel.json"))


def dropped(path):
    """{noise magnitude: {reason: number}} of what was dropped, and the numbers of kept pairs."""
    rows = funnel(path)["funnel"]
    reasons = {
        f"{one['noise']} {one['magnitude']}": {r: n for r, n in one["dropped"].items() if n}
        for one in rows
    }
    return {cell: found for cell, found in reasons.items() if found}, [one["kept"] for one in rows]


def change(path, video, **fields):
    """Change one video's row, or with None remove the row; `info` is merged in."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    one = lines[video]
    one["info"].update(fields.pop("info", {}))
    one.update(fields)
    path.write_bytes(b"".join(dumps(line) + b"\n" for line in lines))


def remove(path, video):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:video] + lines[video + 1 :]))


def test_a_row_is_what_swift_reads(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out)
    lines = out.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 32)
    assert json.loads(lines[2].rstrip(",")) == {
        "messages": [
            {
                "role": "user",
                "content": "<video>What happens in this video? Describe the events in the order in"
                " which they occur.",
            },
            {
                "role": "assistant",
                "content": f"{story([0, 1, 2, 3, 4, 5])} Video 0.",
            },
        ],
        "rejected_response": f"{story([5, 4, 3, 2, 1, 0])} Video 0.",
        "videos": [str(tmp_path / "videos" / "mine_000000000000.mp4")],
    }


def test_rows_stand_in_order(convert, tmp_path):
    write_rows(tmp_path, make_rows(tmp_path, 3, dataset="b"), dataset="b")
    write_rows(tmp_path, make_rows(tmp_path, 3, dataset="a"), dataset="a")
    out = tmp_path / "out.json"
    convert("dryrun", 2, 16, "--dataset", "b", "a", "--output", out)
    rows = read(out)
    videos = [Path(one["videos"][0]).stem for one in rows]
    assert videos == [f"{name}_{n:012x}" for name in "ba" for n in range(3) for _ in range(6)]
    # magnitudes as typed; within one drop, reverse, shuffle
    assert len(rows[0]["rejected_response"]) > len(rows[3]["rejected_response"])
    assert rows[1]["rejected_response"] == f"{story([3, 4, 5, 0, 1, 2])} Video 0."
    assert rows[4]["rejected_response"] == f"{story([5, 4, 3, 2, 1, 0])} Video 0."
    assert [one["kept"] for one in funnel(out)["funnel"]] == [6] * 6


def test_questions_depend_on_seed_video_and_config_alone(convert, mine, tmp_path):
    def questions(name, *words):
        convert("dryrun", *words, "--output", tmp_path / name)
        return {
            (one["videos"][0], one["rejected_response"]): one["messages"][0]["content"]
            for one in read(tmp_path / name)
        }

    both = questions("a.json", 2, 4)
    one = questions("b.json", 4)
    assert one.items() <= both.items()
    assert one != questions("c.json", 4, "--seed", 1)
    assert set(both.values()) == {f"<video>{question}" for question in QUESTIONS}


def test_every_rule_has_its_column(convert, mine, tmp_path):
    change(mine / f"{NONE}.jsonl", 1, video_path=str(tmp_path / "videos" / "gone.mp4"))
    change(mine / f"{NONE}.jsonl", 2, filtered=True, filter_reason="identity_only")
    reverse = mine / f"{REVERSE_16}.jsonl"
    change(reverse, 3, info={"selected_indices": [0, 1, 2, 3, 4, 5]})
    change(reverse, 4, response="Nothing but thoughts.</think>")
    change(reverse, 5, info={"finish_reason": "length"})
    change(reverse, 6, info={"unusable": True})
    change(reverse, 7, response="A <video> of rice.")
    change(reverse, 8, response=f"First: {story([0, 1, 2, 3, 4, 5])} Video 8.")
    change(reverse, 9, response="Too short.")
    change(mine / f"{DROP_16}.jsonl", 9, response=story([0, 1, 2, 3, 4, 5, 6, 7]))
    remove(mine / f"{NONE}.jsonl", 0)
    out = tmp_path / "out.json"
    shown = convert("dryrun", 16, "--output", out).stdout
    common = {"video_gone": 1, "no_clean": 1, "skipped": 1}
    alone = ("identity", "empty", "cut_off", "unusable", "tag", "contained", "length_ratio")
    assert dropped(out) == (
        {
            "drop 16": {**common, "drop_not_longer": 1},
            "reverse 16": {**common, **dict.fromkeys(alone, 1)},
            "shuffle 16": common,
        },
        [6, 0, 7],
    )
    assert "--video_root OLD=NEW" in shown


def test_the_funnel_adds_up(convert, tmp_path):
    rows = make_rows(tmp_path, 60)
    rng = random.Random(1)
    faults = ["", "<image>", "short", story(range(8)) * 2, "x</think>"]
    for own in rows.values():
        for one in own:
            if rng.random() < 0.2:
                one["response"] = rng.choice(faults)
            if rng.random() < 0.05:
                os.remove(one["video_path"]) if os.path.exists(one["video_path"]) else None
        own[:] = [one for one in own if rng.random() < 0.9]
    write_rows(tmp_path, rows)
    for flags in ((), ("--distinct_levels", "--max_similarity", "0.9", "--val", "0.3")):
        out = tmp_path / "out.json"
        convert("dryrun", 16, 8, 4, 2, "--output", out, *flags)
        cells = funnel(out)["funnel"]
        assert [(one["noise"], one["magnitude"]) for one in cells] == [
            (noise, ratio) for ratio in (16, 8, 4, 2) for noise in ("drop", "reverse", "shuffle")
        ]
        for one in cells:
            name = f"caption_caption_{one['noise']}_{one['magnitude']}_False_False"
            assert one["made"] == len(rows[name]) > 0
            assert list(one["dropped"]) == list(REASONS)
            assert one["made"] == sum(one["dropped"].values()) + one["kept"]
        held_out = sum(one["kept_val"] for one in cells)
        assert len(read(out)) == sum(one["kept"] for one in cells) - held_out > 0
        if flags:
            assert len(read(tmp_path / "out_val.json")) == held_out > 0


def test_lengths_are_told_per_noise(convert, tmp_path):
    rows = make_rows(tmp_path, 3)
    for number, (chosen, rejected) in enumerate([(10, 8), (10, 5), (20, 2)]):
        rows[NONE][number]["response"] = "c" * chosen
        rows[DROP_16][number]["response"] = "d" * rejected
        rows[REVERSE_16][number]["response"] = "r" * (chosen + 1)
        rows[SHUFFLE_16][number]["response"] = ""
    write_rows(tmp_path, rows)
    out = tmp_path / "out.json"
    done = convert("dryrun", 16, "--output", out)
    cues = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert [cue.split(", so that")[0] for cue in cues] == [
        "note: drop: chosen is 4.4 times as long on average"
    ]
    assert "LD_ALPHA" in cues[0]
    assert funnel(out)["characters"]["drop"] == {
        "pairs": 3,
        "chosen_mean": 13.3,
        "chosen_median": 10,
        "rejected_mean": 5.0,
        "rejected_median": 5,
        "ratio_mean": round((10 / 8 + 10 / 5 + 20 / 2) / 3, 4),
        "chosen_longer": 1.0,
    }
    assert funnel(out)["characters"]["reverse"]["chosen_longer"] == 0
    assert "shuffle" not in funnel(out)["characters"]


def test_the_funnel_says_what_the_file_was_made_of(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    convert("dryrun", 8, 16, "--output", out, "--seed", 3, "--max_similarity", "0.9")
    found = funnel(out)
    assert (found["model"], found["iter"], found["datasets"]) == ("dryrun", 0, ["mine"])
    assert (found["ratios"], found["seed"]) == ([8, 16], 3)
    assert found["flags"]["max_similarity"] == 0.9


def test_rows_too_long_for_training_are_counted_and_kept(convert, tmp_path):
    rows = make_rows(tmp_path, 2)
    rows[REVERSE_16][1]["response"] = "x " * 10_000
    rows[NONE][1]["response"] = "y " * 10_000
    write_rows(tmp_path, rows)
    out = tmp_path / "out.json"
    shown = convert("dryrun", 16, "--output", out).stdout
    assert "warning: 2 rows are estimated at more than 16384 tokens" in " ".join(shown.split())
    assert [one["over_max_length"] for one in funnel(out)["funnel"]] == [1, 1, 0]
    assert [one["kept"] for one in funnel(out)["funnel"]] == [2, 2, 1]


# ---- levels -------------------------------------------------------------------------------------


def test_duplicates_are_counted_and_kept_unless_levels_are_to_be_distinct(convert, tmp_path):
    # With 4 clips: reverse 16, 8 and 4 are one, and so are reverse 2 and shuffle 2.
    write_rows(tmp_path, make_rows(tmp_path, 5, clips=4))
    out = tmp_path / "out.json"
    done = convert("dryrun", 16, 8, 4, 2, "--output", out)
    cells = {(one["noise"], one["magnitude"]): one for one in funnel(out)["funnel"]}
    assert cells["reverse", 16]["duplicate"] == cells["reverse", 8]["duplicate"] == 5
    assert cells["reverse", 4]["duplicate"] == cells["reverse", 2]["duplicate"] == 0
    assert cells["shuffle", 2]["duplicate"] == 5
    assert all(one["kept"] == 5 for one in cells.values())
    twice = sum(one["duplicate"] for one in cells.values())
    line = f"note: {twice} of the 60 kept pairs tell what a harder pair of the same video tells"
    assert line + f"; --distinct_levels keeps the other {60 - twice}\n" in done.stdout

    convert("dryrun", 16, 8, 4, 2, "--output", out, "--distinct_levels")
    again = {(one["noise"], one["magnitude"]): one for one in funnel(out)["funnel"]}
    for key, one in again.items():
        assert one["duplicate"] == cells[key]["duplicate"] == one["dropped"]["duplicate"]
        assert one["kept"] == 5 - one["duplicate"]
    sides = [(one["videos"][0], one["rejected_response"]) for one in read(out)]
    assert len(sides) == len(set(sides)) == sum(one["kept"] for one in again.values())


def test_a_pair_dropped_for_another_reason_is_nobodys_duplicate(convert, tmp_path):
    rows = make_rows(tmp_path, 1, clips=4)
    rows["caption_caption_reverse_4_False_False"][0]["response"] = ""
    write_rows(tmp_path, rows)
    out = tmp_path / "out.json"
    convert("dryrun", 16, 8, 4, "--output", out, "--distinct_levels")
    cells = {(one["noise"], one["magnitude"]): one["kept"] for one in funnel(out)["funnel"]}
    assert [cells["reverse", ratio] for ratio in (16, 8, 4)] == [0, 1, 0]


@pytest.mark.parametrize("flags", [(), ("--seed", 5, "--val", "0.4", "--distinct_levels")])
def test_one_file_a_level_is_what_four_calls_give(convert, mine, tmp_path, flags):
    convert("dryrun", 16, 8, 4, 2, "--per_level", "--output", tmp_path / "levels", *flags)
    names = [f"dryrun_i0_r{ratio}" for ratio in (16, 8, 4, 2)]
    endings = (".json", ".funnel.json", *(["_val.json"] if flags else []))
    found = sorted(path.name for path in (tmp_path / "levels").glob("[!.]*"))
    assert found == sorted(name + ending for name in names for ending in endings)
    for ratio, name in zip((16, 8, 4, 2), names, strict=True):
        convert("dryrun", ratio, "--output", tmp_path / "single" / f"{name}.json", *flags)
        for ending in endings:
            ours = (tmp_path / "levels" / f"{name}{ending}").read_bytes()
            assert ours == (tmp_path / "single" / f"{name}{ending}").read_bytes()
        assert read(tmp_path / "levels" / f"{name}.json")


def test_val_holds_out_whole_videos(convert, tmp_path):
    write_rows(tmp_path, make_rows(tmp_path, 200))
    out = tmp_path / "out.json"
    convert("dryrun", 16, 2, "--output", out, "--val", "0.25")
    train, val = (
        {one["videos"][0] for one in read(path)} for path in (out, tmp_path / "out_val.json")
    )
    assert not train & val and len(train | val) == 200
    assert 30 <= len(val) <= 70
    convert("dryrun", 4, "--output", tmp_path / "b.json", "--val", "0.25")
    assert {one["videos"][0] for one in read(tmp_path / "b_val.json")} == val
    convert("dryrun", 4, "--output", tmp_path / "b.json", "--val", "0.25", "--seed", 1)
    assert {one["videos"][0] for one in read(tmp_path / "b_val.json")} != val


def test_an_older_split_goes_when_its_videos_are_trained_on(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out, "--val", "0.5")
    assert (tmp_path / "out_val.json").exists()
    convert("dryrun", 16, "--output", out)
    assert not (tmp_path / "out_val.json").exists()


# ---- where responses come from ------------------------------------------------------------------


def test_parts_give_the_same_bytes_as_one_file(convert, mine, tmp_path):
    convert("dryrun", 16, 8, 4, 2, "--output", tmp_path / "a" / "out.json")
    rng = random.Random(0)
    for path in list(mine.iterdir()):
        lines = path.read_bytes().splitlines(keepends=True)
        rng.shuffle(lines)
        path.write_bytes(b"".join(lines[:3]))
        for rank, own in enumerate((lines[3:5], lines[5:6], lines[6:] + lines[:1])):
            # a record may be there twice, and a part may end in the middle of a line
            part = path.with_name(f"{path.name}.{rank}-3")
            part.write_bytes(b"".join(own) + lines[0][: rng.randrange(len(lines[0]))])
    shown = convert("dryrun", 16, 8, 4, 2, "--output", tmp_path / "b" / "out.json").stdout
    for name in ("out.json", "out.funnel.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "holds parts" in " ".join(shown.split())


def test_a_folder_made_by_the_reference_scripts_is_read(convert, tmp_path):
    names = ["lv178k_1_2m_ytb_10", "lv178k_1_2m_ytb_2", "lv178k_1_2m_ytb_0"]  # not sorted
    (tmp_path / "videos").mkdir()
    rows: dict[str, list[dict[str, Any]]] = {NONE: [], REVERSE_16: [], SHUFFLE_16: []}
    for name in names:
        video = tmp_path / "videos" / f"{name}.mp4"
        video.touch()
        for config, indices in ((NONE, [0, 1]), (REVERSE_16, [1, 0]), (SHUFFLE_16, [0, 1])):
            rows[config].append(
                {
                    "response": f"Let me see.</think>\n\n{story(indices)}",
                    "frame_indices": [[0, 5], [9, 12]],
                    "video_path": str(video),
                    "info": {"selected_indices": indices},
                    "video_id": name,
                }
            )
    folder = write_rows(tmp_path, rows, model="qwen2vl7b")
    for config in rows:
        (folder / f"{config}.jsonl.filtered").write_text("no JSON at all\n")
        lines = (folder / f"{config}.jsonl").read_bytes().splitlines(keepends=True)
        (folder / f"{config}.jsonl").write_bytes(lines[0].rstrip(b"\n"))  # no newline at its end
        (folder / f"{config}.jsonl.1-8").write_bytes(b"".join(lines[1:]))
    out = tmp_path / "out.json"
    shown = convert("qwen2vl7b", 16, "--output", out).stdout
    assert [Path(one["videos"][0]).stem for one in read(out)] == sorted(names)
    assert read(out)[0]["messages"][1]["content"] == story([0, 1])
    assert read(out)[0]["rejected_response"] == story([1, 0])
    assert dropped(out) == ({"shuffle 16": {"identity": 3}}, [0, 3, 0])
    assert f"has no {DROP_16}.jsonl" in "".join(shown.split("\n"))


def test_later_rounds_and_biased_drops_have_files_of_their_own(convert, tmp_path):
    rows = make_rows(tmp_path, 2)
    rows["caption_caption_drop_16_True_False"] = rows.pop(DROP_16)
    write_rows(tmp_path, rows, iteration=1)
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--iter", 1, "--by_similarity", "--output", out)
    assert [one["kept"] for one in funnel(out)["funnel"]] == [2, 2, 2]
    convert("dryrun", 16, "--iter", 1, "--output", out)
    assert [one["made"] for one in funnel(out)["funnel"]] == [0, 2, 2]


def test_text_and_names_of_any_script(convert, tmp_path):
    rows = make_rows(tmp_path, 1)
    video = tmp_path / "videos" / "Küche 🍚\n“1”.mp4"
    video.touch()
    rows[NONE][0] |= {
        "response": '厨师洗米。\nEr sagt: „Ja“ \\ "oui" 🍚\u2028.',
        "video_path": str(video),
    }
    rows[REVERSE_16][0] |= {
        "response": "\t🍚 先是猫。 然后厨师洗米。 Er sagt nichts",
        "video_path": str(video),
    }
    write_rows(tmp_path, rows)
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out, env={"LC_ALL": "C"}, fresh=True)
    one = read(out)[0]
    assert one["messages"][1]["content"] == '厨师洗米。\nEr sagt: „Ja“ \\ "oui" 🍚\u2028.'
    assert one["rejected_response"] == "🍚 先是猫。 然后厨师洗米。 Er sagt nichts"
    assert one["videos"] == [str(video)]


def test_videos_that_have_moved_are_found(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    gone = "no pair is left, so nothing was written; dropped: 30 video_gone\n"
    assert convert("dryrun", 16, "--output", out, code=2).stderr.endswith(gone)
    change_of_root = f"{tmp_path}/videos/={tmp_path}/elsewhere"
    convert("dryrun", 16, "--output", out, "--video_root", change_of_root)
    assert dropped(out) == ({}, [10, 10, 10])
    assert read(out)[0]["videos"] == [str(tmp_path / "elsewhere" / "mine_000000000000.mp4")]
    # only whole names of folders count
    unlike = f"{tmp_path}/vid={tmp_path}/else"
    done = convert("dryrun", 16, "--output", out, "--video_root", unlike, code=2)
    assert done.stderr.endswith(gone)
    assert dropped(out) == ({}, [10, 10, 10])  # the file of before


def test_paths_from_here_become_absolute(convert, tmp_path):
    rows = make_rows(tmp_path, 1)
    for own in rows.values():
        own[0]["video_path"] = "videos/mine_000000000000.mp4"
    write_rows(tmp_path, rows)
    convert("dryrun", 16, "--output", "out.json", cwd=tmp_path)
    video = tmp_path / "videos" / "mine_000000000000.mp4"
    assert read(tmp_path / "out.json")[0]["videos"] == [str(video)]


def test_a_file_of_several_names_is_on_one_side_of_val(convert, tmp_path):
    write_rows(tmp_path, make_rows(tmp_path, 60))
    write_rows(tmp_path, make_rows(tmp_path, 60, dataset="other"), dataset="other")
    folder = tmp_path / "videos"
    for number in range(60):
        own, other = (folder / f"{name}_{number:012x}.mp4" for name in ("mine", "other"))
        other.unlink()
        other.symlink_to(own)
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--dataset", "mine", "other", "--output", out, "--val", "0.3")
    train, val = (
        {os.path.realpath(pair["videos"][0]) for pair in read(path)}
        for path in (out, tmp_path / "out_val.json")
    )
    assert train and val and not train & val


def test_videos_are_opened_if_asked(convert, tmp_path, make_video):
    rows = make_rows(tmp_path, 2)
    make_video(tmp_path / "videos" / "mine_000000000001.mp4", [("beach", 3)])
    write_rows(tmp_path, rows)
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out)
    assert dropped(out) == ({}, [2, 2, 2])
    convert("dryrun", 16, "--output", out, "--check_videos")
    assert dropped(out)[0]["drop 16"] == {"video_broken": 1}
    assert [Path(one["videos"][0]).stem for one in read(out)] == ["mine_000000000001"] * 3


def test_a_video_in_av1_is_one_that_training_can_read(convert, tmp_path, make_video):
    write_rows(tmp_path, make_rows(tmp_path, 1))
    make_video(
        tmp_path / "videos" / "mine_000000000000.mp4",
        [("beach", 6)],
        codec="libsvtav1",
        options={"preset": "12", "crf": "40"},
    )
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out, "--check_videos")
    assert dropped(out) == ({}, [1, 1, 1])


# ---- what is not overwritten, and mistakes -------------------------------------------------------


def test_another_models_or_datasets_file_is_not_overwritten(convert, mine, tmp_path):
    write_rows(tmp_path, make_rows(tmp_path, 2), model="qwen2vl7b")
    write_rows(tmp_path, make_rows(tmp_path, 2, dataset="other"), dataset="other")
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out)
    before = out.read_bytes()
    done = convert("qwen2vl7b", 16, "--output", out, code=2)
    assert f"{out} was made by dryrun from mine, not by qwen2vl7b from mine" in done.stderr
    done = convert("dryrun", 16, "--dataset", "mine", "other", "--output", out, code=2)
    assert "was made by dryrun from mine, not by dryrun from mine, other" in done.stderr
    assert done.stderr.count("\n") == 1
    assert out.read_bytes() == before
    convert("dryrun", 8, "--output", out, "--seed", 1)
    assert funnel(out)["ratios"] == [8]


def test_a_file_of_unknown_making_is_not_overwritten(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("mine\n")
    done = convert("dryrun", 16, "--output", out, code=2)
    assert "name another --output, or move it away" in done.stderr
    assert out.read_text() == "mine\n"
    out.unlink()
    (tmp_path / "out_val.json").write_text("mine\n")
    convert("dryrun", 16, "--output", out)
    convert("dryrun", 16, "--output", out, "--val", "0.5", code=2)
    assert (tmp_path / "out_val.json").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dryrum", "16"], "mine has no responses by dryrum (iter 0); there are: dryrun (iter 0)"),
        (["dryrun", "16", "--iter", "2"], "no responses by dryrun (iter 2); there are: dryrun"),
        (["dryrun", "16", "--dataset", "mein"], "no dataset 'mein' in {data}; there are: mine"),
        (["dryrun", "16", "16"], "a ratio is named twice: 16 16"),
        (["dryrun", "16", "--dataset", "mine", "mine"], "a dataset is named twice: mine mine"),
        (["dryrun", "16", "--output", "{data}"], "without --per_level it names a file"),
        (["dryrun", "16", "--output", "out.jsonl"], "without --per_level it names a file"),
        (["dryrun", "16", "--per_level", "--output", "out.json"], "it names a folder, not a file"),
        (["dryrun", "16", "--per_level", "--output", "{file}"], "it names a folder, not a file"),
        (["dryrun", "16", "--output", "{file}/out.json"], "cannot write {file}/.out.json.lock: "),
    ],
)
def test_a_mistake_gets_one_line(convert, mine, tmp_path, words, line):
    places = {"data": tmp_path / "data", "file": mine / f"{NONE}.jsonl"}
    done = convert(*(word.format(**places) for word in words), code=2, cwd=tmp_path)
    assert line.format(**places) in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_the_papers_datasets_are_the_default(run_script, mine, tmp_path):
    done = run_script("convert_to_swift.py", "dryrun", 16, "--data_root", tmp_path / "data")
    assert done.returncode == 2
    assert done.stdout == "no --dataset given: using lv178k_1_2m_ytb and lv178k_2_3m_ytb\n"
    assert done.stderr == (
        f"error: no dataset 'lv178k_1_2m_ytb' in {tmp_path}/data; there are: mine;"
        " name yours with --dataset\n"
    )


def test_a_level_without_responses_is_a_mistake(convert, tmp_path):
    rows = make_rows(tmp_path, 2)
    only = {name: own for name, own in rows.items() if "_16_" in name or name == NONE}
    folder = write_rows(tmp_path, only)
    done = convert("dryrun", 16, 8, "--output", tmp_path / "out.json", code=2)
    assert "has no responses at ratio 8" in done.stderr
    (folder / f"{NONE}.jsonl").unlink()
    done = convert("dryrun", 16, "--output", tmp_path / "out.json", code=2)
    assert f"has no {NONE}.jsonl, the chosen side of every pair" in done.stderr
    assert not (tmp_path / "out.json").exists()


def leftovers(folder):
    """What stands beside the outputs and is none; a lock file stays."""
    names = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    return [name for name in names if not name.endswith(".lock")]


def test_a_corrupt_line_is_named_and_nothing_is_overwritten(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out)
    before = out.read_bytes(), funnel(out)
    path = mine / f"{SHUFFLE_16}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b'{"video_id": "mine_00\n', *lines[5:]]))
    done = convert("dryrun", 16, "--output", out, code=2)
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: {path} line 5 is not a record")
    assert (out.read_bytes(), funnel(out)) == before
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    convert("dryrun", 16, "--output", out)
    before = out.read_bytes()

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    done = convert("dryrun", 16, 8, "--output", out, code=2, preexec_fn=small_files)
    assert "cannot write" in done.stderr.splitlines()[-1]
    assert out.read_bytes() == before
    assert leftovers(tmp_path) == []


def start(tmp_path, out):
    """Start a conversion of many responses, and wait until it is writing."""
    command = [sys.executable, str(REPOSITORY / "convert_to_swift.py"), "dryrun", "16", "8", "4"]
    command += ["2", "--dataset", "mine", "--output", str(out), "--data_root"]
    silent = subprocess.DEVNULL
    run = subprocess.Popen([*command, str(tmp_path / "data")], stdout=silent, stderr=silent)
    while not list(out.parent.glob(f".{out.name}.*.tmp")):
        assert run.poll() is None
        time.sleep(0.001)
    return run


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    """The rows of so many videos that a conversion can be stopped in the middle."""
    return make_rows(tmp_path_factory.mktemp("many"), 1500)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_end_in_the_middle_leaves_the_old_file(convert, many_rows, tmp_path, how):
    rows = many_rows
    write_rows(tmp_path, {name: own[:2] for name, own in rows.items()})
    out = tmp_path / "out" / "out.json"
    convert("dryrun", 16, 8, 4, 2, "--output", out)
    before = out.read_bytes()
    write_rows(tmp_path, rows)
    run = start(tmp_path, out)
    time.sleep(0.1)
    run.send_signal(how)
    assert run.wait(timeout=10) in (130, -signal.SIGKILL)
    assert out.read_bytes() == before
    if how != signal.SIGKILL:
        assert leftovers(out.parent) == []
    write_rows(tmp_path, {name: own[:3] for name, own in rows.items()})
    convert("dryrun", 16, 8, 4, 2, "--output", out)
    assert leftovers(out.parent) == []
    assert len(read(out)) == 3 * 12


def test_two_runs_do_not_write_one_file(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    with open(tmp_path / ".out.json.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = convert("dryrun", 16, "--output", out, code=2)
        assert done.stderr == (
            f"error: another run is writing {out} (unknown process): wait for it or stop it\n"
        )
    assert not out.exists()


def test_no_pair_left_is_an_error(convert, tmp_path):
    rows = make_rows(tmp_path, 1)
    rows[NONE][0]["response"] = ""
    write_rows(tmp_path, rows)
    out = tmp_path / "out.json"
    done = convert("dryrun", 16, "--output", out, code=2)
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: no pair is left, so nothing was written; dropped: 3 ")
    assert "no clean" in " ".join(done.stdout.split()) or "empty" in done.stdout
    assert list(tmp_path.glob("out*")) == []


def test_no_file_of_a_level_is_empty(convert, tmp_path):
    rows = make_rows(tmp_path, 1)
    for config, records in rows.items():
        if "_2_" in config:
            records[0]["response"] = ""
    write_rows(tmp_path, rows)
    out = tmp_path / "levels"
    done = convert("dryrun", 16, 2, "--per_level", "--output", out, code=2)
    assert done.stderr.splitlines()[-1].startswith(
        "error: no pair is left in dryrun_i0_r2.json, so nothing was written; dropped: 3 "
    )
    assert not list(out.glob("*.json"))


def test_all_videos_held_out_leave_nothing_to_train_on(convert, mine, tmp_path):
    out = tmp_path / "out.json"
    done = convert("dryrun", 16, "--val", 1, "--output", out, code=2)
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error == (
        "error: no pair is left, so nothing was written; dropped: none; held out by --val: 30"
    )
    assert list(tmp_path.glob("out*")) == []
    assert "note: --val 1e-09 holds out no video of so few\n" in (
        convert("dryrun", 16, "--val", 1e-9, "--output", out).stdout
    )


@pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed")
def test_swift_reads_the_pairs(convert, mine, warm_swift, tmp_path):
    out = tmp_path / "out.json"
    convert("dryrun", 16, 8, 4, 2, "--output", out)
    program = f"""
        import json
        from swift.dataset import load_dataset
        from swift.template import TemplateInputs
        rows, _ = load_dataset({str(out)!r}, strict=True, load_from_cache_file=False)
        row = TemplateInputs.from_dict(rows[1])
        print(json.dumps([len(rows), row.chosen.messages, row.rejected.messages,
                          row.chosen.videos, row.rejected.videos]))
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    done = subprocess.run(
        [warm_swift / "swift", tmp_path / "program.py"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, chosen, rejected, *videos = json.loads(done.stdout.splitlines()[-1])
    written = read(out)[1]
    assert count == 120
    assert [(one["role"], one["content"]) for one in chosen] == [
        (one["role"], one["content"]) for one in written["messages"]
    ]
    assert rejected[-1]["content"] == written["rejected_response"]
    assert videos == [written["videos"], written["videos"]]
