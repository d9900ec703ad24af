"""Does a machine make itself safe, in order and whatever fails on the way?

The devices are stand-ins (`machine_helpers`).
"""

from __future__ import annotations

import asyncio

import pytest
from machine_helpers import LAB_CONFIG, Bench, on_a_machine

from control.interlock import BEAM_INTERLOCK_OK, Trip
from control.states import RunEvent, RunState
from control.watch import MachineTripped
from firmware_bridge.errors import LinkTimeout
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

SAFE_ORDER = ["beam.safe", "heater.safe", "motion.safe", "recoater.safe", "piston.safe"]


def test_conveyor_and_supply_come_last_and_a_part_that_fails_does_not_keep_them() -> None:
    async def main(_loop: VirtualLoop) -> None:
        bench = Bench(LAB_CONFIG, lab=("conveyor", "supply", "pyranometer"))
        bench.devices["conveyor"].returns["reset"] = 0
        await bench.machine.bring_up()
        for broken in (None, "heater", "conveyor"):
            bench.calls.clear()
            if broken is not None:
                bench.devices[broken].breaks["safe"] = LinkTimeout("gone")
            failed = [name for name in ("heater", "conveyor") if "safe" in bench.devices[name].breaks]
            assert await bench.machine.make_safe() == failed
            assert bench.safe_calls()[0] == "beam.safe"
            assert bench.safe_calls()[-3:] == ["conveyor.safe", "supply.safe", "pyranometer.safe"]
            assert {"heater.safe", "recoater.safe", "piston.safe"} < set(bench.safe_calls()[1:-3])
        await bench.machine.shut_down()

    run_virtual(main)


def test_a_supply_is_on_from_arming_to_disarming_and_seen_to_be_drawn_from_before_the_head_fires() -> None:
    async def main(_loop: VirtualLoop) -> None:
        bench = Bench(LAB_CONFIG, lab=("conveyor", "supply", "pyranometer"))
        bench.devices["conveyor"].returns["reset"] = 0
        await bench.machine.bring_up()
        supply, beam = bench.devices["supply"], bench.devices["beam"]
        bench.calls.clear()
        supply.shows["switch_on"] = {"output": 1.0, "output_a": 1.2}
        supply.shows["switch_off"] = {"output": 0.0, "output_a": 0.0}
        beam.shows["fire"] = {"status": float(BEAM_INTERLOCK_OK | 6)}
        await bench.machine.arm_and_fire(100.0)
        steps = [call for call in bench.calls if call != "beam.feed"]
        arming = ["beam.set_power_w", "beam.arm", "beam.set_shutter"]
        assert steps == [*arming, "supply.set_output", "supply.switch_on", "beam.fire"]
        await asyncio.sleep(1.0)
        assert bench.machine.state is RunState.EXPOSING
        bench.calls.clear()
        beam.shows["fire"] = {"status": float(BEAM_INTERLOCK_OK)}
        await bench.machine.cease_and_disarm()
        steps = [call for call in bench.calls if call != "beam.feed"]
        assert steps == ["beam.fire", "beam.set_shutter", "beam.disarm", "supply.switch_off"]
        await asyncio.sleep(1.0)
        assert bench.machine.state is RunState.READY

        bench.calls.clear()
        supply.shows.clear()
        with pytest.raises(MachineTripped, match="supply: its output went off"):
            await bench.machine.arm_and_fire(100.0)
        assert "beam.fire" not in bench.calls
        await bench.machine.shut_down()

    run_virtual(main)


def test_a_conveyor_that_had_tripped_is_reset_and_told_of_and_its_watchdog_armed_last() -> None:
    async def main(_loop: VirtualLoop) -> None:
        bench = Bench(LAB_CONFIG, lab=("conveyor", "supply", "pyranometer"))
        bench.devices["conveyor"].returns["reset"] = 58
        await bench.machine.bring_up()
        assert bench.listener.said("the drive had tripped (fault 58)")
        configured = [call for call in bench.calls if call.endswith(".configure")]
        assert configured[-2:] == ["conveyor.configure", "supply.configure"]
        assert bench.calls.index("conveyor.reset") < bench.calls.index("conveyor.configure")
        await bench.machine.shut_down()

    run_virtual(main)


