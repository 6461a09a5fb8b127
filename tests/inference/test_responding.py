"""Stages 2 and 3 as steps: requests, rows, and what becomes of a request that fails."""

import time
from pathlib import Path

import pytest

from inference.captioner import Answer, Request, Sampling, request_seed
from inference.captioning import CaptionsStep, RawCaptionsStep
from inference.engines.dryrun import DryrunCaptioner
from inference.responding import ResponsesStep
from tools.errors import Filtered
from tools.pairs.perturbation import configs
from tools.store.dataset import Dataset
from tools.text.prompts import Prompts

DATASET = Dataset("mine", Path("/nowhere/mine"))
ALL = [config.name for config in configs()]
CLEAN = "caption_caption_none_1_False_False"


def config(noise, magnitude):
    return f"caption_caption_{noise}_{magnitude}_False_False"


def record(n, video_id="mine_0"):
    return {
        "video_id": video_id,
        "video_path": f"/videos/{video_id}.mp4",
        "frame_indices": [[10 * k, 10 * k + 5] for k in range(n)],
        "clip_captions": [f"Something numbered {k} happens here." for k in range(n)],
    }


class Recorder(DryrunCaptioner):
    """The dryrun captioner; notes what it is asked, and fails where a text occurs."""

    def __init__(self, failing=None):
        self.asked = []
        self.failing = failing

    def generate(self, requests, sampling):
        requests = list(requests)
        self.asked += requests
        texts = [request.messages[0]["content"][0]["text"] for request in requests]
        # The last first: whoever asks may not count on an order.
        for position, answer in reversed(list(super().generate(requests, sampling))):
            failed = self.failing and self.failing in texts[position]
            yield position, RuntimeError("too hot") if failed else answer


def rows_of(records, captioner=None, seed=0):
    step = ResponsesStep(DATASET, captioner or Recorder(), configs(), Sampling(), seed)
    return [rows for _, rows in sorted(processed(step, records), key=lambda pair: pair[0])]


def processed(step, records, wanted=ALL):
    return step.process_batch(records, [tuple(wanted)] * len(records))


def test_a_row_holds_what_the_pair_is_made_of():
    rows = rows_of([record(4)])[0]
    assert list(rows) == [c.name for c in configs()]
    row = rows[config("reverse", 4)]
    assert list(row) == ["video_id", "video_path", "frame_indices", "response", "info"]
    assert row["info"]["selected_indices"] == [3, 2, 1, 0]
    assert row["info"]["block_size"] == 1
    assert row["info"]["finish_reason"] == "stop"
    assert row["info"]["sampling"] == {
        "temperature": 0.7,
        "top_p": 0.001,
        "top_k": 1,
        "repetition_penalty": 1.05,
        "max_new_tokens": 8192,
    }
    assert "numbered 3" in row["response"]


def test_equal_selections_are_one_request():
    captioner = Recorder()
    rows = rows_of([record(4)], captioner)[0]
    # With 4 clips the magnitudes 4, 8 and 16 all mean blocks of one clip.
    for magnitude in (8, 16):
        copy = rows[config("reverse", magnitude)]
        assert copy["info"]["same_as"] == config("reverse", 4)
        assert copy["response"] == rows[config("reverse", 4)]["response"]
    # With two blocks the only shuffle is the reverse.
    assert rows[config("shuffle", 2)]["info"]["same_as"] == config("reverse", 2)
    distinct = {tuple(row["info"]["selected_indices"]) for row in rows.values()}
    assert len(captioner.asked) == len(distinct) < len(rows)


def test_no_wrong_order_is_the_right_one():
    for n in range(2, 20):
        rows = rows_of([record(n)])[0]
        for name, row in rows.items():
            assert (row["info"]["selected_indices"] == list(range(n))) == (name == CLEAN)


def test_a_video_of_one_clip_has_only_the_clean_order():
    rows = rows_of([record(1)])[0]
    skipped = {name for name, row in rows.items() if isinstance(row, Filtered)}
    assert skipped == {c.name for c in configs()} - {CLEAN}
    assert {str(rows[name]) for name in skipped} == {"identity_only"}


def test_a_request_depends_on_seed_and_video_alone():
    def asked(records, seed):
        captioner = Recorder()
        rows_of(records, captioner, seed)
        return {(r.seed, r.messages[0]["content"][0]["text"]) for r in captioner.asked}

    one, other = record(9, "mine_a"), record(9, "mine_b")
    assert asked([one, other], 0) == asked([other], 0) | asked([one], 0)
    assert asked([one], 0) != asked([one], 1)


def test_one_failing_request_fails_its_own_configs_alone():
    rows = rows_of([record(4)], Recorder(failing="Caption 1: Something numbered 3"))[0]
    failed = {name for name, row in rows.items() if isinstance(row, RuntimeError)}
    assert {config("reverse", r) for r in (4, 8, 16)} <= failed
    assert CLEAN not in failed
    assert config("reverse", 2) not in failed


