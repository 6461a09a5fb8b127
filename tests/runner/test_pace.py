"""How long a step takes, by its first minute."""

from tools.runner.pace import Pace


def test_the_first_minute_tells_what_the_rest_takes():
    """Loading takes 100 s, then an outcome of 1,000 bytes comes every 2 s, from two workers."""
    now = [100.0]
    pace = Pace(left=1000, workers=2, clock=lambda: now[0])
    lines = []
    for _ in range(200):
        lines.append(pace.measure(b"x" * 999))
        now[0] += 2
    (said,) = filter(None, lines)
    # The 31st comes 60 s after the first: 30 in 60 s, and 969 are left.
    assert lines.index(said) == 30
    assert said == (
        "30 in 60 s: the 969 left take about 0.54 hours, 1.1 of a worker (GPU-hours, where each"
        " has a GPU), and 0.97 MB of disk"
    )


def test_a_step_of_less_than_a_minute_says_nothing():
    now = [0.0]
    pace = Pace(left=3, workers=1, clock=lambda: now[0])
    for seconds in (0, 30, 70):
        now[0] = seconds
        assert pace.measure(b"") is None
