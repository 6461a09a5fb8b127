"""Rows of one's own, and files whose layout is not known."""

import pytest

VIDEOS = ["v_n0.mp4"]


def test_rows_of_ones_own(read, folder, tmp_path, make_video, write):
    make_video(folder / "a.mp4", [("beach", 60)])
    for number in range(10):
        write(folder / "b" / f"{number}.png", "")
    rows = [
        {"video": "a.mp4", "question": "when", "choices": '["day", "night"]', "answer": "night",
         "start": "1", "end": "2.5", "type": "time", "references": '["at night"]'},
        {"video": "b", "media": "frames", "fps": "2", "first": "0", "question": "who",
         "start": "0", "end": "4"},
        {"question": "who"},
    ]  # fmt: skip
    columns = dict.fromkeys(name for row in rows for name in row)
    table = [dict.fromkeys(columns, "") | row for row in rows]
    questions, _, _ = read("own", table, "--video_dir", folder, name="mine.csv")
    first = questions["a.mp4/2"]
    assert (first.choices, first.answer_index, first.type) == (["day", "night"], 1, "time")
    assert (first.start, first.end, first.references) == (1.0, 2.5, ["at night"])
    assert questions["b/3"].context == {"frames": {"fps": 2.0, "first": 0}, "media": "frames"}
    assert questions["row/4"].context == {"media": "text"}
    row = {"id": "x", "video": "a", "question": "q", "a0": "u", "a1": "v", "answer_index": 1}
    row |= {"context": {"level": 3}}
    questions, _, _ = read("own", [row], name="mine.jsonl")
    assert (questions["x"].answer, questions["x"].context["level"]) == ("v", 3)


def test_rows_of_ones_own_that_cannot_be_read(read):
    rows = [
        {"question": "good"},
        {"question": "q", "choices": "day, night"},
        {"question": "q", "media": "sound"},
        {"question": "q", "media": "frames", "video": "v_n0"},
        {"question": " "},
        {"question": "q", "choices": ["one"]},
        {"question": "q", "video": "v_n0", "start": 1.0},
        {"question": "q", "video": "v_n0", "start": "soon", "end": 2.0},
    ]
    _, rejected, _ = read("own", rows, name="mine.jsonl", videos=VIDEOS)
    assert [row["reason"] for row in rejected] == [
        "unreadable_field",
        "unreadable_field",
        "missing_field",
        "empty_question",
        "too_few_options",
        "missing_field",
        "unreadable_field",
    ]


@pytest.mark.parametrize("benchmark", ["nextqa", "star", "tvqa", "egoschema", "mvbench", "msrvttqa",
    "msvdqa", "activitynetqa", "tgifqa", "videochatgpt", "videoinstruct", "llava", "textvid",
    "msrvtt", "vatex", "cater", "own"])  # fmt: skip
def test_an_unknown_layout_is_one_line(read, benchmark):
    name = "action_count.json" if benchmark == "mvbench" else "rows.json"
    error = read(benchmark, [{"page": 1, "text": "x"}], name=name)
    assert error.count("\n") == 1 and "the layout is not known as" in error


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", "[{", "is not JSON"),
        ("rows.jsonl", '{"question": "a"}\n[1]\n', "rows with named fields were expected"),
        ("rows.json", "3", "holds 3, where a list of rows was expected"),
        ("rows.parquet", "PAR1", "is none of .csv .tsv .json .jsonl"),
        ("rows.csv", "question\n", "the layout is not known"),
    ],
)
def test_a_file_that_holds_no_rows_is_one_line(read, name, text, message):
    error = read("own", text, name=name)
    assert error.count("\n") == 1 and message in error
