"""Fine-tuning rows out of LLaVA-Video-178K's JSON: what is taken, from where, and what is not."""

import json
from pathlib import Path

import pytest

from tools.errors import Filtered, UserError
from tools.training.sft_data import main, messages, shares

YOUTUBE, ACADEMIC = "0_30_s_youtube_v0_1", "0_30_s_academic_v0_1"


def row(number, source=YOUTUBE, video=None, *turns):
    """A row as LLaVA-Video-178K has it."""
    turns = turns or ("<image>\nWhat happens?", f"Thing {number} happens.")
    return {
        "id": f"row-{number}",
        "conversations": [
            {"from": ("human", "gpt")[turn % 2], "value": value} for turn, value in enumerate(turns)
        ],
        "data_source": source,
        "video": video or f"ytb/v{number % 4}.mp4",
    }


@pytest.fixture
def world(tmp_path, make_video):
    """Four videos below videos/ytb/, and one below the folder of its data source."""
    root = tmp_path / "videos"
    for number in range(4):
        make_video(root / "ytb" / f"v{number}.mp4", [("beach", 4)], (32, 32))
    make_video(root / ACADEMIC / "charades" / "a.mp4", [("fire", 4)], (32, 32))
    return tmp_path


@pytest.fixture
def sample(capsys, world):
    """Run the tool on source files of these rows; gives the rows written, the report and what was
    printed, or the mistake."""

    def run(*files, n=100, seed=0, flags=()):
        for number, rows in enumerate(files):
            text = rows if isinstance(rows, str) else json.dumps(rows)
            (world / f"source-{number}.json").write_text(text)
        out = world / "out.json"
        words = (
            "--source", world / "source-*.json", "--video_root", world / "videos", "--n", n,
            "--seed", seed, "--output", out, *flags,
        )  # fmt: skip
        try:
            main([str(word) for word in words])
        except UserError as error:
            return str(error)
        except SystemExit:
            return capsys.readouterr().err
        report = json.loads((world / "out.report.json").read_text())
        return json.loads(out.read_text()), report, capsys.readouterr().out

    return run


def test_a_row_is_what_swift_reads(sample, world):
    turns = ("<image>\nWhat happens?", "Rain.", "And then?", "Sun.")
    rows, _, _ = sample([row(1, YOUTUBE, None, *turns)])
    assert rows == [
        {
            "messages": [
                {"role": "user", "content": "<video>What happens?"},
                {"role": "assistant", "content": "Rain."},
                {"role": "user", "content": "And then?"},
                {"role": "assistant", "content": "Sun."},
            ],
            "videos": [str(world / "videos" / "ytb" / "v1.mp4")],
        }
    ]
    lines = (world / "out.json").read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 3)


def test_videos_are_found_below_their_data_source_too(sample, world):
    rows, _, _ = sample([row(1, ACADEMIC, "charades/a.mp4")])
    assert rows[0]["videos"] == [str(world / "videos" / ACADEMIC / "charades" / "a.mp4")]


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        (["What happens?\n<image>", "Rain."], ["<video>What happens?\n", "Rain."]),
        (["What happens?", "Rain."], ["<video>What happens?", "Rain."]),
        (["<image>\nWhat happens?"], "conversation"),
        (["<image>\nWhat happens?", "Rain.", "And?"], "conversation"),
        (["<image>\n", "Rain."], "empty"),
        (["<image>\nWhat happens?", " "], "empty"),
        (["<image>\nWhat happens? <image>", "Rain."], "tag"),
        (["<image>\nWhat happens?", "A <video> of rain."], "tag"),
        (["<image>\nWhat happens?", "Rain.<|im_end|>"], "tag"),
        (["<image>\nWhat?", "2 < 3 <b>drops</b>."], ["<video>What?", "2 < 3 <b>drops</b>."]),
    ],
)  # fmt: skip
def test_a_conversation_is_read(turns, found):
    one = row(0, YOUTUBE, None, *turns)
    if isinstance(found, str):
        with pytest.raises(Filtered, match=found):
            messages(one)
    else:
        assert [turn["content"] for turn in messages(one)] == found


@pytest.mark.parametrize(
    "conversations",
    [
        None,
        [],
        [{"from": "gpt", "value": "Rain."}, {"from": "human", "value": "What?"}],
        [{"from": "human", "value": "What?"}, {"from": "human", "value": "What?"}],
        [{"from": "human", "value": 3}, {"from": "gpt", "value": "Rain."}],
        [{}, {}],
    ],
)
def test_what_is_no_conversation(conversations):
    with pytest.raises(Filtered, match="conversation"):
        messages({"conversations": conversations})


def test_shares_are_in_proportion():
    assert shares({"a": 600, "b": 300, "c": 100}, 10) == {"a": 6, "b": 3, "c": 1}
    assert shares({"a": 2, "b": 2, "c": 2}, 4) == {"a": 2, "b": 1, "c": 1}
    assert shares({"a": 7, "b": 1}, 4) == {"a": 4, "b": 0}  # 3.5 and 0.5: the first gains
    assert shares({"a": 3, "b": 1}, 10) == {"a": 3, "b": 1}
    assert shares({"a": 0, "b": 0}, 3) == {"a": 0, "b": 0}
    assert shares({}, 3) == {}


