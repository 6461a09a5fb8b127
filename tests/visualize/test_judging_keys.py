"""Keys on the page Judge in a real browser: each answers the pair that was on the screen."""

import os
import time
from itertools import cycle, islice

import pytest

from tools.pairs.judgements import read
from tools.store.dataset import Dataset

VERDICTS = {"a": "accept", "x": "reject", "u": "unsure"}
CONFIGS = [f"caption_caption_{name}_False_False" for name in ("none_1", "reverse_16")]


@pytest.fixture(scope="module")
def many_pairs(tmp_path_factory, serve):
    """A data set of 45 pairs, one a video, and the address of a viewer that shows it."""
    folder = tmp_path_factory.mktemp("judging")
    dataset = Dataset("mine", folder / "data" / "mine")
    videos = [
        {
            "video_id": f"mine_{n:02}",
            "video_path": f"/gone/v{n:02}.mp4",
            "video_name": f"v{n:02}.mp4",
            "filtered": False,
            "frame_indices": [[1, 2]] * 4,
        }
        for n in range(45)
    ]
    for name in ("init", "videos"):
        dataset.table(name).write(videos)
    for config, text, order in zip(
        CONFIGS, ("Beach, then fire.", "Fire, then beach."), ([0, 1, 2, 3], [3, 2, 1, 0]),
        strict=True,
    ):  # fmt: skip
        dataset.responses("m", config).write(
            {**video, "response": text, "info": {"selected_indices": order}} for video in videos
        )
    with serve(folder) as address:
        yield dataset, address


def press(tab, keys, seconds):
    """Press keys one after the other; (name of the video on the screen, key) of each."""
    tab.evaluate(
        "window.presses = []; addEventListener('keydown', (event) => presses.push(["
        "document.querySelector('.t-head h2').textContent, event.key]), true)"
    )
    for key in keys:
        tab.keyboard.press(key)
        time.sleep(seconds)
    return tab.evaluate("presses")


def settled(dataset):
    """The judgements, once two seconds have added none."""
    while (before := list(read(dataset))) != (time.sleep(2) or list(read(dataset))):
        pass
    return before


@pytest.mark.parametrize(("seconds", "least"), [(0.08, 1), (0.3, 10)], ids=["fast", "slow"])
def test_each_accepted_key_lands_on_the_pair_that_was_shown(many_pairs, tab, seconds, least):
    dataset, address = many_pairs
    before = settled(dataset)
    tab.set_default_timeout(180_000)  # a page of a starved machine took 50 s
    tab.goto(f"{address}/judge?judge=ada")
    tab.wait_for_selector("text=/of 45 judged by ada/")
    tab.wait_for_selector("button:has-text('Unsure')")
    presses = press(tab, islice(cycle(VERDICTS), 20), seconds)
    judgements = settled(dataset)[len(before) :]
    print(f"{len(judgements)} of 20 keys {seconds} s apart were accepted")

    left = iter(presses)  # each judgement is one of the presses, in their order
    for judgement in judgements:
        pressed = (f"v{judgement.video_id[-2:]}.mp4", judgement.verdict)
        assert any((name, VERDICTS[key]) == pressed for name, key in left), (pressed, presses)
    pairs = [judgement.pair for judgement in [*before, *judgements]]
    assert len(pairs) == len(set(pairs))  # none is overwritten
    # On a machine whose processors others keep busy, pages come later than keys.
    assert len(judgements) >= (least if os.getloadavg()[0] < (os.cpu_count() or 1) else 1)
