"""The toy benchmark: what is asked, how answers are counted, and the script as a user types it."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate_model import main
from evaluation.toy.benchmark import score
from evaluation.toy.counts import (
    clip_counts,
    description_counts,
    neighbour_counts,
    preference_counts,
)
from evaluation.toy.events import find_events
from evaluation.toy.questions import Case, Questions, benchmark_digest, questions_about
from evaluation.toy.stories import Story, key_frames, look, read_stories, whole_video
from inference.captioner import Answer, Request, Sampling
from inference.likelihood import LogLikelihood, log_likelihoods
from inference.models import open_captioner, open_model
from inference.tiny.checkpoints import llava_onevision, qwen2vl
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.text import prompts
from toyworld.language import Event
from toyworld.make import make_world

A, B, C, D = (
    Event("red", "circle", "moves left"),
    Event("orange", "star", "turns"),
    Event("blue", "square", "grows"),
    Event("green", "triangle", "moves up"),
)
OTHER = Event("purple", "star", "grows")
TEXTS = {
    A: "a red circle moves left .",
    B: "an orange star turns .",
    C: "a blue square grows .",
    D: "a green triangle moves up .",
}


GREEDY = Sampling(0.0, 1.0, 1, 1.0, 100)


def story_of(*events):
    shots = [(16 * k, 16 * k + 15) for k in range(len(events))]
    texts = [TEXTS[event] for event in events]
    return Story("toy_0000.mp4", Path("toy_0000.mp4"), list(events), texts, shots, 64, 8.0)


# ---- counting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (
            [A, B, C, D],
            {
                "recall": (4, 4),
                "precision": (4, 4),
                "ordered": (6, 6),
                "order": (6, 6),
                "exact": (1, 1),
            },
        ),
        (
            [D, C, B, A],
            {
                "recall": (4, 4),
                "precision": (4, 4),
                "ordered": (0, 6),
                "order": (0, 6),
                "exact": (0, 1),
            },
        ),
        # Of the pairs of A, C, B one is the wrong way round; of them and D, three of six.
        (
            [A, C, B],
            {
                "recall": (3, 4),
                "precision": (3, 3),
                "ordered": (2, 6),
                "order": (2, 3),
                "exact": (0, 1),
            },
        ),
        (
            [D, B, C, A],
            {
                "recall": (4, 4),
                "precision": (4, 4),
                "ordered": (1, 6),
                "order": (1, 6),
                "exact": (0, 1),
            },
        ),
        # What is made up costs precision, and stands in no order to anything.
        (
            [OTHER, A, B],
            {
                "recall": (2, 4),
                "precision": (2, 3),
                "ordered": (1, 6),
                "order": (1, 1),
                "exact": (0, 1),
            },
        ),
        (
            [],
            {
                "recall": (0, 4),
                "precision": (0, 0),
                "ordered": (0, 6),
                "order": (0, 0),
                "exact": (0, 1),
            },
        ),
    ],
)
def test_a_description_is_counted(told, counts):
    assert description_counts([A, B, C, D], told) == counts


def asked(**chosen):
    nothing = {"question": "", "after": [], "before": [], "clips": [], "narrative": ""}
    return Questions(**{**nothing, "perturbed": {}, **chosen})


def test_the_first_event_of_an_answer_is_the_answer():
    story = story_of(A, B, C, D)
    questions = asked(after=[(0, 1), (2, 3)], before=[(3, 2)])
    right = ["The orange star spins.", "a green triangle moves up .", "a blue square grows ."]
    assert neighbour_counts(story, questions, right) == {"after": (2, 2), "before": (1, 1)}
    repeated = ["After a red circle moves left, the orange star turns.", "no idea", ""]
    assert neighbour_counts(story, questions, repeated) == {"after": (1, 2), "before": (0, 1)}
    listed = ["a blue square grows . an orange star turns ."] * 3
    assert neighbour_counts(story, questions, listed) == {"after": (0, 2), "before": (1, 1)}


def test_a_clip_caption_is_right_by_its_first_event():
    story = story_of(A, B, C, D)
    captions = ["An orange star turns, then a red circle moves left.", "a green star moves up ."]
    assert clip_counts(story, asked(clips=[1, 3]), captions) == {"clip": (1, 2)}


def test_narratives_compare_by_sum_and_where_events_are_dropped_by_mean():
    questions = asked(
        perturbed={
            "prefer_reversed": ["r"],
            "prefer_halves": [],
            "prefer_adjacent": ["x", "y"],
            "prefer_dropped": ["d"],
        }
    )
    truth = LogLikelihood(-10.0, 20)
    found = [
        truth,
        LogLikelihood(-11.0, 20),
        LogLikelihood(-9.0, 20),
        LogLikelihood(-12.0, 20),
        LogLikelihood(-6.0, 10),  # more likely as a whole, less a token
    ]
    assert preference_counts(questions, found) == {
        "prefer_reversed": (1, 1),
        "prefer_halves": (0, 0),
        "prefer_adjacent": (1, 2),
        "prefer_dropped": (1, 1),
        "log_p_true": (-10.0, 20),
        "log_p_moved": (-32.0, 60),  # of the three in another order
    }


# ---- what is asked ------------------------------------------------------------------------------


def test_narratives_are_told_anew_in_the_perturbed_order():
    questions = questions_about(story_of(A, B, C, D))
    assert questions.narrative == (
        "first a red circle moves left . next an orange star turns . after that , a blue square"
        " grows . finally a green triangle moves up ."
    )
    assert questions.perturbed["prefer_reversed"] == [
        "first a green triangle moves up . next a blue square grows . after that , an orange star"
        " turns . finally a red circle moves left ."
    ]
    assert questions.perturbed["prefer_halves"] == [
        "first a blue square grows . next a green triangle moves up . after that , a red circle"
        " moves left . finally an orange star turns ."
    ]
    swapped = [find_events(text) for text in questions.perturbed["prefer_adjacent"]]
    assert sorted(swapped, key=str) == sorted([[B, A, C, D], [A, C, B, D], [A, B, D, C]], key=str)
    (dropped,) = questions.perturbed["prefer_dropped"]
    left = find_events(dropped)
    assert len(left) == 2
    assert sorted(left, key=[A, B, C, D].index) == left
    assert dropped.startswith("first ")
    assert " finally " in dropped


def test_the_same_is_asked_of_every_model_and_not_of_every_story():
    story = story_of(A, B, C, D)
    assert questions_about(story) == questions_about(story)
    others = [replace(story, name=f"toy_{number:04d}.mp4") for number in range(40)]
    assert {questions_about(one).question for one in others} == set(prompts.QUESTIONS)
    for one in map(questions_about, others):
        assert len(set(one.after)) == len(set(one.before)) == 2
        assert all(answer == about + 1 for about, answer in one.after)
        assert all(answer == about - 1 for about, answer in one.before)
        assert len(set(one.clips)) == 3


def test_of_one_event_there_is_little_to_ask():
    questions = questions_about(story_of(A))
    assert (questions.after, questions.before, questions.clips) == ([], [], [0])
    assert not any(questions.perturbed.values())


def test_a_whole_video_is_seen_as_training_sees_it():
    # 64 frames at 8 a second: 8 frames, spread from the first to the last.
    assert whole_video(64, 8.0) == [0, 9, 18, 27, 36, 45, 54, 63]
    assert whole_video(16, 8.0) == [0, 5, 10, 15]  # 4 at least
    assert whole_video(56, 8.0) == [0, 11, 22, 33, 44, 55]  # an even number
    assert key_frames(16, 31) == (21, 26)


# ---- stories and a model ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with `held`: six rendered stories of 2, 4 and 6 events."""
    folder = tmp_path_factory.mktemp("data")
    make_world(6, 7, folder / "held", 1, (2, 4, 6))
    return folder


