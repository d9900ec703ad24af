"""What stops each kind of device when its host falls silent? The table of `docs/machine-file.md`, proved row by row:
the wire is cut while the device works, and its own clock shows when it is safe."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import watchdog_rigs as rigs
from rover_modbus_helpers import Rover
from watchdog_rigs import Making
from wheels_helpers import rover as boards

from control.assembly import KINDS
from control.config import load_machine
from control.machine_file import MACHINES, ConfigError
from firmware_bridge import devices
from firmware_bridge.errors import BridgeError, NotReady, Rejected, Unverified
from firmware_bridge.register_map import load_map
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.beam_head import WATCHDOG, BeamHead
from hil_sim.world.emulators.delta_ms300 import TIMEOUT, TIMEOUT_ACTION, DeltaMs300
from hil_sim.world.emulators.eurotherm3200 import SP1, Eurotherm3200
from hil_sim.world.emulators.rover_power import RoverPowerEmulator
from hil_sim.world.machine_spec import GrblSpec, load_machine_spec
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.wire import lay_virtual

STEP_S = 0.01
STAYS_S = 30.0  # safe is not for a moment
NEVER_S = 120.0
PAGE = Path(__file__).resolve().parent.parent / "docs" / "machine-file.md"


@dataclass(frozen=True)
class Row:
    """One kind. `own`: "watchdog" of the device, "ends" by itself, "none" but what stands in the docs, or "reads": it
    acts on nothing. `within_s`: from the cut until it is safe, in its rig; inf: it never is."""

    own: str
    driver: str  # its file in firmware_bridge/devices
    rig: Making | None = None
    within_s: float = math.inf
    maps: tuple[str, ...] = ()


TABLE = {
    "marlin": Row("watchdog", "motion", rigs.marlin, 1.9 + 1.0),  # what it holds, then LASER_SAFETY_TIMEOUT_MS
    "grbl": Row("ends", "motion_grbl", rigs.grbl, 1.8),  # what it holds: dark at rest
    "reprap": Row("ends", "motion_reprap", rigs.reprap, 4.2),  # what it holds: dark at rest
    "beam_head": Row("watchdog", "beam", rigs.beam, 1.0, ("moonkiln_beam_head",)),
    "bed_heater": Row("watchdog", "bed_heater", rigs.bed_heater, 5.0 + 0.25, ("eurotherm_3200",)),
    "omron_heater": Row("none", "omron_heater", rigs.omron_heater, maps=("omron_e5cc",)),
    "watlow_heater": Row("none", "watlow_heater", rigs.watlow_heater, maps=("watlow_pm",)),
    "meter": Row("reads", "instrument", maps=("eastron_sdm120",)),
    "stepper": Row("ends", "recoater", rigs.stepper, 1.6, ("leadshine_cs2rs", "leadshine_iem_rs")),
    "conveyor": Row("watchdog", "conveyor", rigs.conveyor, 1.0 + 0.6, ("delta_ms300",)),  # and its ramp
    "supply": Row("none", "supply", rigs.supply, maps=("riden_rd6006",)),
    "pyranometer": Row("reads", "instrument", maps=("kipp_smp11",)),
    "http_snapshot": Row("reads", "camera"),
    "roboclaw": Row("watchdog", "wheels", rigs.roboclaw, 0.5 + 0.1),
    "modbus_wheels": Row("ends", "wheels_modbus", rigs.modbus_wheels, 0.5 + 0.2, ("leadshine_wheel",)),
    "imu": Row("reads", "imu"),
    "rover_power": Row("watchdog", "power", rigs.rover_power, 5.0, ("moonkiln_rover_power",)),
    "tracker": Row("reads", "tracker"),
}
NO_DRIVERS = {  # files of devices/ that drive nothing by themselves
    "gantry", "mapped_unit", "motor_board", "poll_cost", "register_access", "wear", "wheel_orders", "wheels_layout",
    "wheels_modbus_drives", "wheels_readings",
}  # fmt: skip


# ---- nothing is left out


def test_every_kind_of_device_stands_in_the_table() -> None:
    assert set(TABLE) == set(KINDS), "say here, and in docs/machine-file.md, what stops it when its host falls silent"


def test_every_driver_stands_in_the_table() -> None:
    files = {path.stem for path in Path(devices.__file__).parent.glob("*.py")} - {"__init__"}
    assert {row.driver for row in TABLE.values()} | NO_DRIVERS == files


def test_every_map_stands_in_the_table_and_says_the_same() -> None:
    shipped = {path.stem for path in (Path(devices.__file__).parent.parent / "maps").glob("*.toml")}
    assert {name for row in TABLE.values() for name in row.maps} == shipped
    for kind, row in TABLE.items():
        for name in row.maps:
            table = load_map(name)
            assert table.watchdog == ("device" if row.own == "watchdog" else "none"), (kind, name)
            assert table.needs_contactor == (row.own == "none"), (kind, name)
            assert row.own != "reads" or not any("w" in signal.access for signal in table.signals.values()), name


def test_the_page_has_a_row_of_each_kind_that_says_the_same() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## When the host falls silent\n")[2].partition("\n## ")[0]
    told = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 2:
            continue
        for kind in re.findall(r"`(\w+)`", cells[0]):
            told[kind] = cells[1]
    assert {kind: row.own for kind, row in TABLE.items()} == told


# ---- the proof


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.rig is not None])
def test_a_device_whose_wire_is_cut_comes_to_rest_in_its_time_or_needs_what_the_table_says(kind: str) -> None:
    row = TABLE[kind]
    assert row.rig is not None
    making = row.rig

    async def main(loop: VirtualLoop) -> float:
        async with making(loop) as rig:
            cut_s = loop.time()
            assert not rig.is_safe(cut_s), "it does nothing from which it could come to rest"
            rig.wire.hang_up()
            safe_s = math.inf
            while loop.time() < cut_s + NEVER_S:
                await asyncio.sleep(STEP_S)
                if not rig.is_safe(loop.time()):
                    safe_s = math.inf
                elif math.isinf(safe_s):
                    safe_s = loop.time()
                elif loop.time() - safe_s > STAYS_S:
                    break
            return safe_s - cut_s

    took_s = run_virtual(main)
    assert math.isinf(took_s) == (row.own == "none")
    assert took_s <= row.within_s + 2 * STEP_S


# ---- a watchdog that is off, or of no use, is refused when the device is connected


class DeafHead(BeamHead):
    """Its watchdog cannot be set: it keeps 5 s."""

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        super().write_holding(address, [5000] if address == WATCHDOG else values, t_s)


class DeafDrive(DeltaMs300):
    """Its watchdog cannot be set: as delivered it is off."""

    deaf_to: int = TIMEOUT

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        if address != self.deaf_to:
            super().write_holding(address, values, t_s)


class CarelessDrive(DeafDrive):
    """It does nothing when its watchdog's time is over, and cannot be told otherwise."""

    deaf_to = TIMEOUT_ACTION


