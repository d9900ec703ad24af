"""Do faults of heaters and sensors strike where a schedule says, and are they found within their catalogue's bound?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from control.assembly import open_machine
from control.config import load_machine
from control.machine_file import MACHINES
from control.watch import MachineTripped
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.signals import Reading
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World, build_world
from hil_sim.world.faults import KINDS, Fault, FaultSchedule
from hil_sim.world.machine_spec import BedSettings
from hil_sim.world.wiring import MACHINES as WORLD_MACHINES
from hil_sim.world.wiring import WorldError

COARSE = BedSettings(cell_xy_mm=10.0)
FOREVER_S = 1e5
SET = {"motion.plate": b"M140 S60", "motion.hotend": b"M104 S200"}
ON_THE_WAY_S, HELD_S = 20.0, 200.0  # the plate needs 97 s to its set-point, the hot end 82 s


class Nobody:
    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        pass

    def event(self, level: str, text: str) -> None:
        pass


def world_with(fault: Fault | None, work: Any, machine: str | Path = "bench") -> World:
    """`work(world, loop)` in a world with this fault."""

    async def main(loop: VirtualLoop) -> World:
        faults = FaultSchedule(() if fault is None else (fault,))
        world = await build_world(machine, settings=COARSE, faults=faults)
        try:
            await work(world, loop)
        finally:
            world.close()
        return world

    return run_virtual(main)


@pytest.mark.parametrize("point", SET)
@pytest.mark.parametrize(
    ("kind", "at_s", "is_heated", "words"),
    [
        ("open_circuit", ON_THE_WAY_S, True, "MINTEMP triggered"),
        ("short_circuit", ON_THE_WAY_S, True, "MAXTEMP triggered"),
        ("short_circuit", ON_THE_WAY_S, False, "MAXTEMP triggered"),
        ("heater_open", ON_THE_WAY_S, True, "Heating failed"),
        ("heater_open", HELD_S, True, "Thermal Runaway"),
    ],
)
def test_a_marlin_board_stops_with_its_words_within_the_bound(
    point: str, kind: str, at_s: float, is_heated: bool, words: str
) -> None:
    bound_s = 2.0 if kind.endswith("_circuit") else KINDS[kind].bound_s
    assert bound_s is not None
    found: list[float] = []

    async def work(world: World, loop: VirtualLoop) -> None:
        link = await MarlinLink.open(world.urls["motion"])
        if is_heated:
            await link.command(SET[point])
        while link.error is None and loop.time() < at_s + 2 * bound_s:
            if loop.time() < at_s:
                assert not world.motion_board.killed  # type: ignore[union-attr]
            await asyncio.sleep(0.1)
        assert words in str(link.error)
        found.append(loop.time())
        assert [(p, k) for _, p, k in (await world.finish()).strikes] == [(point, kind)]
        link.close()

    world = world_with(Fault(kind, point, at_s=at_s, for_s=FOREVER_S), work)
    assert at_s <= found[0] <= at_s + bound_s
    assert all(heater.target_c == 0.0 for heater in world.motion_board.heaters)  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "for_s"), [("heater_open", 5.0), ("open_circuit", 30.0)])
def test_a_fault_that_is_mended_before_it_is_found_leaves_the_board_at_work(kind: str, for_s: float) -> None:
    """An open sensor is looked at only while the heater is on."""

    async def work(world: World, loop: VirtualLoop) -> None:
        link = await MarlinLink.open(world.urls["motion"])
        if kind == "heater_open":
            await link.command(SET["motion.plate"])
        await asyncio.sleep(HELD_S + for_s)
        await link.command(SET["motion.plate"])
        await asyncio.sleep(200.0)
        assert link.error is None
        assert world.motion_board.heaters.plate.reading_c(loop.time()) == pytest.approx(60.0, abs=0.5)  # type: ignore[union-attr]
        link.close()

    world_with(Fault(kind, "motion.plate", at_s=HELD_S, for_s=for_s), work)


CONTROLLERS = {
    "eurotherm3200": ("bed_heater", "eurotherm_3200"),
    "omron_e5cc": ("omron_heater", "omron_e5cc"),
    "watlow_pm": ("watlow_heater", "watlow_pm"),
}


@pytest.mark.parametrize("emulator", CONTROLLERS)
def test_a_broken_thermocouple_of_the_bed_trips_the_host_and_switches_the_heater_off(
    emulator: str, tmp_path: Path
) -> None:
    kind, table = CONTROLLERS[emulator]
    host = (MACHINES / "bench.toml").read_text(encoding="utf-8")
    host = host.replace('kind = "bed_heater"', f'kind = "{kind}"\ncontactor = "K1"')
    host = host.replace('map = "eurotherm_3200"\npoll_hz = 2.0', f'map = "{table}"\npoll_hz = 1.0')
    (tmp_path / "host.toml").write_text(host, encoding="utf-8")
    world_file = (WORLD_MACHINES / "bench.toml").read_text(encoding="utf-8").replace('"eurotherm3200"', f'"{emulator}"')
    (tmp_path / "world.toml").write_text(world_file, encoding="utf-8")
    at_s, bound_s = 60.0, KINDS["open_circuit"].bound_s
    assert bound_s is not None

    async def work(world: World, loop: VirtualLoop) -> None:
        config = load_machine(tmp_path / "host.toml").with_urls(world.urls)
        async with open_machine(config, Nobody()) as machine:
            await machine.bring_up()
            heating = asyncio.ensure_future(machine.guarded(machine.heat(150.0)))
            await asyncio.sleep(at_s - 1.0 - loop.time())
            assert world.plate.power_w > 0.0
            with pytest.raises(MachineTripped, match=r"heater: .*(sensor|bed_temp_c)"):
                await heating
            assert at_s <= loop.time() <= at_s + bound_s
            world.heater.advance_to(loop.time() + 1.0)
            assert world.plate.power_w == 0.0

    world_with(Fault("open_circuit", "heater.sensor", at_s=at_s, for_s=FOREVER_S), work, tmp_path / "world.toml")


HOLD_C = 150.0  # reached after about 11 min


@pytest.mark.parametrize(
    ("fault", "words", "hotter_c"),
    [
        (Fault("stuck", "heater.temp", at_s=1.0, for_s=FOREVER_S), "by what its heater gave", 0.0),
        (Fault("stuck", "heater.temp", at_s=120.0, for_s=FOREVER_S), "the bed stays at 50.", 0.0),
        (Fault("short_circuit", "heater.temp", at_s=1.0, for_s=FOREVER_S), "by what its heater gave", 0.0),
        (Fault("short_circuit", "heater.temp", at_s=800.0, for_s=FOREVER_S), "which no bed does", 1.0),
        (Fault("drift", "heater.temp", at_s=800.0, for_s=FOREVER_S), "its heater gave|it was asked for 150", 1.0),
        (
            Fault("drift", "heater.temp", at_s=800.0, for_s=FOREVER_S, args={"per_s": -0.1}),
            "by what its heater gave",
            80.0,
        ),
        (Fault("bias", "heater.temp", at_s=800.0, for_s=FOREVER_S, args={"offset": -40.0}), "which no bed does", 1.0),
        (Fault("quantised", "heater.temp", at_s=1.0, for_s=FOREVER_S), "which no bed does", 0.0),
        (Fault("noise_on", "heater.temp", at_s=120.0, for_s=FOREVER_S), "which no bed does", 0.0),
        (Fault("saturated", "heater.temp", at_s=120.0, for_s=FOREVER_S), "over 400", 0.0),
        (
            Fault("ignored_write", "heater", at_s=120.0, for_s=FOREVER_S),
            "it heats to 0.0 degC and was told 150.0",
            0.0,
        ),
        (Fault("reboot", "heater", at_s=120.0, for_s=0.5, args={"off_s": 0.2}), "it heats to 0.0 degC", 0.0),
        (Fault("unit_dead", "heater", at_s=120.0, for_s=FOREVER_S), "failed 3 times in a row", 0.0),
    ],
)
def test_a_bed_whose_sensor_or_controller_fails_trips_the_host_within_the_bound(
    fault: Fault, words: str, hotter_c: float
) -> None:
    bound_s = KINDS[fault.kind].bound_s
    assert bound_s is not None and fault.at_s is not None
    at_s = fault.at_s

    async def work(world: World, loop: VirtualLoop) -> None:
        async def hold(machine: Any) -> None:
            await machine.heat(HOLD_C)
            await asyncio.sleep(2 * 3600.0)

        config = load_machine("bench").with_urls(world.urls)
        async with open_machine(config, Nobody()) as machine:
            await machine.bring_up()
            with pytest.raises(MachineTripped, match=words):
                await machine.guarded(hold(machine))
            assert at_s <= loop.time() <= at_s + bound_s
            assert world.plate.temp_c(loop.time()) <= HOLD_C + hotter_c

    world_with(fault, work)


@pytest.mark.parametrize("target_c", [24.0, 250.0])
def test_a_bed_that_is_well_is_heated_for_a_while_without_a_trip(target_c: float) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        async def hold(machine: Any) -> None:
            await machine.heat(target_c)
            await asyncio.sleep(600.0)

        config = load_machine("bench").with_urls(world.urls)
        async with open_machine(config, Nobody()) as machine:
            await machine.bring_up()
            await machine.guarded(hold(machine))
            assert world.plate.temp_c(loop.time()) == pytest.approx(target_c, abs=1.0)

    world_with(None, work)


@pytest.mark.parametrize(
    ("machine", "fault", "words"),
    [
        ("bench_grbl", Fault("heater_open", "motion.plate", at_s=1, for_s=1), "no point 'motion.plate'"),
        ("bench", Fault("auger_jam", "conveyor.load", at_s=1, for_s=1), "no point 'conveyor.load'"),
        ("bench", Fault("drop", "bus7.to_host", at_chunk=1), "no point 'bus7.to_host'"),
        ("bench", Fault("open_circuit", "heater.sensor", at_chunk=1), "is anchored by at_s, at_layer or at_light"),
    ],
)
def test_a_fault_that_would_strike_nowhere_in_this_world_is_refused(machine: str, fault: Fault, words: str) -> None:
    async def nothing(_world: World, _loop: VirtualLoop) -> None:
        pass

    with pytest.raises(WorldError, match=words):
        world_with(fault, nothing, machine)


def test_a_fault_that_was_over_before_the_world_began_never_strikes() -> None:
    async def main(loop: VirtualLoop) -> None:
        await asyncio.sleep(100.0)
        schedule = FaultSchedule((Fault("short_circuit", "motion.plate", at_s=10.0, for_s=5.0),))
        world = await build_world("bench", settings=COARSE, faults=schedule)
        try:
            await asyncio.sleep(50.0)
            assert (await world.finish()).strikes == []
        finally:
            world.close()

    run_virtual(main)
