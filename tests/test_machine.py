"""Does the machine latch what trips it, and break off whoever works?

The devices are stand-ins (`machine_helpers`); how it makes itself safe is in `test_machine_safe.py`, whole machines are
tried in `test_print_virtual.py`.
"""

from __future__ import annotations

import asyncio

import pytest
from machine_helpers import POLLED, Bench, on_a_machine

from control.interlock import BEAM_INTERLOCK_OK, Trip
from control.states import IllegalTransition, RunEvent, RunState
from control.watch import POLL_FAILURES_MAX, MachineTripped
from firmware_bridge.errors import DeviceError, LinkTimeout, Rejected, TransportError, WrongModel
from firmware_bridge.signals import Reading

# ---- bringing up


def test_bringing_up_identifies_before_it_configures_and_ends_ready() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.bring_up()
        assert bench.machine.state is RunState.READY
        first_configured = min(bench.calls.index(call) for call in bench.calls if call.endswith(".configure"))
        assert all(bench.calls.index(f"{name}.identify") < first_configured for name in bench.devices)
        assert bench.calls.index("beam.reset") < bench.calls.index("beam.configure")

    on_a_machine(act, up=False)


def test_a_wrong_model_is_configured_by_nobody() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["camera"].breaks["identify"] = WrongModel("no camera")
        with pytest.raises(WrongModel):
            await bench.machine.bring_up()
        assert not [call for call in bench.calls if call.endswith(".configure")]
        assert bench.machine.state is RunState.FAULT

    on_a_machine(act, up=False)


@pytest.mark.parametrize("device", list(POLLED))
def test_a_device_that_is_never_read_keeps_the_machine_in_fault(device: str) -> None:
    async def act(bench: Bench) -> None:
        bench.devices[device].breaks["poll"] = LinkTimeout("no answer")
        with pytest.raises(MachineTripped, match=f"{device}: does not answer"):
            await bench.machine.bring_up()
        assert bench.machine.state is RunState.FAULT

    on_a_machine(act, up=False)


def test_an_interlock_that_is_open_already_refuses_ready() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["beam"].values["status"] = 0.0
        with pytest.raises(MachineTripped, match="interlock circuit is open"):
            await bench.machine.bring_up()
        assert bench.machine.state is RunState.FAULT

    on_a_machine(act, up=False)


def test_a_stop_while_it_comes_up_is_not_forgotten_when_it_is_up() -> None:
    async def act(bench: Bench) -> None:
        asyncio.get_running_loop().call_later(0.05, bench.machine.stop, "the red button")
        with pytest.raises(MachineTripped, match="the red button") as stopped:
            await bench.machine.guarded(bench.machine.bring_up())
        assert stopped.value.stopped

    on_a_machine(act, up=False)


def test_a_stop_is_no_cause_that_goes_away() -> None:
    async def act(bench: Bench) -> None:
        bench.machine.stop("the red button")
        await asyncio.sleep(2.0)
        with pytest.raises(MachineTripped, match="the red button"):
            await bench.machine.reset()
        assert bench.machine.state is RunState.FAULT

    on_a_machine(act)


# ---- tripping


