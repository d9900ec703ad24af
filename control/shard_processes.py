"""Workers of `control.shards` on this machine: spawned processes, each with a pipe of its own and one item at a time.

A standard pool breaks as a whole when one of its processes dies, and cannot say which item killed it. Here each process
is known by its item: another takes its place, and the item goes again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from control.shards import Ended, Reply, ShardError, answer

END_S_MAX = 5.0


class _Worker:
    """One process, and the item that it has."""

    def __init__(self, function: bytes, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(far, function), daemon=True)
        self.index: int | None = None
        with _interrupts_held_back(), _variables(environment):
            self.process.start()
        far.close()

    def end(self) -> str:
        """End it, in a way that lets it remove a half-written file; how it ended."""
        self.process.terminate()
        self.process.join(END_S_MAX)
        self.process.kill()
        self.process.join(END_S_MAX)
        self.pipe.close()
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


class ProcessCrew:
    """`jobs` processes; at most as many items are under way, the others wait in line."""

    def __init__(
        self, function: Callable[[Any], Any], jobs: int, tries: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.tries = tries
        self._environment = dict(environment or {})
        self._jobs = jobs
        self._function = pickle.dumps(function)
        self._waiting: deque[tuple[int, Any]] = deque()
        self._workers: list[_Worker] = []

    def width(self) -> int:
        """As many as there are processes."""
        return self._jobs

    def put(self, index: int, item: Any) -> None:
        """To a free process, a new one if there may be more, or in line."""
        self._waiting.append((index, item))
        self._hand_out()

    def take(self, wait_s: float) -> list[Ended]:
        """Answers, and items whose process died."""
        busy = [worker for worker in self._workers if worker.index is not None]
        ended: list[Ended] = []
        for ready in connection.wait([worker.pipe for worker in busy], wait_s):
            worker = next(one for one in busy if one.pipe is ready)
            ended.append(self._heard(worker))
        self._hand_out()
        return ended

    def absent(self) -> None:
        """Never: whoever dies is replaced."""

    def close(self) -> None:
        """End every process: what they do is pure, and nobody waits for it."""
        for worker in self._workers:
            worker.process.terminate()  # all at once, so that none is waited for alone
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            worker = next((one for one in self._workers if one.index is None), None)
            if worker is None:
                if len(self._workers) >= self._jobs:
                    return
                worker = _Worker(self._function, self._environment)
                self._workers.append(worker)
            index, item = self._waiting.popleft()
            worker.index = index
            with contextlib.suppress(BrokenPipeError):  # it has died just now: take() hears of it
                worker.pipe.send(item)

    def _heard(self, worker: _Worker) -> Ended:
        index = worker.index
        assert index is not None, "only busy workers are listened to"
        try:
            reply = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._workers.remove(worker)
            how = worker.end()
            return Ended(index, lost=how)
        worker.index = None
        if not isinstance(reply, Reply):
            raise ShardError(f"a worker process cannot do this work: {reply}")
        return reply.ended(index, "this machine")


def _serve(pipe: connection.Connection, function: bytes) -> None:
    """A worker process: items in, replies out, until the pipe is closed at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: who started us ends us
    signal.signal(signal.SIGTERM, _leave)
    try:
        work = pickle.loads(function)
    except Exception as error:
        pipe.recv()
        pipe.send(f"{type(error).__name__}: {error}")
        return
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is left who would listen
        while True:
            reply = answer(work, pipe.recv())
            try:
                pipe.send(reply)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                pipe.send(f"its result cannot travel: {error}")


def _leave(_number: int, _frame: object) -> None:
    """Told to end in mid-work: it cleans up, and what breaks off with it is nobody's news, on no one's terminal.

    As by Ctrl-C: of a SystemExit whoever judges somebody's code would think that this code has raised it.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A Ctrl-C waits until a process is started, and the process is born deaf to it: its imports would tell of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Ours are these meanwhile: a spawned interpreter takes what it finds when it starts (PYTHONHASHSEED)."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
