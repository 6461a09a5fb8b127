"""What qa.read does with the rows of any benchmark: videos, reasons, parts of a split, files."""

import hashlib
import os
from collections import Counter

import orjson
import pytest

from tools.video.listing import Listing, list_videos


def row(video, **other):
    """A question of one's own."""
    return {"id": f"q{video}", "video": video, "question": "what"} | other


def test_a_records_video_is_the_one_of_init_jsonl(read, data, folder):
    questions, _, _ = read("own", [row("a")], name="own.jsonl", videos=["sub/a.mp4", "b.mkv"])
    listed = {record["video_id"]: record for record in data.table("init").read()}
    record = listed[questions["qa"].video_id]
    assert record["video_name"] == questions["qa"].video == "sub/a.mp4"
    assert len(listed) == 2  # the whole folder, as stage 1 will list it
    assert data.video_dir() == folder
    before = data.table("init").path.read_bytes()
    list_videos(data, folder, Listing())
    assert data.table("init").path.read_bytes() == before


def test_the_folder_is_remembered(read, data):
    read("own", [row("a")], name="own.jsonl", videos=["a.mp4"])
    questions, _, _ = read("own", [row("a")], name="own.jsonl", split="test")
    assert questions["qa"].video == "a.mp4"
    assert data.question_splits() == ["test", "val"]


def test_without_a_folder_questions_about_videos_are_one_line(read, tmp_path):
    error = read("own", [row("a")], name="own.jsonl")
    assert error == (
        "error: these questions are about videos: name their folder with --video_dir\n"
    )
    error = read("own", [row("a")], "--video_dir", tmp_path / "none", name="own.jsonl")
    assert error == f"error: --video_dir {tmp_path / 'none'}: no such folder\n"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.mp4", "a.mp4"),
        ("a", "a.mp4"),
        ("x/c", "x/c.webm"),
        ("y/c", "x/y/c.mkv"),
        ("c", None),  # two files end so
        ("c.mp4", None),
        ("x/y/c.mp4", "x/y/c.mkv"),
        ("d.e", "d.e.mp4"),
        ("y/a", None),
        ("link", "link.mp4"),
        ("./x/../a.mp4", "a.mp4"),
        ("FOLDER/x/c.webm", "x/c.webm"),
    ],
)
def test_which_file_a_name_means(read, folder, name, path):
    videos = ["a.mp4", "x/c.webm", "x/y/c.mkv", "d.e.mp4"]
    folder.mkdir()
    os.symlink("a.mp4", folder / "link.mp4")
    rows = [row("a"), row(name.replace("FOLDER", str(folder)), id="asked")]
    questions, rejected, _ = read("own", rows, name="own.jsonl", videos=videos)
    if path is None:
        assert [line["id"] for line in rejected] == ["asked"]
    else:
        assert questions["asked"].video == path
    if name == "link":
        assert questions["asked"].video_id == questions["qa"].video_id


def test_an_ambiguous_name_is_not_guessed(read, reasons):
    rows = [row("c"), row("x/c.mp4")]
    videos = ["x/c.mp4", "y/c.mp4"]
    questions, rejected, _ = read("own", rows, name="own.jsonl", videos=videos)
    assert questions["qx/c.mp4"].video == "x/c.mp4"
    assert reasons(rejected) == [("qc", "ambiguous_video")]
    assert rejected[0]["detail"] == "c may be x/c.mp4 or y/c.mp4"


def test_keep_missing_video_makes_a_question_without_media(read, data):
    rows = [row("a"), row("gone", start=1.0, end=2.0), row("gone", id="q2")]
    flags = ["--keep", "missing_video"]
    questions, rejected, _ = read("own", rows, *flags, name="own.jsonl", videos=["a.mp4"])
    assert rejected == [] and not data.rejected_questions("val").exists()
    kept = questions["qgone"]
    assert (kept.video, kept.context) == (None, {"media": "text", "missing_video": "gone"})
    assert kept.unit == questions["q2"].unit == f"mine_{hashlib.sha1(b'gone').hexdigest()[:12]}"


def test_text_only_arms_need_no_folder(read):
    questions, _, _ = read("own", [row("a")], "--keep", "missing_video", name="own.jsonl")
    assert questions["qa"].context["media"] == "text"


def test_every_row_is_in_the_funnel(read, data):
    rows = [row("a"), row("b"), row("a", id="q1", question=""), row("a", id="q2", media="x")]
    _, rejected, printed = read("own", rows, name="own.jsonl", videos=["a.mp4"])
    numbers = [int(line.split()[0]) for line in printed.splitlines() if line.startswith("  ")]
    assert numbers == [4, -1, -1, -1, 1] and sum(numbers[:-1]) == numbers[-1]
    assert "line 2 of own.jsonl (no file in the folder is b)" in printed
    assert rejected[0] == {
        "id": "qb",
        "video": "b",
        "question": "what",
        "reason": "missing_video",
        "detail": "no file in the folder is b",
        "origin": {
            "file": "own.jsonl",
            "sha256": hashlib.sha256(b"".join(orjson.dumps(r) + b"\n" for r in rows)).hexdigest(),
            "line": 2,
        },
    }
    assert data.rejected_questions("val").exists()


