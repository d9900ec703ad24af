"""Does the host see that its bed's heater, relay or sensor fails in truth, within the catalogue's bound?"""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from test_faults_of_heaters import FOREVER_S, Nobody, world_with

from control.assembly import open_machine
from control.config import load_machine
from control.heater_watch import HeaterMemory, judged
from control.machine_file import MACHINES
from control.watch import MachineTripped
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World
from hil_sim.world.faults import KINDS, Fault

AT_S = 700.0  # the bed holds its target by then


CONFIG = msgspec.structs.replace(load_machine("bench").devices.heater, model=None)


def trips(temps_c: list[float], target_c: float | None, every_s: float = 10.0) -> list[str]:
    memory, found = HeaterMemory(), []
    for n, temp_c in enumerate(temps_c):
        reading = Reading("bed_temp_c", temp_c, "degC", n * every_s, Quality.GOOD, LimitState.NORMAL)
        memory, more = judged(memory, CONFIG, {"bed_temp_c": reading}, target_c)
        found += [trip.reason for trip in more]
    return found


@pytest.mark.parametrize(
    ("temps_c", "target_c", "words"),
    [
        ([20.0, 30.0, 35.1, 45.1], 30.0, "asked for 30"),
        ([20.0, 40.0, 60.5], None, "nobody heats it"),
        ([200.0, 150.0, 100.0, 116.0], 50.0, "asked for 50"),  # it was on its way down
    ],
)
def test_a_bed_that_is_warmer_than_asked_for_is_named(temps_c: list[float], target_c: float | None, words: str) -> None:
    found = trips(temps_c, target_c)
    assert len(found) == 1 and words in found[0]


@pytest.mark.parametrize(
    ("temps_c", "target_c"),
    [
        ([20.0 + n for n in range(54)], 60.0),
        ([200.0 - n for n in range(150)], 50.0),
        ([200.0 - n for n in range(150)], None),
        ([20.0] * 50, None),
    ],
)
def test_a_bed_that_obeys_is_left_in_peace(temps_c: list[float], target_c: float | None) -> None:
    assert trips(temps_c, target_c) == []


@pytest.mark.parametrize(
    ("kind", "point", "target_c"),
    [
        ("heater_stuck_on", "heater.output", 60.0),
        ("heater_stuck_on", "heater.output", None),
        ("heater_open", "heater.output", 100.0),
        ("runaway", "plate.heat", 60.0),
        ("sensor_off_block", "plate.sensor", 60.0),
    ],
)
def test_the_host_trips_within_the_bound_and_nothing_is_heated_any_more(
    kind: str, point: str, target_c: float | None
) -> None:
    bound_s = KINDS[kind].bound_s
    assert bound_s is not None
    hottest: list[float] = []

    async def work(world: World, loop: VirtualLoop) -> None:
        config = load_machine(MACHINES / "bench.toml").with_urls(world.urls)
        async with open_machine(config, Nobody()) as machine:
            await machine.bring_up()
            if target_c is not None:
                await machine.guarded(machine.heat(target_c))
            with pytest.raises(MachineTripped, match=r"heater: (the bed|it has heated)") as tripped:
                await machine.guarded(asyncio.sleep(3 * AT_S))
            assert AT_S <= loop.time() <= AT_S + bound_s, tripped.value
            await machine.make_safe()
            world.heater.advance_to(loop.time() + 1.0)
            # Welded contacts are the contactor's to cut; a controller whose sensor feels its safe set-point keeps the
            # little that it held the bed with.
            assert world.plate.asked_w < (100.0 if kind == "sensor_off_block" else 1.0)
            hottest.append(world.plate.temp_c(loop.time() + 1.0))

    world_with(Fault(kind, point, at_s=AT_S, for_s=FOREVER_S), work)
    assert hottest[0] < 130.0


@pytest.mark.parametrize(("kind", "point"), [("cooling_lost", "plate.losses"), ("ambient", "bed.ambient")])
def test_what_a_controller_can_hold_trips_nothing(kind: str, point: str) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        config = load_machine(MACHINES / "bench.toml").with_urls(world.urls)
        async with open_machine(config, Nobody()) as machine:
            await machine.bring_up()
            await machine.guarded(machine.heat(60.0))
            await machine.guarded(asyncio.sleep(AT_S + 600.0 - loop.time()))
            assert world.plate.temp_c(loop.time()) == pytest.approx(60.0, abs=1.5)

    world_with(Fault(kind, point, at_s=AT_S, for_s=FOREVER_S), work)
