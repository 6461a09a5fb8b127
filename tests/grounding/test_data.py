"""Examples from question records: frames by time, images, texts, and what is left out."""

import cv2
import orjson
import pytest

from grounding.pseudo_labels import write_rows
from grounding.training.data import read_examples, read_spans
from qa.records import Question, write_questions
from tools.errors import UserError


@pytest.fixture
def asked(dataset, make_video, picture, tmp_path):
    """questions -> (dataset, folder) with a video of 6 seconds, 12 frames each, and an image."""
    folder = tmp_path / "media"
    make_video(folder / "v.mp4")
    cv2.imwrite(str(folder / "i.png"), picture("snow", (48, 32), 0)[..., ::-1])

    def write(*questions):
        write_questions(
            dataset.questions("train"),
            [
                Question(str(n), dataset.name, "train", **fields)
                for n, fields in enumerate(questions)
            ],
        )
        return dataset, folder

    return write


def video(**fields):
    return {
        "question": "What is it?",
        "answer": "A dog.",
        "video_id": "v",
        "video": "v.mp4",
        **fields,
    }


def test_frames_are_the_middles_of_the_part_that_is_asked_about(asked, read_stamp):
    dataset, folder = asked(video(), video(start=2.0, end=4.0), video(start=5.0, end=9.0))
    examples, left_out = read_examples(dataset, "train", folder, nframe=4)
    assert not left_out
    stamps = [[read_stamp(frame) for frame in example.frames] for example in examples]
    assert stamps == [[9, 27, 45, 63], [27, 33, 39, 45], [61, 64, 67, 70]]
    assert [(e.question, e.answer) for e in examples] == [("What is it?", "A dog.")] * 3


def test_frames_are_those_of_the_spans(asked, read_stamp, tmp_path):
    dataset, folder = asked(video(), video())
    spans = tmp_path / "spans.jsonl"
    rows = [{"id": "0", "span_time": [[3.0, 4.0]]}, {"id": "1", "span_time": [[5, 6], [0, 1]]}]
    spans.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    examples, _ = read_examples(dataset, "train", folder, 2, spans)
    stamps = [[read_stamp(frame) for frame in example.frames] for example in examples]
    assert stamps == [[39, 45], [6, 66]]


def test_labels_are_spans_too_as_ratios_of_each_video(asked, read_stamp):
    dataset, folder = asked(video(), video())
    labels = dataset.pseudo_labels("train")
    rows = [
        {"id": "0", "span_ratio": [0.5, 2 / 3], "span_time": None},  # an imported one
        {"id": "1", "span_ratio": [0.5, 2 / 3], "span_time": [3.0, 4.0]},
    ]
    write_rows(labels, rows)
    examples, _ = read_examples(dataset, "train", folder, 2, labels)
    stamps = [[read_stamp(frame) for frame in example.frames] for example in examples]
    assert stamps == [[39, 45], [39, 45]]


def test_images_have_one_frame_and_texts_none(asked):
    dataset, folder = asked(
        video(video="i.png", video_id="i", context={"media": "image"}),
        {"question": "Hello?", "answer": "Hi.", "context": {"media": "text"}},
    )
    image, text = read_examples(dataset, "train", folder, 4)[0]
    assert [frame.shape for frame in image.frames] == [(32, 48, 3)]
    assert text.frames == []


def test_earlier_turns_stand_before_the_question(asked):
    turns = [["human", "What is it?"], ["gpt", "A dog."], ["human", "Why?"], ["gpt", "It barks."]]
    context = {"media": "text", "conversation": turns}
    dataset, folder = asked({"question": "Where?", "answer": "Here.", "context": context})
    [example] = read_examples(dataset, "train", folder, 4)[0]
    assert example.question == (
        "What is it? ASSISTANT: A dog.</s>USER: Why? ASSISTANT: It barks.</s>USER: Where?"
    )


def test_what_cannot_be_an_example_is_counted(asked, tmp_path):
    dataset, folder = asked(
        video(), video(video="gone.mp4"), video(answer=None), video(), video(video="gone.mkv")
    )
    spans = tmp_path / "spans.jsonl"
    spans.write_bytes(orjson.dumps({"id": "0", "span_time": [[0, 1]]}))
    examples, left_out = read_examples(dataset, "train", folder, 4, spans)
    assert [question.id for question in examples.questions] == ["0"]
    assert left_out == {"missing file": 2, "no answer": 1, "no span": 1}


@pytest.mark.parametrize(
    ("row", "ok"),
    [
        ({"id": "0", "question": "What is it?", "video_id": "v"}, True),
        ({"id": "0"}, True),
        ({"id": "0", "question": "What is that?", "video_id": "v"}, False),
        ({"id": "0", "question": "What is it?", "video_id": "w"}, False),
        ({"id": "7"}, False),
    ],
)
def test_spans_of_other_questions_are_refused(asked, tmp_path, row, ok):
    dataset, folder = asked(video())
    spans = tmp_path / "spans.jsonl"
    spans.write_bytes(orjson.dumps({**row, "span_time": [[0, 1]]}))
    if ok:
        assert len(read_examples(dataset, "train", folder, 4, spans)[0]) == 1
        return
    with pytest.raises(UserError, match=r"spans.jsonl holds spans of other questions than mine/tr"):
        read_examples(dataset, "train", folder, 4, spans)


def test_mistakes_are_one_line(asked, tmp_path):
    dataset, folder = asked(video(), video(video="gone.mp4"))
    with pytest.raises(UserError, match=r"mine/train: no question can be used \(missing file 2\)"):
        read_examples(dataset, "train", tmp_path, 4)
    (folder / "v.mp4").write_bytes(b"damaged")
    examples, _ = read_examples(dataset, "train", folder, 4)
    with pytest.raises(UserError, match=r"question '0' cannot be shown: .*v.mp4: not a video"):
        examples[0]
    spans = tmp_path / "spans.jsonl"
    spans.write_text('{"id": "0", "span_time": [[0, 1]]}\n{"id": "1", "span_time": 3}\n')
    with pytest.raises(UserError, match=r"spans.jsonl line 2 holds no spans"):
        read_spans(spans, [])
    with pytest.raises(UserError, match=r"no\.jsonl cannot be read: No such file"):
        read_spans(tmp_path / "no.jsonl", [])
