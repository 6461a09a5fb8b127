"""What runs ahead of whom, and by how much."""

import threading
import time

import pytest

from inference.ahead import in_background, map_ahead


def test_results_come_in_order_and_an_error_in_its_place():
    def half(number):
        time.sleep(0.02 if number == 2 else 0)
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number // 2

    results = list(map_ahead(half, range(6), threads=3, ahead=6))
    assert [item for item, _ in results] == [0, 1, 2, 3, 4, 5]
    assert [result for _, result in results if not isinstance(result, Exception)] == [0, 1, 2]
    assert [str(e) for _, e in results if isinstance(e, Exception)] == [
        "1 is odd",
        "3 is odd",
        "5 is odd",
    ]


def test_no_more_than_so_many_results_are_waiting():
    made = []
    stream = map_ahead(lambda number: made.append(number) or number, range(100), threads=2, ahead=4)
    assert next(stream) == (0, 0)
    time.sleep(0.1)
    assert len(made) <= 4
    stream.close()


def test_another_thread_takes_the_items_at_most_so_many_ahead():
    taken = []

    def items():
        for number in range(10):
            taken.append(threading.current_thread())
            yield number

    stream = in_background(items(), ahead=2)
    assert next(stream) == 0
    time.sleep(0.1)
    assert len(taken) <= 4  # one given out, two ready, one in hand
    assert list(stream) == list(range(1, 10))
    assert threading.current_thread() not in taken


def test_an_error_of_the_items_reaches_who_reads_them():
    def items():
        yield 1
        raise KeyError("lost")

    stream = in_background(items(), ahead=2)
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_whoever_stops_reading_leaves_no_thread_behind():
    before = threading.active_count()
    stream = in_background(iter(range(100)), ahead=1)
    next(stream)
    stream.close()
    assert threading.active_count() == before
