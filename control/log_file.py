"""A growing file that is written beside the loop: whoever writes never waits for the disk.

What is written goes to one worker, in order. What the disk answers is known only later: a refusal is raised by the next
write, or at the end. At most `WAITING_BYTES_MAX` wait; a disk that falls farther behind is refused like a full one, so
that neither memory nor the loop pays for it.
"""

from __future__ import annotations

import errno
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from io import FileIO, RawIOBase
from pathlib import Path
from typing import Any

WAITING_BYTES_MAX = 8 * 1024 * 1024  # a print's record is some kilobytes a second; its pictures come twice a layer
CLOSE_S = 5.0  # what a slow disk may still take at the end


class LogBehind(RawIOBase):
    """A new file at `path`; to be put behind a buffer. OSError: what an earlier write met, or a slow disk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = FileIO(path, "w")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._waiting_bytes = self._taken_bytes = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How much was taken: where it will stand in the file."""
        return self._taken_bytes

    def write(self, data: Any, /) -> int:
        """Take a piece. Raises OSError for an earlier one, or where too much waits; never waits itself."""
        content = bytes(data)
        self._settle()
        if self._waiting_bytes + len(content) > WAITING_BYTES_MAX:
            raise too_slow(self._path, self._waiting_bytes)
        self._waiting.append((self._worker.submit(self._put, content), len(content)))
        self._waiting_bytes += len(content)
        self._taken_bytes += len(content)
        return len(content)

    def close(self) -> None:
        """What waits is written, within `CLOSE_S`; OSError where it could not be. Harmless twice."""
        if self.closed:
            return
        try:
            super().close()
            wait([future for future, _ in self._waiting], timeout=CLOSE_S)
            self._settle()
            if self._waiting:
                raise too_slow(self._path, self._waiting_bytes)
        finally:
            self._worker.submit(self._file.close)
            self._worker.shutdown(wait=not self._waiting, cancel_futures=False)

    def _put(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]

    def _settle(self) -> None:
        """Forget what has been written; raise what it met."""
        while self._waiting and self._waiting[0][0].done():
            future, size = self._waiting.popleft()
            self._waiting_bytes -= size
            future.result()


def too_slow(path: Path, waiting_bytes: int) -> OSError:
    """Of a disk that is so far behind."""
    return OSError(errno.ETIMEDOUT, f"the disk is too slow, {waiting_bytes} bytes wait for it", str(path))
