"""VirtualLoop: an asyncio event loop whose clock jumps exactly to the next timer.

`virtual_run.run_virtual` makes one and turns it. Host code and devices run unmodified: `asyncio.sleep`, `wait_for`,
streams, `create_connection`, `create_server` and `run_in_executor` all work, in memory and in one thread. The same seed
gives the same run, byte for byte: timers of one instant fire in the order in which they were set (or, with
`tie_shuffle`, in an order drawn from the seed).

Nothing goes wrong quietly: an exception in a callback fails the run, a run in which everybody waits for nothing ends
with SimDeadlock, one in which time stands still with SimLivelock; both name the tasks and their lines.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import time as wall  # pacing only: the one place where simulated time looks at the real one
import weakref
from asyncio import base_events
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from heapq import heapify, heappop, heappush
from math import inf
from types import FrameType
from typing import Any

from hil_sim.task_names import described, in_name_order, owner_of
from hil_sim.virtual_net import MemoryServer, open_memory_connection
from hil_sim.virtual_process import Killed, VirtualProcess, current_process, process_of, process_task_factory

RUN_START_EPOCH_NS = 1_856_736_000 * 10**9
"""2028-11-02T00:00:00Z: what the wall clock of a simulated run shows at loop time 0."""

_PACE_SLICE_S = 0.05  # longest real sleep: how late a signal can be noticed
_PACE_SLIP_S = 0.25  # a paced run that is later than this gives up the lost time instead of racing to catch up
_COMPACT_AFTER = 128  # cancelled timers that may lie in the heap before it is rebuilt


class SimError(Exception):
    """A simulated run cannot go on."""


class SimDeadlock(SimError):
    """Nothing is ready and no timer is set: every task waits for something that cannot come."""


class SimLivelock(SimError):
    """The loop turns and turns and the clock stands still."""


_WHEN, _NUMBER, _CALL, _CONTEXT, _LOOP = range(5)


class _Handle(list):
    """What call_soon and call_at give back: [when, number, call, context, loop], its own entry in the heap.

    One is made for every callback of a run, so it is built and compared in C: no two timers share a number. A number of
    0 waits in no heap (any more). The call is callback and arguments in one tuple, None once it is cancelled.
    """

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]

    def cancel(self) -> None:
        if self[_CALL] is not None:
            self[_CALL] = None
            if self[_NUMBER]:
                self[_LOOP]._one_more_cancelled()

    def cancelled(self) -> bool:
        return self[_CALL] is None

    def when(self) -> float:
        return self[_WHEN]

    def __repr__(self) -> str:
        return f"<_Handle at {self[_WHEN]:.9g} s: {'cancelled' if self.cancelled() else owner_of(self[_CALL])}>"


class VirtualLoop(base_events.BaseEventLoop):
    """An asyncio loop in virtual time.

    seed: everything random in a run comes from it, through `rng(name)`. pace: None runs as fast as the machine can,
    N holds the clock back to N times real time. start_s: loop time at the start. epoch_ns: what a wall clock would show
    at loop time 0, in ns since 1970. tie_shuffle: draw the order of timers of one instant from the seed (asyncio
    promises none). passes_per_instant: how often the loop may turn without the clock moving.

    Attributes that may be changed during a run: `pace`; `inline_delay_s`, the virtual time that a function given to
    `run_in_executor` takes; `net_latency_s`, one way, of the in-memory TCP connections; `epoch_ns`, where a wall clock
    is set anew.
    """

    is_virtual = True

    # With these beside BaseEventLoop's own in one dictionary, CPython would look up every method the slow way.
    __slots__ = (
        "_now", "_passes", "_passes_bound", "_signal_handles", "_ties", "_timer_number", "_timers", "_timers_dropped",
        "_wall_at_zero", "create_future", "epoch_ns", "failures", "halted", "inline_delay_s", "memory_servers",
        "net_latency_s", "next_port", "pace", "processes", "seed",
    )  # fmt: skip

    # what BaseEventLoop keeps and its stubs do not tell
    _ready: deque[Any]
    _closed: bool
    _stopping: bool
    _exception_handler: Callable[..., Any] | None
    _timer_cancelled_count: int
    _asyncgens: weakref.WeakSet[Any]

    def __init__(
        self,
        seed: int = 0,
        pace: float | None = None,
        start_s: float = 0.0,
        epoch_ns: int = RUN_START_EPOCH_NS,
        tie_shuffle: bool = False,
        passes_per_instant: int = 100_000,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.pace = pace
        self.epoch_ns = epoch_ns
        self.inline_delay_s = 0.0
        self.net_latency_s = 0.0002
        self.failures: list[BaseException] = []
        self._now = float(start_s)
        self._timers: list[_Handle] = []  # a heap
        self._timer_number = 0
        self._timers_dropped = 0  # out of the heap because they had been cancelled
        self._ties = self.rng("tie order") if tie_shuffle else None
        self._passes = 0
        self._passes_bound = passes_per_instant
        self._wall_at_zero: float | None = None
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self._signal_handles: dict[int, tuple[_Handle, Any]] = {}
        self.processes: list[VirtualProcess] = []
        self.halted: set[VirtualProcess] = set()  # those that are held or dead
        self.memory_servers: dict[tuple[str, int], MemoryServer] = {}
        self.next_port = 49152
        refused = ""
        if pace is not None and not 0 < pace < inf:
            refused = f"pace is {pace}: give the times of real time to run at, or None to run flat out"
        elif not -inf < start_s < inf:
            refused = f"start_s is {start_s}: give the loop's time at the start, a number of seconds"
        if refused:
            self.close()  # whole, so that its __del__ has nothing to say
            raise ValueError(refused)

    # ---- what a run may draw on -------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    @property
    def fired(self) -> int:
        """Timers that have fired: what benchmarks count."""
        return self._timer_number - len(self._timers) - self._timers_dropped

    @property
    def turn(self) -> tuple[float, int]:
        """Another whenever the loop has turned: its instant, and how many passes that has had."""
        return self._now, self._passes

    def rng(self, name: str) -> random.Random:
        """A stream of random numbers of its own for `name`: adding a component does not shift the others'."""
        digest = hashlib.blake2b(f"{self.seed}:{name}".encode(), digest_size=8).digest()
        return random.Random(int.from_bytes(digest, "big"))

    # ---- the turn of the loop ---------------------------------------------------------------------------------------

    # `call` is callback and arguments, as they come: no other tuple is made of them before they are called

    def call_soon(self, *call, context=None):  # type: ignore[override]
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = _Handle((self._now, 0, call, copy_context() if context is None else context, self))
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, *call, context=None):  # type: ignore[override]
        return self.call_soon(*call, context=context)  # one thread, no self-pipe

    def call_at(self, when, *call, context=None):  # type: ignore[override]
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if not when < inf:
            raise ValueError(f"a timer at {when} s would never fire")
        self._timer_number = number = self._timer_number + 1
        handle = _Handle((when, number, call, copy_context() if context is None else context, self))
        heappush(self._timers, handle)
        return handle

    def call_later(self, delay, *call, context=None):  # type: ignore[override]
        return self.call_at(self._now + delay, *call, context=context)

    def _one_more_cancelled(self) -> None:
        self._timer_cancelled_count = count = self._timer_cancelled_count + 1
        if count > _COMPACT_AFTER and count > len(self._timers) // 2:
            before = len(self._timers)
            self._timers[:] = [timer for timer in self._timers if timer[_CALL] is not None]
            heapify(self._timers)
            self._timers_dropped += before - len(self._timers)
            self._timer_cancelled_count = 0

    def _drop_one(self) -> None:
        """A cancelled timer has come out of the heap."""
        self._timer_cancelled_count -= 1
        self._timers_dropped += 1

    def _run_once(self) -> None:
        """Run passes until somebody stops the loop. As in asyncio a pass runs what was ready when it began."""
        ready, timers, halted, failures = self._ready, self._timers, self.halted, self.failures
        next_ready = ready.popleft
        if self._stopping and not ready:
            return
        while True:
            call: Any = None
            try:
                if ready:
                    if timers and timers[0][_WHEN] <= self._now:  # the rest of this instant
                        self._collect_due()
                    self._passes = passes = self._passes + 1
                    if passes > self._passes_bound:
                        raise SimLivelock(self._time_stands_still())
                    for _ in range(len(ready)):
                        handle = next_ready()
                        _, _, call, context, _ = handle
                        if call is not None and not (halted and self._keeps_back(handle)):
                            context.run(*call)
                elif self.pace is None or self._hold_back():
                    if not timers:
                        raise SimDeadlock(self._everybody_waits())
                    timer = heappop(timers)
                    when, _, call, context, _ = timer
                    if call is None:
                        self._drop_one()
                    elif when > self._now and (not timers or timers[0][_WHEN] > when):
                        self._now = when  # exact: no rounding adds up
                        self._passes = 0
                        timer[_NUMBER] = 0  # all there is to do in its instant, it need not queue
                        if not halted or not self._keeps_back(timer):
                            context.run(*call)
                    else:
                        if when > self._now:
                            self._now = when
                            self._passes = 0
                        heappush(timers, timer)
                        self._collect_due()
            except (SystemExit, KeyboardInterrupt, SimDeadlock, SimLivelock):
                raise
            except Killed:
                pass  # a simulated process has died in this step; the world goes on
            except asyncio.CancelledError:
                pass  # asyncio's own stream callbacks let it out; it says nothing about the run
            except BaseException as error:
                error.add_note(f"raised at t = {self._now:.9g} s by {'a signal' if call is None else owner_of(call)}")
                failures.append(error)
            if failures:
                raise failures[0]
            if self._stopping:
                return

    # ---- processes --------------------------------------------------------------------------------------------------

    def host(self, process: VirtualProcess) -> None:
        """A process lives on this loop from now on: its tasks and generators are noted."""
        self.processes.append(process)
        self.set_task_factory(process_task_factory)  # type: ignore[arg-type]

    def take_back(self, handles: list[Any]) -> None:
        """Run callbacks that were kept back while their process was held, in their order; cancelled ones are not."""
        self._ready.extend(handles)

    def living_tasks(self) -> list[asyncio.Task[Any]]:
        """Those that are not done, in the order of their names: of a dead process none would ever end."""
        dead = [process for process in self.processes if process.is_dead]
        return in_name_order(task for task in asyncio.all_tasks(self) if not any(p.owns(task) for p in dead))

    def forget_generator(self, generator: Any) -> None:
        """Do not end an asynchronous generator of a dead process when the loop shuts down."""
        self._asyncgens.discard(generator)

    def _keeps_back(self, handle: _Handle) -> bool:
        """Whether a callback belongs to a process that does not run, which has it now."""
        process = process_of(handle[_CONTEXT])
        if process is None or process not in self.halted:
            return False
        process.keep_back(handle)
        return True

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]
        process = current_process()
        if process is not None:
            process.adopt_generator(agen)

    def _collect_due(self) -> None:
        """Move the timers whose time has come to the ready queue, in the order in which they were set."""
        ready, timers, now = self._ready, self._timers, self._now
        before = len(ready)
        while timers and timers[0][_WHEN] <= now:
            timer = heappop(timers)
            timer[_NUMBER] = 0
            if timer[_CALL] is None:
                self._drop_one()
            else:
                ready.append(timer)
        due = len(ready) - before
        if self._ties is not None and due > 1:
            last = [ready.pop() for _ in range(due)]
            self._ties.shuffle(last)
            ready.extend(last)

    def _hold_back(self) -> bool:
        """Sleep until the next timer is due in real time. False if a signal made something ready before."""
        pace, timers = self.pace, self._timers
        assert pace is not None
        while timers and timers[0][_CALL] is None:
            heappop(timers)
            self._drop_one()
        if not timers or (when := timers[0][_WHEN]) <= self._now:
            return True
        if self._wall_at_zero is None:
            self._wall_at_zero = wall.perf_counter() - self._now / pace
        while True:
            real = wall.perf_counter()
            early_s = self._wall_at_zero + when / pace - real
            if self._ready:
                self._now = min(when, max(self._now, (real - self._wall_at_zero) * pace))
                self._passes = 0
                return False
            if early_s <= 0:
                if -early_s > _PACE_SLIP_S:
                    self._wall_at_zero -= early_s
                return True
            wall.sleep(min(early_s, _PACE_SLICE_S))

    # ---- what goes wrong --------------------------------------------------------------------------------------------

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio would log this and go on; here it fails the run at the end of the pass."""
        if self._exception_handler is not None:
            super().call_exception_handler(context)
            return
        error = context.get("exception")
        if isinstance(error, Killed):
            return  # nobody is left to retrieve what a dead process ended with
        message = context.get("message") or "an event loop callback failed"
        if error is None:
            error = SimError(f"{message} ({', '.join(f'{k}: {v!r}' for k, v in context.items() if k != 'message')})")
        else:
            error.add_note(f"at t = {self._now:.9g} s: {message}")
        self.failures.append(error)

    def _everybody_waits(self) -> str:
        rows = [f"at t = {self._now:.9g} s nothing is ready and no timer is set. Waiting for what cannot come:"]
        rows += [f"  {described(task)}" for task in in_name_order(asyncio.all_tasks(self))]
        return "\n".join(rows)

    def _time_stands_still(self) -> str:
        rows = [f"after {self._passes_bound} passes of the loop the clock still shows {self._now:.9g} s. Running:"]
        seen = dict.fromkeys(owner_of(handle[_CALL]) for handle in self._ready if not handle.cancelled())
        return "\n".join(rows + [f"  {name}" for name in list(seen)[:20]])

    # ---- what real loops have and this one does without --------------------------------------------------------------

    def run_in_executor(self, executor, func, *args):  # type: ignore[override]
        """Run `func` here and now; its result comes `inline_delay_s` of virtual time later. There are no threads."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            deliver: tuple = (_settle, future, None, error)
        else:
            deliver = (_settle, future, result, None)
        if self.inline_delay_s > 0:
            self.call_later(self.inline_delay_s, *deliver)
        else:
            self.call_soon(*deliver)
        return future

    def add_reader(self, fd, callback, *args):  # type: ignore[override]
        raise NotImplementedError("virtual time has no file descriptors to wait for: use a sim: wire or in-memory TCP")

    def add_writer(self, fd, callback, *args):  # type: ignore[override]
        self.add_reader(fd, callback, *args)

    def remove_reader(self, fd):
        return False

    def remove_writer(self, fd):
        return False

    def add_signal_handler(self, sig, callback, *args):  # type: ignore[override]
        """As in asyncio: `callback` runs on the loop, between steps, when the process gets the (real) signal."""
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        previous = self._signal_handles[sig][1] if sig in self._signal_handles else signal.getsignal(sig)
        try:
            signal.signal(sig, self._on_signal)
        except ValueError as error:  # not in the main thread
            raise RuntimeError(str(error)) from None
        self._signal_handles[sig] = (_Handle((self._now, 0, (callback, *args), copy_context(), self)), previous)

    def remove_signal_handler(self, sig):
        if sig not in self._signal_handles:
            return False
        _, previous = self._signal_handles.pop(sig)
        signal.signal(sig, previous)
        return True

    def _on_signal(self, sig: int, frame: FrameType | None) -> None:
        entry = self._signal_handles.get(sig)
        if entry is not None:
            self._ready.append(entry[0])

    async def create_connection(self, protocol_factory, host=None, port=None, **options):
        return await open_memory_connection(self, protocol_factory, host, port, options)

    async def create_server(self, protocol_factory, host=None, port=None, **options):
        return MemoryServer.listen(self, protocol_factory, host, port, options)

    async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        return [(2, 1, 6, "", (host or "0.0.0.0", port))]  # AF_INET, SOCK_STREAM, TCP: names are not looked up

    async def shutdown_default_executor(self, timeout=None):
        return

    def _write_to_self(self) -> None:
        return

    def _process_events(self, event_list: object) -> None:
        return

    def close(self) -> None:
        for sig in list(self._signal_handles):
            self.remove_signal_handler(sig)
        self._timers.clear()
        super().close()
        for process in self.processes:
            process.bury()
        self.processes.clear()


def _settle(future: asyncio.Future, result: object, error: Exception | None) -> None:
    if future.done():  # cancelled by who waited
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
