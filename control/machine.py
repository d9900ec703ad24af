"""The machine: its devices brought up, watched, armed and made safe. The one owner of `RunState`.

`Machine` runs the pollers and the beam's feeder, keeps the newest readings, asks the interlocks after every poll, and
latches what trips. Whoever works with the machine does so through `guarded(...)`: a step that a trip or a stop breaks
off at once. `make_safe` is idempotent, ordered (beam, heat, motion, drives) and bounded in time; a part that fails
is reported and keeps none of the others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from control.config import MachineConfig
from control.heater_watch import HeaterMemory, judged
from control.interlock import (
    Health,
    Trip,
    axis_trips,
    device_trips,
    stale_limits_s,
    stale_or_bad,
    stray_count,
    stray_light,
    supply_trips,
)
from control.lab import LabDevices, configure_lab, lacks_light, switch_on
from control.plug_in_devices import ExtraDevice
from control.polling import Poller, PollTurn
from control.states import BEAM_MAY_BE_LIVE, RunEvent, RunState, next_state
from control.watch import Listener, MachineTripped, Watch
from firmware_bridge.devices.beam import BeamHead
from firmware_bridge.devices.bed_heater import Heater
from firmware_bridge.devices.camera import Camera
from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.devices.motion import MotionController
from firmware_bridge.devices.motion_grbl import GrblMotionController
from firmware_bridge.devices.motion_reprap import RepRapMotionController
from firmware_bridge.devices.recoater import StepperDrive
from firmware_bridge.errors import BridgeError, DeviceError
from firmware_bridge.signals import Reading

log = logging.getLogger(__name__)

SAFE_STEP_S = 3.0  # no single part of making safe may take longer
HEAD_START_S = 0.002  # of the beam before the rest: a head that is well is dark by then, and none other is waited for
SAFE_MOTION_S = 25.0  # but the motion's: a gantry that is told to stop has a queue to drop, with the beam off already
MOVING_S = 12.0  # a drive is polled fast for at most this long after a move was begun


@dataclass(frozen=True)
class Devices:
    """Every device of a printer, not yet identified; `control.assembly` owns the wires they hang on."""

    motion: MotionController | GrblMotionController | RepRapMotionController
    beam: BeamHead
    heater: Heater
    meter: Instrument
    recoater: StepperDrive
    piston: StepperDrive
    camera: Camera
    lab: LabDevices = field(default_factory=LabDevices)
    extra: Mapping[str, ExtraDevice] = field(default_factory=dict)


class Machine(Watch):
    """A printer under control. Made by `control.assembly.open_machine`."""

    def __init__(self, config: MachineConfig, devices: Devices, listener: Listener) -> None:
        self.config = config
        self.devices = devices
        super().__init__(listener)
        self.state = RunState.FAULT
        self._state_since_s = 0.0
        self._stale_limits_s = stale_limits_s(config)
        self._moving_until: dict[str, float] = {}
        self._heat_target_c: float | None = None
        self._heater_memory = HeaterMemory()
        self._stands_at_mm: dict[str, float] = {}  # where each axis has arrived, until it is moved again
        self._token = 0
        # Asked before each look at a firing head; what it returns is called if the head does fire. A head that was
        # dark meanwhile cannot: only arm_and_fire lights it again.
        self.witness: Callable[[], Callable[[], None]] | None = None
        self._firing_since_s: float | None = None  # since when the head must fire
        # Asked at each count of a head that fires: what is wrong with its light so far (J, s that it has fired).
        self.light: Callable[[float, float], str] | None = None
        self._letting_go = False
        # What the newest make_safe left as it was, by name; None: none has come to its end.
        self.not_safe: list[str] | None = None

    # -- lifecycle ----------------------------------------------------------------------------------------------

    async def bring_up(self) -> None:
        """Identify and configure every device, start the pollers, and reset to READY once nothing trips.

        Raises:
            DeviceError, LinkError: a device that is another model, silent, or cannot be configured.
            MachineTripped: an interlock is open already.
        """
        d = self.devices
        for device in (d.motion, d.beam, d.heater, d.meter, d.recoater, d.piston, d.camera):
            await device.identify()
        for other in (*d.lab.present().values(), *d.extra.values()):
            await other.identify()
        await d.beam.reset()  # a latched stop or watchdog trip: whoever starts a host has looked at the machine
        await d.beam.configure(watchdog_ms=self.config.devices.beam.watchdog_ms)
        await d.heater.configure()
        await d.recoater.configure()
        await d.piston.configure()
        for extra in d.extra.values():
            await extra.configure()
        # last: from here on the conveyor's drive wants to hear from us, and the pollers are what it hears
        await configure_lab(d.lab, self.config.devices.lab, lambda text: self._listener.event("warning", text))
        self._start_pollers()
        names = tuple(self._stale_limits_s)
        limit_s = max(self._stale_limits_s.values())
        await self._first_readings(names, 2 * limit_s)
        await self.reset()
        self._move(RunEvent.PREPARE)

    async def reset(self) -> None:
        """The explicit edge out of FAULT: only with every cause gone. Raises MachineTripped with what remains.

        An operator's stop is no cause that goes away: it ends this host's work.
        """
        if self._stopped:
            self._raise_if_tripped()
        remaining = self._interlocks(RunState.SAFE)
        if remaining:
            raise MachineTripped(remaining)
        self._clear_trip()
        self._move(RunEvent.RESET)

    async def shut_down(self) -> None:
        """Make safe and stop the pollers. Harmless twice."""
        try:
            await self.make_safe()
        finally:
            await self._end_tasks()

    # -- working with the machine -------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """The operator's software stop: the head is told over its reserved connection, then everything breaks off."""
        self.trip([Trip("operator", reason)], stopped=True)
        self._spawn(self._stop_beam(), "stop-beam")

    async def heat(self, target_c: float) -> None:
        """Hold the bed at `target_c` from now on; returns when it is within tolerance.

        Raises:
            DeviceError: not warm within the machine file's `warm_up_s_max`.
        """
        loop = asyncio.get_running_loop()
        heater = self.config.devices.heater
        self._heat_target_c = target_c
        await self.devices.heater.set_temp_c(target_c)
        deadline_s = loop.time() + heater.warm_up_s_max
        while True:
            reading = self.readings.get("heater", {}).get("bed_temp_c")
            if reading is not None and abs(reading.value - target_c) <= heater.tolerance_c:
                return
            if loop.time() > deadline_s:
                got = f"{reading.value:.1f} degC" if reading is not None else "no reading"
                raise DeviceError(
                    f"the bed did not reach {target_c:g} degC within {heater.warm_up_s_max:g} s ({got}): "
                    "check the heater's supply and its thermocouple"
                )
            await asyncio.sleep(0.5)

    async def move_axis(self, name: str, position_mm: float) -> None:
        """Move `recoater` or `piston` to an absolute position, polled fast while it moves."""
        drive: StepperDrive = getattr(self.devices, name)
        self._stands_at_mm.pop(name, None)
        self._hurry(name)
        await drive.move_to(position_mm)
        self._moving_until[name] = 0.0
        self._stands_at_mm[name] = position_mm

    async def spread(self) -> None:
        """One stroke of the blade, there and back; a conveyor, if there is one, brings powder meanwhile, and stands
        when this returns.

        What breaks a stroke off ends in `make_safe`, which stops the conveyor: there it is one of those that wait for
        nobody, here it would keep a trip waiting.
        """
        where, c, conveyor = self.config.print, self.config.devices.conveyor, self.devices.lab.conveyor
        if conveyor is not None and c is not None:
            await conveyor.run(c.run_hz)
        await self.move_axis("recoater", where.recoat_far_mm)
        await self.move_axis("recoater", where.recoat_park_mm)
        if conveyor is not None:
            await conveyor.come_to_rest()

    def lacks_light(self, *, is_waiting: bool = False) -> str:
        """Why there is not Sun enough to expose by; empty where there is, or where no floor is set."""
        return lacks_light(self.config.devices.pyranometer, self.readings.get("pyranometer"), is_waiting=is_waiting)

    async def home_axis(self, name: str, *, unless_homed: bool = False) -> bool:
        """Home `recoater` or `piston`; with `unless_homed`, only a drive that does not know where it is.

        Returns whether it was homed now.
        """
        drive: StepperDrive = getattr(self.devices, name)
        if unless_homed and await drive.is_homed():
            return False
        self._stands_at_mm.pop(name, None)
        self._hurry(name)
        await drive.home()
        self._moving_until[name] = 0.0
        return True

    async def arm_and_fire(self, power_w: float) -> None:
        """Set the head's power, arm with a fresh token, open the shutter, switch the supply on that some machines
        have, fire; each step read back. Armed first: from then on the head counts its light, and its watchdog runs.

        From here on the feeder keeps token and watchdog alive, and stops as soon as anything is not well.
        """
        if not math.isfinite(power_w) or not 0 < power_w <= self.config.envelope.beam_power_w_max:
            raise DeviceError(
                f"{power_w!r} W is no power for this machine (0 to {self.config.envelope.beam_power_w_max:g})"
            )
        next_state(self.state, RunEvent.ARM)  # refuses, in a state that forbids it, before anything is sent
        self._take("recoater", await self.devices.recoater.poll())  # where the blade is now, not a second ago
        if (conveyor := self.devices.lab.conveyor) is not None:
            self._take("conveyor", await conveyor.poll())
        if found := self._interlocks(RunState.ARMED):
            self.trip(found)
            raise MachineTripped(found)
        beam = self.devices.beam
        self._letting_go = False
        await beam.set_power_w(power_w)
        self._token = self._token % 65535 + 1
        loop, but = asyncio.get_running_loop(), "its shutter open and its fire off"
        armed_s = loop.time()
        await beam.arm(self._token)
        self._move(RunEvent.ARM)
        await beam.set_shutter(True)
        emission_w, energy_j = await beam.gives()
        # The count as well: a photodiode whose reading hangs at nothing must not hide a source that is stuck on.
        if found := stray_light(emission_w, but) or stray_count(energy_j, loop.time() - armed_s, but):
            self.trip(found)
            raise MachineTripped(found)
        await self._switch_on_supply()
        self._move(RunEvent.FIRE)
        await beam.fire(True)
        self._firing_since_s = loop.time()

    async def confirm_firing(self) -> None:
        """Ask the head whether it has fired all the while since `arm_and_fire`; one that has not trips the machine."""
        since_s, seen = self._firing_since_s, self.witness() if self.witness is not None else None
        if since_s is None:
            return
        if await self.devices.beam.is_firing():
            if seen is not None:
                seen()
        elif self._firing_since_s == since_s:  # else it was told to cease while it was asked
            await self._ask_the_beam_why()
            self.trip([Trip("beam", "it stopped firing without being told")])

    async def cease_and_disarm(self) -> float:
        """Fire off, shutter closed, disarmed, and the supply off that some machines have; each read back.

        Returns the energy that left the head since it was armed, J, until its shutter was closed. MachineTripped: it
        emits though its fire is off.
        """
        beam = self.devices.beam
        self._firing_since_s = None
        loop, but = asyncio.get_running_loop(), "its fire off"
        await beam.fire(False)
        dark_s = loop.time()
        emission_w, lit_j = await beam.gives()
        await beam.set_shutter(False)
        await beam.disarm()
        _, energy_j = await beam.gives()
        if found := stray_light(emission_w, but) or stray_count(energy_j - lit_j, loop.time() - dark_s, but):
            self.trip(found)
            raise MachineTripped(found)
        if self.devices.lab.supply is not None:
            await self.devices.lab.supply.switch_off()
        if self.state in BEAM_MAY_BE_LIVE:
            self._move(RunEvent.DISARM)
        return energy_j

    async def make_safe(self) -> list[str]:
        """The beam first, by `HEAD_START_S`; then heat, motion, drives, conveyor and supply side by side, begun in this
        order, since each has its own wire and a queue to end. What the beam does then holds up none of them.

        Each part is bounded in time, and none is skipped because another failed. Returns the names of the parts that
        could not be made safe, or that were seen to go on whatever they are told; each has been told of. From here on
        the head is not fed.
        """
        self._heat_target_c = self._firing_since_s = None
        self._letting_go = True
        self.not_safe = None
        d, broken_off = self.devices, self.state is RunState.FAULT
        beam = asyncio.ensure_future(self._made_safe("beam", SAFE_STEP_S, self._darken))
        try:
            await asyncio.wait({beam}, timeout=HEAD_START_S)
        except BaseException:
            beam.cancel()
            raise
        failed = await asyncio.gather(
            beam,
            self._made_safe("heater", SAFE_STEP_S, d.heater.safe),
            self._made_safe("motion", SAFE_MOTION_S, d.motion.quick_stop if broken_off else d.motion.safe),
            self._made_safe("recoater", SAFE_STEP_S, d.recoater.safe),
            self._made_safe("piston", SAFE_STEP_S, d.piston.safe),
            *(self._made_safe(n, SAFE_STEP_S, one.safe) for n, one in {**d.lab.present(), **d.extra}.items()),
        )
        goes_on = (trip.device for trip in self.trips if trip.goes_on)  # a closed shutter hides it, its switch does not
        return self._released(list(dict.fromkeys([*filter(None, failed), *goes_on])))

    async def _made_safe(self, what: str, limit_s: float, step: Callable[[], Awaitable[None]]) -> str:
        """Empty if it is safe, else its name: told of, and left to its own watchdog."""
        try:
            async with asyncio.timeout(limit_s):
                await step()
        except Exception as error:  # a fault of our own, too, must not keep the rest from being made safe
            if not isinstance(error, BridgeError | TimeoutError):
                log.exception("making %s safe failed", what)
            self._listener.event("error", f"{what} could not be made safe: {error or 'no answer in time'}")
            return what
        return ""

    def _released(self, failed: list[str]) -> list[str]:
        """The state after all has been tried; returns what failed."""
        self.not_safe = failed
        if self.state is not RunState.FAULT:
            if failed:
                self.trip([Trip(what, "could not be made safe; its own watchdog must do it") for what in failed])
            elif self.state in (RunState.READY, RunState.PAUSED, RunState.SAFE):
                self._move(RunEvent.RELEASE)
            else:
                self._move(RunEvent.DISARM)
                self._move(RunEvent.RELEASE)
        return failed

    def enter(self, event: RunEvent) -> None:
        """Take a transition that needs no device: pause and resume. Raises MachineTripped if it has tripped."""
        self._raise_if_tripped()
        self._move(event)

    # -- inside -------------------------------------------------------------------------------------------------

    def _move(self, event: RunEvent) -> None:
        before = self.state
        self.state = next_state(before, event)
        self._state_since_s = asyncio.get_running_loop().time()
        if self.state is not before:
            self._listener.event("info", f"machine: {before.value} -> {self.state.value} ({event.value})")

    def _start_pollers(self) -> None:
        c = self.config.devices
        buses: dict[str, list[PollTurn]] = {}
        buses.setdefault(c.beam.wire, []).append(PollTurn("beam", self.devices.beam, self._beam_period_s))
        heater = PollTurn(
            "heater",
            self.devices.heater,
            lambda: 1 / c.heater.poll_hz,
            refresh=self._refresh_heat,
            refresh_period_s=1 / c.heater.refresh_hz,
        )
        buses.setdefault(c.heater.wire, []).append(heater)
        buses.setdefault(c.meter.wire, []).append(PollTurn("meter", self.devices.meter, lambda: 1 / c.meter.poll_hz))
        for name in ("recoater", "piston"):
            drive = PollTurn(name, getattr(self.devices, name), self._drive_period_s(name))
            buses.setdefault(getattr(c, name).wire, []).append(drive)
        others = self.config.every_device()
        for name, device in {**self.devices.lab.present(), **self.devices.extra}.items():
            buses.setdefault(others[name].wire, []).append(PollTurn(name, device, _every(others[name].poll_hz)))
        self._start(Poller(bus, turns, self._publish, self._poll_failed) for bus, turns in buses.items())
        self._spawn(self._feed_beam(), "beam-feeder")

    def _beam_period_s(self) -> float:
        c = self.config.devices.beam
        return 1 / (c.poll_arming_hz if self.state is RunState.ARMED else c.poll_hz)

    def _drive_period_s(self, name: str) -> Callable[[], float]:
        c = getattr(self.config.devices, name)

        def period_s() -> float:
            moving = asyncio.get_running_loop().time() < self._moving_until.get(name, 0.0)
            return 1 / (c.poll_moving_hz if moving else c.poll_hz)

        return period_s

    def _hurry(self, name: str) -> None:
        self._moving_until[name] = asyncio.get_running_loop().time() + MOVING_S
        for poller in self._pollers:
            poller.hurry(name)

    def _interlocks(self, state: RunState) -> list[Trip]:
        """Every interlock, by the newest polls of all devices."""
        found = self._silences()
        for name, signals in self.readings.items():
            found += device_trips(
                self.config, name, signals, self._health[name], state, self._state_since_s, self._firing_since_s
            )
        return found

    def _silences(self) -> list[Trip]:
        """Devices that are not heard, or not understood."""
        found = stale_or_bad(self._stale_limits_s, self._health, asyncio.get_running_loop().time())
        silent_s = self.devices.motion.silent_s()
        if silent_s > self.config.devices.motion.stale_after_s:
            found.append(Trip("motion", f"no sign of life for {silent_s:.1f} s"))
        return found

    @property
    def in_fault(self) -> bool:
        """Whether nothing more can trip it."""
        return self.state is RunState.FAULT

    def _latched(self, stopped: bool) -> None:
        self._move(RunEvent.STOP if stopped else RunEvent.TRIP)

    def _judge(self, name: str, readings: dict[str, Reading], health: Health) -> list[Trip]:
        found = self._silences() + device_trips(
            self.config, name, readings, health, self.state, self._state_since_s, self._firing_since_s
        )
        if name == "heater":
            target_c, heater = self._heat_target_c, self.config.devices.heater
            beam_w = self.config.envelope.beam_power_w_max if self.state in BEAM_MAY_BE_LIVE else 0.0
            self._heater_memory, more = judged(self._heater_memory, heater, readings, target_c, beam_w)
            found += more
        elif name == "beam":
            found += self._judge_light(readings)
        elif name in self._stands_at_mm:
            found += axis_trips(name, readings, self.state, self._stands_at_mm[name])
        return found

    def _judge_light(self, readings: dict[str, Reading]) -> list[Trip]:
        counted, since_s = readings.get("energy_j"), self._firing_since_s
        if self.light is None or counted is None or since_s is None or counted.time_s <= since_s:
            return []
        flaw = self.light(counted.value, counted.time_s - since_s)
        return [Trip("beam", flaw)] if flaw else []

    async def _switch_on_supply(self) -> None:
        """The supply on, and its load seen to draw what it should, before the head may fire."""
        supply, c = self.devices.lab.supply, self.config.devices.supply
        if supply is None or c is None:
            return
        began_s = asyncio.get_running_loop().time()
        self._take("supply", await switch_on(supply, c))
        if found := supply_trips(c, self.readings["supply"], self.state, self._state_since_s, began_s):
            self.trip(found)
            raise MachineTripped(found)

    async def _refresh_heat(self) -> None:
        if self._heat_target_c is not None:
            await self.devices.heater.set_temp_c(self._heat_target_c)

    async def _feed_beam(self) -> None:
        """Renew token and watchdog while the beam may be live; a machine that tripped is not fed."""
        period_s = 1 / self.config.devices.beam.feed_hz
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            if self._feeds:
                try:
                    await self.devices.beam.feed()
                    await self.confirm_firing()
                except BridgeError as error:
                    if isinstance(error, DeviceError):
                        await self._ask_the_beam_why()
                    if self._feeds:
                        self.trip([Trip("beam", f"it could not be fed: {error}")])
            due_s = max(due_s + period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    @property
    def _feeds(self) -> bool:
        return self.state in BEAM_MAY_BE_LIVE and not self._letting_go

    async def _darken(self) -> None:
        """The head safe; where that fails (a lost frame is enough), stopped over its reserved connection."""
        try:
            async with asyncio.timeout(SAFE_STEP_S / 2):
                await self.devices.beam.safe()
        except (BridgeError, TimeoutError) as error:
            why = error or "no answer in time"
            self._listener.event("warning", f"beam: {why}; it is told to stop over its reserved connection")
            await self.devices.beam.stop()

    async def _ask_the_beam_why(self) -> None:
        """A head that refuses its token, or went dark, has a reason, and its status says it best."""
        try:
            async with asyncio.timeout(SAFE_STEP_S):
                self._publish("beam", await self.devices.beam.poll())
        except (BridgeError, TimeoutError) as error:
            self._listener.event("warning", f"beam: it does not say why: {error or 'no answer'}")

    async def _stop_beam(self) -> None:
        try:
            async with asyncio.timeout(SAFE_STEP_S):
                await self.devices.beam.stop()
        except (BridgeError, TimeoutError) as error:
            self._listener.event("error", f"the head's stop is not sure: {error or 'no answer in time'}")


def _every(rate_hz: float) -> Callable[[], float]:
    return lambda: 1 / rate_hz
