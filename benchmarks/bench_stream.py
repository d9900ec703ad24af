"""Lines per second that the Marlin link streams to a pty, every group of 16 lines committed to disk before it goes.

The far end is a small responder in a process of its own, without pacing: it keeps the number and checksum rules and
answers `ok` to each line. Lines are 40 bytes when framed. Run as a program it prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path

from firmware_bridge.links.line_framing import frame_line
from firmware_bridge.links.marlin import MarlinLink

LINES = 20_000


def respond(link_path: str) -> None:
    """The far end: a pty under the name `link_path` that speaks just enough Marlin. Ends when its input closes."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    os.symlink(os.ttyname(slave), link_path)
    print("ready", flush=True)
    last, rest, seen = -1, b"", 0
    while True:
        readable, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in readable:
            print(json.dumps({"last": last, "lines": seen}), flush=True)
            return
        *lines, rest = (rest + os.read(master, 4096)).split(b"\n")
        out = []
        for line in lines:
            if not line:
                continue
            body, _, checksum = line.rpartition(b"*")
            folded = 0
            for byte in body:
                folded ^= byte
            number, _, text = body[1:].partition(b" ")
            if int(checksum) != folded or (int(number) != last + 1 and not text.startswith(b"M110")):
                out.append(b"Error:checksum mismatch, Last Line: %d\nResend: %d\nok\n" % (last, last + 1))
                continue
            last = int(number)
            seen += text.startswith(b"G")
            if text.startswith(b"M118"):
                out.append(text[5:] + b"\n")
            elif text == b"M115":
                out.append(b"FIRMWARE_NAME:Marlin responder\n")
            elif text == b"M105":
                out.append(b"ok T:21.0 /0.0\n")
                continue
            out.append(b"ok\n")
        os.write(master, b"".join(out))


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


def make_lines(count: int) -> list[bytes]:
    """Scan vectors whose framed form is 40 bytes at five-digit line numbers."""
    return [
        b"G1 X%08.4f Y%08.4f S%04d" % (index * 0.37 % 250, index * 0.11 % 150, 100 + index % 800)
        for index in range(count)
    ]


async def _stream(url: str, lines: list[bytes], journal: WriteAhead) -> dict[str, float]:
    link = await MarlinLink.open(url)
    before, cpu_before = time.perf_counter(), time.process_time()
    taken = await link.stream(lines, journal)
    seconds, cpu_s = time.perf_counter() - before, time.process_time() - cpu_before
    counters = link.counters
    link.close()
    assert taken == len(lines) and journal.acked_line == len(lines) - 1 and counters.resends == 0
    return {"lines_per_s": taken / seconds, "cpu_s": cpu_s, "seconds": seconds, "markers": counters.markers}


def run(count: int = LINES) -> dict[str, float]:
    """{lines_per_s, cpu_s (this process), commits, ...} for `count` lines."""
    lines = make_lines(count)
    with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as folder:
        port = os.path.join(folder, "motion")
        peer = subprocess.Popen(
            [sys.executable, __file__, "--respond", port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert peer.stdout is not None
            assert peer.stdout.readline().strip() == "ready"
            journal = WriteAhead(Path(folder) / "journal.sqlite")
            result = asyncio.run(_stream(f"serial:{port}?baud=115200", lines, journal))
            journal.close()
            told, _ = peer.communicate("", timeout=10)
            heard = json.loads(told)
            assert heard["lines"] == count, heard
        finally:
            peer.kill()
            peer.wait()
    framed = frame_line(12345, lines[len(lines) // 2])
    result |= {"lines": count, "commits": journal.commits, "bytes_per_line": len(framed)}
    result["max_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


if __name__ == "__main__":
    if sys.argv[1:2] == ["--respond"]:
        respond(sys.argv[2])
    else:
        print(json.dumps(run(), indent=2))
