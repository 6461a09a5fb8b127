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
        {"question": "q", "choices": []},
        {"question": "q", "choices": ["u", "v"], "answer": "u", "answer_index": 1},
        {"question": "q", "answer_index": 1},
        {"question": "q", "choices": [str(number) for number in range(27)]},
        {"question": "q", "choices": ["red", "blue", "Red"]},
        {"question": "q", "choices": ["The cup.", "the cup"]},
        {"question": "q", "video": " ", "media": "image"},
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
        "too_few_options",
        "answer_not_an_option",
        "answer_not_an_option",
        "too_many_options",
        "equal_options",
        "equal_options",
        "missing_field",
    ]


def test_an_answer_that_agrees_with_its_index_and_26_options_are_kept(read):
    rows = [
        {"id": "both", "question": "q", "choices": ["u", "v."], "answer": "v", "answer_index": 1},
        {"id": "z", "question": "q", "choices": [f"{n}" for n in range(26)], "answer_index": 25},
        {"id": "signs", "question": "q", "choices": ["C", "C++", "5", "-5"], "answer": "-5"},
    ]
    questions, rejected, _ = read("own", rows, name="mine.jsonl")
    assert rejected == []
    assert {key: question.answer for key, question in questions.items()} == {
        "both": "v.",
        "z": "25",
        "signs": "-5",
    }


def test_a_csv_line_with_more_fields_than_its_head_is_rejected(read):
    text = "question,answer\nwhat is it,a cup\nwhat is it,a cup, or a mug\n"
    questions, rejected, _ = read("own", text, name="mine.csv")
    assert [question.answer for question in questions.values()] == ["a cup"]
    assert [(row["reason"], row["origin"]["line"]) for row in rejected] == [("unreadable_field", 3)]


def test_text_rows_need_no_video_and_list_none(read, data):
    questions, rejected, _ = read("own", [{"id": "t", "question": "who", "video": " "}],
                                  name="mine.jsonl")  # fmt: skip
    assert rejected == [] and questions["t"].unit == "t"
    assert (questions["t"].video, questions["t"].context) == (None, {"media": "text"})
    assert [path.name for path in data.root.rglob("*")] == ["qa", "val.jsonl"]


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