class HotController(Eurotherm3200):
    """What it falls back to is locked at its keys."""

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        if address != SP1:
            super().write_holding(address, values, t_s)


class DeafUnit(RoverPowerEmulator):
    """Its watchdog is locked at its longest."""

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        if address != load_map("moonkiln_rover_power").signal("watchdog_ms").address:
            super().write_holding(address, values, t_s)


async def _deaf_head(loop: VirtualLoop) -> None:
    async with rigs.beam(loop, DeafHead):
        pass


async def _slow_head(loop: VirtualLoop) -> None:
    async with rigs.beam(loop) as rig:
        await rig.device.configure(watchdog_ms=5001)


async def _deaf_drive(loop: VirtualLoop) -> None:
    async with rigs.conveyor(loop, DeafDrive):
        pass


async def _careless_drive(loop: VirtualLoop) -> None:
    async with rigs.conveyor(loop, CarelessDrive):
        pass


async def _slow_drive(loop: VirtualLoop) -> None:
    async with rigs.conveyor(loop) as rig:
        await rig.device.configure(11.0)


async def _hot_controller(_: VirtualLoop) -> None:
    async with rigs.modbus(HotController(HeaterPlate(), sp1_c=180.0)) as (link, _):
        await rigs.BedHeater(link, 1, load_map("eurotherm_3200"), temp_c_max=200.0).configure()


async def _lit_board(_: VirtualLoop) -> None:
    spec = load_machine_spec("bench_grbl").devices.motion
    assert isinstance(spec, GrblSpec)
    spec = msgspec.structs.replace(spec, settings={**spec.settings, "32": 0.0})
    await lay_virtual("motion", spec.board(Gantry(), 115200), baud=115200)
    await rigs.GrblLink.open("sim:motion", expected=rigs.Expected(s_max=1000))


