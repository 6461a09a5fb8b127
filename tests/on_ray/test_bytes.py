"""Stages 1 to 3 on a Ray cluster whose workers are killed: the bytes are those of a local run."""

import os
import signal
import threading
from contextlib import suppress
from importlib.util import find_spec

import pytest

from tests.on_ray.conftest import meanwhile, seconds_until

# Not imported here: Ray looks for its token at import, before the cluster's is made.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="no Ray here: make test-ray")

STAGE_1 = ("preprocess.py", "mine", 2, "--shot_detector", "adaptive", "--embedder", "color")


def stages(model):
    """Stages 2 and 3."""
    return [
        ("generate_meta_data.py", 2, "--dataset", "mine", "--model", model),
        ("generate_dpo_data.py", "mine", 2, "--model", model, "--seed", 0),
    ]


@pytest.fixture(scope="module")
def work(run_script, tiny_videos):
    """work(root, stage, *flags): run a stage until no record is left whose worker was killed."""

    def run(root, stage, *flags):
        folder = ("--video_dir", tiny_videos) if stage is STAGE_1 else ()
        while True:
            done = run_script(*stage, *folder, "--data_root", root, *flags)
            assert done.returncode == 0, done.stderr
            if "worker died" not in done.stdout:
                return

    return run


@pytest.fixture(scope="module")
def local(work, tmp_path_factory):
    """The data root of a run by processes of this machine."""
    root = tmp_path_factory.mktemp("local")
    for stage in (STAGE_1, *stages("dryrun"), *stages("toyvl")):
        work(root, stage)
    return root


def test_six_killed_workers_and_two_models_leave_the_same_bytes(local, work, two_nodes, tmp_path):
    killed = []
    over = threading.Event()

    def kill_two():
        for _ in range(2):
            seconds_until(lambda: over.is_set() or set(two_nodes.actors()) - set(killed))
            for pid in [*set(two_nodes.actors()) - set(killed)][:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    for stage in (STAGE_1, *stages("dryrun")):
        over.clear()
        with meanwhile(kill_two):
            work(tmp_path, stage, "--ray", two_nodes.address)
            over.set()
    assert len(killed) == 6
    for stage in stages("toyvl"):
        work(tmp_path, stage, "--ray", two_nodes.address)
    expected, here = (
        {path.relative_to(root): path.read_bytes() for path in root.glob("mine/**/*.jsonl*")}
        for root in (local, tmp_path)
    )
    assert len(expected) > 30
    assert here == expected
