"""The one place that reads a wall clock: the label of a run's start. Everything else is `loop.time()`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


def run_start_ns() -> int:
    """UTC nanoseconds at which the running loop's clock read zero seconds.

    A virtual loop says so itself (`epoch_ns`), so that a simulated run carries the same labels each time; on a
    stock loop it is the wall clock less `loop.time()`. Add `round(loop.time() * 1e9)` for the time of an event.
    """
    loop = asyncio.get_running_loop()
    epoch_ns = getattr(loop, "epoch_ns", None)
    if epoch_ns is not None:
        return int(epoch_ns)
    return time.time_ns() - round(loop.time() * 1e9)


def run_id() -> str:
    """A name for a new run's folder, by the wall clock: 20281102-141503."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
