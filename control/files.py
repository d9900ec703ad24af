"""The file-system port: whatever a host writes goes through here, so that full disks and torn writes can be tried.

`files()` is the port of the running host. Only a simulator puts another one in its place, with `working_with(port)`:
everything that is awaited in that block, and every task made in it, writes through that port.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from control.errors import MoonkilnError
from control.journal_file import JournalFile
from control.log_file import LogBehind
from slicer.whole_file import whole_file

ROOM_NAME, ROOM_BYTES = ".room", 256 * 1024


class FileError(MoonkilnError):
    """A file that could not be written; the old one, if there was one, is untouched."""

    exit_code = 2


class FolderBusy(FileError):
    """Another host works in a folder of which one at a time may."""


class Files:
    """The real file system. Every method raises OSError where the disk is full or the folder cannot be written."""

    def write_whole(self, path: Path, content: bytes) -> None:
        """Replace `path` by `content`: written beside it, synced, renamed, and the folder synced."""
        with whole_file(path) as file:
            file.write(content)

    def copy_whole(self, source: Path, path: Path) -> None:
        """Make `path` a copy of `source`, whole or not at all."""
        with open(source, "rb") as original, whole_file(path) as copy:
            shutil.copyfileobj(original, copy)

    def open_log(self, path: Path) -> BinaryIO:
        """A new file at `path` that grows as it is written; buffered, and written beside the loop (inline in virtual
        time): a refusal comes with a later write, and a disk that is too slow refuses (`control.log_file`)."""
        if getattr(asyncio.get_running_loop(), "is_virtual", False):
            return open(path, "wb")
        return io.BufferedWriter(LogBehind(path))

    def open_journal(self, path: Path) -> JournalFile:
        """The SQLite file at `path`, made if it is not there. Raises JournalError instead of OSError."""
        return JournalFile(path)

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name in its folder."""
        path.rename(to)

    def remove(self, path: Path) -> None:
        """Take a file away; harmless if it is not there."""
        path.unlink(missing_ok=True)

    def hold(self, folder: Path) -> AbstractContextManager[None]:
        """Be the only process that works in `folder`. Raises BlockingIOError if another one does."""
        return _locked(folder)


_REAL = Files()
_HERE: ContextVar[Files | None] = ContextVar("files", default=None)


def files() -> Files:
    """The file system as the running host sees it."""
    return _HERE.get() or _REAL


@contextlib.contextmanager
def working_with(port: Files) -> Iterator[None]:
    """Let everything in the block, and the tasks made in it, write through `port`."""
    token = _HERE.set(port)
    try:
        yield
    finally:
        _HERE.reset(token)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: written beside it, synced, renamed, and the folder synced.

    Raises:
        FileError: no space, no permission, no such folder.
    """
    try:
        files().write_whole(path, content)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error


def copy_atomically(source: Path, path: Path) -> None:
    """Make `path` a copy of `source`: a host that dies meanwhile leaves none, never half of one.

    Raises:
        FileError: no space, no permission, no such folder.
    """
    try:
        files().copy_whole(source, path)
    except OSError as error:
        raise FileError(
            f"cannot copy {source} to {path}: {error.strerror}; free space or choose another folder"
        ) from error


def take_away(path: Path) -> None:
    """Remove a file; harmless if it is not there.

    Raises:
        FileError: no permission, a disk that fails.
    """
    try:
        files().remove(path)
    except OSError as error:
        raise FileError(f"cannot remove {path}: {error.strerror}; remove it by hand, then try again") from error


def take_room(folder: Path) -> None:
    """Take the room on the disk that the last word of a run will need, while there is some.

    Raises:
        FileError: there is none now.
    """
    write_atomically(folder / ROOM_NAME, bytes(ROOM_BYTES))


def give_room(folder: Path) -> None:
    """Give that room back, for what is written next. Harmless if none was taken."""
    with contextlib.suppress(OSError):  # a folder that went away: what is written next says so
        files().remove(folder / ROOM_NAME)


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep other hosts out of a run's folder; the system lets go of it when this process ends, however it ends.

    Raises:
        FolderBusy: another process works there.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files().hold(folder))
        except BlockingIOError:
            raise FolderBusy(f"another moonkiln works on the run in {folder}: stop it first") from None
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows, which has no wire mode
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
