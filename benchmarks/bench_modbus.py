"""Guarded Modbus reads: TCP reads/s, and RTU as a share of what the baud rate allows.

    python benchmarks/bench_modbus.py

The far ends are small slaves in a process of their own, with a codec of their own. The RTU slave is on a pty and keeps
the line's time: a request's 8 characters, t3.5, a reply's 25 characters; the host keeps t3.5 before the next request.
So no host can have more than 1 / (33 characters + 2 t3.5) reads of 10 registers a second. Every value is looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tty
from typing import Any

from firmware_bridge.links.modbus import ModbusLink

REGISTERS = 10
TCP_READS, RUN_S = 20_000, 4.0
BAR_TCP = 4000.0
BARS_RTU = {9600: 0.95, 19_200: 0.90, 38_400: 0.85, 115_200: 0.80}
CHARACTERS = 8 + 25  # of a request for 10 registers and of its reply


def silence_s(baud: int) -> float:
    """t3.5: fixed above 19,200 baud (Modbus over serial line V1.02)."""
    return 35.0 / baud if baud <= 19_200 else 0.00175


def allowed(baud: int) -> float:
    """Reads a second that the line itself allows."""
    return 1.0 / (CHARACTERS * 10.0 / baud + 2.0 * silence_s(baud))


def crc(data: bytes) -> bytes:
    """The CRC-16 of Modbus, low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def words_at(address: int) -> bytes:
    """What the slaves answer with."""
    return struct.pack(f">{REGISTERS}H", *((address + i) * 7 % 65_536 for i in range(REGISTERS)))


def serve_tcp() -> None:
    """Answers FC 03 on a loopback port until its input closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    rest = b""
    while data := peer.recv(4096):
        rest += data
        while len(rest) >= 12:
            request, rest = rest[:12], rest[12:]
            number, address = request[:2], struct.unpack(">H", request[8:10])[0]
            pdu = bytes((3, 2 * REGISTERS)) + words_at(address)
            peer.sendall(number + struct.pack(">HHB", 0, len(pdu) + 1, request[6]) + pdu)


def serve_rtu(link_path: str, baud: int) -> None:
    """Answers FC 03 on a pty at the pace of a line until its input closes."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    os.symlink(os.ttyname(slave), link_path)
    print("{}", flush=True)
    replies: dict[bytes, bytes] = {}
    while True:
        readable, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in readable:
            return
        request = os.read(master, 256)
        ends_s = time.perf_counter() + CHARACTERS * 10.0 / baud + silence_s(baud)
        if request not in replies:
            assert len(request) == 8 and crc(request[:-2]) == request[-2:], request.hex()
            body = request[:2] + bytes((2 * REGISTERS,)) + words_at(struct.unpack(">H", request[2:4])[0])
            replies[request] = body + crc(body)
        if (left_s := ends_s - time.perf_counter() - 0.0002) > 0:
            time.sleep(left_s)
        while time.perf_counter() < ends_s:
            pass
        os.write(master, replies[request])


async def reads(url: str, framing: Any, count: int | None, run_s: float | None) -> dict[str, float]:
    """Reads one after the other: how many a second, and the CPU time of each."""
    link = await ModbusLink.open(url, framing=framing)
    done, begin_s, cpu_s = 0, time.perf_counter(), time.process_time()
    while (count is not None and done < count) or (run_s is not None and time.perf_counter() - begin_s < run_s):
        address = done % 1000
        words = await link.read(1, 3, address, REGISTERS)
        assert words[9] == (address + 9) * 7 % 65_536, words
        done += 1
    took_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    counters = link.counters
    link.close()
    assert counters.ok == done and not counters.retries and not counters.drains, counters
    return {"reads_per_s": done / took_s, "cpu_us_a_read": 1e6 * cpu_s / done}


def beside(words: list[str], url: Any, framing: str, count: int | None, run_s: float | None) -> dict[str, float]:
    """`reads` of a slave in a process of its own. `url` of what the slave says first."""
    with subprocess.Popen([sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
        assert peer.stdout is not None
        try:
            return asyncio.run(reads(url(json.loads(peer.stdout.readline())), framing, count, run_s))
        finally:
            peer.kill()


def run() -> dict[str, object]:
    """The figures of both transports, and whether they keep their bars."""
    tcp = [beside(["--tcp"], lambda said: f"tcp:127.0.0.1:{said['port']}", "tcp", TCP_READS, None) for _ in range(3)]
    best = max(tcp, key=lambda one: one["reads_per_s"])
    result: dict[str, object] = {"bench": "modbus", "tcp_reads_per_s": round(best["reads_per_s"])}
    result["tcp_cpu_us_a_read"] = round(best["cpu_us_a_read"], 1)
    shares = {}
    for baud in BARS_RTU:
        with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as folder:
            port = os.path.join(folder, "bus")
            url = f"serial:{port}?baud={baud}"
            rtu = beside(["--rtu", port, str(baud)], lambda said, url=url: url, "rtu", None, RUN_S)
        shares[baud] = rtu["reads_per_s"] / allowed(baud)
        result[f"rtu_{baud}_reads_per_s"] = round(rtu["reads_per_s"], 1)
        result[f"rtu_{baud}_share"] = round(shares[baud], 3)
    result["worst_share_of_bar"] = round(min(shares[baud] / bar for baud, bar in BARS_RTU.items()), 3)
    result["bar"] = f"tcp_reads_per_s >= {BAR_TCP:g}; shares >= {BARS_RTU}"
    result["passed"] = best["reads_per_s"] >= BAR_TCP and all(shares[baud] >= bar for baud, bar in BARS_RTU.items())
    return result


if __name__ == "__main__":
    if sys.argv[1:2] == ["--tcp"]:
        serve_tcp()
    elif sys.argv[1:2] == ["--rtu"]:
        serve_rtu(sys.argv[2], int(sys.argv[3]))
    else:
        print(json.dumps(run(), indent=2))
