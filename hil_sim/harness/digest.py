"""One digest a run: what passed on every wire, what truly happened and what the host said, as a few hex digits.

The same seed, commit and Python minor version give the same digest byte for byte, in any process and under any hash
seed. Wall time, folders and file names have no part in it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

DIGEST_BYTES = 16
LOG_CHUNKS_MAX = 2_000_000
CHUNKS_AT_ONCE = 1000  # go into the hash together
_HEAD = struct.Struct("<dHI")


class Chunk(NamedTuple):
    """What was delivered at a point of a wire: loop time, `NAME.to_device` or `NAME.to_host`, the bytes."""

    t_s: float
    point: str
    data: bytes


class Digest(msgspec.Struct, frozen=True):
    """A run's digest and its parts, in hex: chunks on wires, truth without faults, faults that struck, outcome."""

    wires: str
    truth: str
    strikes: str
    outcome: str

    @property
    def whole(self) -> str:
        """The digest of everything."""
        return _hex("\n".join((self.wires, self.truth, self.strikes, self.outcome)).encode())

    @property
    def deeds(self) -> str:
        """All but the list of what struck: equal for two runs in which the same happened, whatever was scheduled."""
        return _hex("\n".join((self.wires, self.truth, self.outcome)).encode())


class RunDigest:
    """Hears the wires while a run goes on (`tap`), then `close` takes the rest. `log` keeps the chunks if asked to."""

    def __init__(self, *, keep: bool = False) -> None:
        self.log: list[Chunk] | None = [] if keep else None
        self.chunks = 0
        self._wires = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._waiting: list[bytes] = []  # what is yet to go into it: many at once are cheaper
        self._points: dict[str, bytes] = {}

    def tap(self, t_s: float, point: str, data: bytes) -> None:
        """A wire's tap: every delivered chunk, with its loop time."""
        name = self._points.get(point)
        if name is None:
            name = self._points[point] = point.encode()
        self._waiting += (_HEAD.pack(t_s, len(point), len(data)), name, data)
        self.chunks += 1
        if not self.chunks % CHUNKS_AT_ONCE:
            self._take()
        if self.log is not None and len(self.log) < LOG_CHUNKS_MAX:
            self.log.append(Chunk(t_s, point, data))

    def so_far(self) -> bytes:
        """A digest of the chunks that were heard up to now."""
        self._take()
        return self._wires.copy().digest()

    def _take(self) -> None:
        self._wires.update(b"".join(self._waiting))
        self._waiting.clear()

    @property
    def heard_host(self) -> bool:
        """Whether a byte has come to any device: whether a host has said anything."""
        return any(point.endswith(".to_device") for point in self._points)

    @property
    def log_is_whole(self) -> bool:
        """Whether `log` holds all that passed: it is cut at LOG_CHUNKS_MAX."""
        return self.log is not None and len(self.log) == self.chunks

    def close(self, truth: Any, strikes: Any, outcome: Any, *, hidden: Iterable[str] = ()) -> Digest:
        """The digest of the run.

        Args:
            truth, strikes, outcome: whatever msgspec can write as JSON, in an order that does not depend on hashes.
            hidden: texts that name this run's place on disk; they count as nothing where the outcome holds them.
        """
        self._take()
        said = msgspec.json.encode(outcome)
        for text in hidden:
            said = said.replace(msgspec.json.encode(text)[1:-1], b"")
        return Digest(
            self._wires.hexdigest(), _hex(msgspec.json.encode(truth)), _hex(msgspec.json.encode(strikes)), _hex(said)
        )


def _hex(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()
