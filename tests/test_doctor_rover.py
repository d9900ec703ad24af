"""Does `moonkiln doctor` know a rover: its wires, what they carry, and how long a stop may wait for them?"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from roboclaw_helpers import linked

from control.commands.doctor import Check, machine_checks
from control.machine_file import machine_path
from control.rover.config import load_rover
from control.rover.wheel_layouts import MODBUS_TIMEOUT_S, modbus_layout, roboclaw_layout
from control.rover.wire_times import TRACKER_LINE_BYTES, stop_bounds, wire_loads
from control.stop_bounds import LOOP_HOLD_S
from firmware_bridge.devices.wheels import RoboClawWheels
from firmware_bridge.devices.wheels_modbus import ModbusWheels
from firmware_bridge.devices.wheels_modbus_drives import move_values
from firmware_bridge.errors import LinkTimeout
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.links.tracker_lines import tracker_line
from firmware_bridge.register_map import load_map
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.roboclaw import RoboClawLine
from hil_sim.world.wire import DEFAULT_LATENCY_S, lay_virtual

REPOSITORY = Path(__file__).resolve().parent.parent


def osr_file(folder: Path, **changes: str) -> Path:
    """The shipped rover with some URLs of its own, each wire without one under `folder`."""
    text = machine_path("osr").read_text(encoding="utf-8")
    for name, rate in (("wheels", 115200), ("imu", 115200), ("power", 19200), ("tracker", 115200)):
        was = f'"serial:/dev/serial/by-id/usb-moonkiln_{name}-if00?baud={rate}"'
        assert was in text
        text = text.replace(was, f'"{changes.get(name, f"serial:{folder}/{name}?baud={rate}")}"')
    path = folder / "mine.toml"
    path.write_text(text.replace("tcp:192.168.7.20:80", "sim:camera"), encoding="utf-8")
    return path


def checked(machine: Path | str) -> list[Check]:
    return asyncio.run(machine_checks(str(machine)))


@contextmanager
def served(folder: Path) -> Iterator[Path]:
    """The machine file of a rover whose devices are on ptys, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "control.cli", "sim", "serve", "--machine", "osr", "--dir", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    try:
        while "machine" not in (said := json.loads(process.stdout.readline())):
            pass
        yield Path(said["machine"])
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@pytest.mark.real_time
@pytest.mark.skipif(sys.platform == "win32", reason="wires need ptys")
def test_all_is_well_with_a_served_rover_and_what_is_not_is_named(tmp_path: Path) -> None:
    with served(tmp_path / "D") as machine:
        well = checked(machine)
        assert [check.state for check in well] == ["ok"] * len(well), well
        (tmp_path / "D" / "imu").unlink()
        (bad,) = [check for check in checked(machine) if check.state != "ok"]
        assert bad.what.startswith("wire imu (imu)") and "there is no port" in bad.what
        assert str(tmp_path / "D" / "power") in bad.advice, "the ports that are there"
    words = [check.what for check in well]
    assert any(word.startswith("wire wheels (wheels)") and "`rover drive` asks" in word for word in words)
    for start in ("polling takes 42% of wheels", "polling takes 12% of imu", "polling takes 2% of power"):
        assert any(word.startswith(start) for word in words), start
    assert any("a software stop is on the wire of wheels" in word and "0.5 s stops by itself" in word for word in words)


def test_a_baud_rate_that_cannot_carry_the_polls_is_bad(tmp_path: Path) -> None:
    found = checked(osr_file(tmp_path, wheels=f"serial:{tmp_path}/wheels?baud=19200", imu="serial:/x?baud=9600"))
    bad = {check.what.split()[4].rstrip(":"): check for check in found if check.what.startswith("polling") and
           check.state == "bad"}  # fmt: skip
    assert set(bad) == {"wheels", "imu"}
    assert "136% of wheels" in bad["wheels"].what and "more than 19200 baud carry" in bad["wheels"].what
    assert "moonkiln ports --probe" in bad["wheels"].advice


def test_a_baud_rate_that_there_is_not_is_a_fault_of_the_file(tmp_path: Path) -> None:
    path = osr_file(tmp_path, power="serial:/dev/ttyUSB0?baud=12")
    (check,) = checked(path)
    assert check.state == "bad" and str(path) in check.what and "12 baud" in check.what