@pytest.fixture(scope="module")
def cases(root):
    stories = read_stories(root / "held")
    return [Case(story, questions_about(story), *look(story)) for story in stories]


class Knower:
    """Answers rightly, by the frames that it is shown: whole videos and clips are told apart, and
    so are stories."""

    name = "knower"
    reasoning = False
    batch_size = 8

    def __init__(self, cases):
        self.whole = {tuple(frame.tobytes() for frame in case.whole): case.story for case in cases}
        self.clips = {
            tuple(frame.tobytes() for frame in clip): text
            for case in cases
            for clip, text in zip(case.clips, case.story.texts, strict=True)
        }

    def generate(self, requests, sampling):
        for position, request in enumerate(requests):
            yield position, Answer(self.answer(request.messages[0]["content"]), "stop")

    def answer(self, content):
        question = content[-1]["text"]
        video = [part for part in content if part["type"] == "video"][-1]
        shown = tuple(frame.tobytes() for frame in video["video"])
        if shown in self.clips:
            return f"I see something.\n\nCaption: {self.clips[shown]}"
        assert video["fps"] == pytest.approx(1 if len(shown) > 4 else len(shown) / 4, abs=1)
        story = self.whole[shown]
        if question in prompts.QUESTIONS:
            return "<think>A star grows?</think>" + " Then ".join(story.texts)
        (about,) = find_events(question)
        step = 1 if "right after" in question else -1
        return story.texts[story.events.index(about) + step]


