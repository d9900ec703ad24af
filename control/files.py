"""The file-system port: whole-file writes that are either the old file or the new one, never half of either."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from control.errors import MoonkilnError
from slicer.whole_file import whole_file


class FileError(MoonkilnError):
    """A file that could not be written; the old one, if there was one, is untouched."""

    exit_code = 2


class FolderBusy(FileError):
    """Another host works in a folder of which one at a time may."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: written beside it, synced, renamed, and the folder synced.

    Raises:
        FileError: no space, no permission, no such folder.
    """
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep other hosts out of a run's folder; the system lets go of it when this process ends, however it ends.

    Raises:
        FolderBusy: another process works there.
    """
    try:
        import fcntl
    except ImportError:  # Windows, which has no wire mode
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusy(f"another moonkiln works on the run in {folder}: stop it first") from None
        yield
    finally:
        os.close(handle)
