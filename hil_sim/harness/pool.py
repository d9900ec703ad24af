"""How long a piece of work took: the one file of campaigns that looks at a real clock. What a run costs is told, and
decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def timed(work: Callable[[], R]) -> tuple[R, float]:
    """What `work` gives, and the seconds that it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