def test_who_knows_everything_scores_everything(cases):
    videos = score(Knower(cases), cases, GREEDY)["videos"]
    totals = Counter()
    for video in videos:
        for metric, (right, of) in video["counts"].items():
            totals[metric] += of
            assert right == of, metric
    assert totals == {
        **{"recall": 24, "precision": 24, "exact": 6},
        **dict.fromkeys(("ordered", "order"), 2 * (1 + 6 + 15)),
        **{"after": 2 * (1 + 2 + 2), "before": 2 * (1 + 2 + 2), "clip": 2 * (2 + 3 + 3)},
    }
    assert videos[0]["n"] == 2
    assert videos[0]["caption"] == " Then ".join(cases[0].story.texts)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return qwen2vl(tmp_path_factory.mktemp("checkpoint") / "tiny", compact=True)


def loaded(folder, batch):
    captioner = open_captioner(str(folder), batch=batch)
    captioner.load("cpu", 1)
    return captioner


def naive(captioner, request, answer):
    """log p of an answer, a forward pass a token."""
    inputs = captioner.inputs([request])
    ids = inputs.pop("input_ids")
    end = captioner.tokenizer.eos_token
    told = captioner.tokenizer(answer + end, add_special_tokens=False)["input_ids"]
    total = 0.0
    for token in told:
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            found = captioner.network(**{**inputs, "input_ids": ids, "attention_mask": mask})
        total += found.logits[0, -1].log_softmax(-1)[token].item()
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return total, len(told)


@pytest.mark.parametrize("build", [None, llava_onevision], ids=["qwen2vl", "llava_onevision"])
def test_a_log_likelihood_is_the_sum_over_the_answer_s_tokens(build, checkpoint, cases, tmp_path):
    captioner = loaded(build(tmp_path / "tiny") if build else checkpoint, 4)
    asked = [*cases[0].narratives()[:2], cases[1].narratives()[0]]
    asked.append((Request(prompts.response_messages(["A dog runs ."]), 0), "A dog runs ."))
    found = dict(log_likelihoods(captioner, asked))
    for place, (request, answer) in enumerate(asked):
        total, tokens = naive(captioner, request, answer)
        assert found[place].total == pytest.approx(total, abs=1e-3)
        assert found[place].tokens == tokens
        assert found[place].mean == pytest.approx(total / tokens, abs=1e-4)


def test_a_log_likelihood_sees_the_video_and_not_the_batch(checkpoint, cases):
    asked = [one for case in cases[:3] for one in case.narratives()]
    together = dict(log_likelihoods(loaded(checkpoint, 16), asked))
    alone = dict(log_likelihoods(loaded(checkpoint, 1), asked[::-1]))
    for place in range(len(asked)):
        other = alone[len(asked) - 1 - place]
        assert together[place].total == pytest.approx(other.total, abs=1e-3)
    narrative = cases[0].questions.narrative
    seen = [(case.ask_whole("What happens?"), narrative) for case in (cases[0], cases[3])]
    found = dict(log_likelihoods(loaded(checkpoint, 2), seen))
    assert abs(found[0].total - found[1].total) > 0.1


