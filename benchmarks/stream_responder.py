"""The far end that is the same for everybody who streams: a pty that speaks just enough Marlin, in its own process.

It keeps the number and checksum rules and answers `ok` to each line, as fast as it can or at the pace of a baud rate.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
import tty
from collections import deque
from collections.abc import Iterator

START_S = 10.0


def make_lines(count: int) -> list[bytes]:
    """Scan vectors whose framed form is 40 bytes at five-digit line numbers."""
    return [
        b"G1 X%08.4f Y%08.4f S%04d" % (index * 0.37 % 250, index * 0.11 % 150, 100 + index % 800)
        for index in range(count)
    ]


@contextlib.contextmanager
def far_end(link_path: str, baud: int = 0) -> Iterator[dict[str, float]]:
    """The far end under the name `link_path`. What is yielded says at the end: `last`, the last number; `lines`, moves
    that were taken; `seconds` from the first of them to the last, by its own clock; `cpu_s`, its own."""
    words = [sys.executable, __file__, link_path, str(baud)]
    heard: dict[str, float] = {}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        try:
            assert peer.stdout is not None
            assert peer.stdout.readline().strip() == "ready"
            yield heard
            told, _ = peer.communicate("", timeout=START_S)
            heard |= json.loads(told)
        finally:
            peer.kill()


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
            told = {"last": board.last, "lines": board.lines, "seconds": board.last_s - board.first_s}
            print(json.dumps(told | {"cpu_s": time.process_time()}), flush=True)
            return
        if readable:
            try:
                data = os.read(master, 4096)
            except OSError:  # EIO: between two hosts nobody has it open
                time.sleep(0.01)
                continue
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
    """The number and checksum rules of Marlin, and an `ok` for each line. `lines`: moves that were taken, from
    `first_s` to `last_s`."""

    def __init__(self) -> None:
        self.last, self.lines = -1, 0
        self.first_s = self.last_s = 0.0

    def answer(self, line: bytes) -> bytes:
        """What a line is answered with."""
        body, star, checksum = line.rpartition(b"*")
        if not line.startswith(b"N"):  # without a number a line is believed
            return self._take(body if star else line)
        folded = 0
        for byte in body:
            folded ^= byte
        number, _, text = body[1:].partition(b" ")
        if int(checksum) != folded or (int(number) != self.last + 1 and not text.startswith(b"M110")):
            return b"Error:checksum mismatch, Last Line: %d\nResend: %d\nok\n" % (self.last, self.last + 1)
        self.last = int(number)
        return self._take(text)

    def _take(self, text: bytes) -> bytes:
        if text.startswith(b"G1"):
            self.last_s = time.perf_counter()
            self.first_s = self.first_s or self.last_s
            self.lines += 1
        if text.startswith(b"M118"):
            return text[5:] + b"\nok\n"
        if text == b"M115":
            return b"FIRMWARE_NAME:Marlin responder\nok\n"
        return b"ok T:21.0 /0.0\n" if text == b"M105" else b"ok\n"


if __name__ == "__main__":
    respond(sys.argv[1], int(sys.argv[2]))