def test_a_gantry_that_takes_its_time_keeps_nothing_from_being_made_safe() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["motion"].breaks["safe"] = None  # it never answers
        making_safe = asyncio.ensure_future(bench.machine.make_safe())
        await asyncio.sleep(1.0)
        assert bench.safe_calls() == SAFE_ORDER and not making_safe.done()
        assert await making_safe == ["motion"]

    on_a_machine(act)


def test_making_safe_is_in_order_beam_first_and_harmless_twice() -> None:
    async def act(bench: Bench) -> None:
        for _ in range(2):
            bench.calls.clear()
            assert await bench.machine.make_safe() == []
            assert bench.safe_calls() == SAFE_ORDER
            assert bench.machine.state is RunState.SAFE

    on_a_machine(act)


@pytest.mark.parametrize("device", ["beam", "motion", "heater", "recoater", "piston"])
@pytest.mark.parametrize("error", [LinkTimeout("gone"), None], ids=["fails", "never answers"])
def test_a_part_that_cannot_be_made_safe_does_not_keep_the_others(device: str, error: Exception | None) -> None:
    async def act(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.devices[device].breaks |= {"safe": error, "stop": error}
        began_s = loop.time()
        assert await bench.machine.make_safe() == [device]
        assert bench.safe_calls() == SAFE_ORDER
        assert loop.time() - began_s < 30.0, "making safe is bounded"
        assert bench.listener.said(f"{device} could not be made safe")
        assert bench.machine.state is RunState.FAULT, "what is not known to be safe is not called safe"

    on_a_machine(act)


def test_a_head_that_misses_one_frame_is_stopped_over_its_reserved_connection() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["beam"].breaks["safe"] = LinkTimeout("a frame was lost")
        assert await bench.machine.make_safe() == []
        assert bench.calls.index("beam.safe") + 1 == bench.calls.index("beam.stop") < bench.calls.index("motion.safe")

    on_a_machine(act)


def test_a_fault_of_our_own_while_making_safe_does_not_keep_the_rest_from_it() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["motion"].breaks["safe"] = ZeroDivisionError("a bug")  # type: ignore[assignment]
        assert await bench.machine.make_safe() == ["motion"]
        assert "piston.safe" in bench.calls

    on_a_machine(act)


def test_nobody_feeds_the_head_while_it_is_made_safe() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.arm_and_fire(100.0)
        bench.devices["beam"].values["status"] = float(BEAM_INTERLOCK_OK | 6)
        bench.devices["motion"].breaks["safe"] = None
        bench.devices["motion"].breaks["quick_stop"] = None
        bench.calls.clear()
        await bench.machine.make_safe()
        assert "beam.feed" not in bench.calls

    on_a_machine(act)


def test_a_listener_that_fails_does_not_swallow_a_trip() -> None:
    async def act(bench: Bench) -> None:
        def broken(_level: str, _text: str) -> None:
            raise ValueError("a full pipe")

        heard = bench.listener.event
        bench.listener.event = broken  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="full pipe"):
            bench.machine.trip([Trip("beam", "the door")])
        bench.listener.event = heard  # type: ignore[method-assign]
        with pytest.raises(MachineTripped, match="the door"):
            await bench.machine.guarded(asyncio.sleep(1.0))

    on_a_machine(act)


@pytest.mark.parametrize("begin", ["ready", "exposing", "paused", "fault"])
def test_every_state_can_be_made_safe(begin: str) -> None:
    async def act(bench: Bench) -> None:
        if begin == "exposing":
            await bench.machine.arm_and_fire(50.0)
        elif begin == "paused":
            bench.machine.enter(RunEvent.PAUSE)
        elif begin == "fault":
            bench.machine.trip([Trip("meter", "smokes")])
        await bench.machine.make_safe()
        assert bench.machine.state is (RunState.FAULT if begin == "fault" else RunState.SAFE)
        assert ("motion.quick_stop" in bench.calls) == (begin == "fault")

    on_a_machine(act)


def test_shutting_down_ends_every_task() -> None:
    async def main(_loop: VirtualLoop) -> None:
        bench = Bench()
        await bench.machine.bring_up()
        await bench.machine.shut_down()
        await bench.machine.shut_down()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main)