def test_the_digest_of_a_benchmark_tells_what_was_asked(cases):
    assert benchmark_digest(cases) == benchmark_digest(list(cases))
    assert len({benchmark_digest(cases[:k]) for k in range(1, 7)}) == 6
    moved = replace(cases[0], story=replace(cases[0].story, name="toy_0007.mp4"))
    asked = replace(cases[0], questions=replace(cases[0].questions, clips=[0]))
    digests = [benchmark_digest([case]) for case in (cases[0], moved, asked)]
    assert len(set(digests)) == 3


# ---- the script ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(root, checkpoint, run_script, tmp_path_factory):
    """Score files and what was printed, in one batch size and another."""
    folder = tmp_path_factory.mktemp("scores")
    made = {}
    for batch in (1, 7):
        out = folder / f"batch{batch}.json"
        words = [
            *("toy", "--model", str(checkpoint), "--dataset", "held"),
            *("--data_root", str(root), "--max_new_tokens", "8", "--batch", str(batch)),
            *("--out", str(out), "--model_name", f"tiny{batch}"),
        ]
        if batch == 1:
            main(words)
            made[batch] = out, ""
            continue
        done = run_script("evaluate_model.py", *words)
        assert done.returncode == 0, done.stderr
        made[batch] = out, done.stdout
    return made


@pytest.fixture
def line_of(capsys):
    """The one line in which `evaluate_model.py toy` refuses some flags."""

    def line_of(*words):
        with pytest.raises((UserError, SystemExit)) as caught:
            main(["toy", *map(str, words)])
        line = str(caught.value)
        if isinstance(caught.value, SystemExit):  # argparse's
            assert caught.value.code == 2
            line = capsys.readouterr().err.removeprefix("error: ").rstrip("\n")
        assert "\n" not in line
        return line

    return line_of


def test_a_checkpoint_is_scored(evaluated, checkpoint):
    out, printed = evaluated[7]
    scores = json.loads(out.read_text())
    assert (scores["model"], scores["name"]) == (str(checkpoint), "tiny7")
    assert scores["dataset"] == "held"
    assert len(scores["weights"]) == 12
    assert torch.__version__.startswith(scores["versions"]["torch"])
    assert [video["n"] for video in scores["videos"]] == [2, 4, 6, 2, 4, 6]
    counts = scores["videos"][1]["counts"]
    denominators = {metric: of for metric, (_, of) in counts.items()}
    tokens = denominators.pop("log_p_true")
    assert tokens > 20 and denominators.pop("log_p_moved") == 5 * tokens
    assert counts["log_p_true"][0] < 0 > counts["log_p_moved"][0]
    assert denominators == {
        **{"recall": 4, "precision": 0, "ordered": 6, "order": 0, "exact": 1},
        **{"after": 2, "before": 2, "clip": 3},
        **{"prefer_reversed": 1, "prefer_halves": 1, "prefer_adjacent": 3, "prefer_dropped": 1},
    }
    adjacent = scores["scores"]["prefer_adjacent"]
    wins = sum(video["counts"]["prefer_adjacent"][0] for video in scores["videos"])
    assert adjacent["all"]["value"] == wins / (2 * (1 + 3 + 3))
    assert adjacent["all"]["low"] <= adjacent["all"]["value"] <= adjacent["all"]["high"]
    assert "precision" not in scores["scores"]
    assert "n = 6" in printed
    assert "log p: over reversed" in printed
    assert scores["cut_off"] > 0
    cut_off = f"tiny7: {scores['cut_off']} of 6 descriptions were cut off at 8 tokens"
    assert cut_off in printed


def test_the_batch_does_not_show_in_the_scores(evaluated):
    one, seven = (json.loads(evaluated[batch][0].read_text()) for batch in (1, 7))
    assert one["videos"] == seven["videos"]
    assert one["scores"] == seven["scores"]


