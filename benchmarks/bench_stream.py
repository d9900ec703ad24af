"""Lines per second that the Marlin link streams to a pty, every group of 16 lines committed to disk before it goes.

The far end is a small responder in a process of its own: it keeps the number and checksum rules and answers `ok` to
each line. Lines are 40 bytes when framed. Once it answers as fast as it can, and once at the pace of a line of 250,000
baud: a line's `ok` comes when its last byte, and those of the `ok`, have passed a wire that carries one byte at a time.
Run as a program it prints JSON.
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
from collections import deque
from pathlib import Path

from firmware_bridge.links.line_framing import frame_line
from firmware_bridge.links.marlin import MarlinLink

LINES, PACED_LINES = 20_000, 3_000
PACED_BAUD = 250_000
BAR_LINES_S, BAR_WIRE = 5000.0, 0.95


def respond(link_path: str, baud: int) -> None:
    """The far end: a pty under the name `link_path` that speaks just enough Marlin. Ends when its input closes.

    `baud`: the pace of the line both ways; 0 for none.
    """
    byte_s = 10.0 / baud if baud else 0.0
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    os.symlink(os.ttyname(slave), link_path)
    print("ready", flush=True)
    board, rest = Board(), b""
    in_s = out_s = 0.0  # when the line will have carried what was put on it, to the board and back
    due: deque[tuple[float, bytes]] = deque()
    while True:
        wait_s = max(0.0, due[0][0] - time.perf_counter()) if due else None
        readable, _, _ = select.select([master, sys.stdin], [], [], wait_s)
        if sys.stdin in readable:
            print(json.dumps({"last": board.last, "lines": board.lines}), flush=True)
            return
        if readable:
            data = os.read(master, 4096)
            in_s = max(in_s, time.perf_counter()) + len(data) * byte_s
            *lines, rest = (rest + data).split(b"\n")
            after = sum(map(len, lines)) + len(lines) + len(rest)  # bytes from here to the end of what has come
            for line in lines:
                after -= len(line) + 1
                reply = board.answer(line) if line else b""
                if reply:
                    out_s = max(out_s, in_s - after * byte_s) + len(reply) * byte_s
                    due.append((out_s, reply))
        now_s, ripe = time.perf_counter(), []
        while due and due[0][0] <= now_s:
            ripe.append(due.popleft()[1])
        if ripe:
            os.write(master, b"".join(ripe))


class Board:
    """The number and checksum rules of Marlin, and an `ok` for each line. `lines`: moves that were taken."""

    def __init__(self) -> None:
        self.last, self.lines = -1, 0

    def answer(self, line: bytes) -> bytes:
        """What a line is answered with."""
        body, _, checksum = line.rpartition(b"*")
        folded = 0
        for byte in body:
            folded ^= byte
        number, _, text = body[1:].partition(b" ")
        if int(checksum) != folded or (int(number) != self.last + 1 and not text.startswith(b"M110")):
            return b"Error:checksum mismatch, Last Line: %d\nResend: %d\nok\n" % (self.last, self.last + 1)
        self.last = int(number)
        self.lines += text.startswith(b"G")
        if text.startswith(b"M118"):
            return text[5:] + b"\nok\n"
        if text == b"M115":
            return b"FIRMWARE_NAME:Marlin responder\nok\n"
        return b"ok T:21.0 /0.0\n" if text == b"M105" else b"ok\n"


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


def streamed(count: int, baud: int) -> dict[str, float]:
    """{lines_per_s, cpu_s (this process), commits, ...} for `count` lines to a far end of that pace (0: none)."""
    lines = make_lines(count)
    with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as folder:
        port = os.path.join(folder, "motion")
        peer = subprocess.Popen(
            [sys.executable, __file__, "--respond", port, str(baud)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert peer.stdout is not None
            assert peer.stdout.readline().strip() == "ready"
            journal = WriteAhead(Path(folder) / "journal.sqlite")
            result = asyncio.run(_stream(f"serial:{port}?baud={baud or 115200}", lines, journal))
            journal.close()
            told, _ = peer.communicate("", timeout=10)
            heard = json.loads(told)
            assert heard["lines"] == count, heard
        finally:
            peer.kill()
            peer.wait()
    return result | {"lines": count, "commits": journal.commits}


def run(count: int = LINES, paced_count: int = PACED_LINES) -> dict[str, object]:
    """The figures without pacing, the share of a paced wire, and whether both keep their bars."""
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
        "bar": f"lines_per_s >= {BAR_LINES_S:g}, paced_wire_share >= {BAR_WIRE}",
        "passed": float(str(result["lines_per_s"])) >= BAR_LINES_S and share >= BAR_WIRE,
    }
    return result


if __name__ == "__main__":
    if sys.argv[1:2] == ["--respond"]:
        respond(sys.argv[2], int(sys.argv[3]))
    else:
        print(json.dumps(run(), indent=2))
