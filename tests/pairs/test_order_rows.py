"""Rows for GRPO with rewards for order."""

import json

import pytest

from tools.errors import UserError
from tools.pairs.order_rows import main
from tools.pairs.perturbation import CLEAN
from tools.store.files import write_json
from tools.text.prompts import QUESTIONS


@pytest.fixture
def captioned(dataset):
    """Three videos with captions, of which "b" has one clip; "c" has no response of use."""
    captions = {"a": ["the sea", "a fire"], "b": ["the sea"], "c": ["a fire", "the sea"]}
    rows = [
        {"video_id": key, "video_path": f"/videos/{key}.mp4", "clip_captions": clips}
        for key, clips in captions.items()
    ]
    dataset.table("clip_captions_m").write(rows)
    responses = [
        {"video_id": key, "response": "The sea, then a fire.", "filtered": key == "c"}
        for key in captions
    ]
    dataset.responses("m", CLEAN.name).write(responses)
    return dataset


def run(dataset, tmp_path):
    out = tmp_path / "rows.json"
    where = ["--data_root", str(dataset.root.parent), "--output", str(out)]
    main(["m", "--dataset", dataset.name, *where])
    return json.loads(out.read_text())


def test_a_row_has_what_the_rewards_compare_with(captioned, tmp_path, capsys):
    captioned.table("reversed_m").write([{"video_id": "a", "reversed": "A fire, then the sea."}])
    (row,) = run(captioned, tmp_path)
    question = row["messages"][0]["content"].removeprefix("<video>")
    assert question in QUESTIONS
    assert row == {
        "messages": [
            {"role": "user", "content": f"<video>{question}"},
            {"role": "assistant", "content": "The sea, then a fire."},
        ],
        "videos": ["/videos/a.mp4"],
        "clip_captions": ["the sea", "a fire"],
        "reversed": "A fire, then the sea.",
    }
    assert "note" not in capsys.readouterr().out


def test_without_texts_of_reversed_videos(captioned, tmp_path, capsys):
    (row,) = run(captioned, tmp_path)
    assert row["reversed"] is None
    assert "1 of them have no text of the video played backwards" in capsys.readouterr().out


def test_responses_of_captions_that_have_been_made_again(captioned, tmp_path):
    captions, responses = captioned.table("clip_captions_m"), captioned.responses("m", CLEAN.name)
    write_json(captions.meta_path, {"fingerprint": "now", "step": "captions"})
    made = {"fingerprint": "x", "step": "responses", "input": {"clip_captions_m": "before"}}
    write_json(responses.meta_path, made)
    with pytest.raises(UserError, match=r"is out of date: .* run again with --redo responses"):
        run(captioned, tmp_path)


def test_before_stage_2(dataset, tmp_path):
    with pytest.raises(UserError, match=r"holds no video: generate_meta_data\.py makes it"):
        run(dataset, tmp_path)
