"""A run in virtual time, from its loop's first turn to its last.

result = run_virtual(main, seed=7)          # `async def main(loop)`; a month of sleep costs nothing
run_virtual(main, pace=10.0)                # the same run, held back to ten times real time
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

from hil_sim.virtual_time import SimError, VirtualLoop

T = TypeVar("T")
_COLLECT_AFTER = (20_000, 20, 20)  # objects kept before the cyclic collector looks at the young, the middle, all


def run_virtual(main: Callable[[VirtualLoop], Awaitable[T]], **options: Any) -> T:
    """Run `main(loop)` on a new VirtualLoop(**options) and return what it returns.

    Tasks that are left over are cancelled, in the order of their names, and clean up in virtual time. Raises what main
    raised, the first exception of any callback or forgotten task, SimDeadlock or SimLivelock. Ctrl-C cancels main,
    lets it clean up (flat out, even in a paced run) and leaves with KeyboardInterrupt; a second Ctrl-C leaves at once.
    """
    loop = VirtualLoop(**options)
    try:
        task = loop.create_task(_await(main(loop)), name="main")
        with _rare_collections(), _interrupts(loop, task) as interrupted:
            try:
                result = loop.run_until_complete(task)
            except asyncio.CancelledError:
                if interrupted:
                    raise KeyboardInterrupt from None
                raise
            finally:
                _clean_up(loop)
        if loop.failures:
            raise loop.failures[0]
        return result
    finally:
        loop.close()


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Keep the cyclic garbage collector out of the way of a run.

    A run keeps much (what was executed, what was measured) and makes hardly any cycles, but every 700 objects kept call
    the collector, and the older generations take it through all that the imported libraries left in memory: a fifth of
    a dense run's time. What exists when a run begins is set aside until it ends, and the collector comes less often.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _clean_up(loop: VirtualLoop) -> None:
    """Cancel what is left and let it finish. What fails here joins `loop.failures` behind what failed before."""
    earlier, loop.failures = loop.failures, []
    try:
        tasks = loop.living_tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            for outcome in loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True)):
                if isinstance(outcome, Exception) and outcome not in earlier:
                    loop.failures.append(outcome)
        loop.run_until_complete(loop.shutdown_asyncgens())
    except SimError as error:
        loop.failures.append(error)
    except Exception as error:
        if error not in loop.failures:
            loop.failures.append(error)
    finally:
        loop.failures[:0] = earlier


@contextlib.contextmanager
def _interrupts(loop: VirtualLoop, task: asyncio.Task) -> Iterator[list[int]]:
    """Ctrl-C cancels `task`; the list that is yielded then holds the signal. Does nothing outside the main thread."""
    got: list[int] = []

    def on_interrupt(sig: int, frame: FrameType | None) -> None:
        got.append(sig)
        if len(got) > 1:
            raise KeyboardInterrupt
        loop.pace = None
        loop.call_soon(task.cancel)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield got  # somebody else handles Ctrl-C
        return
    try:
        signal.signal(signal.SIGINT, on_interrupt)
    except ValueError:  # signals belong to the main thread
        yield got
        return
    try:
        yield got
    finally:
        loop.remove_signal_handler(signal.SIGINT)  # one that main has left behind lies over ours
        if signal.getsignal(signal.SIGINT) is on_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