def test_the_sample_is_stratified_by_source(sample):
    many = [row(number) for number in range(60)]
    few = [row(number, ACADEMIC, "charades/a.mp4") for number in range(20)]
    rows, report, shown = sample(many + few, n=8)
    places = ["academic" if "charades" in one["videos"][0] else "youtube" for one in rows]
    assert (places.count("youtube"), places.count("academic")) == (6, 2)
    assert {name: one["taken"] for name, one in report["sources"].items()} == {
        ACADEMIC: 2,
        YOUTUBE: 6,
    }
    assert report["sources"][YOUTUBE]["not_drawn"] == 54
    assert f"{YOUTUBE} " in shown


def test_the_seed_draws_the_sample(sample):
    rows = [row(number) for number in range(50)]
    first = sample(rows, n=10, seed=3)[0]
    assert sample(rows, n=10, seed=3)[0] == first
    assert sample(rows, n=10, seed=4)[0] != first
    things = [int(one["messages"][1]["content"].split()[1]) for one in first]
    assert things == sorted(things) and len(set(things)) == 10


def test_what_is_left_out_is_reported(sample, world):
    (world / "videos" / "ytb" / "broken.mp4").write_text("no film")
    named_none = row(5)
    del named_none["video"]
    rows, report, shown = sample(
        [
            row(0),
            named_none,
            row(1, YOUTUBE, None, "<image>\nWhat?"),
            row(2, YOUTUBE, None, "<image>\nWhat?", ""),
            row(3, YOUTUBE, None, "<image>\nWhat?", "<|im_end|>"),
            row(4, YOUTUBE, "ytb/gone.mp4"),
        ],
        [row(6, YOUTUBE, "ytb/broken.mp4"), row(7)],
        n=3,
    )
    assert report["sources"] == {
        YOUTUBE: {
            "rows": 8, "no_video_named": 1, "conversation": 1, "empty": 1, "tag": 1,
            "half_a_pair": 0, "video_gone": 1, "video_broken": 1, "not_drawn": 0, "taken": 2,
        }
    }  # fmt: skip
    assert [one["messages"][1]["content"] for one in rows] == [
        "Thing 0 happens.",
        "Thing 7 happens.",
    ]
    assert "warning: 2 usable rows, 3 were asked for\n" in shown


def test_a_broken_video_is_replaced_from_the_other_sources(sample, world):
    for number in range(3):
        (world / "videos" / ACADEMIC / f"broken{number}.mp4").write_text("no film")
    broken = [row(number, ACADEMIC, f"broken{number}.mp4") for number in range(3)]
    rows, report, _ = sample(broken + [row(number) for number in range(9)], n=8)
    assert len(rows) == 8
    assert report["sources"][ACADEMIC]["video_broken"] == 3


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["{"], "source-0.json is not JSON"),
        ([{"id": 1}], "source-0.json is not a JSON array of rows"),
        ([["row"]], "source-0.json is not a JSON array of rows"),
        ([[]], "not one usable row in 1 files: nothing is written"),
        ([], "source-*.json: no such file"),
        ([[row(1)], "--video_root", "/nowhere"], "--video_root /nowhere: no such folder"),
        ([[row(1)], "--n", "0"], "'0' is not a whole number of 1 or more"),
    ],
)
def test_a_mistake_gets_one_line(sample, world, files, line):
    files, flags = files[:1], files[1:]
    assert line in sample(*files, flags=flags).splitlines()[-1]
    assert not (world / "out.json").exists()


def test_a_file_of_unknown_making_is_not_overwritten(sample, world):
    (world / "out.json").write_text("mine")
    assert "out.json exists, and was not written by this program" in sample([row(1)])
    (world / "out.json").unlink()
    sample([row(1)])
    assert len(sample([row(1), row(2)])[0]) == 2


def test_a_video_that_training_cannot_read_is_left_out(sample, world, make_video):
    folder = world / "videos" / "ytb"
    data = (folder / "v0.mp4").read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    (folder / "zeros.mp4").write_bytes(data[:start] + bytes(end - start) + data[end:])
    front = make_video(folder / "cut.mp4", [("beach", 36)], muxer={"movflags": "faststart"})
    front.write_bytes(front.read_bytes()[: front.stat().st_size // 3])
    make_video(folder / "one frame.mp4", [("beach", 1)], (32, 32))
    names = ("v0", "zeros", "cut", "one frame")
    rows, report, _ = sample([row(n, YOUTUBE, f"ytb/{name}.mp4") for n, name in enumerate(names)])
    assert [Path(taken["videos"][0]).stem for taken in rows] == ["v0"]
    assert report["sources"][YOUTUBE]["video_broken"] == 3


def test_a_row_with_half_an_emoji_costs_itself_alone(sample):
    half = json.dumps(row(1)).replace("Thing 1", "Thing \\ud83d")
    score = json.dumps(row(2) | {"score": float("nan")})
    rows, report, _ = sample(f"[{json.dumps(row(0))}, {half}, {score}]")
    assert [taken["messages"][1]["content"] for taken in rows] == [
        "Thing 0 happens.",
        "Thing 2 happens.",
    ]
    assert report["sources"][YOUTUBE]["half_a_pair"] == 1
