"""Layers beside each other: a map over threads whose results come in order, whatever their number.

The slicer's kernels let go of the interpreter, so threads are enough; what is planned never depends on how many.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""Results that may wait for each worker: what bounds the memory of a long job."""


def workers_here() -> int:
    """As many as this process may use processors."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map(function, items)` by up to `workers` threads; with one, by none.

    At most AHEAD results for each worker are under way or wait to be taken. The first error stops it, and is raised
    where its result would have come.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="slicer") as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(rest, AHEAD * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
