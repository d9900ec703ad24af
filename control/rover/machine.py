"""The rover: its devices brought up, watched, commanded and stopped. The one owner of `RoverState`.

Three things stop the wheels, each without the others: a command that is not renewed (the wheels' poll sees it run out),
motor boards that hear nothing (their own timers, armed and read back before READY), and what the run decides. Each
command carries a number and the time it is good for; nothing that was said before a stop is ever said again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from control.interlock import Health, Trip, stale_or_bad
from control.polling import Poller, PollTurn
from control.rover.config import RoverConfig
from control.rover.states import RoverEvent, RoverState, next_rover_state
from control.watch import Listener, Watch
from firmware_bridge.devices.camera import Camera
from firmware_bridge.devices.imu import Imu
from firmware_bridge.devices.power import RoverPower
from firmware_bridge.devices.tracker import Tracker
from firmware_bridge.devices.wheels import Wheels
from firmware_bridge.errors import BridgeError, DeviceError, FrameError, LinkError, LinkTimeout
from firmware_bridge.signals import Reading

log = logging.getLogger(__name__)

AGAIN_S = 0.05  # a stop that nobody confirmed is said again after that time
STOP_S = 3.0  # no single part of making safe may take longer
NAMES = ("wheels", "imu", "power", "tracker")


@dataclass(frozen=True)
class RoverDevices:
    """Every device of a rover, not yet identified; `control.assembly` owns the wires they hang on."""

    wheels: Wheels
    imu: Imu
    power: RoverPower
    tracker: Tracker
    camera: Camera | None = None


class Rover(Watch):
    """A rover under control. Made by `control.assembly.open_rover`."""

    def __init__(self, config: RoverConfig, devices: RoverDevices, listener: Listener) -> None:
        super().__init__(listener)
        self.config = config
        self.devices = devices
        self.state = RoverState.FAULT
        self.commands = 0  # told to the wheels
        self._seq = 0
        self._limits_s = {name: getattr(config.devices, name).stale_after_s for name in NAMES}

    # -- lifecycle ----------------------------------------------------------------------------------------------

    async def bring_up(self) -> None:
        """Identify and configure every device, start the pollers, and reset to READY.

        Raises:
            DeviceError, LinkError: a device that is another model, silent, or cannot be configured.
            MachineTripped: a device does not answer, or a reading is bad already.
        """
        d, c = self.devices, self.config.devices
        for device in (d.wheels, d.imu, d.power, d.tracker):
            await device.identify()
        if d.camera is not None:
            await d.camera.identify()
        await d.wheels.configure(c.wheels.timeout_s)
        await d.wheels.stop()  # whatever the last host left running
        await d.imu.configure(c.imu.rate_hz)
        await d.power.configure()
        await d.tracker.configure(round(c.tracker.poll_hz))
        buses: dict[str, list[PollTurn]] = {}
        for name in NAMES:
            turn = PollTurn(name, getattr(d, name), _period(getattr(c, name).poll_hz))
            buses.setdefault(getattr(c, name).wire, []).append(turn)
        self._start(Poller(bus, turns, self._publish, self._poll_failed) for bus, turns in buses.items())
        await self._first_readings(NAMES, 2 * max(self._limits_s.values()))
        await self._settle()
        self._raise_if_tripped()  # the operator's stop, or a poller that died: nothing else trips in FAULT
        self._move(RoverEvent.RESET)
        self._move(RoverEvent.PREPARE)

    async def _settle(self) -> None:
        """Some of the wheels' values come in turns: wait until all were read. For what stays bad the guard holds."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + max(self._limits_s.values())
        while self.silences() and loop.time() < until_s:
            await asyncio.sleep(0.05)

    async def shut_down(self) -> None:
        """Stop the wheels and the pollers. Harmless twice."""
        try:
            await self.make_safe()
        finally:
            await self._end_tasks()

    # -- driving --------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """From here on commands are taken. Raises MachineTripped if it has tripped."""
        self._raise_if_tripped()
        if self.state is not RoverState.DRIVING:
            self._move(RoverEvent.GO)

    async def command(self, speed_rad_s: dict[str, float], steer_rad: dict[str, float]) -> None:
        """Turn the wheels so, until the command expires (`drive.valid_s` from now) or the next one comes.

        Raises:
            DeviceError: not driving, or the wheels refuse.
            LinkError: they do not answer.
        """
        self._raise_if_tripped()
        if self.state is not RoverState.DRIVING:
            raise DeviceError(f"the rover is {self.state.value}: it takes commands only while driving")
        self._seq += 1
        until_s = asyncio.get_running_loop().time() + self.config.drive.valid_s
        await self.devices.wheels.drive(speed_rad_s, steer_rad, seq=self._seq, valid_until_s=until_s)
        self.commands += 1

    async def halt(self) -> None:
        """The wheels to standstill; still driving, so that the next command may come.

        A board that does not answer keeps the others from nothing; it is told of, and stops by its own timer.
        """
        try:
            await self.devices.wheels.stop()
        except LinkError as error:
            self._listener.event("warning", f"not every wheel has confirmed its stop: {error}")

    def beside(self, step: Awaitable[None], name: str) -> None:
        """Run something beside the drive until the rover is shut down; if it fails, the rover trips."""
        self._spawn(step, name)

    def stop(self, reason: str) -> None:
        """The operator's software stop: the wheels are told at once, then everything breaks off."""
        self.trip([Trip("operator", reason)], stopped=True)
        self._spawn(self._stop_wheels(), "stop-wheels")

    async def make_safe(self) -> list[str]:
        """Stop the wheels; bounded in time. Returns the names of what could not be made safe; each has been told of."""
        failed = []
        for what, step in (("wheels", self.devices.wheels.safe), ("power", self.devices.power.safe)):
            try:
                async with asyncio.timeout(STOP_S):
                    await _until_taken(step)
            except Exception as error:  # a fault of our own, too, must not keep the rest from being made safe
                if not isinstance(error, BridgeError | TimeoutError):
                    log.exception("making %s safe failed", what)
                failed.append(what)
                self._listener.event("error", f"{what} could not be made safe: {error or 'no answer in time'}")
        if not self.in_fault:
            if failed:
                self.trip([Trip(what, "could not be made safe; its own watchdog must do it") for what in failed])
            else:
                self._move(RoverEvent.RELEASE)
        return failed

    # -- inside ---------------------------------------------------------------------------------------------------

    def _move(self, event: RoverEvent) -> None:
        before = self.state
        self.state = next_rover_state(before, event)
        if self.state is not before:
            self._listener.event("info", f"rover: {before.value} -> {self.state.value} ({event.value})")

    @property
    def in_fault(self) -> bool:
        """Whether nothing more can trip it."""
        return self.state is RoverState.FAULT

    def _latched(self, stopped: bool) -> None:
        self._move(RoverEvent.STOP if stopped else RoverEvent.TRIP)

    def _judge(self, name: str, readings: dict[str, Reading], health: Health) -> list[Trip]:
        """A silent device only makes the guard hold; wheels that cannot be seen to obey end the drive."""
        return []

    def silences(self) -> list[Trip]:
        """Devices whose readings are stale or bad, for the guard."""
        return stale_or_bad(self._limits_s, self._health, asyncio.get_running_loop().time())

    async def _stop_wheels(self) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                await self.devices.wheels.stop()
        except (BridgeError, TimeoutError) as error:
            self._listener.event("error", f"the wheels did not take the stop ({error}); their own timers must do it")


async def _until_taken(step: Callable[[], Awaitable[None]]) -> None:
    """Say a stop again until it is confirmed; whoever calls bounds it.

    A board that was deaf for a while carries out what has piled up in its receiver before it hears anything newer.
    """
    while True:
        try:
            return await step()
        except (LinkTimeout, FrameError):
            await asyncio.sleep(AGAIN_S)


def _period(rate_hz: float) -> Any:
    return lambda: 1.0 / rate_hz
