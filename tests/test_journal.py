"""Does the journal hold what a resume needs, whenever its host dies?"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from control.journal import Declaration, Journal, JournalError, LayerPhase, LayerStream


def open_again(path: Path) -> Journal:
    """The journal as another host would find it: the first one is not closed, as after kill -9."""
    return Journal.open(path)


def test_a_group_is_on_disk_before_its_lines_may_go(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal.create(tmp_path / "run.sqlite", {})
        journal.begin_session()
        await journal.expose_layer(0, blocks=40, base_block=0)
        stream = LayerStream(journal, 0)
        await stream.ahead(0, 15)
        (seen,) = open_again(journal.path).layers()
        assert (seen.sent_line, seen.acked_line) == (15, -1)
        journal.close()

    asyncio.run(main())


def test_an_acknowledgement_is_on_disk_within_the_flush_time(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal.create(tmp_path / "run.sqlite", {})
        journal.begin_session()
        await journal.expose_layer(3, blocks=40, base_block=0)
        stream = LayerStream(journal, 3)
        await stream.ahead(0, 15)
        for line in range(9):
            stream.acked(line)
        await stream.settle()
        (seen,) = open_again(journal.path).layers()
        assert (seen.layer, seen.acked_line, seen.sent_line) == (3, 8, 15)
        journal.close()

    asyncio.run(main())


def test_a_new_attempt_forgets_the_lines_of_the_old_one(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal.create(tmp_path / "run.sqlite", {})
        journal.begin_session()
        await journal.expose_layer(0, blocks=40, base_block=0)
        await journal.sent(0, 0, 31, 30)
        await journal.doubt(0, 12)
        second = open_again(journal.path)
        second.begin_session()
        await second.expose_layer(0, blocks=40, base_block=9)
        (seen,) = second.layers()
        assert (seen.base_block, seen.acked_line, seen.sent_line, seen.doubt_from) == (9, -1, -1, None)
        second.close()
        journal.close()

    asyncio.run(main())


def test_doubt_only_ever_moves_back(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal.create(tmp_path / "run.sqlite", {})
        journal.begin_session()
        await journal.expose_layer(0, blocks=40, base_block=0)
        await journal.doubt(0, 12)
        await journal.doubt(0, 20)
        assert journal.layers()[0].doubt_from == 12
        journal.close()

    asyncio.run(main())


def test_phases_declarations_and_events_survive(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal.create(tmp_path / "run.sqlite", {"job_sha256": "ab"})
        journal.begin_session()
        await journal.prepare_layer(0, blocks=5)
        await journal.commit_layer(0, blocks=5, energy_j=12.5)
        await journal.declare(Declaration("re_exposed", 0, 2, 4))
        await journal.event("warning", "a sentence")
        journal.close()
        again = open_again(journal.path)
        (seen,) = again.layers()
        assert (seen.phase, seen.blocks, seen.energy_j) == (LayerPhase.COMMITTED, 5, 12.5)
        assert again.declarations() == [Declaration("re_exposed", 0, 2, 4)]
        assert [text for _, _, _, text in again.events()] == ["a sentence"]
        assert again.fact("job_sha256") == "ab"
        again.close()

    asyncio.run(main())


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    Journal.create(tmp_path / "run.sqlite", {}).close()
    with pytest.raises(JournalError, match="exists already"):
        Journal.create(tmp_path / "run.sqlite", {})


def test_a_file_that_is_no_journal_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.sqlite").write_bytes(b"not a database, whatever its name " * 100)
    with pytest.raises(JournalError, match=r"not a moonkiln journal|damaged"):
        Journal.open(tmp_path / "run.sqlite")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Journal.create(tmp_path / "run.sqlite", {}).close()
    db = sqlite3.connect(tmp_path / "run.sqlite")
    db.execute("update run set value = '99' where key = 'schema_version'")
    db.commit()
    db.close()
    with pytest.raises(JournalError, match="schema version 99"):
        Journal.open(tmp_path / "run.sqlite")


def test_a_commit_that_fails_behind_the_stream_is_raised_at_the_next_group(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal.create(tmp_path / "run.sqlite", {})
        journal.begin_session()
        await journal.expose_layer(0, blocks=40, base_block=0)
        stream = LayerStream(journal, 0)
        journal._file._db.execute(
            "create trigger full before update on layer begin select raise(abort, 'disk is full'); end"
        )
        stream.acked(0)
        with pytest.raises(JournalError, match="the disk is full"):
            await stream.settle()
        journal.close()

    asyncio.run(main())
