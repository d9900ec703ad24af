"""Files that appear whole or not at all: written beside their place, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open `path` for binary writing so that nobody ever sees half of it.

    On leaving the block the bytes are synced and renamed over `path`. If the block fails in any way (a full disk,
    Ctrl-C), the file that stood there before stays as it was and the unfinished one is removed.

    Raises:
        OSError: something else than a file stands there, the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    check_replaceable(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            unfinished.unlink()
        if isinstance(error, OSError) and error.filename == str(unfinished):
            error.filename = str(path)  # whose name the caller knows
        raise
    _sync_folder(path.parent)


def check_replaceable(path: Path) -> None:
    """Raise OSError if what stands at `path` is no file: a rename would take a device's or a pipe's very name.

    A link counts as what it leads to; one that leads nowhere, and an empty place, can be written.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
    raise OSError(errno.EINVAL, "is a device, pipe or socket and no file, so nothing is written there", str(path))


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened (Windows does not)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
