"""Doing the next thing while the last one is worked on: decoding goes on while a model writes."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int
) -> Iterator[tuple[T, R | Exception]]:
    """Yield (item, its result or the exception it raised) in order, computed by so many threads.

    At most `ahead` items are being computed or have their results waiting.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for item in islice(left, ahead - len(waiting)):
                    waiting.append((item, pool.submit(function, item)))
                if not waiting:
                    return
                item, future = waiting.popleft()
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield item, error or future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def in_background(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield `items` in order, taken by another thread, which is at most `ahead` of them in front.

    Raises:
        Exception: whatever taking an item has raised, in its place.
    """
    # Each entry is (item, None), (None, exception), or None at the end.
    ready: queue.Queue[Any] = queue.Queue(maxsize=ahead)
    given_up = threading.Event()

    def put(entry: Any) -> bool:
        while not given_up.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def take() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put(None)
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        while (entry := ready.get()) is not None:
            item, error = entry
            if error is not None:
                raise error
            yield item
    finally:
        given_up.set()
        thread.join()
