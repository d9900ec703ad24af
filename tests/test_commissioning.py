"""Does each step of a bench printer's first day do on the emulated bench what its page says?"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench_helpers import RECIPE, REPOSITORY, served_bench

from firmware_bridge.links.marlin import MarlinLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.gantry import Gantry, Run, Stand
from hil_sim.world.wire import lay_virtual

PAGE = REPOSITORY / "docs" / "commissioning.md"
BAUD = 115200
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
MEASURED = (  # what a line begins with, and how far its first number may lie below and above; others equal
    (re.compile(r"voltage_v "), 2.0, 2.0),  # V: it falls with what the bench draws
    (re.compile(r" +\d+\.\d\d s  "), 0.1, 5.0),  # s: when a watch read; never early, and late on a busy computer
)


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def silence() -> str:
    """The page's `silence.py`."""
    (body,) = re.findall(r"^```python\n(.*?)^```", page(), re.MULTILINE | re.DOTALL)
    return body


def steps() -> list[tuple[str, int, list[str]]]:
    """(command, exit code, lines shown) of each command of the page, in order."""
    found = []
    for body in re.findall(r"^```console\n(.*?)^```", page(), re.MULTILINE | re.DOTALL):
        for call in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, *shown = call.splitlines()
            command, _, remark = line.partition("#")
            code = int(remark.rpartition(" ")[2]) if remark else 0
            found.append((command.strip(), code, shown))
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    name, *words = shlex.split(command.replace("RECIPE", str(RECIPE)))
    program = [sys.executable, *{"moonkiln": ["-m", "control.cli"], "python": []}[name], *words]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def is_same(shown: str, said: str) -> bool:
    """Whether a line of the page is what was said: its words, its numbers, and those of MEASURED nearly."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", said):
        return False
    pairs = [(float(a), float(b)) for a, b in zip(NUMBER.findall(shown), NUMBER.findall(said), strict=True)]
    for begins, below, above in MEASURED:
        if begins.match(shown):
            wanted, found = pairs.pop(0)
            if not wanted - below <= found <= wanted + above:
                return False
    return all(wanted == found for wanted, found in pairs)


def is_shown(shown: list[str], said: list[str]) -> bool:
    """Whether the lines come in this order; `...` stands for any lines, or for none."""
    at, loose = 0, False
    for line in shown:
        if line == "...":
            loose = True
            continue
        places = range(at, len(said)) if loose else range(at, min(at + 1, len(said)))
        place = next((i for i in places if is_same(line, said[i])), None)
        if place is None:
            return False
        at, loose = place + 1, False
    return True


@pytest.mark.real_time
@pytest.mark.parametrize(
    "prints", [False, pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(600)])], ids=["up to", "with"]
)
def test_the_first_day_goes_as_its_page_says(prints: bool, tmp_path: Path) -> None:
    """Up to its prints, which take as long as they take, and with them."""
    every = [step for step in steps() if prints or not step[0].startswith("moonkiln print")]
    make_job = [command for command, _, _ in every if command.startswith(("moonkiln brick", "moonkiln slice"))]
    assert len(every) >= 19 and len(make_job) == 2
    (tmp_path / "silence.py").write_text(silence(), encoding="utf-8")
    for command in make_job:
        assert run(command, tmp_path).returncode == 0
    with served_bench(tmp_path / "D", "--job", tmp_path / "plate.kiln"):
        for command, code, shown in every:
            done = run(command, tmp_path)
            said = [line for line in (done.stdout + done.stderr).splitlines() if line]
            assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
            assert is_shown(shown, said), f"{command} said:\n" + "\n".join(said)


def test_a_line_that_is_not_said_is_found() -> None:
    assert is_shown(["a 1", "...", "c"], ["a 1.0", "b", "c"]) and is_shown(["..."], [])
    assert not is_shown(["a", "c"], ["a", "b", "c"]) and not is_shown(["...", "d"], ["a"])


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("at X 50.00 Y 20.00 Z 0.00 mm", "at X 50.00 Y 20.01 Z 0.00 mm"),
        ("token = 7: reads back 7", "token = 7: reads back -7"),
        ("     6.01 s  working_setpoint_c 0 degC", "     6.01 s  working_setpoint_c 30 degC"),
        ("     6.01 s  working_setpoint_c 0 degC", "     5.80 s  working_setpoint_c 0 degC"),
        ("voltage_v                229.96 V", "voltage_v                227.90 V"),
    ],
)
def test_another_number_is_another_line(shown: str, said: str) -> None:
    assert is_same(shown, shown) and not is_same(shown, said)


def test_what_is_measured_may_lie_a_little_off() -> None:
    assert is_same("     6.01 s  status 9 (armed)", "     8.90 s  status 9 (armed)")
    assert is_same("voltage_v                229.96 V", "voltage_v                229.10 V")


# ---- the step of the laser output, whose lamp is the emulated gantry's beam


def test_the_laser_output_goes_out_by_itself_when_the_pages_program_falls_silent() -> None:
    told = re.search(r"goes on to X (\d+), (\d+) s, .*?out by itself (\d+) s after", page(), re.DOTALL)
    assert told is not None
    to_mm, moves_s, stays_s = map(float, told.groups())
    program: dict[str, Any] = {"__name__": "silence"}
    exec(compile(silence(), "silence.py", "exec"), program)

    async def main(loop: VirtualLoop) -> None:
        gantry = Gantry()
        wire = await lay_virtual("motion", load_machine_spec("bench").devices.motion.board(gantry, BAUD), baud=BAUD)
        link = await MarlinLink.open("sim:motion")
        for line in (b"G28", b"G1 X50 F3000", b"M400"):
            await link.command(line, timeout_s=60.0)
        link.close()
        await program["fall_silent"]("sim:motion")
        silent_s = loop.time()
        await asyncio.sleep(60.0)
        gantry.advance_to(loop.time())
        move, rest = gantry.history[-2:]
        assert isinstance(move, Run) and isinstance(rest, Stand) and gantry.run_at(loop.time()) is None
        assert silent_s < move.t1_s - 4.0, "the line is cut when the move has hardly begun"
        assert move.end_mm[0] == to_mm and move.t1_s - move.t0_s == pytest.approx(moves_s, abs=0.1)
        assert move.move.s_fraction == rest.s_fraction == 0.1 and rest.t0_s == pytest.approx(move.t1_s)
        assert rest.t1_s - rest.t0_s == pytest.approx(stays_s)
        wire.close()

    run_virtual(main)
