"""The toy world keeps its promises, and the files show what their truth says."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import orjson
import pytest

from benchmarks.transitions import f1, match_transitions
from toyworld import plan as plan_module
from toyworld.language import SHAPES, narrate
from toyworld.make import make_video, make_world
from toyworld.plan import SCHEDULE, plan_video
from toyworld.sprites import RGB, draw_sprite, paste, similarity
from toyworld.stories import plan_story
from toyworld.truth import truth, verdict

SMALL = [[kind, width // 4 * 2, height // 4 * 2, fps] for kind, width, height, fps in SCHEDULE]
REASONS = {
    "too_few_shots",
    "too_many_shots",
    "shot_too_long",
    "too_few_groups",
    "group_recurs",
}


class Video:
    """A rendered video, decoded: thumbnails (frames, 27, 48, 3), gray ranges and times."""

    def __init__(self, path: Path, line: dict):
        self.path, self.truth = path, line
        thumbnails, ranges, times = [], [], []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.rate, self.size = stream.average_rate, (stream.width, stream.height)
            for frame in container.decode(stream):
                small = frame.reformat(48, 27, "rgb24", interpolation="AREA")
                thumbnails.append(small.to_ndarray())
                luma = frame.to_ndarray()[: frame.height, : frame.width]
                ranges.append((int(luma.min()), int(luma.max())))
                times.append(frame.time)
        self.thumbnails = np.stack(thumbnails).astype(np.float32)
        self.ranges, self.times = np.array(ranges), np.array(times)
        # differences[f]: how much frame f differs from the frame before it
        steps = np.abs(np.diff(self.thumbnails, axis=0)).mean((1, 2, 3))
        self.differences = np.concatenate([[0.0], steps])

    def picture(self, frame: int) -> np.ndarray:
        with av.open(str(self.path)) as container:
            for number, picture in enumerate(container.decode(video=0)):
                if number == frame:
                    return picture.to_ndarray(format="rgb24")
        raise IndexError(frame)


@pytest.fixture(scope="module")
def videos(toy_world):
    lines = [orjson.loads(line) for line in (toy_world / "truth.jsonl").read_bytes().splitlines()]
    return [Video(toy_world / "video" / line["video_name"], line) for line in lines]


@pytest.fixture(scope="module", params=[(0, 0), (1, 0), (2, 0), (3, 24), (4, 7)])
def plans(request):
    """The truth of 24 neighbouring videos: of one seed, from one number on."""
    seed, first = request.param
    return [truth(plan_video(seed, first + i)) for i in range(24)]


# What any 24 videos hold


def test_every_verdict_occurs_and_most_videos_are_kept(plans):
    verdicts = Counter(line["verdict"] for line in plans)
    assert set(verdicts) == REASONS | {"keep"}
    assert verdicts["keep"] >= 13


def test_kept_videos_have_five_to_twenty_shots(plans):
    counts = [
        sum(not shot["blank"] for shot in line["shots"])
        for line in plans
        if line["verdict"] == "keep"
    ]
    assert min(counts) >= 5
    assert max(counts) <= 20


def test_cuts_are_the_majority_and_a_quarter_of_the_transitions_is_gradual(plans):
    types = Counter(cut["type"] for line in plans for cut in line["cuts"])
    assert types["cut"] > types["dissolve"] > types["fade"] >= 3
    assert types["dissolve"] + types["fade"] >= 0.25 * types.total()


def test_every_distractor_occurs(plans):
    kinds = {distractor["type"] for line in plans for distractor in line["distractors"]}
    assert kinds == {"flash", "exposure", "pan", "passer_by", "one_palette"}


def test_sizes_rates_and_one_variable_rate(plans):
    assert len({(line["width"], line["height"]) for line in plans}) == 6
    assert any(line["height"] > line["width"] for line in plans)
    constant = [line for line in plans if not line["variable_frame_rate"]]
    assert len(constant) == 23
    assert {round(line["fps"], 2) for line in constant} == {24, 25, 30, 29.97, 15}


def test_the_first_six_videos_are_a_mix_too():
    verdicts = [truth(plan_video(seed=0, number=i))["verdict"] for i in range(6)]
    assert verdicts.count("keep") >= 3
    assert verdicts.count("keep") < 6


def test_another_seed_is_another_world():
    assert truth(plan_video(0, 3)) != truth(plan_video(1, 3))
    assert plan_video(0, 0).places != plan_video(1, 0).places


def test_shots_and_transitions_tile_the_video(plans):
    for line in plans:
        ranges = [(shot["start"], shot["end"]) for shot in line["shots"]]
        ranges += [(cut["frame"], cut["end_frame"]) for cut in line["cuts"] if cut["type"] != "cut"]
        ranges.sort()
        assert [start for start, _ in ranges] == [0] + [end + 1 for _, end in ranges[:-1]]
        assert ranges[-1][1] == line["frames"] - 1
        starts = {shot["start"] for shot in line["shots"]}
        assert all(cut["frame"] in starts for cut in line["cuts"] if cut["type"] == "cut")


def test_no_colour_and_shape_come_twice_in_a_video(plans):
    for line in plans:
        pairs = [(event["colour"], event["shape"]) for event in line["events"]]
        assert len(pairs) == len(set(pairs))
        for event in line["events"]:
            shot = line["shots"][event["shot"]]
            assert shot["start"] <= event["start_frame"] < event["end_frame"] <= shot["end"]


def test_distractors_lie_inside_their_shot(plans):
    for line in plans:
        for distractor in line["distractors"]:
            if distractor["type"] != "one_palette":
                assert any(
                    shot["start"] + 8 <= distractor["frame"]
                    and distractor["end_frame"] <= shot["end"] - 8
                    for shot in line["shots"]
                )


# The verdict and the caption


@pytest.mark.parametrize(
    ("shots", "expected"),
    [
        ([(2.0, 0), (2.0, 1), (2.0, 2)], "too_few_shots"),
        ([(2.0, place) for place in range(4)], "keep"),
        ([(1.0, place) for place in range(32)], "keep"),
        ([(1.0, place) for place in range(33)], "too_many_shots"),
        ([(20.0, place) for place in range(33)], "too_many_shots"),
        ([(16.0, 0), (2.0, 1), (2.0, 2), (2.0, 3)], "keep"),
        ([(16.1, 0), (2.0, 1), (2.0, 2), (2.0, 3)], "shot_too_long"),
        ([(2.0, 0), (2.0, 0), (2.0, 1), (2.0, 2)], "too_few_groups"),
        ([(2.0, 0), (2.0, 1), (2.0, 0), (2.0, 1)], "group_recurs"),
        ([(2.0, place) for place in (0, 1, 0, 2, 3, 4)], "keep"),
        ([(2.0, place) for place in (0, 1, 0, 2, 0, 3, 0, 4, 5, 6, 7, 8, 9)], "group_recurs"),
        ([(2.0, place) for place in (0, 1, 0, 2, 0, 3, 4, 5, 6)], "keep"),
    ],
)
def test_verdict(shots, expected):
    assert verdict(shots) == expected


def test_a_caption_tells_the_events_in_order():
    texts = ["a red circle grows .", "an orange star turns .", "a blue square moves up ."]
    assert narrate(texts[:1]) == "first a red circle grows ."
    assert narrate(texts) == (
        "first a red circle grows . next an orange star turns . finally a blue square moves up ."
    )


# The files


def test_same_bytes_whatever_the_workers(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    make_world(1, 0, one, workers=1, events=[1])
    make_world(2, 0, two, workers=2, events=[1])
    first = (two / "truth.jsonl").read_bytes().splitlines(keepends=True)[0]
    assert (one / "truth.jsonl").read_bytes() == first
    video = "video/toy_0000.mp4"
    assert (one / video).read_bytes() == (two / video).read_bytes()


def test_same_bytes_again(toy_world, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SCHEDULE", SMALL)
    made = make_video(3, 0, [], tmp_path)["video_name"]
    assert (tmp_path / made).read_bytes() == (toy_world / "video" / made).read_bytes()


def test_frames_size_and_rate_are_those_of_the_file(videos):
    for video in videos:
        assert len(video.times) == video.truth["frames"]
        assert video.size == (video.truth["width"], video.truth["height"])
        assert float(video.rate) == pytest.approx(video.truth["fps"], rel=2e-3)


def test_times_are_those_of_the_file(videos):
    for video in videos:
        for shot in video.truth["shots"]:
            assert shot["start_time"] == pytest.approx(video.times[shot["start"]], abs=1e-4)


def test_only_the_variable_rate_varies(videos):
    assert [v.truth["variable_frame_rate"] for v in videos] == [False] * 5 + [True]
    for video in videos:
        steps = np.diff(video.times)
        if video.truth["variable_frame_rate"]:
            assert steps.max() > 2 * steps.min()
        else:
            assert np.ptp(steps) < 1e-3


def test_at_a_cut_the_picture_changes(videos):
    for video in videos:
        usual = np.median(video.differences)
        for cut in video.truth["cuts"]:
            if cut["type"] == "cut":
                assert video.differences[cut["frame"]] > 4 * usual


def test_in_the_middle_of_a_fade_the_picture_is_black(videos):
    fades = [(v, cut) for v in videos for cut in v.truth["cuts"] if cut["type"] == "fade"]
    assert fades
    for video, fade in fades:
        middle = (fade["frame"] + fade["end_frame"]) // 2
        assert video.thumbnails[middle].max() < 8
        assert video.thumbnails[fade["frame"] - 1].max() > 100


def test_only_blank_shots_are_flat(videos):
    blank = []
    for video in videos:
        for shot in video.truth["shots"]:
            part = video.ranges[shot["start"] : shot["end"] + 1]
            gray_range = part[:, 1].max() - part[:, 0].min()
            assert gray_range < 10 if shot["blank"] else gray_range > 100
            blank.append(shot["blank"])
    assert sum(blank) == 2


def test_a_place_looks_like_itself(videos):
    """In a dialogue the shots of one place differ less than those of two."""
    dialogue = next(v for v in videos if v.truth["verdict"] == "group_recurs")
    middles = [
        (shot["place"], dialogue.thumbnails[(shot["start"] + shot["end"]) // 2])
        for shot in dialogue.truth["shots"]
    ]
    apart: dict[bool, list[float]] = {True: [], False: []}
    for i, (place, picture) in enumerate(middles):
        for other_place, other in middles[:i]:
            apart[place == other_place].append(float(np.abs(picture - other).mean()))
    assert 1.5 * max(apart[True]) < min(apart[False])


def test_a_shape_moves_as_its_event_says(videos):
    """Followed by its colour in the undisturbed shots of one video."""
    line = videos[0].truth
    disturbed = [d["frame"] for d in line["distractors"]]
    seen = Counter()
    for event in line["events"]:
        shot = line["shots"][event["shot"]]
        if any(shot["start"] <= frame <= shot["end"] for frame in disturbed):
            continue
        found = []
        for frame in (event["start_frame"], event["end_frame"]):
            distance = np.abs(videos[0].picture(frame).astype(int) - RGB[event["colour"]]).sum(-1)
            found.append(np.argwhere(distance < 90))
        (y0, x0), (y1, x1) = found[0].mean(0), found[1].mean(0)
        right, down = (x1 - x0) / line["width"], (y1 - y0) / line["height"]
        seen[event["action"]] += 1
        match event["action"]:
            case "moves left":
                assert right < -0.3
            case "moves right":
                assert right > 0.3
            case "moves up":
                assert down < -0.3
            case "moves down":
                assert down > 0.3
            case "grows":
                assert len(found[1]) > 3 * len(found[0])
            case "turns":
                assert abs(right) < 0.1
                assert abs(down) < 0.1
    assert len(seen) >= 2


def test_a_threshold_on_frame_differences_does_not_find_the_cuts(videos):
    differences, cuts = [], []
    for video in videos:
        hard = {cut["frame"] for cut in video.truth["cuts"] if cut["type"] == "cut"}
        differences += video.differences.tolist()
        cuts += [frame in hard for frame in range(len(video.differences))]
    is_cut = np.array(cuts)[np.argsort(differences)[::-1]]
    hits, found = np.cumsum(is_cut), np.arange(1, len(is_cut) + 1)
    best = (2 * hits / (found + is_cut.sum())).max()  # over all thresholds
    assert 0.5 < best < 0.9


# The drawing


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sprite_is_blended_wherever_it_can_be_seen(shape):
    """Inside the frame, across its edges and beyond them; as if the whole frame were blended."""
    rng = np.random.default_rng(0)
    sprite = draw_sprite(shape, "red", 20.0)
    for _ in range(60):
        x, y, scale, turn = rng.uniform((-60, -60, 0.3, -4), (160, 160, 2.5, 4))
        frame = rng.integers(0, 256, (100, 100, 3), np.uint8)
        reach = scale * sprite.middle
        corner = np.maximum(0, (int(x - reach), int(y - reach)))
        end = np.minimum(100, (int(x + reach) + 1, int(y + reach) + 1))
        expected = frame.copy()
        if (corner < end).all():
            middle = (sprite.middle, sprite.middle)
            matrix = similarity(scale, turn, middle, (x - corner[0], y - corner[1]))
            patch = cv2.warpAffine(sprite.rgba, matrix, (end - corner).tolist())
            under = expected[corner[1] : end[1], corner[0] : end[0]]
            under[:] = under * (1 - patch[..., 3:]) + patch[..., :3]
        paste(frame, sprite, x, y, scale, turn)
        assert np.array_equal(frame, expected)


# The command line


def test_a_world_that_begins_with_a_smaller_one_copies_it(run_script, tmp_path):
    told = ["-m", "toyworld", "--events", "1,2", "--seed", 7, "--workers", 1]
    small, large, whole = (tmp_path / name for name in ("small", "large", "whole"))
    run_script(*told, "--videos", 2, "--out", small)
    run_script(*told, "--videos", 3, "--out", whole)
    marked = small / "video" / "toy_0001.mp4"
    marked.write_bytes(marked.read_bytes() + b"copied")
    done = run_script(*told, "--videos", 3, "--out", large, "--begin_with", small)
    assert done.returncode == 0, done.stderr
    assert (large / "truth.jsonl").read_bytes() == (whole / "truth.jsonl").read_bytes()
    for name, added in [("toy_0000.mp4", b""), ("toy_0001.mp4", b"copied"), ("toy_0002.mp4", b"")]:
        rendered = (whole / "video" / name).read_bytes()
        assert (large / "video" / name).read_bytes() == rendered + added
    done = run_script(*told, "--videos", 4, "--out", large, "--begin_with", large)
    assert done.returncode == 0, done.stderr
    assert len((large / "truth.jsonl").read_bytes().splitlines()) == 4
    assert marked.read_bytes() == (large / "video" / "toy_0001.mp4").read_bytes()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--seed", 8], "video 0 differs, so its --seed or its --events was another"),
        (["--events", "1,3"], "video 1 differs, so its --seed or its --events was another"),
        (["--videos", 2], "holds 2 videos, no fewer than the 2 to make"),
        ([], "holds no video/toy_0001.mp4, which its truth.jsonl lists"),
        (["--begin_with", "nowhere"], "No such file or directory: 'nowhere/truth.jsonl'"),
    ],
)
def test_what_a_world_cannot_begin_with(run_script, tmp_path, changed, said):
    small = tmp_path / "small"
    lines = [orjson.dumps(truth(plan_story(7, number, 1 + number))) for number in range(2)]
    (small / "video").mkdir(parents=True)
    (small / "video" / "toy_0000.mp4").touch()
    (small / "truth.jsonl").write_bytes(b"\n".join(lines))
    told = ["--videos", 3, "--events", "1,2", "--seed", 7, "--begin_with", small]
    out = tmp_path / "large"
    done = run_script("-m", "toyworld", *told, *changed, "--out", out)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not out.exists()


def test_ctrl_c_is_one_line(tmp_path):
    """In a terminal it reaches the script and the processes that render."""
    words = [sys.executable, "-m", "toyworld", "--videos", "50"]
    run = subprocess.Popen(
        [*words, "--events", "2", "--workers", "2", "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    video = tmp_path / "video" / "toy_0001.mp4"
    while not video.exists() and run.poll() is None:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.endswith("\ninterrupted: the same command starts again from nothing\n")
    assert "Traceback" not in said
    assert not (tmp_path / "truth.jsonl").exists()


def test_strange_files_in_the_folder_are_one_clear_line(run_script, tmp_path):
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "mine.mp4").touch()
    done = run_script("-m", "toyworld", "--videos", 1, "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "holds 'mine.mp4'" in done.stderr
    assert not (tmp_path / "truth.jsonl").exists()


def test_no_videos_are_no_world(run_script, tmp_path):
    done = run_script("-m", "toyworld", "--videos", 0, "--out", tmp_path)
    assert done.returncode == 2
    assert "'0' is not a whole number of 1 or more" in done.stderr


# The score of found shots

TRUTH = [
    {"type": "cut", "frame": 100, "end_frame": 100},
    {"type": "dissolve", "frame": 200, "end_frame": 219},
    {"type": "fade", "frame": 300, "end_frame": 310},
]


@pytest.mark.parametrize(
    ("found", "cut", "every"),
    [
        ([100, 220, 311], (1, 0, 0), (3, 0, 0)),
        ([], (0, 1, 0), (0, 3, 0)),
        ([101, 195, 224], (0, 1, 1), (2, 1, 1)),  # one dissolve found twice counts once
        ([100, 194, 225], (1, 0, 2), (1, 2, 2)),
        ([95, 100, 105], (1, 0, 2), (1, 2, 2)),
        ([100, 100, 305], (1, 0, 0), (2, 1, 0)),
    ],
)
def test_matches_of_found_shots(found, cut, every):
    names = ("hits", "missed", "false")
    assert match_transitions(TRUTH, found) == {
        "cut": dict(zip(names, cut, strict=True)),
        "all": dict(zip(names, every, strict=True)),
    }


def test_neighbouring_transitions_share_the_finds_as_well_as_can_be():
    crossed = [
        {"type": "dissolve", "frame": 10, "end_frame": 40},
        {"type": "cut", "frame": 41, "end_frame": 41},
    ]
    assert match_transitions(crossed, [41, 45])["all"] == {"hits": 2, "missed": 0, "false": 0}


def test_f1():
    assert f1({"hits": 3, "missed": 1, "false": 0}) == pytest.approx(6 / 7)
    assert f1({"hits": 0, "missed": 0, "false": 0}) == 1.0
    assert f1({"hits": 0, "missed": 2, "false": 1}) == 0.0
