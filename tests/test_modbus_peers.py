"""Do Modbus masters that nobody here wrote read and write the emulated devices, over real ptys and TCP, as
processes of their own?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("termios", reason="ptys need a Unix")

TESTS = Path(__file__).resolve().parent
WAIT_S = 60


class Bench:
    """The serving process and where it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.urls: dict[str, str] = json.loads(process.stdout.readline())

    def pty(self, name: str) -> str:
        return self.urls[name].removeprefix("serial:").partition("?")[0]

    @property
    def port(self) -> int:
        return int(self.urls["beam"].rpartition(":")[2])

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
    """Run `script` in its own process, outside this repository; it prints one JSON value."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
print(json.dumps(said))
"""


def test_pymodbustcp_on_the_beam_head(bench: Bench) -> None:
    said = peer(PYMODBUSTCP, bench.port)
    assert said["all"] == [0x4B48, 0, 0, 0, 0, 0, 1, 1000, 0]
    assert said["written"] == [True, True]
    assert said["firing"] == [654, 1, 7, 1, 654, 0b111]
    assert said["refused"] == [False, 4]
    assert said["read_only"] == [False, 2]
    assert said["no_coils"] == [None, 1]
    assert said["stopped"] == [True, [654, 0, 0, 0, 0, 1, 1000, 1]]
    assert said["foreign"] == [None, 0x0B]
    assert bench.end()["beam"]["dropped"] == 0


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
def test_mbpoll_on_both_transports(bench: Bench) -> None:
    def poll(*args: str) -> str:
        done = subprocess.run(["mbpoll", "-0", "-1", *args], capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    serial = ["-m", "rtu", "-b", "9600", "-P", "none", "-a", "1", "-o", "2"]
    assert "57698" in poll(*serial, "-t", "4", "-r", "122", bench.pty("bus0")).replace("-7838", "57698")
    poll(*serial, "-t", "4", "-r", "26", bench.pty("bus0"), "455")
    assert "455" in poll(*serial, "-t", "4", "-r", "26", bench.pty("bus0"))
    tcp = ["-m", "tcp", "-p", str(bench.port), "-a", "1", "-t", "4:hex"]
    assert "0x4B48" in poll(*tcp, "-r", "0", "127.0.0.1")