def test_a_trip_breaks_off_a_step_at_once_and_stays() -> None:
    async def act(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        began_s, ended = loop.time(), []

        async def step() -> None:
            try:
                await asyncio.sleep(100.0)
            finally:
                ended.append(loop.time())

        loop.call_later(1.0, bench.machine.trip, [Trip("meter", "smokes")])
        with pytest.raises(MachineTripped, match="meter: smokes"):
            await bench.machine.guarded(step())
        assert ended == [pytest.approx(began_s + 1.0)]
        for refused in (lambda: bench.machine.guarded(asyncio.sleep(0)), lambda: bench.machine.guarded(step())):
            with pytest.raises(MachineTripped):
                await refused()
        with pytest.raises(MachineTripped):
            bench.machine.enter(RunEvent.PAUSE)
        bench.machine.trip([Trip("meter", "smokes more")])
        assert not bench.listener.said("smokes more"), "the first trip is the one that counts"

    on_a_machine(act)


def test_a_reset_needs_the_causes_gone() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["heater"].values["bed_temp_c"] = 500.0
        with pytest.raises(MachineTripped, match="over 400"):
            await bench.machine.guarded(asyncio.sleep(2.0))
        with pytest.raises(MachineTripped, match="over 400"):
            await bench.machine.reset()
        bench.devices["heater"].values["bed_temp_c"] = 50.0
        await asyncio.sleep(1.0)
        await bench.machine.reset()
        assert bench.machine.state is RunState.SAFE
        assert await bench.machine.guarded(asyncio.sleep(0, "works again")) == "works again"

    on_a_machine(act)


def test_a_device_is_lost_after_failures_in_a_row_and_not_before() -> None:
    async def act(bench: Bench) -> None:
        meter = bench.devices["meter"]
        meter.breaks["poll"] = LinkTimeout("no answer")
        await asyncio.sleep(POLL_FAILURES_MAX - 1.5)
        assert bench.machine.state is RunState.READY
        del meter.breaks["poll"]
        await asyncio.sleep(1.0)
        meter.breaks["poll"] = LinkTimeout("no answer")
        with pytest.raises(MachineTripped, match=f"meter: failed {POLL_FAILURES_MAX} times in a row"):
            await bench.machine.guarded(asyncio.sleep(10.0))

    on_a_machine(act)


def test_a_byte_stream_that_was_lost_is_a_fact_at_once() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["meter"].breaks["poll"] = TransportError("serial:/dev/x was lost")
        with pytest.raises(MachineTripped, match="meter: serial:/dev/x was lost"):
            await bench.machine.guarded(asyncio.sleep(1.5))

    on_a_machine(act)


def test_a_heater_that_refuses_its_set_point_trips_though_it_answers_polls() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.heat(20.0)
        bench.devices["heater"].breaks["set_temp_c"] = Rejected("not now")
        with pytest.raises(MachineTripped, match=r"heater: failed 3 times in a row: not now"):
            await bench.machine.guarded(asyncio.sleep(10.0))

    on_a_machine(act)


def test_a_fault_of_our_own_in_a_poller_trips() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["recoater"].breaks["poll"] = ZeroDivisionError("a bug")
        with pytest.raises(MachineTripped, match="host: poller-bus1 failed: a bug"):
            await bench.machine.guarded(asyncio.sleep(10.0))

    on_a_machine(act)


# ---- the beam


def test_the_beam_is_armed_and_fired_in_this_order_and_fed_from_then_on() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.arm_and_fire(100.0)
        assert bench.calls == ["beam.set_power_w", "beam.arm", "beam.set_shutter", "beam.fire"]
        bench.devices["beam"].values["status"] = float(BEAM_INTERLOCK_OK | 6)
        bench.calls.clear()
        await asyncio.sleep(2.0)
        assert 7 <= bench.calls.count("beam.feed") <= 9 and bench.machine.state is RunState.EXPOSING
        bench.devices["beam"].values["status"] = float(BEAM_INTERLOCK_OK)
        await bench.machine.cease_and_disarm()
        bench.calls.clear()
        await asyncio.sleep(2.0)
        assert "beam.feed" not in bench.calls and bench.machine.state is RunState.READY

    on_a_machine(act)


@pytest.mark.parametrize("shown", [{"emission_w": 1.1}, {"energy_j": 0.2}])
def test_light_behind_an_open_shutter_and_before_the_fire_trips_by_either_reading(shown: dict[str, float]) -> None:
    async def act(bench: Bench) -> None:
        bench.devices["beam"].shows["set_shutter"] = shown
        with pytest.raises(MachineTripped, match="with its shutter open and its fire off: its source is stuck on"):
            await bench.machine.arm_and_fire(100.0)
        assert "beam.fire" not in bench.calls

    on_a_machine(act)


def test_a_head_that_counts_what_a_dark_one_may_is_fired() -> None:
    async def act(bench: Bench) -> None:
        bench.devices["beam"].shows["set_shutter"] = {"emission_w": 0.9, "energy_j": 0.1}
        await bench.machine.arm_and_fire(100.0)
        assert "beam.fire" in bench.calls

    on_a_machine(act)


@pytest.mark.parametrize("power_w", [0.0, -1.0, 200.1, float("nan"), float("inf")])
def test_a_power_that_the_machine_does_not_have_is_refused_before_the_head_hears_of_it(power_w: float) -> None:
    async def act(bench: Bench) -> None:
        with pytest.raises(DeviceError, match="no power for this machine"):
            await bench.machine.arm_and_fire(power_w)
        assert bench.calls == []

    on_a_machine(act)


def test_a_machine_that_tripped_is_not_fed_and_cannot_be_armed() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.arm_and_fire(100.0)
        bench.machine.trip([Trip("meter", "smokes")])
        bench.calls.clear()
        await asyncio.sleep(2.0)
        assert "beam.feed" not in bench.calls
        with pytest.raises(IllegalTransition):
            await bench.machine.arm_and_fire(100.0)
        assert "beam.fire" not in bench.calls

    on_a_machine(act)


def test_a_token_that_is_refused_trips_with_what_the_head_says_of_itself() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.arm_and_fire(100.0)
        bench.devices["beam"].values["status"] = 0.0
        bench.devices["beam"].breaks["feed"] = Rejected("exception 04")
        with pytest.raises(MachineTripped, match="interlock circuit is open"):
            await bench.machine.guarded(asyncio.sleep(0.3))

    on_a_machine(act)


def test_a_stop_goes_to_the_head_over_its_own_connection_first() -> None:
    async def act(bench: Bench) -> None:
        await bench.machine.arm_and_fire(100.0)
        bench.calls.clear()
        bench.machine.stop("the red button")
        await asyncio.sleep(0)
        await bench.machine.make_safe()
        assert bench.calls[0] == "beam.stop" and "motion.quick_stop" in bench.calls

    on_a_machine(act)


# ---- heat


def test_heating_waits_for_the_bed_and_gives_up_with_a_sentence() -> None:
    async def act(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        heater = bench.devices["heater"]
        loop.call_later(5.0, heater.values.update, {"bed_temp_c": 148.0})
        began_s = loop.time()
        await bench.machine.heat(150.0)
        assert 5.0 <= loop.time() - began_s < 7.0
        bench.calls.clear()
        await asyncio.sleep(10.0)
        assert 9 <= bench.calls.count("heater.set_temp_c") <= 11, "the remote set-point is renewed at 1 Hz"
        heater.values["bed_temp_c"] = 20.0
        await asyncio.sleep(1.0)
        with pytest.raises(DeviceError, match=r"did not reach 150 degC within 7200 s \(20.0 degC\)"):
            await bench.machine.heat(150.0)

    on_a_machine(act)


def test_drives_are_polled_fast_while_they_move() -> None:
    async def act(bench: Bench) -> None:
        polls: list[float] = []
        poll = bench.devices["recoater"].poll

        async def counted() -> dict[str, Reading]:
            polls.append(asyncio.get_running_loop().time())
            return await poll()

        bench.devices["recoater"].poll = counted  # type: ignore[method-assign]

        async def slow(_position_mm: float) -> None:
            await asyncio.sleep(4.0)

        bench.devices["recoater"].move_to = slow  # type: ignore[attr-defined]
        await bench.machine.move_axis("recoater", 100.0)
        moving = len(polls)
        await asyncio.sleep(4.0)
        assert 35 <= moving <= 45 and len(polls) - moving <= 6

    on_a_machine(act)
