"""modbus-tk runs the errand of README.md. It is LGPL, so it lives in this process alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import serial
from modbus_tk import defines as fc
from modbus_tk import modbus, modbus_rtu, modbus_tcp

TIMEOUT_S = 5.0
SERIAL_TIMEOUT_S = 0.8  # it sits out the whole of it where a reply is shorter than the normal one: at each exception


def serial_master(port: str, baud: int) -> modbus_rtu.RtuMaster:
    master = modbus_rtu.RtuMaster(serial.Serial(port, baud, bytesize=8, parity="N", stopbits=1))
    master.set_timeout(SERIAL_TIMEOUT_S)
    return master


def code_of(ask: Callable[[], Any]) -> int | str:
    try:
        return f"answered {ask()}"
    except modbus.ModbusError as refusal:
        return refusal.get_exception_code()


def plain(master: modbus.Master) -> dict[str, Any]:
    ask = master.execute
    said: dict[str, Any] = {}
    ask(3, fc.WRITE_MULTIPLE_COILS, 4, output_value=[1, 0, 1, 1, 0, 0, 1, 0, 1, 1])
    ask(3, fc.WRITE_SINGLE_COIL, 3, output_value=1)
    said["coils"] = ask(3, fc.READ_COILS, 0, 16)
    said["discretes"] = ask(3, fc.READ_DISCRETE_INPUTS, 0, 10)
    said["inputs"] = ask(3, fc.READ_INPUT_REGISTERS, 100, 5)
    ask(3, fc.WRITE_MULTIPLE_REGISTERS, 20, output_value=list(range(1000, 1123)))
    said["most"] = ask(3, fc.READ_HOLDING_REGISTERS, 19, 125)
    said["exchanged"] = ask(
        3, fc.READ_WRITE_MULTIPLE_REGISTERS, 39, 4, output_value=[7, 8], write_starting_address_fc23=40
    )
    ask(3, fc.WRITE_SINGLE_REGISTER, 5, output_value=0x12)
    ask(3, fc.MASK_WRITE_REGISTER, 5, and_mask=0xF2, or_mask=0x25)
    said["masked"] = ask(3, fc.READ_HOLDING_REGISTERS, 5, 1)[0]
    said["past"] = code_of(lambda: ask(3, fc.READ_HOLDING_REGISTERS, 199, 2))
    return said


def main(bus0: str, bus1: str, beam: int, plain_port: int) -> dict[str, Any]:
    said: dict[str, Any] = {}
    ask = serial_master(bus0, 9600).execute
    said["identity"] = ask(1, fc.READ_HOLDING_REGISTERS, 122, 1)[0]
    said["pv"] = ask(1, fc.READ_HOLDING_REGISTERS, 1, 1)[0]
    ask(1, fc.WRITE_SINGLE_REGISTER, 276, output_value=1)
    ask(1, fc.WRITE_SINGLE_REGISTER, 26, output_value=455)
    said["working_sp"] = ask(1, fc.READ_HOLDING_REGISTERS, 5, 1)[0]
    ask(1, fc.WRITE_MULTIPLE_REGISTERS, 24, output_value=[250, 300])
    said["block"] = ask(1, fc.READ_HOLDING_REGISTERS, 24, 3)
    said["hole"] = code_of(lambda: ask(1, fc.READ_HOLDING_REGISTERS, 10, 1))
    said["volts"] = ask(2, fc.READ_INPUT_REGISTERS, 0, 2, data_format=">f")[0]

    second = serial_master(bus1, 115200)
    ask = second.execute
    ask(1, fc.WRITE_SINGLE_REGISTER, 15, output_value=1)
    ask(1, fc.WRITE_MULTIPLE_REGISTERS, 0x6200, output_value=[1, 0, 2500, 600, 20, 20, 0, 0x10])
    for _ in range(100):
        if ask(1, fc.READ_HOLDING_REGISTERS, 0x1003, 1)[0] & 32:
            break
        time.sleep(0.02)
    said["pulses"] = ask(1, fc.READ_HOLDING_REGISTERS, 0x1014, 2, data_format=">i")[0]
    said["rtu"] = plain(second)

    said["tcp"] = plain(modbus_tcp.TcpMaster("127.0.0.1", plain_port, timeout_in_sec=TIMEOUT_S))
    ask = modbus_tcp.TcpMaster("127.0.0.1", beam, timeout_in_sec=TIMEOUT_S).execute
    ask(1, fc.WRITE_MULTIPLE_REGISTERS, 1, output_value=[654, 1, 7])
    ask(1, fc.WRITE_SINGLE_REGISTER, 4, output_value=1)
    said["head"] = ask(1, fc.READ_HOLDING_REGISTERS, 0, 7)
    said["refused"] = code_of(lambda: ask(1, fc.WRITE_SINGLE_REGISTER, 1, output_value=2001))
    said["read_only"] = code_of(lambda: ask(1, fc.WRITE_SINGLE_REGISTER, 6, output_value=1))
    said["foreign"] = code_of(lambda: ask(9, fc.READ_HOLDING_REGISTERS, 0, 1))
    return said


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
