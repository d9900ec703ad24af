"""A stock asyncio loop for real ptys and sockets whose clock begins at zero, as a virtual one's does.

Faults are anchored in loop time: what strikes at 30 s must do so whether the machine was booted today or last year.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_EVERY_S = 0.05


class WireLoop(asyncio.SelectorEventLoop):
    """`failures` collects what asyncio would only log: exceptions in callbacks and in forgotten tasks. The first one
    stops the loop, as long as `stops_on_failure`. `late_s_max`: by how much a timer was late at most since
    `watch_lateness`: a computer that is too busy for real time proves nothing. `turn`: how often it has turned."""

    def __init__(self) -> None:
        super().__init__()
        self._zero_s = super().time()
        self._stands_at_s: float | None = None
        self.failures: list[BaseException] = []
        self.stops_on_failure = True
        self.late_s_max = 0.0
        self.turn = 0
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Seconds since the loop was made, without those for which the clock stood."""
        stands_at_s: float | None = getattr(self, "_stands_at_s", None)  # the base class asks while it is being made
        if stands_at_s is not None:
            return stands_at_s
        return super().time() - getattr(self, "_zero_s", 0.0)

    def _run_once(self) -> None:
        self.turn += 1
        super()._run_once()  # type: ignore[misc]

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """The clock stands still meanwhile: a world is built in no time, as it is in virtual time. What is awaited must
        need no timer."""
        self._stands_at_s = self.time()
        try:
            yield
        finally:
            self._zero_s = super().time() - self._stands_at_s
            self._stands_at_s = None

    def watch_lateness(self) -> None:
        """From now on look 20 times a second how late a timer comes."""
        due_s = self.time() + LOOK_EVERY_S

        def look() -> None:
            self.late_s_max = max(self.late_s_max, self.time() - due_s)
            self.watch_lateness()

        self.call_at(due_s, look)

    def living_tasks(self) -> list[asyncio.Task[Any]]:
        """Those that are not done, by name."""
        return sorted((task for task in asyncio.all_tasks(self) if not task.done()), key=lambda task: task.get_name())

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(context.get("exception") or RuntimeError(context["message"]))
        if self.stops_on_failure:
            self.stop()


def standing(loop: asyncio.AbstractEventLoop) -> contextlib.AbstractContextManager[None]:
    """While a world is built: a real clock stands still; a virtual one does so anyway."""
    return loop.standing() if isinstance(loop, WireLoop) else contextlib.nullcontext()


def run_on_wire(main: Callable[[WireLoop], Awaitable[T]]) -> T:
    """Run `main(loop)` on a new WireLoop and return what it returns: the twin of `run_virtual` in real time.

    Tasks that are left over are cancelled and clean up. Raises what main raised, or the first exception of any callback
    or forgotten task. Ctrl-C lets everything clean up and leaves with KeyboardInterrupt.
    """
    loop = WireLoop()
    loop.watch_lateness()
    try:
        task = loop.create_task(_await(main(loop)), name="main")
        try:
            result = loop.run_until_complete(task)
        except RuntimeError:  # the loop was stopped beneath main, which is what a failure in a callback does
            if loop.failures and not task.done():
                raise loop.failures[0] from None
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


def _clean_up(loop: WireLoop) -> None:
    """Cancel what is left and let it finish. What fails here joins `loop.failures` behind what failed before."""
    loop.stops_on_failure = False
    tasks = loop.living_tasks()
    for task in tasks:
        task.cancel()
    if tasks:
        ended = loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.failures += [error for error in ended if isinstance(error, Exception) and error not in loop.failures]
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
