"""Is what must outlast a power cut synced to the disk, in the order that makes it last?"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from control.journal_file import JournalFile
from slicer.whole_file import whole_file

FULL = [(2,)]  # how SQLite tells `synchronous = full`


def test_a_journal_in_real_time_syncs_each_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def careless(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        """An SQLite that was built with another default than most: the journal is not to rely on it."""
        opened = connect(*args, **kwargs)
        opened.execute("pragma synchronous = off")
        return opened

    monkeypatch.setattr(sqlite3, "connect", careless)

    async def main() -> None:
        journal = JournalFile(tmp_path / "run.sqlite")
        assert journal.read("pragma synchronous") == FULL
        journal.begin_session()
        assert journal.read("pragma synchronous") == FULL, "of a session too"
        assert journal.read("pragma journal_mode") == [("wal",)]
        journal.close()

    asyncio.run(main())


@pytest.mark.skipif(os.name == "nt", reason="Windows lets no folder be synced")
def test_a_whole_file_is_synced_before_its_rename_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        of = os.fstat(descriptor)
        did.append("sync the folder" if stat.S_ISDIR(of.st_mode) else f"sync {of.st_size} bytes")
        sync(descriptor)

    def rename(*paths: Any) -> None:
        did.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    with whole_file(tmp_path / "whole") as stream:
        stream.write(b"four")
    assert did == ["sync 4 bytes", "rename", "sync the folder"]