def test_score_files_are_compared_without_a_model(evaluated, line_of, capsys, tmp_path):
    one, seven = (evaluated[batch][0] for batch in (1, 7))
    main(["toy", "--model", str(seven), "--baseline", str(one)])
    printed = capsys.readouterr().out
    assert "difference" in printed
    assert "+0.000 [+0.00, +0.00]" in printed
    assert "tiny1" in printed

    half = tmp_path / "half.json"
    half.write_bytes(one.read_bytes()[:-200])
    other = tmp_path / "other.json"
    scores = json.loads(one.read_text())
    other.write_text(json.dumps({**scores, "videos": scores["videos"][:3], "name": "few"}))
    for baseline, said in (
        (half, f"{half} is no score file, or half of one"),
        (tmp_path / "none.json", f"{tmp_path / 'none.json'}: no such score file"),
        (other, "tiny7 and few were not asked the same: 6 videos of held"),
    ):
        assert line_of("--model", seven, "--baseline", baseline).startswith(said)


def test_a_model_is_not_run_for_a_comparison_that_cannot_be(evaluated, root, line_of):
    words = ("--model", "dryrun", "--baseline", evaluated[1][0], "--dataset", "held")
    said = line_of(*words, "--data_root", root, "--limit", "3")
    assert said.startswith("tiny1 and this run were not asked the same: 6 videos of held (")
    words = (
        "--model",
        "dryrun",
        "--baseline",
        "/no/such",
        "--dataset",
        "held",
        "--data_root",
        root,
    )
    assert line_of(*words) == "checkpoint /no/such: no such folder"


def test_a_server_is_scored_without_likelihoods(root, capsys, tmp_path):
    """toy_server.py answers with the question: it tells of no event but the one asked about."""
    script = REPOSITORY / "tests" / "inference" / "toy_server.py"
    words = [sys.executable, str(script), str(tmp_path / "log.jsonl")]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        out = tmp_path / "served.json"
        main(
            [
                *("toy", "--model", f"toy@http://127.0.0.1:{port}/v1", "--dataset", "held"),
                *("--data_root", str(root), "--limit", "3", "--out", str(out)),
            ]
        )
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    printed = capsys.readouterr().out
    scores = json.loads(out.read_text())
    values = {metric: found["all"]["value"] for metric, found in scores["scores"].items()}
    wrong = ("recall", "ordered", "exact", "after", "before", "clip")
    assert values == dict.fromkeys(wrong, 0)
    assert scores["weights"] is None
    assert len(scores["videos"]) == 3
    (row,) = [line for line in printed.splitlines() if "over reversed" in line]
    assert row.split()[-4:] == ["-"] * 4
    assert "toy: no log p, which only the huggingface engine computes" in printed
    sent = [json.loads(line)["body"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    asked = [body for body in sent if "What happens right after" in json.dumps(body)]
    assert {body["temperature"] for body in asked} == {0}


@pytest.fixture
def broken(root, tmp_path):
    """A copy of `held` whose truth may be spoilt: (folder, lines of truth.jsonl)."""
    folder = tmp_path / "held"
    shutil.copytree(root / "held", folder)
    return folder, (folder / "truth.jsonl").read_text().splitlines(keepends=True)


def test_a_missing_or_empty_set_says_how_to_make_it(line_of, tmp_path):
    flags = ("--model", "dryrun", "--data_root", tmp_path)
    make = (
        "make it with python -m toyworld --videos 90 --events 4,8,16 --seed 101 --out"
        f" {tmp_path}/toytest"
    )
    missing = f"{tmp_path}/toytest holds no truth.jsonl: {make}"
    assert line_of(*flags) == missing
    (tmp_path / "toytest").mkdir()
    (tmp_path / "toytest" / "truth.jsonl").touch()
    assert line_of(*flags) == f"{tmp_path}/toytest holds no story: {make}"


def spoil_by_losing_a_video(folder, lines):
    (folder / "video" / "toy_0002.mp4").unlink()
    return (
        lines,
        "truth.jsonl and video/ do not go together (toy_0002.mp4 is in truth.jsonl alone)",
    )


def spoil_by_losing_a_line(folder, lines):
    told = "truth.jsonl and video/ do not go together (toy_0005.mp4 is in video/ alone)"
    return lines[:-1], told


def spoil_by_swapping_videos(folder, lines):
    shutil.copy(folder / "video" / "toy_0000.mp4", folder / "video" / "toy_0001.mp4")
    return lines, "toy_0001.mp4 has 32 frames, and truth.jsonl says 64"


def spoil_by_tearing_a_line(folder, lines):
    return [*lines[:-1], lines[-1][:100]], "truth.jsonl line 6 is no truth about a story"


def spoil_by_telling_an_event_twice(folder, lines):
    truth = json.loads(lines[0])
    truth["events"][1] = truth["events"][0]
    return [json.dumps(truth) + "\n", *lines[1:]], "an event of toy_0000.mp4 happens twice"


def spoil_by_emptying_a_video(folder, lines):
    (folder / "video" / "toy_0000.mp4").write_bytes(b"")
    return lines, "toy_0000.mp4 cannot be used (empty file: 0 bytes)"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_by_losing_a_video,
        spoil_by_losing_a_line,
        spoil_by_swapping_videos,
        spoil_by_tearing_a_line,
        spoil_by_telling_an_event_twice,
        spoil_by_emptying_a_video,
    ],
)
def test_a_set_that_is_not_what_it_tells_is_refused(spoil, broken, line_of):
    folder, lines = broken
    lines, said = spoil(folder, lines)
    (folder / "truth.jsonl").write_text("".join(lines))
    flags = ("--model", "dryrun", "--dataset", "held", "--data_root", folder.parent)
    assert said in line_of(*flags)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nobody"], "unknown model 'nobody'; the models are: dryrun, "),
        (["--model", "/no/such/folder"], "checkpoint /no/such/folder: no such folder"),
        (["--model", "a.json"], "a.json: no such score file"),
        (
            ["--model", "a.json", "--out", "b.json"],
            "--out b.json: nothing is run where --model is a score file",
        ),
        (["--model", "dryrun", "--limit", "0"], "argument --limit: '0' is not a whole number"),
        (["--model", "me@http://127.0.0.1:9/v1"], "no server answers at http://127.0.0.1:9/v1"),
    ],
)
def test_a_mistake_is_one_line(words, said, root, line_of):
    flags = ("--dataset", "held", "--data_root", root)
    assert line_of(*words, *flags).startswith(said)


