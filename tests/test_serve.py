"""Does `moonkiln sim serve` serve programs that nobody here wrote, all wires at once, and leave the truth?"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import Bench, served_bench
from click.testing import CliRunner
from test_printcore import needs_printrun, program

from control.cli import cli
from control.config import load_machine
from control.machine_file import MACHINES
from hil_sim.harness.trace import read_truth

pytestmark = pytest.mark.real_time

HERE = Path(__file__).resolve().parent
WAIT_S = 120
MBPOLL = ["mbpoll", "-a", "1", "-0", "-c", "1", "-t", "4:hex", "-1"]
MBPOLL_RTU = [*MBPOLL, "-m", "rtu", "-b", "9600", "-P", "none", "-r", "122"]
MBPOLL_TCP = [*MBPOLL, "-m", "tcp", "-r", "0", "127.0.0.1", "-p"]

MODBUS_MASTERS = """
import json, sys, time
import minimalmodbus
from pyModbusTCP.client import ModbusClient

bus0, port = sys.argv[1], int(sys.argv[2])
heater = minimalmodbus.Instrument(bus0, 1)
heater.serial.baudrate, heater.serial.timeout = 9600, 2.0
meter = minimalmodbus.Instrument(bus0, 2)
meter.serial.baudrate, meter.serial.timeout = 9600, 2.0
said = {"id": heater.read_register(122), "temp_c": [], "watts": []}
heater.write_register(26, 31.5, 1, functioncode=6, signed=True)
said["remote"] = heater.read_register(26, 1, signed=True)
head = ModbusClient(host="127.0.0.1", port=port, unit_id=1, timeout=2.0, auto_open=True)
said["head"] = head.read_holding_registers(0, 1)
said["wrote"] = head.write_single_register(1, 655)
said["power"] = head.read_holding_registers(1, 1)
said["refused"] = head.write_single_register(1, 2001)
for _ in range(10):
    said["temp_c"].append(heater.read_register(1, 1, signed=True))
    said["watts"].append(meter.read_float(12, functioncode=4))
head.close()
print(json.dumps(said))
"""


def pty_of(bench: Bench, device: str) -> str:
    return bench.url(device).removeprefix("serial:").partition("?")[0]


@needs_printrun
def test_printcore_and_modbus_masters_use_a_served_bench_at_the_same_time(tmp_path: Path) -> None:
    commands, points = program(500)
    file = tmp_path / "part.gcode"
    file.write_text("\n".join(commands) + "\n")
    with served_bench(tmp_path / "D") as bench:
        assert {row["device"]: row["protocol"] for row in bench.devices} == {
            "motion": "marlin",
            "beam": "modbus-tcp",
            "heater": "modbus-rtu",
            "meter": "modbus-rtu",
            "recoater": "modbus-rtu",
            "piston": "modbus-rtu",
            "camera": "http-jpeg",
        }
        assert load_machine(bench.machine_toml).urls["motion"] == bench.url("motion")
        printcore = subprocess.Popen(
            [sys.executable, HERE / "printcore_client.py", pty_of(bench, "motion"), file, str(WAIT_S)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        masters = subprocess.run(
            [sys.executable, "-c", MODBUS_MASTERS, pty_of(bench, "heater"), bench.url("beam").rpartition(":")[2]],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        said, _ = printcore.communicate(timeout=WAIT_S)
        assert printcore.returncode == 0, said[-2000:]
        assert masters.returncode == 0, masters.stderr
        bench.end()
    answers = json.loads(masters.stdout)
    assert answers["id"] == 0xE162
    assert answers["remote"] == 31.5
    assert answers["head"] == [0x4B48]
    assert (answers["wrote"], answers["power"], answers["refused"]) == (True, [655], False)
    assert all(15 < temp < 30 for temp in answers["temp_c"])
    assert all(watts > 40 for watts in answers["watts"])
    record = read_truth(tmp_path / "D")
    np.testing.assert_allclose([block.end_mm for block in record.blocks], points, atol=1e-6)
    assert record.end.beam_energy_j == 0.0, "nobody armed the head"
    assert record.end.crashes == 0


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
def test_mbpoll_reads_a_served_bench(tmp_path: Path) -> None:
    with served_bench(tmp_path / "D") as bench:
        heater = subprocess.run(
            [*MBPOLL_RTU, pty_of(bench, "heater")],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert heater.returncode == 0 and "0xE162" in heater.stdout, heater.stdout + heater.stderr
        head = subprocess.run(
            [*MBPOLL_TCP, bench.url("beam").rpartition(":")[2]],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert head.returncode == 0 and "0x4B48" in head.stdout, head.stdout + head.stderr
        bench.end()


@pytest.mark.parametrize("name", ["bench", "osr"])
@pytest.mark.parametrize("folder", ["D", "D/../D", "linked"])
def test_the_machine_file_that_is_served_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "D").mkdir()
    (tmp_path / "linked").symlink_to("D")
    own = tmp_path / "D" / f"{name}.toml"
    own.write_bytes((MACHINES / f"{name}.toml").read_bytes() + b"# mine\n")
    before = own.read_bytes()
    done = CliRunner().invoke(cli, ["sim", "serve", "--machine", f"D/{name}.toml", "--dir", folder])
    assert done.exit_code == 2, done.output
    assert f"D/{name}.toml is the machine file that is served" in done.stderr and "another --dir" in done.stderr
    assert own.read_bytes() == before and [path.name for path in (tmp_path / "D").iterdir()] == [f"{name}.toml"]