async def _deaf_board(_: VirtualLoop) -> None:
    async with boards(timeout_s=None) as (wheels, line):
        board = line.boards[130]
        execute = board.execute
        board.execute = lambda command, data, t_s: b"" if command == 14 else execute(command, data, t_s)  # type: ignore[method-assign]
        await wheels.configure(0.5)


async def _slow_wheels(_: VirtualLoop) -> None:
    async with Rover().opened() as (wheels, _link, _wire):
        await wheels.configure(1.1)


async def _deaf_unit(loop: VirtualLoop) -> None:
    async with rigs.rover_power(loop, DeafUnit) as rig:
        await rig.device.configure(watchdog_ms=2000)


def _uncut(driver: type, table: str, **settings: float) -> Callable[[VirtualLoop], Awaitable[None]]:
    async def make(_: VirtualLoop) -> None:
        async with rigs.modbus(Eurotherm3200(HeaterPlate())) as (link, _):
            driver(link, 1, load_map(table), contactor=" ", **settings)

    return make


REFUSED = [
    ("beam_head", _deaf_head, Unverified, "watchdog_ms was set to 1000 ms and watchdog_ms reads back as 5000"),
    ("beam_head", _slow_head, Rejected, "watchdog_ms = 5001"),
    ("conveyor", _deaf_drive, Unverified, "timeout_s was set to 1 s and timeout_s reads back as 0"),
    ("conveyor", _careless_drive, Unverified, "timeout_action was set to 1 and timeout_action reads back as 3"),
    ("conveyor", _slow_drive, Rejected, "a watchdog of 11 s is refused"),
    ("bed_heater", _hot_controller, Unverified, "sp1_c was set to 0 degC and sp1_c reads back as 180"),
    ("grbl", _lit_board, Rejected, r"\$32 is 0.*laser mode"),
    ("roboclaw", _deaf_board, Unverified, "board 130: its serial timeout was set to 0.5 s and reads back as"),
    ("modbus_wheels", _slow_wheels, Rejected, "moves of 1.1 s are refused"),
    ("rover_power", _deaf_unit, Unverified, "watchdog_ms was set to"),
    ("omron_heater", _uncut(rigs.OmronHeater, "omron_e5cc", temp_c_max=9.0), NotReady, "no watchdog .* contactor"),
    ("watlow_heater", _uncut(rigs.WatlowHeater, "watlow_pm", temp_c_max=9.0), NotReady, "no watchdog .* contactor"),
    ("supply", _uncut(rigs.BenchSupply, "riden_rd6006", volts_max=9.0, amps_max=1.0), NotReady, "no watchdog"),
]
NOT_TOLD = {"marlin", "reprap", "stepper"}  # no firmware or register tells of it: the page says what stands behind


@pytest.mark.parametrize(("kind", "connect", "error", "words"), REFUSED)
def test_a_device_that_would_not_stop_by_itself_is_refused_with_a_sentence(
    kind: str, connect: Callable[[VirtualLoop], Awaitable[None]], error: type[BridgeError], words: str
) -> None:
    async def main(loop: VirtualLoop) -> None:
        with pytest.raises(error, match=words):
            await connect(loop)

    run_virtual(main)


def test_each_kind_that_acts_is_looked_at_when_it_is_connected() -> None:
    acts = {kind for kind, row in TABLE.items() if row.own != "reads"}
    assert {kind for kind, *_ in REFUSED} == acts - NOT_TOLD


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("watchdog_ms = 1000", "watchdog_ms = 400", "less than two feeds"),
        ("watchdog_s = 1.0", "watchdog_s = 0.4", "less than two polls"),
        ("watchdog_s = 1.0", "watchdog_s = 10.5", "devices.conveyor.watchdog_s"),
        (
            'contactor = "K2: in the supply\'s input, held by the watchdog relay of the bench"',
            'contactor = " "',
            "has no watchdog of its own",
        ),
    ],
)
def test_a_machine_file_that_asks_for_a_watchdog_of_no_use_is_refused(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    text = (MACHINES / "bench_lab.toml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / "m.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        load_machine(tmp_path / "m.toml")