def test_a_family_is_for_the_checkpoint_of_the_two(checkpoint):
    flags = {"family": "qwen2-vl", "engine": None, "batch": 1, "concurrency": 1, "model_name": "m"}
    flags |= {"model": str(checkpoint), "baseline": "qwen3vl8b", "trust_remote_code": False}
    args = Namespace(**flags)
    assert open_model(args, args.model).model.family == "qwen2-vl"
    assert open_model(args, args.model).name == "m"
    assert open_model(args, args.baseline).model.family == "qwen3-vl"
    assert open_model(args, args.baseline).name == "qwen3vl8b"
    args.model = "qwen2vl7b"
    with pytest.raises(UserError, match="qwen2vl7b has its family"):
        open_model(args, args.model)


def test_dryrun_is_scored_too(root, capsys):
    words = ["toy", "--model", "dryrun", "--dataset", "held", "--limit", "3"]
    main([*words, "--data_root", str(root)])
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if "events recalled" in line]
    assert "0.000 [0.00, 0.00]" in row


def test_stories_are_read_in_order_and_their_frames_are_those_of_the_shots(cases, read_stamp):
    names = [case.story.name for case in cases]
    assert names == sorted(names)
    for case in cases:
        story = case.story
        assert len(case.whole) == max(4, 2 * len(story.events))
        assert all(last - first == 15 for first, last in story.shots)
        assert all(one[0] == other[1] + 1 for other, one in pairwise(story.shots))
        walls = [np.asarray(clip).mean(axis=(0, 1, 2)) for clip in case.clips]
        assert all(np.abs(one - other).max() > 3 for one, other in pairwise(walls))
