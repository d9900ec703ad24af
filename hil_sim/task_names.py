"""Tasks and calls in words: who waits, and at which lines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


def in_name_order(tasks: Iterable[asyncio.Task]) -> list[asyncio.Task]:
    """all_tasks() comes in the order of memory addresses; 'Task-10' goes behind 'Task-9'."""
    return sorted((task for task in tasks if not task.done()), key=lambda task: (len(task.get_name()), task.get_name()))


def owner_of(call: tuple) -> str:
    """Who is behind a call: the task with its line, or the function."""
    callback = call[0]
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return described(owner)
    return f"{getattr(callback, '__qualname__', repr(callback))}"


def described(task: asyncio.Task) -> str:
    """`task 'poll bus0': Machine.run (machine.py:120) > Queue.get (queues.py:158)`, outermost first."""
    places: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None and len(places) < 20:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            name = getattr(awaited, "__qualname__", "?")
            places.append(f"{name} ({frame.f_code.co_filename}:{frame.f_lineno})")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return f"task '{task.get_name()}': {' > '.join(places) or 'not started or finished'}"
