"""A process on a virtual loop: everything that one program does there, so that it can be held up or killed as a whole.

    process = VirtualProcess(loop, "host")
    task = process.start(host(...), name="host")     # every task and timer made in there belongs to the process
    process.hold(until_s=loop.time() + 2.0)          # its loop is blocked: nothing of it runs, the world goes on
    process.kill("kill -9")                          # it never runs again: no except, no finally, no last word

What belongs to a process is told by its context: tasks and timers inherit it from whoever makes them. A world must
therefore be entered through `outside()`, and must speak to the process through `hear()`, or its own timers would be
held and killed with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hil_sim.virtual_time import VirtualLoop

T = TypeVar("T")

_CURRENT: ContextVar[VirtualProcess | None] = ContextVar("process", default=None)


class Killed(BaseException):
    """Ends the step that a process is in when it dies. Nothing in the process may catch it and go on."""


def current_process() -> VirtualProcess | None:
    """The process that the running code belongs to; None: the world, or a run without processes."""
    return _CURRENT.get()


def process_of(context: Context) -> VirtualProcess | None:
    """The process that a callback with this context belongs to."""
    return context.get(_CURRENT)


class VirtualProcess:
    """One program on a virtual loop.

    Attributes: `name`; `died`, a future that is settled with the reason when it is killed.
    """

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.died: asyncio.Future[str] = loop.create_future()
        self._loop = loop
        self._outside = copy_context()
        self._inside = copy_context()
        self._inside.run(_CURRENT.set, self)
        self._held_until_s: float | None = None
        self._kept: list[Any] = []  # handles that came due while it was held
        self._mail: list[tuple[Callable[..., object], tuple[Any, ...]]] = []  # what the world told it meanwhile
        self._at_death: list[Callable[[], None]] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}  # those that have not ended, in the order of making
        self._generators: list[AsyncGenerator[Any, Any]] = []
        loop.host(self)

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.died.done()

    @property
    def is_held(self) -> bool:
        """Whether its loop is blocked at this moment."""
        return self._held_until_s is not None

    # -- running ----------------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` as the process's first task."""
        return self._loop.create_task(work, name=name, context=self._inside.copy())

    def owns(self, task: asyncio.Task[Any]) -> bool:
        """Whether `task` was made in this process."""
        return task in self._tasks

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Note a task of this process (the loop's task factory tells): a dead one must not be collected, which would
        run its finally clauses."""
        self._tasks[task] = None
        task.add_done_callback(self._forget, context=self._outside)

    def adopt_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Note an asynchronous generator of this process: its loop must not end it after the process is dead."""
        self._generators.append(generator)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def outside(self, step: Callable[..., T], *args: Any) -> T:
        """Call into the world: what it starts is its own and outlives the process."""
        return self._outside.copy().run(step, *args)

    def hear(self, tell: Callable[..., object], *args: Any) -> None:
        """The world tells the process something: at once, when it is not held any more, or never."""
        if self.is_dead:
            return
        if self.is_held:
            self._mail.append((tell, args))
        else:
            self._inside.copy().run(tell, *args)

    # -- held up ----------------------------------------------------------------------------------------------------

    def hold(self, until_s: float) -> None:
        """Nothing of it runs before loop time `until_s`: its loop is blocked. A later end prolongs a hold."""
        if self.is_dead or until_s <= max(self._loop.time(), self._held_until_s or 0.0):
            return
        self._held_until_s = until_s
        self._loop.halted.add(self)
        self.outside(self._loop.call_at, until_s, self._go_on)

    def _go_on(self) -> None:
        """As a loop wakes: first what has come in, then the timers that are overdue, in their order."""
        if self.is_dead or self._held_until_s is None or self._loop.time() < self._held_until_s:
            return
        self._held_until_s = None
        self._loop.halted.discard(self)
        mail, self._mail = self._mail, []
        kept, self._kept = self._kept, []
        for tell, args in mail:
            self._loop.call_soon(tell, *args, context=self._inside.copy())
        self._loop.take_back(kept)

    def keep_back(self, handle: Any) -> None:
        """The loop hands over a callback of a process that does not run: kept while it is held, dropped when it is
        dead."""
        if not self.is_dead:
            self._kept.append(handle)

    # -- dying ------------------------------------------------------------------------------------------------------

    def at_death(self, step: Callable[[], None]) -> None:
        """What the operating system does when the process dies: close its connections, let go of its files."""
        self._at_death.append(step)

    def kill(self, why: str) -> None:
        """It never runs again. Called from inside the process, follow it by `raise Killed`."""
        if self.is_dead:
            return
        self.died.set_result(why)
        self._held_until_s = None
        self._kept.clear()
        self._mail.clear()
        self._loop.halted.add(self)
        for generator in self._generators:
            self._loop.forget_generator(generator)
        for step in self._at_death:
            self.outside(step)
        self._at_death.clear()

    def bury(self) -> None:
        """When the loop is closed: let go of the frames of a dead process. What they still want to say is not heard."""
        if not self.is_dead:
            return
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that it never came to await
                for task in list(self._tasks):
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(Exception, asyncio.CancelledError, Killed):
                        self._inside.copy().run(task.get_coro().close)
        finally:
            logging.disable(before)
        self._tasks.clear()


def process_task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Tasks as asyncio makes them, noted by the process that makes them."""
    task = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    process = _CURRENT.get() if context is None else process_of(context)
    if process is not None:
        process.adopt(task)
    return task
