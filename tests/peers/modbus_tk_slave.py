"""A slave of modbus-tk, which is LGPL and lives in this process alone: `tcp` or `rtu PORT BAUD`.

Prints {"port": N} when it serves (0 on a serial line), unit 1 as the README of this folder says of slaves. Ends with
its standard input and prints its holding registers.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

import serial
from modbus_tk import defines as fc
from modbus_tk import hooks, modbus_rtu, modbus_tcp

SIZE = 200
SLOW, PAUSE_S = 150, 1.0
METER = {0x00: 230.5, 0x06: 1.25, 0x0C: 287.5, 0x46: 50.0, 0x48: 12.75}


def pause(words: tuple) -> None:
    _slave, request = words
    if struct.unpack_from(">H", request, 1)[0] == SLOW:
        time.sleep(PAUSE_S)


def is_listening(sock: socket.socket | None) -> bool:
    return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0


def main(kind: str, *line: str) -> None:
    if kind == "tcp":
        server = modbus_tcp.TcpServer(port=0, address="127.0.0.1")
    else:
        server = modbus_rtu.RtuServer(serial.Serial(line[0], int(line[1]), bytesize=8, parity="N", stopbits=1))
    slave = server.add_slave(1)
    for name, kind_of_block in (
        ("coils", fc.COILS),
        ("discretes", fc.DISCRETE_INPUTS),
        ("holding", fc.HOLDING_REGISTERS),
        ("input", fc.ANALOG_INPUTS),
    ):
        slave.add_block(name, kind_of_block, 0, SIZE)
    slave.set_values("holding", 0, [3 * i + 1 for i in range(SIZE)])
    slave.set_values("discretes", 0, [int(i % 3 == 0) for i in range(SIZE)])
    for address, value in METER.items():
        slave.set_values("input", address, struct.unpack(">HH", struct.pack(">f", value)))
    hooks.install_hook("modbus.Slave.handle_read_holding_registers_request", pause)
    server.start()
    port = 0
    if kind == "tcp":
        while not is_listening(getattr(server, "_sock", None)):  # its thread makes, binds and opens it one by one
            time.sleep(0.01)
        port = server._sock.getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    sys.stdin.read()
    print(json.dumps(list(slave.get_values("holding", 0, SIZE))), flush=True)
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
