import sys

import pytest

from benchmarks.kill import survive

KILLS = 20


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_files_are_the_same_after_twenty_kills_at_random_moments(tiny_videos, tmp_path):
    """Each life compares every finished file of stages 1 to 4 with those of an unbroken run."""
    kills = []
    for hit, files in survive(tiny_videos, tmp_path, KILLS, seed=0):
        kills += hit
        assert files == 8 + 2 + 13 + 2
    assert len(kills) == KILLS
    assert {kill.target for kill in kills} == {"script", "worker"}
    assert len({kill.stage for kill in kills}) >= 3