@pytest.mark.parametrize(("machine", "load"), [("osr", 0.42), ("polar", 0.88)])
def test_the_shipped_rovers_polls_fit(machine: str, load: float) -> None:
    loads = wire_loads(load_rover(machine))
    assert set(loads) == {"wheels", "imu", "power", "tracker"}
    assert loads["wheels"][0] == pytest.approx(load, abs=0.01) and all(share < 0.9 for share, _ in loads.values())


def test_a_network_has_no_baud_rate_to_be_filled() -> None:
    config = load_rover("osr").with_urls({"tracker": "tcp:10.0.0.1:7000"})
    assert set(wire_loads(config)) == {"wheels", "imu", "power"}


def test_no_fix_is_longer_than_what_is_counted() -> None:
    far = (b"65535", b"4294967295", b"-12345.1234", b"-12345.1234", b"-1234.1234", b"-3.14159", b"10.0000", b"0")
    assert TRACKER_LINE_BYTES - 2 <= len(tracker_line(b"MKTRK", far)) <= TRACKER_LINE_BYTES


# ---- the bound, measured on lines whose every unit is dead ----------------------------------------------------------


def test_a_stop_of_dead_boards_keeps_its_bound() -> None:
    sent: list[tuple[float, bytes]] = []

    def tap(t_s: float, point: str, data: bytes) -> None:
        if point == "wheels.to_device":
            sent.append((t_s - len(data) * 10 / 115200 - DEFAULT_LATENCY_S, data))

    async def main(loop: asyncio.AbstractEventLoop) -> float:
        config = load_rover("osr")
        async with linked(RoboClawLine({}, baud=115200), tap=tap) as link:
            await asyncio.sleep(0.1)
            order = asyncio.ensure_future(link.write(132, 66, bytes(17), retries=0))
            await asyncio.sleep(0)
            called_s = loop.time()
            with pytest.raises(LinkTimeout):
                await RoboClawWheels(link, roboclaw_layout(config)).stop()
            with pytest.raises(LinkTimeout):
                await order
        return called_s

    called_s = run_virtual(main)
    first_s = {}
    for t_s, data in sent:
        if data[1] == 54:
            first_s.setdefault(data[0], t_s - called_s)
    bound_s = stop_bounds(load_rover("osr"))["wheels"].seconds - LOOP_HOLD_S
    assert list(first_s) == [128, 129, 130, 131, 132]
    assert 0.98 * bound_s < first_s[132] <= bound_s + 1e-9


def test_a_stop_of_dead_drives_keeps_its_bound() -> None:
    sent: list[tuple[float, bytes]] = []

    def tap(t_s: float, point: str, data: bytes) -> None:
        if point == "wheels.to_device":
            sent.append((t_s - len(data) * 10 / 115200 - DEFAULT_LATENCY_S, data))

    async def main(loop: asyncio.AbstractEventLoop) -> float:
        config = load_rover("polar")
        wire = await lay_virtual("wheels", RtuBus({}, baud=115200), baud=115200, tap=tap)
        link = await ModbusLink.open("sim:wheels?baud=115200", framing="rtu", timeout_s=MODBUS_TIMEOUT_S)
        wheels = ModbusWheels(link, modbus_layout(config), load_map("leadshine_wheel"))
        motor = wheels._motors[-1]
        move = asyncio.ensure_future(motor.access.write_block(move_values(motor, 100, 10, 10.0)))
        await asyncio.sleep(0.005)
        called_s = loop.time()
        with pytest.raises(LinkTimeout):
            await wheels.stop()
        await asyncio.gather(move, return_exceptions=True)
        link.close()
        wire.close()
        return called_s

    called_s = run_virtual(main)
    first_s: dict[int, float] = {}
    for t_s, data in sent:
        if len(data) == 8 and data[1] == 6:
            first_s.setdefault(data[0], t_s - called_s)
    bound_s = stop_bounds(load_rover("polar"))["wheels"].seconds - LOOP_HOLD_S
    assert sorted(first_s) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert 0.98 * bound_s < max(first_s.values()) <= bound_s
