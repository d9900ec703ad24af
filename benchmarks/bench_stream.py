"""Lines per second that the Marlin link streams to a pty, every group of 16 lines committed to disk before it goes.

The far end is a small responder in a process of its own (`stream_responder`), the same for us and, in the same run,
for hosts of others (`stream_peers`). Lines are 40 bytes when framed. Once it answers as fast as it can, and once at the
pace of a line of 250,000 baud: a line's `ok` comes when its last byte, and those of the `ok`, have passed a wire that
carries one byte at a time. Run as a program it prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import tempfile
import time
from pathlib import Path

import stream_peers
from stream_responder import far_end, make_lines

from firmware_bridge.links.line_framing import frame_line
from firmware_bridge.links.marlin import MarlinLink

LINES, PACED_LINES, PEER_LINES = 20_000, 3_000, 5_000
PACED_BAUD = 250_000
BAR_LINES_S, BAR_WIRE = 5000.0, 0.95


class WriteAhead:
    """A journal that commits each group to SQLite (WAL, full sync) before its lines may go."""

    def __init__(self, path: Path) -> None:
        self.commits = 0
        self.acked_line = -1
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=full")
        self._db.execute("create table line (number integer primary key, layer integer)")

    async def ahead(self, first: int, last: int) -> None:
        self._db.execute("begin")
        self._db.executemany("insert into line values (?, 1)", ((number,) for number in range(first, last + 1)))
        self._db.execute("commit")
        self.commits += 1

    def acked(self, index: int) -> None:
        self.acked_line = index

    def close(self) -> None:
        self._db.close()


async def _stream(url: str, lines: list[bytes], journal: WriteAhead) -> dict[str, float]:
    link = await MarlinLink.open(url)
    before, cpu_before = time.perf_counter(), time.process_time()
    taken = await link.stream(lines, journal)
    seconds, cpu_s = time.perf_counter() - before, time.process_time() - cpu_before
    counters = link.counters
    link.close()
    assert taken == len(lines) and journal.acked_line == len(lines) - 1 and counters.resends == 0
    return {"lines_per_s": taken / seconds, "cpu_s": cpu_s, "seconds": seconds, "markers": counters.markers}


def streamed(count: int, baud: int) -> dict[str, float]:
    """{lines_per_s, cpu_s (this process), commits, ...} for `count` lines to a far end of that pace (0: none)."""
    lines = make_lines(count)
    with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as folder:
        port = os.path.join(folder, "motion")
        with far_end(port, baud) as heard:
            journal = WriteAhead(Path(folder) / "journal.sqlite")
            result = asyncio.run(_stream(f"serial:{port}?baud={baud or 115200}", lines, journal))
            journal.close()
    assert heard["lines"] == count, heard
    return result | {"lines": count, "commits": journal.commits}


def run(count: int = LINES, paced_count: int = PACED_LINES, peer_count: int = PEER_LINES) -> dict[str, object]:
    """The figures without pacing, the share of a paced wire, whether both keep their bars, and those of the peers."""
    result: dict[str, object] = dict(streamed(count, 0))
    lines = make_lines(paced_count)
    sent = sum(len(frame_line(number, line)) for number, line in enumerate(lines, start=3))
    paced = streamed(paced_count, PACED_BAUD)
    share = sent * 10.0 / PACED_BAUD / paced["seconds"]
    result |= {
        "bytes_per_line": len(frame_line(12345, lines[len(lines) // 2])),
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "paced_lines_per_s": round(paced["lines_per_s"], 1),
        "paced_wire_share": round(share, 3),
        "paced_cpu_share": round(paced["cpu_s"] / paced["seconds"], 3),
        "peers": stream_peers.measure(peer_count, float(str(result["lines_per_s"]))),
        "bar": f"lines_per_s >= {BAR_LINES_S:g}, paced_wire_share >= {BAR_WIRE}",
        "passed": float(str(result["lines_per_s"])) >= BAR_LINES_S and share >= BAR_WIRE,
    }
    return result


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
