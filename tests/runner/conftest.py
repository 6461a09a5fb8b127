"""The tests of the runner start workers as the toolkit does: to do so is what they test."""

from collections.abc import Iterator

import pytest

from tests.warm_workers import warm_workers


@pytest.fixture(scope="module", autouse=True)
def workers_start_as_ever() -> Iterator[None]:
    """Let workers be processes that have imported nothing."""
    with warm_workers(warm=False):
        yield
