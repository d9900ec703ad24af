"""Do Modbus masters that nobody here wrote read and write the emulated devices, over real ptys and TCP, as
processes of their own?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peer_tools import (
    WAIT_S,
    command_of,
    needs_libmodbus,
    needs_mbpoll,
    needs_modbus_tk,
    needs_node_package,
    run_peer,
)

pytestmark = pytest.mark.real_time

pytest.importorskip("termios", reason="ptys need a Unix")

TESTS = Path(__file__).resolve().parent


# what PlainMemory holds after a master's errand
PLAIN: dict[str, Any] = {
    "coils": [0, 0, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0],
    "discretes": [1, 0, 0, 1, 0, 0, 1, 0, 0, 1],
    "inputs": [10000, 10201, 10404, 10609, 10816],
    "most": [0, *range(1000, 1123), 0],
    "past": 2,
}
PLAIN_WITH_FC22_AND_FC23 = PLAIN | {"masked": 0x17, "exchanged": [1019, 7, 8, 1022]}


class Bench:
    """The serving process and where it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.urls: dict[str, str] = json.loads(process.stdout.readline())

    def pty(self, name: str) -> str:
        return self.urls[name].removeprefix("serial:").partition("?")[0]

    def port(self, name: str = "beam") -> int:
        return int(self.urls[name].rpartition(":")[2])

    def end(self) -> dict[str, dict[str, int]]:
        out, _ = self._process.communicate(timeout=WAIT_S)
        assert self._process.returncode == 0
        return json.loads(out)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    path = os.pathsep.join([str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "modbus_peers_bench.py"), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        yield Bench(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=WAIT_S)


def peer(script: str, *args: object) -> Any:
    """Run the Python `script` in its own process; it prints one JSON value."""
    return run_peer([sys.executable, "-W", "error", "-c", script], *args)


MINIMALMODBUS = """
import json, sys, time
import minimalmodbus

def instrument(port, unit, baud):
    one = minimalmodbus.Instrument(port, unit)
    one.serial.baudrate, one.serial.timeout = baud, 2.0
    return one

bus0, bus1 = sys.argv[1:]
heater, meter = instrument(bus0, 1, 9600), instrument(bus0, 2, 9600)
said = {"identity": heater.read_register(122), "pv": heater.read_register(1, 1, signed=True)}
heater.write_register(276, 1, functioncode=6)
heater.write_register(26, 45.5, 1, functioncode=6, signed=True)
said["working_sp"] = heater.read_register(5, 1, signed=True)
heater.write_registers(24, [250, 300])
said["block"] = heater.read_registers(24, 3)
try:
    heater.read_register(10)
    said["hole"] = "answered"
except minimalmodbus.IllegalRequestError as refusal:
    said["hole"] = str(refusal)
said["volts"] = meter.read_float(0, functioncode=4)
said["watts"] = meter.read_float(12, functioncode=4)
heater.serial.close()

blade, piston = instrument(bus1, 1, 115200), instrument(bus1, 2, 115200)
blade.write_register(0x000F, 1, functioncode=6)
blade.write_registers(0x6200, [1, 0, 2500, 600, 20, 20, 0, 0x10])
for _ in range(100):
    status = blade.read_register(0x1003)
    if status & 32:
        break
    time.sleep(0.02)
said["status"] = status
said["pulses"] = blade.read_long(0x1014, signed=True)
piston.write_register(0x000F, 1, functioncode=6)
said["piston"] = [piston.read_register(0x1003), piston.read_register(0x0001)]

memory = instrument(bus1, 3, 115200)
memory.write_bits(4, [1, 0, 1, 1, 0, 0, 1, 0, 1, 1])
memory.write_bit(3, 1)
memory.write_registers(20, list(range(1000, 1123)))
said["memory"] = {
    "coils": memory.read_bits(0, 16, functioncode=1),
    "discretes": memory.read_bits(0, 10, functioncode=2),
    "inputs": memory.read_registers(100, 5, functioncode=4),
    "most": memory.read_registers(19, 125),
}
print(json.dumps(said))
"""


def test_minimalmodbus_on_both_serial_buses(bench: Bench) -> None:
    said = peer(MINIMALMODBUS, bench.pty("bus0"), bench.pty("bus1"))
    assert said["identity"] == 0xE162
    assert said["pv"] == pytest.approx(20.0, abs=0.5)
    assert said["working_sp"] == 45.5
    assert said["block"] == [250, 300, 455]
    assert "address" in said["hole"].lower()
    assert 200.0 < said["volts"] < 230.0
    assert said["watts"] >= 60.0
    assert said["status"] & 0b110011 == 0b110010
    assert said["pulses"] == 2500
    assert said["piston"] == [2, 10000]
    assert said["memory"] | {"past": 2} == PLAIN
    counters = bench.end()
    for bus in ("bus0", "bus1"):
        assert counters[bus]["answered"] > 3
        assert counters[bus]["foreign"] == counters[bus]["overruns"] == 0


PYMODBUSTCP = """
import json, sys
from pyModbusTCP.client import ModbusClient

def client():
    return ModbusClient(host="127.0.0.1", port=int(sys.argv[1]), unit_id=1, timeout=5.0, auto_open=True)

one, stop = client(), client()
said = {"all": one.read_holding_registers(0, 9)}
said["written"] = [one.write_multiple_registers(1, [654, 1, 7]), one.write_single_register(4, 1)]
said["firing"] = one.read_holding_registers(1, 6)
said["refused"] = [one.write_single_register(1, 2001), one.last_except]
said["read_only"] = [one.write_single_register(6, 1), one.last_except]
said["no_coils"] = [one.read_coils(0, 1), one.last_except]
said["stopped"] = [stop.write_single_register(8, 1), one.read_holding_registers(1, 8)]
other = ModbusClient(host="127.0.0.1", port=int(sys.argv[1]), unit_id=9, timeout=5.0, auto_open=True)
stop.close()
said["foreign"] = [other.read_holding_registers(0, 1), other.last_except]

memory = ModbusClient(host="127.0.0.1", port=int(sys.argv[2]), unit_id=3, timeout=5.0, auto_open=True)
assert memory.write_multiple_coils(4, [bool(bit) for bit in (1, 0, 1, 1, 0, 0, 1, 0, 1, 1)])
assert memory.write_single_coil(3, True) and memory.write_multiple_registers(20, list(range(1000, 1123)))
said["memory"] = {
    "coils": memory.read_coils(0, 16),
    "discretes": memory.read_discrete_inputs(0, 10),
    "inputs": memory.read_input_registers(100, 5),
    "most": memory.read_holding_registers(19, 125),
    "exchanged": memory.write_read_multiple_registers(40, [7, 8], 39, 4),
}
assert memory.read_holding_registers(199, 2) is None
said["memory"]["past"] = memory.last_except
print(json.dumps(said))
"""


def test_pymodbustcp_on_the_beam_head(bench: Bench) -> None:
    said = peer(PYMODBUSTCP, bench.port(), bench.port("plain"))
    assert said["all"] == [0x4B48, 0, 0, 0, 0, 0, 1, 1000, 0]
    assert said["written"] == [True, True]
    assert said["firing"] == [654, 1, 7, 1, 654, 0b111]
    assert said["refused"] == [False, 4]
    assert said["read_only"] == [False, 2]
    assert said["no_coils"] == [None, 1]
    assert said["stopped"] == [True, [654, 0, 0, 0, 0, 1, 1000, 1]]
    assert said["foreign"] == [None, 0x0B]
    assert said["memory"] | {"masked": 0x17} == PLAIN_WITH_FC22_AND_FC23
    assert bench.end()["beam"]["dropped"] == 0


MASTERS = [  # the file in tests/peers, and whether it has FC22 and FC23 on RTU and on TCP
    pytest.param("libmodbus_master.c", True, True, marks=needs_libmodbus),
    pytest.param("modbus_tk_master.py", True, True, marks=needs_modbus_tk),
    pytest.param(
        "jsmodbus_master.js", False, False, marks=[needs_node_package("jsmodbus"), needs_node_package("serialport")]
    ),
    pytest.param("modbus_serial_master.js", False, True, marks=needs_node_package("modbus-serial")),
]


@pytest.mark.parametrize(("name", "all_on_rtu", "all_on_tcp"), MASTERS)
def test_a_master_runs_its_errand(bench: Bench, tmp_path: Path, name: str, all_on_rtu: bool, all_on_tcp: bool) -> None:
    words = (bench.pty("bus0"), bench.pty("bus1"), bench.port(), bench.port("plain"))
    said = run_peer(command_of(name, tmp_path), *words)
    assert said.pop("rtu") == (PLAIN_WITH_FC22_AND_FC23 if all_on_rtu else PLAIN)
    assert said.pop("tcp") == (PLAIN_WITH_FC22_AND_FC23 if all_on_tcp else PLAIN)
    assert 195 <= said.pop("pv") <= 205
    assert 200.0 < said.pop("volts") < 235.0
    assert said == {
        "identity": 0xE162,
        "working_sp": 455,
        "block": [250, 300, 455],
        "hole": 2,
        "pulses": 2500,
        "head": [0x4B48, 654, 1, 7, 1, 654, 0b111],
        "refused": 4,
        "read_only": 2,
        "foreign": 0x0B,
    }
    counters = bench.end()
    for bus in ("bus0", "bus1"):
        heard = counters[bus]
        assert heard["answered"] == heard["frames"] >= 9
        assert heard["bad_crc"] == heard["voided"] == heard["foreign"] == heard["overruns"] == 0
    assert counters["beam"]["dropped"] == counters["plain"]["dropped"] == 0


def mbpoll(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mbpoll", "-0", "-1", *words], capture_output=True, encoding="utf-8", errors="replace", timeout=WAIT_S
    )


def values(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What mbpoll printed behind `[address]:`."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.partition(":")[2].split()[0] for line in done.stdout.splitlines() if line.startswith("[")]


@needs_mbpoll
def test_mbpoll_on_both_transports(bench: Bench) -> None:
    heater = ["-m", "rtu", "-b", "9600", "-P", "none", "-a", "1", "-o", "2"]
    assert values(mbpoll(*heater, "-t", "4:hex", "-r", "122", bench.pty("bus0"))) == ["0xE162"]
    assert mbpoll(*heater, "-t", "4", "-r", "26", bench.pty("bus0"), "455").returncode == 0
    assert values(mbpoll(*heater, "-t", "4", "-r", "26", bench.pty("bus0"))) == ["455"]
    hole = mbpoll(*heater, "-t", "4", "-r", "10", bench.pty("bus0"))
    assert hole.returncode != 0 and "Illegal data address" in hole.stdout + hole.stderr
    head = ["-m", "tcp", "-p", str(bench.port()), "-a", "1", "-t", "4:hex"]
    assert values(mbpoll(*head, "-r", "0", "-c", "2", "127.0.0.1")) == ["0x4B48", "0x0000"]
    memory = ["-m", "tcp", "-p", str(bench.port("plain")), "-a", "3"]
    assert mbpoll(*memory, "-t", "0", "-r", "8", "127.0.0.1", "1", "0", "1").returncode == 0
    assert values(mbpoll(*memory, "-t", "0", "-r", "7", "-c", "5", "127.0.0.1")) == ["0", "1", "0", "1", "0"]
    assert values(mbpoll(*memory, "-t", "3", "-r", "100", "-c", "2", "127.0.0.1")) == ["10000", "10201"]