class Waiting(DryrunCaptioner):
    """Takes one request, then waits before it takes the others; notes what was decoded by then."""

    def __init__(self, decoded):
        self.decoded = decoded

    def generate(self, requests, sampling):
        stream = iter(requests)
        next(stream)
        yield 0, Answer("A first clip.", "length")
        time.sleep(0.5)
        self.by_then = list(self.decoded)
        for position, _ in enumerate(stream, start=1):
            yield position, Answer("Another clip.", "stop")


def test_videos_are_decoded_while_the_model_writes(monkeypatch):
    decoded = []

    def requests(self, record):
        decoded.append(record["video_id"])
        if record["video_id"] == "c":
            raise ValueError("broken")
        return [Request([], 0)] * 2

    monkeypatch.setattr(RawCaptionsStep, "_requests", requests)
    captioner = Waiting(decoded)
    step = RawCaptionsStep(DATASET, captioner)
    step.threads = 1
    records = [{"video_id": name} for name in "abcd"]
    results = dict(step.process_batch(records, [()] * 4))
    assert captioner.by_then == ["a", "b", "c", "d"]
    assert isinstance(results.pop(2), ValueError)
    assert results[0] == {
        "video_id": "a",
        "raw_clip_captions": ["A first clip.", "Another clip."],
        "finish_reasons": ["length", "stop"],
    }
    assert {row["video_id"] for row in results.values()} == {"a", "b", "d"}


def test_seeds_are_32_bits_and_differ():
    seeds = {request_seed(0, "mine_a", f"clip {k}") for k in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert request_seed(0, "mine_a", "clip 0") == 1300464984


def test_captions_are_parsed_and_an_empty_one_is_a_reason():
    step = CaptionsStep(DATASET, DryrunCaptioner())
    good = step.process({"raw_clip_captions": ["A look.\n\n**Caption:** In video clip 2, rain."]})
    assert good["clip_captions"] == ["In this video clip, rain."]
    with pytest.raises(Filtered, match="empty_caption"):
        step.process({"raw_clip_captions": ["Caption: rain", "  "]})


@pytest.mark.parametrize(
    ("answer", "finish_reason", "reason"),
    [
        ("A dog runs and", "length", "cut_off_caption"),
        ("A dog runs. " * 20, "stop", "looping_caption"),
        ("A dog <|vision_start|> runs.", "stop", "tag_caption"),
        ("**Caption:**", "stop", "empty_caption"),
    ],
)
def test_a_video_with_a_broken_clip_caption_is_filtered(answer, finish_reason, reason):
    step = CaptionsStep(DATASET, DryrunCaptioner())
    with pytest.raises(Filtered, match=reason):
        step.process(
            {
                "raw_clip_captions": ["A cat.", answer],
                "finish_reasons": ["stop", finish_reason],
            }
        )


def test_an_answer_cut_off_says_so():
    step = ResponsesStep(DATASET, Recorder(), configs(), Sampling(max_new_tokens=5))
    row = next(processed(step, [record(4)]))[1][CLEAN]
    assert isinstance(row, Filtered)
    assert str(row) == "cut_off"
    assert row.record["info"]["finish_reason"] == "length"
    assert len(row.record["response"].split()) == 5


def test_only_what_is_wanted_is_asked():
    captioner = Recorder()
    step = ResponsesStep(DATASET, captioner, configs(), Sampling())
    wanted = (config("reverse", 8), config("reverse", 16), config("drop", 2))
    rows = next(processed(step, [record(4)], wanted))[1]
    assert tuple(rows) == wanted
    # With 4 clips the reverses at 4, 8 and 16 are one order, asked for under the hardest's name.
    assert len(captioner.asked) == 2
    everything = rows_of([record(4)])[0]
    assert rows == {name: everything[name] for name in wanted}


def test_the_default_prompts_keep_the_fingerprint_of_finished_tables():
    captions = RawCaptionsStep(DATASET, DryrunCaptioner()).params()
    responses = ResponsesStep(DATASET, DryrunCaptioner(), configs(), Sampling()).params()
    assert (captions["prompts"], responses["prompt"]) == ("371814a4f349", "52bed5eb4687")


def test_a_user_s_prompts_are_asked_and_change_the_fingerprint():
    own = Prompts(first_clip="What is this?", response="Join:\n{captions}")
    captioner = Recorder()
    step = ResponsesStep(DATASET, captioner, configs(), Sampling(), prompts=own)
    list(processed(step, [record(1)]))
    assert [request.messages[0]["content"] for request in captioner.asked] == [
        [{"type": "text", "text": "Join:\nCaption 1: Something numbered 0 happens here."}]
    ]
    assert step.params()["prompt"] != "52bed5eb4687"
    assert RawCaptionsStep(DATASET, captioner, prompts=own).params()["prompts"] != "371814a4f349"
