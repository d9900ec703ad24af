"""Can people run the whole served bench without a line of our host: motion by printcore, the beam by pyModbusTCP?"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_helpers import REPOSITORY, served_bench
from board_helpers import HERE, program
from peer_tools import WAIT_S, environment, run_peer

from hil_sim.harness.trace import read_truth

pytestmark = [
    pytest.mark.real_time,
    *(  # looked for, never loaded here
        pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed: make setup")
        for package in ("pyModbusTCP", "printrun")
    ),
]

POWER_W = 100.0
KEEP_FIRING = """
import json, sys, time
from pyModbusTCP.client import ModbusClient

head = ModbusClient(host="127.0.0.1", port=int(sys.argv[1]), unit_id=1, timeout=5.0, auto_open=True)
assert head.write_multiple_registers(1, [1000, 1, 7]) and head.write_single_register(4, 1)
print(json.dumps(head.read_holding_registers(6, 1)), flush=True)
while head.write_single_register(3, 7):
    time.sleep(0.25)
"""
STATUS = """
import json, sys
from pyModbusTCP.client import ModbusClient
head = ModbusClient(host="127.0.0.1", port=int(sys.argv[1]), unit_id=1, timeout=5.0)
print(json.dumps(head.read_holding_registers(2, 5)))
"""


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


@pytest.mark.soak
def test_printcore_moves_and_pymodbustcp_fires_until_it_dies(tmp_path: Path) -> None:
    commands, points = program(300)
    file = tmp_path / "part.gcode"
    file.write_text("\n".join(commands) + "\n")
    with served_bench(tmp_path / "D") as bench:
        beam_port = bench.url("beam").rpartition(":")[2]
        motion = bench.url("motion").removeprefix("serial:").partition("?")[0]
        master = subprocess.Popen(
            [*python(KEEP_FIRING), beam_port], stdout=subprocess.PIPE, text=True, cwd="/", env=environment()
        )
        try:
            assert master.stdout is not None
            assert json.loads(master.stdout.readline()) == [0b111]  # interlock, armed, firing
            client = subprocess.run(
                [sys.executable, HERE / "printcore_client.py", motion, file, "60"],
                capture_output=True, text=True, timeout=80, cwd=REPOSITORY,
            )  # fmt: skip
            assert client.returncode == 0, client.stdout[-2000:] + client.stderr[-2000:]
        finally:
            master.kill()
            master.communicate(timeout=WAIT_S)
        limit = time.monotonic() + 20.0
        while (status := run_peer(python(STATUS), beam_port))[4] != 0b01001:
            assert time.monotonic() < limit, f"the head's watchdog has not tripped: {status}"
            time.sleep(0.1)
        assert status == [0, 0, 0, 0, 0b01001]  # shutter closed, disarmed, no fire, no emission, tripped
        bench.end()
    blocks = read_truth(tmp_path / "D").blocks
    assert [block.end_mm for block in blocks] == [pytest.approx(end, abs=1e-9) for end in points]
    for i, block in enumerate(blocks):
        joules = POWER_W * (500 + i % 500) / 1000 * math.dist(block.start_mm, block.end_mm) / 100.0
        assert block.energy_j == pytest.approx(joules, rel=1e-6)
