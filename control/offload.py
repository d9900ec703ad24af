"""Heavy work beside the loop: one port, so that virtual time can run the same code inline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


async def offload(work: Callable[[], T]) -> T:
    """Run `work` away from the loop and return its result; on a virtual loop it runs inline and takes no time.

    It sees the caller's context there, so that it writes through the host's own file-system port.
    """
    return await asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)
