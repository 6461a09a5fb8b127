import sys

import pytest

from benchmarks.kill import ORPHANED, survive

KILLS = 20


SPAWN = "/usr/lib/python3.11/multiprocessing/spawn.py"
LAST_WORDS = f"""\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
  File "{SPAWN}", line 122, in spawn_main
    exitcode = _main(fd, parent_sentinel)
               ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "{SPAWN}", line 130, in _main
    preparation_data = reduction.pickle.load(from_parent)
                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
EOFError: Ran out of input
"""
OURS = '  File "/repository/tools/steps.py", line 1, in run\nEOFError'
OF_OURS = LAST_WORDS.replace("EOFError", OURS)


def test_only_what_python_says_of_a_worker_without_a_script_is_no_fault():
    assert ORPHANED.sub("", f"captions: 3 videos\n{LAST_WORDS}") == "captions: 3 videos\n"
    assert ORPHANED.sub("", OF_OURS) == OF_OURS
    other = LAST_WORDS.replace("EOFError", "ValueError")
    assert ORPHANED.sub("", other) == other


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_files_are_the_same_after_twenty_kills_at_random_moments(tiny_videos, tmp_path):
    """Each life compares every finished file of stages 1 to 4 with those of an unbroken run."""
    kills = []
    for hit, files in survive(tiny_videos, tmp_path, KILLS, seed=0):
        kills += hit
        assert files == 9 + 2 + 13 + 2
    assert len(kills) == KILLS
    assert {kill.target for kill in kills} == {"script", "worker"}
    assert len({kill.stage for kill in kills}) >= 3
