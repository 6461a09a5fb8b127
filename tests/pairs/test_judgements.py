"""Judgements: what is written, which one counts, what convert makes of them."""

import json
import multiprocessing
import threading
from pathlib import Path

import pytest

from tools.errors import UserError
from tools.pairs.judgements import (
    Pair,
    accord,
    agreement,
    judge,
    latest,
    latest_by_judge,
    read,
)
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine
from tools.store.jsonl import dumps
from tools.store.locks import locked

DROP = Pair("dryrun", 0, "caption_caption_drop_2_False_False", "v1")
SHUFFLE = Pair("dryrun", 0, "caption_caption_shuffle_8_False_False", "v1")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    root = tmp_path / "data" / "mine"
    (root / "anno").mkdir(parents=True)
    return Dataset("mine", root)


def test_a_line_says_who_judged_which_pair_and_how(dataset):
    judge(
        dataset, "ada", DROP, "reject", blind=True, sides=("rejected", "chosen"), comment="no <b>"
    )
    line = json.loads(dataset.judgements.read_text())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "judge": "ada",
        "video_id": "v1",
        "model": "dryrun",
        "iteration": 0,
        "config": "caption_caption_drop_2_False_False",
        "verdict": "reject",
        "blind": True,
        "sides": ["rejected", "chosen"],
        "comment": "no <b>",
    }
    assert [one.pair for one in read(dataset)] == [DROP]


def test_the_last_line_about_a_pair_counts_whoever_wrote_it(dataset):
    judge(dataset, "ada", DROP, "reject")
    judge(dataset, "bob", DROP, "accept")
    judge(dataset, "ada", SHUFFLE, "unsure")
    assert {pair: one.verdict for pair, one in latest(read(dataset)).items()} == {
        DROP: "accept",
        SHUFFLE: "unsure",
    }
    own = latest_by_judge(read(dataset))
    assert own["ada", DROP].verdict == "reject"
    assert own["bob", DROP].verdict == "accept"


def test_a_line_that_was_torn_is_cut_off_by_the_next(dataset):
    judge(dataset, "ada", DROP, "accept")
    with open(dataset.judgements, "ab") as file:
        file.write(b'{"judge":"bob","vide')
    assert [one.judge for one in read(dataset)] == ["ada"]
    judge(dataset, "cyd", DROP, "reject")
    assert [one.judge for one in read(dataset)] == ["ada", "cyd"]


def _many(root: Path, name: str) -> None:
    for number in range(200):
        judge(Dataset("mine", root), name, DROP, "accept", comment=f"{number} " + "x" * 5000)


def test_two_people_who_judge_at_once_lose_nothing(dataset):
    context = multiprocessing.get_context("spawn")
    names = ("ada", "bob")
    people = [context.Process(target=_many, args=(dataset.root, name)) for name in names]
    for person in people:
        person.start()
    for person in people:
        person.join()
    found = list(read(dataset))
    for name in names:
        comments = [one.comment for one in found if one.judge == name]
        assert comments == [f"{number} " + "x" * 5000 for number in range(200)]


def test_a_judgement_waits_for_the_lock(dataset):
    judge(dataset, "ada", DROP, "accept")
    waiting = threading.Thread(target=judge, args=(dataset, "bob", DROP, "reject"))
    with locked(dataset.judgements.with_name(".judgements.jsonl.lock")):
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert [found.judge for found in read(dataset)] == ["ada"]
    waiting.join()
    assert [found.judge for found in read(dataset)] == ["ada", "bob"]


def test_blind_judges_agree_with_the_construction_per_noise_and_magnitude(dataset):
    for number in range(10):
        pair = DROP._replace(video_id=f"v{number}")
        judge(dataset, "ada", pair, "accept" if number < 8 else "reject", blind=True)
    judge(dataset, "ada", SHUFFLE, "unsure", blind=True)
    judge(dataset, "bob", SHUFFLE, "reject")  # Not blind: does not count.
    drop, shuffle = agreement(read(dataset))
    assert (drop.noise, drop.magnitude, drop.agree, drop.differ, drop.unsure) == (
        *("drop", 2),
        *(8, 2, 0),
    )
    assert drop.share == 0.8
    # Wilson's interval of 8 in 10, from any table of it.
    assert drop.interval == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert (shuffle.noise, shuffle.decided, shuffle.unsure, shuffle.share) == (
        *("shuffle", 0),
        *(1, None),
    )


def test_a_judge_counts_once_for_a_pair(dataset):
    judge(dataset, "ada", DROP, "reject", blind=True)
    judge(dataset, "ada", DROP, "accept", blind=True)
    (cell,) = agreement(read(dataset))
    assert (cell.agree, cell.differ) == (1, 0)


def test_accord_counts_pairs_of_judges(dataset):
    for name, verdict in (("ada", "accept"), ("bob", "accept"), ("cyd", "reject")):
        judge(dataset, name, DROP, verdict, blind=True)
    judge(dataset, "ada", SHUFFLE, "accept", blind=True)
    judge(dataset, "bob", SHUFFLE, "unsure", blind=True)
    assert accord(read(dataset)) == (1, 3)
    for name in ("cyd", "dan"):  # they agree with one another, and not with ada
        judge(dataset, name, SHUFFLE, "reject", blind=True)
    assert accord(read(dataset)) == (2, 6)


