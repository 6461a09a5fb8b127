"""Work done ahead in threads: videos are decoded while a model writes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice, repeat
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int
) -> Generator[tuple[T, R | Exception], None, None]:
    """Yield (item, its result or the exception it raised) in order, computed by `threads` threads.

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


def good_ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    ahead: int,
    failed: list[tuple[T, Exception]],
) -> Iterator[tuple[T, R]]:
    """`map_ahead` of the items that have a result; `failed` gets the others, with what they
    raised."""
    for item, result in map_ahead(function, items, threads, ahead):
        if isinstance(result, Exception):
            failed.append((item, result))
        else:
            yield item, result


def in_background(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield `items` in order, taken by another thread, which is at most `ahead` items in front.

    Raises:
        Exception: whatever taking an item has raised, in its place.
    """
    iterator, end = iter(items), object()
    taken = map_ahead(lambda _: next(iterator, end), repeat(None), threads=1, ahead=ahead + 1)
    with closing(taken):
        for _, item in taken:
            if isinstance(item, Exception):
                raise item
            if item is end:
                return
            yield cast(T, item)
