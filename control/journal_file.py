"""The journal's SQLite file: each write is one transaction, whole on the disk or not there at all.

Writes of a session go through one worker, in order, so that the loop does not wait for the disk; in virtual time they
are made inline. A session takes its room on the disk first: later commits overwrite, and a disk that others fill up
leaves the journal its room.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from control.errors import MoonkilnError

RESERVED_BYTES = 1 << 20  # written once at the start: later commits overwrite, where growing a file costs twice as much
CHECKPOINT_PAGES = 200  # the write-ahead log begins anew before it outgrows what is reserved

Statement = tuple[str, Sequence[Any]]
"""SQL, and the values for its question marks."""


class JournalError(MoonkilnError):
    """The journal cannot be written or read; a run without one must not go on."""

    exit_code = 2


class JournalFile:
    """One SQLite file in write-ahead mode with full sync. Every method raises JournalError with a sentence.

    `opened`: a connection for reading that is the caller's own.
    """

    def __init__(self, path: Path, opened: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._worker: ThreadPoolExecutor | None = None
        self._inline = True
        if opened is not None:
            self._db = opened
            return
        with sentences(path):
            # One worker thread writes and the loop's thread reads only while no write is under way.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        with sentences(self.path):
            return self._db.execute(query, values).fetchall()

    def write(self, *statements: Statement) -> None:
        """Carry out statements as one transaction; on the disk when this returns."""
        with sentences(self.path):
            self._transact(statements)

    async def commit(self, *statements: Statement) -> None:
        """The same beside the loop, behind what was asked for before."""
        if self._inline:
            self.write(*statements)
            return
        assert self._worker is not None, "the journal is closed"
        await asyncio.get_running_loop().run_in_executor(self._worker, self.write, *statements)

    def begin_session(self) -> None:
        """Take the room that a session's commits will need, in the log and in the file, and start the worker."""
        self.write(("drop table if exists reserve", ()))  # of a host that was killed in these lines
        self.write(("create table reserve (room blob)", ()))
        self.write(("insert into reserve values (zeroblob(?))", (RESERVED_BYTES,)))
        self.write(("drop table reserve", ()))
        self.write(("pragma wal_checkpoint(full)", ()))
        if getattr(asyncio.get_running_loop(), "is_virtual", False):
            # Full sync is for a power cut, and a simulated world does not outlive one: nothing could be resumed.
            self._db.execute("pragma synchronous = off")
        else:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="journal")
            self._inline = False

    def close(self) -> None:
        """Everything committed, the write-ahead log folded in, the file closed. Harmless twice."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)
            self._worker = None
        self._db.close()

    def _transact(self, statements: Sequence[Statement]) -> None:
        """Outside a transaction a statement is one of its own: all or nothing."""
        if len(statements) == 1:
            self._db.execute(*statements[0])
            return
        self._db.execute("begin immediate")
        try:
            for statement in statements:
                self._db.execute(*statement)
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise
        self._db.execute("commit")


class sentences:
    """Turns SQLite's errors into a sentence that says what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        text = str(error)
        if "full" in text:
            advice = "the disk is full; free space, then resume the run"
        elif "locked" in text:
            advice = "another moonkiln holds this run; stop it first"
        elif "not a database" in text or "malformed" in text or "no such table" in text:
            advice = "the file is not a moonkiln journal, or it was damaged"
        else:
            advice = "check the disk and the folder's permissions"
        raise JournalError(f"the journal {self._path} failed ({text}): {advice}") from error