def test_where_nothing_is_left_the_reason_is_said_and_the_rejected_rows_are_written(read, data):
    error = read("own", [row("gone")], name="own.jsonl", videos=["a.mp4"])
    assert error == (
        "error: no question is left of 1: 1 missing_video (no file in the folder is gone)\n"
    )
    assert not data.questions("val").exists() and data.question_splits() == []
    [rejected] = data.rejected_questions("val").read_bytes().splitlines()
    assert orjson.loads(rejected)["reason"] == "missing_video"


@pytest.mark.parametrize("video", [{"video": "a"}, {}])
@pytest.mark.parametrize("obstacle", ["", "mine/qa"])
def test_a_data_root_that_cannot_be_written_is_one_line(read, tmp_path, write, video, obstacle):
    write(tmp_path / "root" / obstacle if obstacle else tmp_path / "root", "a file")
    flags = ["--data_root", tmp_path / "root"]
    error = read("own", [{"question": "what"} | video], *flags, name="own.jsonl", videos=["a.mp4"])
    assert error.startswith(f"error: cannot write {tmp_path / 'root'}") and error.count("\n") == 1
    error = read("own", [{"question": "what"}], *flags, name="own.jsonl")
    assert error.startswith(f"error: cannot write {tmp_path / 'root'}") and error.count("\n") == 1


def many(videos=60):
    """Two questions a video, of the same type for most, and a rare one in every tenth video."""
    rows = []
    for number in range(videos):
        kind = "rare" if number % 10 == 0 else "often"
        rows += [row("", id=f"{number}/0", context={"n": number}, type="often")]
        rows += [row("", id=f"{number}/1", context={"n": number}, type=kind)]
        for line in rows[-2:]:
            line["video"] = f"v{number}"
    return rows


def test_limit_draws_videos_by_types(read):
    rows, videos = many(), [f"v{number}.mp4" for number in range(60)]

    def drawn(*flags):
        questions, _, printed = read("own", rows, *flags, name="own.jsonl", videos=videos)
        assert "-100 not drawn by --limit" in printed
        return questions

    questions = drawn("--limit", 10, "--seed", 1)
    assert Counter(question.video for question in questions.values()).most_common()[-1][1] == 2
    assert len(questions) == 20
    assert Counter(q.type for q in questions.values()) == {"often": 19, "rare": 1}
    assert drawn("--limit", 10, "--seed", 1) == questions
    assert drawn("--limit", 10, "--seed", 2) != questions
    questions, _, printed = read("own", rows, "--limit", 99, name="own.jsonl")
    assert len(questions) == 120 and "not drawn" not in printed


def test_answers_that_are_always_first_are_warned_of(read):
    rows = [row("a", id=str(i), a0="u", a1="v", answer_index=0) for i in range(40)]
    assert (
        "right answers are not spread evenly over the positions (40)"
        in read("own", rows, name="own.jsonl", videos=["a.mp4"])[2]
    )
    rows = [line | {"answer_index": i % 2} for i, line in enumerate(rows)]
    assert "spread evenly" not in read("own", rows, name="own.jsonl")[2]


def test_subtitles_are_found_by_the_videos_name(read, tmp_path, write):
    write(tmp_path / "srt" / "a.srt", "1\n00:01:00,500 --> 00:01:01,000\nHello\n")
    flags = ["--subtitles", tmp_path / "srt"]
    rows = [row("a"), row("b")]
    videos = ["x/a.mp4", "b.mp4"]
    questions, _, printed = read("own", rows, *flags, name="own.jsonl", videos=videos)
    assert questions["qa"].context["subtitles"] == [[60.5, 61.0, "Hello"]]
    assert "subtitles" not in questions["qb"].context
    assert "no file of subtitles: 1 questions" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split", "a.b"], "--split 'a.b': use letters, digits, '_' and '-' only"),
        (["--choices", 1], "--choices 1: a choice needs two options"),
        (["--choices", 27], "--choices 27: options have letters, which end at Z, the 26th"),
        (["--pool", "x.json"], "--pool is where --choices takes wrong options from"),
        (["--subtitles", "nowhere"], "--subtitles nowhere: no such folder"),
        (["--file", "gone.json"], "gone.json cannot be read: No such file or directory"),
        (["--dataset", "a/b"], "dataset name 'a/b'"),
    ],
)
def test_mistakes_on_the_command_line(read, flags, message):
    error = read("own", [row("a")], *flags, name="own.jsonl")
    assert error.startswith(f"error: {message}") and error.count("\n") == 1
