"""Stage 1 with its own shot network on the toy world, against the truth."""

import shutil
from collections import Counter

import orjson
import pytest

from benchmarks.transitions import f1, match_transitions
from tools.store.dataset import Dataset


@pytest.fixture(scope="module")
def toy(tmp_path_factory, run_script, shot_networks, toy_world):
    """(truth by video name, dataset) of four videos, of half the width and half the height."""
    out = tmp_path_factory.mktemp("toy")
    (out / "video").mkdir()
    lines = (toy_world / "truth.jsonl").read_bytes().splitlines()[:4]
    truth = {line["video_name"]: line for line in map(orjson.loads, lines)}
    for name in truth:
        shutil.copy(toy_world / "video" / name, out / "video")
    flags = ("--embedder", "color", "--data_root", out / "data")
    words = ("preprocess.py", "toy", 1, "--video_dir", out / "video", *flags)
    done = run_script(*words, env={"XDG_CACHE_HOME": str(shot_networks)})
    assert done.returncode == 0, done.stderr
    return truth, Dataset("toy", out / "data" / "toy")


def records(dataset, name):
    """video name -> record of a table."""
    return {record["video_name"]: record for record in dataset.table(name).read()}


def test_the_network_finds_the_transitions(toy):
    truth, dataset = toy
    totals = {"cut": Counter(), "all": Counter()}
    for name, record in records(dataset, "scene").items():
        starts = [start for _, start, _ in record["raw_cuts"][1:]]
        for kind, counts in match_transitions(truth[name]["cuts"], starts).items():
            totals[kind].update(counts)
    assert totals["all"]["hits"] > 30
    assert f1(totals["cut"]) >= 0.99
    assert f1(totals["all"]) >= 0.95


def test_the_filters_come_to_the_right_verdicts(toy):
    truth, dataset = toy
    found = dict.fromkeys(records(dataset, "videos"), "keep")
    for step in ("filter_scene", "filter_group"):
        for name, record in records(dataset, step).items():
            if record["filtered"]:
                found[name] = record["filter_reason"]
    assert found == {name: video["verdict"] for name, video in truth.items()}


def test_shots_of_one_place_are_grouped(toy):
    """What the colour embedder's threshold was set for."""
    truth, dataset = toy
    grouped = records(dataset, "group")
    assert len(grouped) >= 4
    for name, record in grouped.items():
        places: dict[int, list[int]] = {}
        for position, (_, start, end) in enumerate(record["filtered_cuts"]):
            middle = (start + end) // 2
            shots = [s for s in truth[name]["shots"] if s["start"] <= middle <= s["end"]]
            places.setdefault(shots[0]["place"], []).append(position)
        assert record["groups"] == sorted(places.values()), name
