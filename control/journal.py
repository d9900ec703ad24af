"""The run's journal: an SQLite write-ahead record of what may have been sent, what was taken and what was declared.

The journal is the run. A line may go out only after a row that covers it is on the disk, so a host that dies can be
followed by another that knows the latest line the machine may have seen. Acknowledged lines are noted too, in the
same commit as the next group or 100 ms later, whichever comes first: `ok` means taken into the planner, not done, so
on a resume the lines that may still have waited in the machine are counted back from there.

`run` holds what a resume needs (job hash, session count), `layer` one row a layer with its phase, `sent` the
write-ahead groups, `declared` what the outcome must own up to, `event` the story in sentences.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from control.files import files
from control.journal_file import JournalError, JournalFile

SCHEMA_VERSION = 1
FLUSH_S = 0.1  # an acknowledgement that no group of lines takes along waits no longer than this for a commit
PLANNED_BLOCKS = 16  # what the motion controller's planner holds beyond what it has done

_TABLES = (
    "create table run (key text primary key, value text not null) without rowid",
    "create table layer ("
    " layer integer primary key, phase text not null, attempt integer not null, base_block integer not null,"
    " acked integer not null, blocks integer not null, energy_j real not null, doubt_from integer, at_s real not null)",
    "create table sent ("
    " attempt integer not null, layer integer not null, first integer not null, last integer not null,"
    " acked integer not null, at_s real not null)",
    "create table declared ("
    " kind text not null, layer integer not null, first_block integer not null, last_block integer not null)",
    "create table event (session integer not null, at_s real not null, level text not null, text text not null)",
)

__all__ = ["Declaration", "Journal", "JournalError", "LayerPhase", "LayerRecord", "LayerStream"]


class LayerPhase(Enum):
    """How far a layer got. Only COMMITTED says that each of its blocks was exposed and the motion had ended."""

    PREPARING = "preparing"  # piston, powder, picture
    EXPOSING = "exposing"
    COMMITTED = "committed"


@dataclass(frozen=True)
class LayerRecord:
    """What the journal holds of one layer's newest attempt.

    An attempt streams the program of the layer's vectors from `base_block` on; every block before it is certain.
    Lines count from 0 in that program; -1 means none.
    """

    layer: int
    phase: LayerPhase
    base_block: int
    acked_line: int  # the newest acknowledgement on disk, at which the head was still seen to fire
    sent_line: int  # the last line that may have been sent
    blocks: int
    energy_j: float
    doubt_from: int | None  # the host saw the beam fail from this line on


@dataclass(frozen=True)
class Declaration:
    """Something the outcome owns up to; kinds as in the outcome's schema."""

    kind: str  # interrupted | re_exposed | skipped | recoated
    layer: int
    first_block: int
    last_block: int


