"""Does the machine latch what trips it, break off whoever works, and make itself safe whatever fails on the way?

The devices are stand-ins that note what was asked of them; whole machines are tried in `test_print_virtual.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from control.config import MachineConfig, load_machine
from control.interlock import BEAM_FIRING, BEAM_INTERLOCK_OK, Trip
from control.lab import LabDevices
from control.machine import Devices, Machine
from control.states import IllegalTransition, RunEvent, RunState
from control.watch import POLL_FAILURES_MAX, MachineTripped
from firmware_bridge.errors import DeviceError, LinkTimeout, Rejected, TransportError, WrongModel
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.virtual_time import VirtualLoop, run_virtual

CONFIG = load_machine("bench")
LAB_CONFIG = load_machine("bench_lab")
POLLED = {
    "beam": {"status": float(BEAM_INTERLOCK_OK), "emission_w": 0.0},
    "heater": {"bed_temp_c": 20.0, "status": 0.0},
    "meter": {"voltage_v": 230.0},
    "recoater": {"motion_status": 2.0, "position_mm": 0.0},
    "piston": {"motion_status": 2.0, "position_mm": 0.0},
}
LAB_POLLED = {
    "conveyor": {"fault_code": 0.0, "run_state": 0.0},
    "supply": {"output": 0.0, "protection": 0.0, "constant_current": 0.0, "output_a": 0.0},
    "pyranometer": {"irradiance_w_m2": 900.0},
}


class Device:
    """Answers every call after 10 ms and notes it; `breaks[name]` is raised instead, or waited for without end."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls
        self.breaks: dict[str, Exception | None] = {}
        self.returns: dict[str, Any] = {}
        self.shows: dict[str, dict[str, float]] = {}  # what it shows once it was asked
        self.values = dict((POLLED | LAB_POLLED).get(name, {}))
        self.quality = Quality.GOOD

    def silent_s(self) -> float:
        return 0.0

    async def poll(self) -> dict[str, Reading]:
        await self._answer("poll", note=False)
        now_s = asyncio.get_running_loop().time()
        return {n: Reading(n, v, "", now_s, self.quality, LimitState.NORMAL) for n, v in self.values.items()}

    async def is_firing(self) -> bool:
        await self._answer("is_firing", note=False)
        return bool(int(self.values["status"]) & BEAM_FIRING)

    async def gives(self) -> tuple[float, float]:
        await self._answer("gives", note=False)
        return self.values["emission_w"], self.values.get("energy_j", 0.0)

    async def _answer(self, what: str, note: bool = True) -> None:
        if note:
            self.calls.append(f"{self.name}.{what}")
        if what in self.breaks:
            error = self.breaks[what]
            if error is None:
                await asyncio.sleep(1e9)
            else:
                raise error
        await asyncio.sleep(0.01)

    def __getattr__(self, what: str) -> Callable[..., Awaitable[Any]]:
        async def answer(*_args: Any, **_more: Any) -> Any:
            await self._answer(what)
            self.values |= self.shows.get(what, {})
            return self.returns.get(what)

        return answer


class Listener:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        pass

    def event(self, level: str, text: str) -> None:
        self.events.append((level, text))

    def said(self, words: str) -> bool:
        return any(words in text for _, text in self.events)


class Bench:
    def __init__(self, config: MachineConfig = CONFIG, lab: tuple[str, ...] = ()) -> None:
        self.calls: list[str] = []
        names = ("motion", "beam", "heater", "meter", "recoater", "piston", "camera")
        self.devices = {name: Device(name, self.calls) for name in names + lab}
        self.listener = Listener()
        devices: dict[str, Any] = {name: self.devices[name] for name in names}
        devices["lab"] = LabDevices(**{name: self.devices[name] for name in lab})  # type: ignore[arg-type]
        self.machine = Machine(config, Devices(**devices), self.listener)

    def safe_calls(self) -> list[str]:
        return [call for call in self.calls if call.endswith((".safe", ".quick_stop"))]


def on_a_machine(act: Callable[[Bench], Awaitable[None]], *, up: bool = True) -> Bench:
    """`act` on a machine that was brought up, which is shut down afterwards."""

    async def main(_loop: VirtualLoop) -> Bench:
        bench = Bench()
        try:
            if up:
                await bench.machine.bring_up()
                bench.calls.clear()
            await act(bench)
        finally:
            await bench.machine.shut_down()
        return bench

    return run_virtual(main)


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
        assert bench.calls == ["beam.set_power_w", "beam.set_shutter", "beam.arm", "beam.fire"]
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


# ---- making safe

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
        arming = ["beam.set_power_w", "beam.set_shutter", "beam.arm"]
        assert steps == [*arming, "supply.set_output", "supply.switch_on", "beam.fire"]
        await asyncio.sleep(1.0)
        assert bench.machine.state is RunState.EXPOSING
        bench.calls.clear()
        beam.shows["fire"] = {"status": float(BEAM_INTERLOCK_OK)}
        await bench.machine.cease_and_disarm()
        steps = [call for call in bench.calls if call != "beam.feed"]
        assert steps == ["beam.fire", "beam.disarm", "beam.set_shutter", "supply.switch_off"]
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
