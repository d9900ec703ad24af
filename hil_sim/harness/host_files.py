"""A simulated host's disk: each write may be refused, be slow, be torn, or be the moment at which the host dies.

A host that dies leaves what the operating system had taken from it: whole files as they were, a log without what was
still in the program's own buffer, a journal with its write-ahead log as it stood, torn where the write was torn. What
the dead host would still like to write goes nowhere.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from control.host import WAITING_BYTES_MAX, Files, JournalFile, too_slow
from hil_sim.virtual_process import Killed, VirtualProcess
from hil_sim.world.faults.process import ERRNO, FILES, JOURNAL, TELEMETRY
from hil_sim.world.faults.schedule import Fault, Faults

LOG_BUFFER_BYTES = io.DEFAULT_BUFFER_SIZE
_SQLITE_SAYS = {"enospc": "database or disk is full", "eio": "disk I/O error"}


class FaultyFiles(Files):
    """The file system as one host process sees it. `dead_by` is the fault that killed the process, if one did."""

    def __init__(self, faults: Faults, process: VirtualProcess) -> None:
        self.dead_by: Fault | None = None
        self.writes = 0
        self._faults = faults
        self._process = process
        self._freed_bytes = 0  # by files taken away: a full disk has that much room again
        self._journals: list[FaultyJournalFile] = []
        self._logs: list[_LogFile] = []
        self._locks: list[AbstractContextManager[None]] = []
        process.at_death(self._let_go)

    # -- the port -----------------------------------------------------------------------------------------------------

    def write_whole(self, path: Path, content: bytes) -> None:
        """As Files.write_whole; one write."""
        beside = path.with_name(f".{path.name}.part")

        def torn(count: int) -> None:
            beside.write_bytes(content[:count])

        with self.writing(FILES, path, len(content), torn):
            super().write_whole(path, content)

    def copy_whole(self, source: Path, path: Path) -> None:
        """As Files.copy_whole; one write."""
        self.write_whole(path, source.read_bytes())

    def open_log(self, path: Path) -> BinaryIO:
        """As Files.open_log; each time that the buffer is emptied is a write."""
        self._refuse_the_dead()
        log = _LogFile(self, path)
        self._logs.append(log)
        return io.BufferedWriter(log, LOG_BUFFER_BYTES)

    def open_journal(self, path: Path) -> JournalFile:
        """As Files.open_journal; each transaction is a write."""
        self._refuse_the_dead()
        journal = FaultyJournalFile(self, path)
        self._journals.append(journal)
        return journal

    def rename(self, path: Path, to: Path) -> None:
        """As Files.rename; needs no room."""
        self._refuse_the_dead()
        super().rename(path, to)

    def remove(self, path: Path) -> None:
        """As Files.remove; what it took is free again."""
        self._refuse_the_dead()
        if path.exists():
            self._freed_bytes += path.stat().st_size
        super().remove(path)

    def hold(self, folder: Path) -> AbstractContextManager[None]:
        """As Files.hold; the operating system lets go of it when the process dies."""
        return self._held(super().hold(folder))

    @contextmanager
    def _held(self, lock: AbstractContextManager[None]) -> Iterator[None]:
        lock.__enter__()
        self._locks.append(lock)
        try:
            yield
        finally:
            if lock in self._locks:
                self._locks.remove(lock)
                lock.__exit__(None, None, None)

    # -- what strikes a write -----------------------------------------------------------------------------------------

    def next_fault(self, point: str) -> Fault | None:
        """Count a write at `point`, and at that of all writes, and return what strikes it."""
        self._refuse_the_dead()
        self.writes += 1
        now_s = asyncio.get_running_loop().time()
        special = self._faults.event(point, now_s) if point != FILES else None
        return self._faults.event(FILES, now_s) or special

    @contextmanager
    def writing(
        self,
        point: str,
        path: Path,
        size: int,
        torn: Callable[[int], None],
        slow: Callable[[float], None] | None = None,
    ) -> Iterator[None]:
        """A write of `size` bytes in the block, under what strikes it; `torn(n)` writes the first n of them, `slow(s)`
        is told how long it takes, where somebody writes beside the loop.

        Raises:
            OSError: it was refused. Killed: the host died of it.
        """
        fault = self.next_fault(point)
        if fault is not None:
            if fault.kind in ERRNO and not self._has_room(fault, size):
                raise OSError(ERRNO[fault.kind], os.strerror(ERRNO[fault.kind]), str(path))
            if fault.kind == "slow_disk" and slow is not None:
                slow(delay_s(fault))
            elif fault.kind == "slow_disk":  # nobody writes these beside the loop: it stands meanwhile
                self._process.hold(asyncio.get_running_loop().time() + delay_s(fault))
            elif fault.kind == "torn_write":
                torn(torn_bytes(fault, size))
                self.die(fault)
            elif fault.kind == "crash" and not dies_after(fault):
                self.die(fault)
        yield
        if fault is not None and fault.kind == "crash":
            self.die(fault)

    def die(self, fault: Fault) -> None:
        """The host dies here and now. Always raises Killed."""
        self.dead_by = fault
        self._process.kill(f"{fault.kind} at write {self.writes - 1}")
        raise Killed(fault.kind)

    def _has_room(self, fault: Fault, size: int) -> bool:
        if fault.kind == "enospc" and size <= self._freed_bytes:
            self._freed_bytes -= size
            return True
        return False

    def _refuse_the_dead(self) -> None:
        if self._process.is_dead:
            raise Killed("a dead host writes nothing")

    def _let_go(self) -> None:
        """What the operating system does when the process ends."""
        for log in self._logs:
            log.drop()
        for journal in self._journals:
            journal.abandon()
        for lock in self._locks:
            lock.__exit__(None, None, None)
        self._locks.clear()


class _LogFile(io.FileIO):
    """A growing file, unbuffered, written beside the loop: on a slow disk a piece is there only when its time has come.
    What comes after the host's death is dropped, and so is what still waited.
    """

    def __init__(self, files: FaultyFiles, path: Path) -> None:
        super().__init__(path, "w")
        self._files = files
        self._path = path
        self._dropped = False
        self._waiting: deque[tuple[float, bytes]] = deque()  # when each is on the disk
        self._taken_bytes = 0
        self._free_s = 0.0  # when the disk has done what was asked before

    def write(self, data: Any, /) -> int:
        """One write of the host."""
        if self._dropped:
            return len(data)
        content = bytes(data)

        def torn(count: int) -> None:
            super(_LogFile, self).write(content[:count])

        self._settle(asyncio.get_running_loop().time())
        waiting_bytes = sum(len(piece) for _, piece in self._waiting)
        if waiting_bytes + len(content) > WAITING_BYTES_MAX:
            raise too_slow(self._path, waiting_bytes)
        with self._files.writing(TELEMETRY, self._path, len(content), torn, self._takes):
            self._waiting.append((self._free_s, content))
        self._settle(asyncio.get_running_loop().time())
        self._taken_bytes += len(content)
        return len(content)

    def tell(self) -> int:
        """How much was taken, on the disk or waiting for it."""
        return self._taken_bytes

    def close(self) -> None:
        """What waits is waited for, and the file closed."""
        if not self.closed and not self._dropped:
            self._settle(math.inf)
        super().close()

    def drop(self) -> None:
        """The host is dead: nothing more is written."""
        self._settle(asyncio.get_running_loop().time())
        self._dropped = True

    def _takes(self, delay_s: float) -> None:
        self._free_s = max(self._free_s, asyncio.get_running_loop().time()) + delay_s

    def _settle(self, until_s: float) -> None:
        while self._waiting and self._waiting[0][0] <= until_s:
            super().write(self._waiting.popleft()[1])


class FaultyJournalFile(JournalFile):
    """The journal's file: a write is a transaction; a torn one leaves the write-ahead log torn."""

    def __init__(self, files: FaultyFiles, path: Path) -> None:
        self._files = files
        self._order = asyncio.Lock()
        self._slow_s = 0.0
        self._closed = False
        super().__init__(path)

    async def commit(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """As JournalFile.commit; on a slow disk it takes that long, one behind the other."""
        async with self._order:
            self.write(*statements)
            slow_s, self._slow_s = self._slow_s, 0.0
            if slow_s:
                await asyncio.sleep(slow_s)

    def close(self) -> None:
        """As JournalFile.close."""
        self._closed = True
        super().close()

    def abandon(self) -> None:
        """The host is dead: the file and its write-ahead log stay as they are. Closing alone would fold the log in."""
        if not self._closed:
            self._leave(self._state())

    def _transact(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        fault = self._files.next_fault(JOURNAL)
        if fault is None:
            super()._transact(statements)
            return
        if fault.kind == "torn_write":
            self._tear(fault, statements)
        if fault.kind == "crash" and not dies_after(fault):
            self._files.die(fault)
        if fault.kind == "eio" or (fault.kind == "enospc" and fault.point == JOURNAL):
            raise sqlite3.OperationalError(_SQLITE_SAYS[fault.kind])
        sizes = self._sizes()
        super()._transact(statements)
        if fault.kind == "crash":
            self._files.die(fault)
        elif fault.kind == "slow_disk":
            self._slow_s = delay_s(fault)
        elif fault.kind == "enospc" and any(now > then for now, then in zip(self._sizes(), sizes, strict=True)):
            raise sqlite3.OperationalError(_SQLITE_SAYS["enospc"])  # it has outgrown the room that it had taken

    def _tear(self, fault: Fault, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        """Only the beginning of what this transaction adds to the write-ahead log is on the disk."""
        main, log = self._state()
        super()._transact(statements)
        _, whole = self._state()
        same = np.frombuffer(log.ljust(len(whole), b"\0")[: len(whole)], np.uint8) == np.frombuffer(whole, np.uint8)
        differs = np.flatnonzero(~same)
        if len(differs):
            first, last = int(differs[0]), int(differs[-1]) + 1
            cut = first + torn_bytes(fault, last - first)
            log = whole[:cut] + log[cut:]
        self._leave((main, log))
        self._files.die(fault)

    def _state(self) -> tuple[bytes, bytes]:
        log = _log_of(self.path)
        return self.path.read_bytes(), log.read_bytes() if log.exists() else b""

    def _sizes(self) -> tuple[int, int]:
        log = _log_of(self.path)
        return self.path.stat().st_size, log.stat().st_size if log.exists() else 0

    def _leave(self, state: tuple[bytes, bytes]) -> None:
        """Close the file and put back how it stood: closing writes, and a dead host does not."""
        self._closed = True
        self._db.close()
        main, log = state
        self.path.write_bytes(main)
        if log:
            _log_of(self.path).write_bytes(log)
        self.path.with_name(self.path.name + "-shm").unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def delay_s(fault: Fault) -> float:
    """How long a slow disk takes for a write."""
    return float(fault.arg("delay_s", 0.2))


def torn_bytes(fault: Fault, size: int) -> int:
    """How many bytes of a torn write of `size` are on the disk: fewer than all."""
    return int(fault.arg("bytes", 1)) % max(1, size)


def dies_after(fault: Fault) -> bool:
    """Whether a crash lets the write through first."""
    return str(fault.arg("when", "before")) == "after"