def test_a_verdict_nobody_knows_is_refused(dataset):
    with pytest.raises(UserError, match="verdict 'good': use one of accept, reject, unsure"):
        judge(dataset, "ada", DROP, "good")
    with pytest.raises(UserError, match="needs the name"):
        judge(dataset, "  ", DROP, "accept")
    assert not dataset.judgements.exists()


def test_a_folder_that_cannot_be_written_to_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*/file/.judgements.jsonl.lock: File"):
        judge(Dataset("file", tmp_path / "file"), "ada", DROP, "accept")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 2 is not a record"),
        ('{"video_id":"v1"}', "line 2 is not a judgement .'verdict'."),
        ('{"video_id":"v1","verdict":"good"}', "verdict 'good' is not one of"),
        ('{"video_id":"v1","verdict":"accept","sides":[]}', "line 2 is not a judgement"),
    ],
)
def test_a_broken_line_is_named(dataset, line, what):
    judge(dataset, "ada", DROP, "accept")
    with open(dataset.judgements, "a") as file:
        file.write(f"{line}\n")
    with pytest.raises((CorruptLine, UserError), match=what):
        list(read(dataset))


# convert_to_swift.py --judgements

LONG, SHORT = "First a dog runs, then it rains hard.", "Rain falls."


@pytest.fixture
def responses(dataset, tmp_path):
    """Four videos with one good pair each, and a function that converts them."""
    video = tmp_path / "v.mp4"
    video.touch()
    for config, text, told in (("none_1", LONG, [0, 1, 2, 3]), ("drop_2", SHORT, [1, 3])):
        path = dataset.responses("m", f"caption_caption_{config}_False_False").path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            b"".join(
                dumps(
                    {
                        "video_id": f"v{number}",
                        "video_path": str(video),
                        "frame_indices": [[1, 2]] * 4,
                        "response": f"{text} {number}",
                        "info": {"selected_indices": told},
                    }
                )
                + b"\n"
                for number in range(4)
            )
        )
    return dataset


@pytest.fixture
def convert(responses, run_script, tmp_path):
    def run(*flags: str) -> tuple[list[str], dict]:
        out = tmp_path / "out.json"
        done = run_script(
            *("convert_to_swift.py", "m", 2, "--dataset", "mine", "--output", out),
            *("--data_root", responses.root.parent, *flags),
        )
        assert done.returncode == 0, done.stderr
        rows = json.loads(out.read_text())
        funnel = json.loads(out.with_name("out.funnel.json").read_text())
        return [row["rejected_response"][-1] for row in rows], funnel

    return run


def _judge_three(dataset: Dataset) -> None:
    config = "caption_caption_drop_2_False_False"
    for name, number, verdict in (
        ("ada", 0, "reject"),
        ("ada", 1, "unsure"),
        ("ada", 2, "reject"),
        ("bob", 2, "accept"),
    ):
        judge(dataset, name, Pair("m", 0, config, f"v{number}"), verdict)
    judge(dataset, "ada", Pair("another", 0, config, "v3"), "reject")
    judge(dataset, "ada", Pair("m", 1, config, "v3"), "reject")


def test_convert_drops_what_the_latest_judgement_rejects(responses, convert):
    _judge_three(responses)
    kept, funnel = convert("--judgements")
    assert kept == ["1", "2", "3"]
    row = funnel["funnel"][0]
    assert (row["made"], row["kept"]) == (4, 3)
    assert {reason: n for reason, n in row["dropped"].items() if n} == {"judged_reject": 1}
    assert funnel["flags"]["judgements"] is True


def test_convert_drops_what_is_unsure_when_told_to(responses, convert):
    _judge_three(responses)
    kept, funnel = convert("--judgements", "--drop_unsure")
    assert kept == ["2", "3"]
    dropped = funnel["funnel"][0]["dropped"]
    assert (dropped["judged_reject"], dropped["judged_unsure"]) == (1, 1)


def test_convert_asks_nobody_unless_told_to(responses, convert):
    _judge_three(responses)
    assert convert()[0] == ["0", "1", "2", "3"]


def test_convert_says_that_nobody_has_judged(responses, run_script, tmp_path):
    done = run_script(
        *("convert_to_swift.py", "m", 2, "--dataset", "mine", "--output", tmp_path / "out.json"),
        *("--data_root", responses.root.parent, "--judgements"),
    )
    assert "note: nobody has judged pairs of mine" in done.stdout


def test_drop_unsure_needs_judgements(responses, run_script, tmp_path):
    done = run_script("convert_to_swift.py", "m", 2, "--dataset", "mine", "--drop_unsure")
    assert done.returncode == 2
    assert done.stderr == "error: --drop_unsure goes with --judgements\n"


def test_once_writes_one_verdict_however_many_threads_answer(dataset):
    def answer(verdict):
        judge(dataset, "ada", DROP, verdict, once=True)

    threads = [threading.Thread(target=answer, args=(v,)) for v in ("accept", "reject") * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(read(dataset))) == 1
    judge(dataset, "bob", DROP, "accept", once=True)
    judge(dataset, "ada", DROP, "unsure")
    assert [row.judge for row in read(dataset)] == ["ada", "bob", "ada"]