class Journal:
    """One run's journal. Writes go through one worker, in order; reads are for the start of a resume."""

    def __init__(self, file: JournalFile) -> None:
        self.path = file.path
        self._file = file
        self._session = 0
        self._attempt = 0

    # -- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, facts: dict[str, str]) -> Journal:
        """A new journal with the run's facts. Raises JournalError where the file exists or cannot be made."""
        if path.exists():
            raise JournalError(
                f"{path} exists already: a run is never written over; resume it or choose another folder"
            )
        journal = cls(files().open_journal(path))
        rows = {"schema_version": str(SCHEMA_VERSION), "sessions": "0", **facts}
        journal._file.write(
            *((table, ()) for table in _TABLES), *(("insert into run values (?, ?)", row) for row in rows.items())
        )
        return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """An existing journal. Raises JournalError: absent, empty, damaged, or written by a newer moonkiln."""
        if not path.is_file():
            raise JournalError(f"{path} does not exist: this folder holds no run to resume")
        journal = cls(files().open_journal(path))
        if not journal._file.read("select 1 from sqlite_schema limit 1"):
            journal.close()
            raise JournalError(f"{path} is empty: the run's host died before it began; print again, in another folder")
        version = int(journal.fact("schema_version"))
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{path} has schema version {version}, this moonkiln reads up to {SCHEMA_VERSION}: upgrade"
            )
        return journal

    def begin_session(self) -> int:
        """Count one more host at work on this run and return its number, from 1."""
        self._session = int(self.fact("sessions")) + 1
        self._attempt = self._file.read("select coalesce(max(attempt), 0) from layer")[0][0]
        self._file.write(("update run set value = ? where key = 'sessions'", (str(self._session),)))
        self._file.begin_session()
        return self._session

    def close(self) -> None:
        """Everything committed, the write-ahead log folded in, the file closed. Harmless twice."""
        self._file.close()

    # -- reading ------------------------------------------------------------------------------------------------

    def fact(self, key: str) -> str:
        """One of the run's facts. Raises JournalError when the journal does not hold it."""
        rows = self._file.read("select value from run where key = ?", (key,))
        if not rows:
            raise JournalError(f"{self.path} does not say {key!r}: it is not a moonkiln run, or it was damaged")
        return str(rows[0][0])

    def layers(self) -> list[LayerRecord]:
        """Every layer that was begun, in order."""
        rows = self._file.read(
            "select l.layer, l.phase, l.base_block, max(l.acked, coalesce(max(s.acked), -1)),"
            " coalesce(max(s.last), -1), l.blocks, l.energy_j, l.doubt_from"
            " from layer l left join sent s on s.layer = l.layer and s.attempt = l.attempt"
            " group by l.layer order by l.layer"
        )
        return [LayerRecord(row[0], LayerPhase(row[1]), *row[2:]) for row in rows]

    def declarations(self) -> list[Declaration]:
        """What has been declared so far, over all sessions."""
        return [Declaration(*row) for row in self._file.read("select * from declared order by rowid")]

    def events(self) -> list[tuple[int, float, str, str]]:
        """(session, loop seconds, level, sentence) in the order of writing."""
        rows = self._file.read("select session, at_s, level, text from event order by rowid")
        return [(session, at_s, level, text) for session, at_s, level, text in rows]

    # -- writing ------------------------------------------------------------------------------------------------

    async def prepare_layer(self, layer: int, *, blocks: int) -> None:
        """Note that a layer's powder is being laid; durable on return."""
        await self._layer(layer, LayerPhase.PREPARING, blocks=blocks)

    async def expose_layer(self, layer: int, *, blocks: int, base_block: int) -> None:
        """Note a new attempt: a layer is exposed from `base_block` on, all before it certain; durable on return."""
        self._attempt += 1
        await self._layer(layer, LayerPhase.EXPOSING, blocks=blocks, base_block=base_block)

    async def commit_layer(self, layer: int, *, blocks: int, energy_j: float) -> None:
        """Note that each block of a layer was exposed and the motion had ended; durable on return."""
        await self._layer(layer, LayerPhase.COMMITTED, blocks=blocks, base_block=blocks, energy_j=energy_j)

    async def _layer(
        self, layer: int, phase: LayerPhase, *, blocks: int, base_block: int = 0, energy_j: float = 0.0
    ) -> None:
        now = asyncio.get_running_loop().time()
        values = (layer, phase.value, self._attempt, base_block, -1, blocks, energy_j, None, now)
        await self._commit("insert or replace into layer values (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    async def declare(self, declaration: Declaration) -> None:
        """Own up to something; durable on return."""
        d = declaration
        await self._commit("insert into declared values (?, ?, ?, ?)", (d.kind, d.layer, d.first_block, d.last_block))

    async def event(self, level: str, text: str) -> None:
        """Add a sentence to the story; durable on return. Levels: info, warning, error."""
        now = asyncio.get_running_loop().time()
        await self._commit("insert into event values (?, ?, ?, ?)", (self._session, now, level, text))

    async def sent(self, layer: int, first: int, last: int, acked: int) -> None:
        """Lines `first`..`last` of a layer may go out from now on; durable on return."""
        now = asyncio.get_running_loop().time()
        await self._commit(
            "insert into sent values (?, ?, ?, ?, ?, ?)", (self._attempt, layer, first, last, acked, now)
        )

    async def acked(self, layer: int, line: int) -> None:
        """Line `line` of a layer was taken by the machine; durable on return."""
        await self._commit("update layer set acked = max(acked, ?) where layer = ?", (line, layer))

    async def doubt(self, layer: int, line: int) -> None:
        """Lines from `line` on may have run without the beam they should have had; durable on return."""
        await self._commit(
            "update layer set doubt_from = min(coalesce(doubt_from, ?), ?) where layer = ?", (line, line, layer)
        )

    async def _commit(self, statement: str, values: tuple[Any, ...]) -> None:
        await self._file.commit((statement, values))


class LayerStream:
    """The journal as one attempt's stream sees it: groups noted ahead, acknowledgements behind.

    Satisfies `firmware_bridge.links.marlin.StreamJournal`. `on_acked(line)` tells the rest of the host of progress.
    `lit()` is the newest line that had been acknowledged when the head was last seen to fire; acknowledgements after it
    are not noted yet, because a host that dies now cannot tell the next one that they ran dark.
    """

    def __init__(
        self,
        journal: Journal,
        layer: int,
        *,
        on_acked: Callable[[int], None] | None = None,
        lit: Callable[[], int] | None = None,
    ) -> None:
        self._journal = journal
        self._layer = layer
        self._on_acked = on_acked
        self._lit = lit
        self._acked = -1
        self._noted = -1  # the newest acknowledgement on disk
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self.began_s: float | None = None  # when the first line might go
        self.taken = 0  # lines that got their ok
        self.sent = 0  # lines that may have gone
        self.failure: BaseException | None = None

    async def ahead(self, first: int, last: int) -> None:
        """Lines first..last (of this stream) are on disk when this returns."""
        if self.failure is not None:
            raise self.failure
        acked = self._certain
        self.sent = last + 1
        await self._journal.sent(self._layer, first, last, acked)
        self._noted = max(self._noted, acked)
        if self._flush_timer is not None and self._noted >= self._certain:  # nothing is left for it to note
            self._flush_timer.cancel()
            self._flush_timer = None
        if self.began_s is None:
            self.began_s = asyncio.get_running_loop().time()

    def acked(self, index: int) -> None:
        """Line `index` of this stream got its ok; on disk within 100 ms, or 100 ms after an ok behind the next look at
        the head."""
        self._acked = index
        self.taken = index + 1
        if self._on_acked is not None:
            self._on_acked(index)
        if self._flush_timer is None and not self._flushes:
            self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_S, self._start_flush)

    async def settle(self) -> None:
        """Wait until every acknowledgement that counts is on disk. Raises what a background commit met."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        for task in list(self._flushes):
            await task
        if self._noted < self._certain:
            await self._flush()
        if self.failure is not None:
            raise self.failure

    @property
    def _certain(self) -> int:
        return self._acked if self._lit is None else min(self._acked, self._lit())

    def _start_flush(self) -> None:
        self._flush_timer = None
        if self._noted >= self._certain:
            return
        task = asyncio.get_running_loop().create_task(self._flush(), name="journal-flush")
        self._flushes.add(task)
        task.add_done_callback(self._flushed)

    async def _flush(self) -> None:
        acked = self._certain
        await self._journal.acked(self._layer, acked)
        self._noted = max(self._noted, acked)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushes.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()  # raised at the next ahead() or settle(): nothing is lost
