"""Drive and steering motors of a rover on Modbus drives (Leadshine), several on one bus, moved by finite moves only.

    wheels = ModbusWheels(link, layout, load_map("leadshine_wheel"))
    await wheels.identify()
    await wheels.configure(0.5)                     # no move lasts longer
    await wheels.drive({"fl": 1.0, ...}, {"fl": 0.1, ...}, seq=1, valid_until_s=loop.time() + 0.4)
    readings = await wheels.poll()                  # at 10 Hz

These drives do not notice that their host is gone. So a wheel is never told a speed without an end: each command is a
move to where the wheel will be when the command's time is over, counted from where it was read to be, and the next
command moves that end on. Without one the drive brakes and stands there by itself. The targets are absolute: a repeated
frame changes nothing, and what a relative move counts from while another one runs is known from no source. A drive
whose counter jumps, or that is no longer enabled, has restarted and is driven no more until configure() is called.

Bus time at 115200 baud with 4 driving and 4 steering drives: 88 ms for one drive() and one poll() as they are, which
is 10 Hz and little more; a move and a position for all eight would take 137 ms (`ModbusLayout.cycle_s`). Open the link
with `timeout_s=0.03`: at the default of 0.3 s one dead drive holds up all the others.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.devices.wheel_orders import check_fresh, check_values
from firmware_bridge.devices.wheels_modbus_drives import (
    FRESH_S,
    WRITES_PER_COMMAND,
    DriveMotor,
    ModbusLayout,
    move_values,
    readings_of,
)
from firmware_bridge.errors import (
    BridgeError,
    DeviceReset,
    FrameError,
    LinkTimeout,
    Mismatch,
    NotReady,
    Rejected,
    Unverified,
)
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import Reading

TRIGGER_ZERO, TRIGGER_STOP, RESET_ALARM = 0x21, 0x40, 0x1111
TIMEOUT_S = (0.1, 1.0)  # how long a move may last
SPEED_FROM_S = (0.02, 0.5)  # between positions this far apart the speed is their difference
ASK_AGAIN_S = 0.5  # a drive that did not answer holds the bus up no more often than this
TRIES = 3  # of a write: each says the same again
REZERO_PULSES = 1_000_000_000
JUMP_SPARE_REV = 0.5
STEER_STEP_RAD = 0.002  # smaller corrections are not sent

__all__ = ["ModbusLayout", "ModbusWheels"]

_LOST = (LinkTimeout, FrameError, Mismatch)


class ModbusWheels:
    """The drives of one rover on one bus. Angles in rad, speeds in rad/s, at the wheel. Keeps the protocol `Wheels`."""

    def __init__(self, link: ModbusLink, layout: ModbusLayout, table: RegisterMap, *, name: str = "wheels") -> None:
        self.name = name
        self.layout = layout
        self.map = table
        self.names = tuple(layout.drive)
        self._status = table.signal("motion_status")
        self._drives = [
            DriveMotor(RegisterAccess(link, unit, table, f"{name} {wheel}"), wheel, False,
                   -1 if wheel in layout.mirrored else 1, layout.wheel_rad_per_rev)
            for wheel, unit in layout.drive.items()
        ]  # fmt: skip
        self._steers = [
            DriveMotor(RegisterAccess(link, unit, table, f"{name} {wheel} steering"), wheel, True,
                   -1 if wheel in layout.steers_mirrored else 1, layout.steer_rad_per_rev)
            for wheel, unit in layout.steer.items()
        ]  # fmt: skip
        self._motors = [*self._drives, *self._steers]
        self._timeout_s: float | None = None
        self._seq: int | None = None
        self._generation = 0  # goes up with each command and each stop: what belongs to an older one is not sent
        self._sending: asyncio.Future[None] | None = None
        self._turn = 0

    # -- before driving -----------------------------------------------------------------------------------------

    async def identify(self) -> dict[int, float]:
        """Pulses per revolution of each drive, by unit. WrongModel if another model answers."""
        seen = {}
        for motor in self._motors:
            found = await motor.access.identify()
            pulses = found.get("pulses_per_rev", 10000.0)
            motor.rad_per_pulse = motor.rad_per_rev / pulses
            seen[motor.access.unit] = pulses
        return seen

    async def configure(self, timeout_s: float) -> None:
        """Stand still, enable every drive, read back where it stands. From here on no move lasts over `timeout_s`.

        Nothing is saved in the drive, so that one which restarts is not enabled. Rejected unless 0.1 to 1 s, NotReady
        if a drive reports a fault, Unverified if it does not say that it is enabled.
        """
        if not TIMEOUT_S[0] <= timeout_s <= TIMEOUT_S[1]:
            raise Rejected(f"{self.name}: moves of {timeout_s:g} s are refused: {TIMEOUT_S[0]:g} to {TIMEOUT_S[1]:g}.")
        self._timeout_s = None
        await self.stop()
        for motor in self._motors:
            for attempt in range(1, TRIES + 1):
                try:
                    await self._prepare(motor)
                    break
                except _LOST:  # each step may be done twice
                    if attempt == TRIES:
                        raise
        self._timeout_s = timeout_s

    async def _prepare(self, motor: DriveMotor) -> None:
        access = motor.access
        await access.ensure("enable", 1)
        status = await access.value("motion_status")
        if self._status.has(status, "fault"):
            raise NotReady(f"{access.name}: the drive reports a fault. Remove the cause, then clear_faults().")
        if not self._status.has(status, "enabled"):
            raise Unverified(f"{access.name} was enabled and does not say so. Check its supply and enable input.")
        raw = int(await access.value("position_pulses"))
        if motor.lost is not None:
            if not motor.is_steer:  # the wheel's angle goes on from where it was, whatever the drive counts now
                motor.offset += motor.raw - raw
            elif not motor.stands_as_before(raw):
                raise NotReady(
                    f"{access.name} {motor.lost} Nobody knows where the wheel points: straighten the steered wheels, "
                    "then set_straight()."
                )
            motor.lost, motor.raw = None, raw
        if abs(raw) > REZERO_PULSES and not motor.is_steer:
            await access.write("trigger", TRIGGER_ZERO)
            old, raw = raw, int(await access.value("position_pulses"))
            motor.offset += old - raw
        motor.forget()
        motor.failed_s = motor.sent_raw = None
        motor.sure_raw = raw
        self._take_position(motor, raw)

    async def clear_faults(self) -> None:
        """Reset the alarms of all drives, once their causes are gone; configure() afterwards."""
        self._timeout_s = None
        for motor in self._motors:
            await motor.access.write("control", RESET_ALARM)

    async def set_straight(self) -> None:
        """Tell the drives that all steered wheels stand straight now; configure() afterwards."""
        self._timeout_s = None
        for motor in self._steers:
            await motor.access.write("trigger", TRIGGER_ZERO)
            if abs(await motor.access.value("position_pulses")) * motor.rad_per_pulse > STEER_STEP_RAD:
                raise Unverified(f"{motor.access.name} was told that it stands at 0, and reads another position.")
            motor.lost = motor.sure_raw = motor.sent_raw = None
            motor.raw = motor.offset = 0

    # -- driving ------------------------------------------------------------------------------------------------

    async def drive(
        self, speeds_rad_s: Mapping[str, float], steers_rad: Mapping[str, float], *, seq: int, valid_until_s: float
    ) -> None:
        """Speeds (rad/s) of all wheels and angles (rad, left positive) of all steered ones, until `valid_until_s`.

        The moves end then, or `timeout_s` from now if that is sooner. Steering is sent where it changed, the farthest
        first, as far as the bus has room; the rest comes with the next command. Rejected: stale, repeated, overtaken
        by a stop, a name missing or unknown, not a number, too fast, too far. NotReady before configure(); DeviceReset
        if a drive has restarted. LinkTimeout, FrameError or Mismatch if a drive did not take its part, after all the
        others have had theirs.
        """
        timeout_s = self._check_ready()
        self._check_order(speeds_rad_s, steers_rad, seq, valid_until_s)
        self._seq = seq
        self._generation += 1
        generation = self._generation
        errors: list[BridgeError] = []
        writes = 0
        for motor in self._drives:
            try:
                writes += await self._roll_on(motor, speeds_rad_s[motor.wheel], timeout_s, generation, valid_until_s)
            except _LOST as error:
                errors.append(error)
        room = max(1, WRITES_PER_COMMAND - writes)
        for motor in self._to_steer(steers_rad)[:room]:
            try:
                await self._steer(motor, steers_rad[motor.wheel], generation, valid_until_s)
            except _LOST as error:
                errors.append(error)
        if errors:
            raise type(errors[0])(f"{self.name}: {len(errors)} commands were not taken. First: {errors[0]}")

    async def _roll_on(
        self, motor: DriveMotor, speed_rad_s: float, timeout_s: float, generation: int, valid_until_s: float
    ) -> bool:
        """Move the end of this wheel's move on, or stop it. Returns whether a move was written."""
        rpm = round(abs(speed_rad_s) / motor.rad_per_rev * 60)
        if rpm == 0:
            if not motor.is_standing:
                await self._send(motor, {"trigger": TRIGGER_STOP}, generation, valid_until_s)
                motor.is_standing = True
            return False
        now_s = asyncio.get_running_loop().time()
        if motor.failed_s is not None or now_s - motor.read_s > FRESH_S:
            raise LinkTimeout(f"{motor.access.name} is not driven: it has not told its position for over {FRESH_S} s.")
        ahead_s = min(timeout_s, valid_until_s - now_s)
        here = motor.raw + motor.sign * motor.speed_rad_s * (now_s - motor.read_s) / motor.rad_per_pulse
        target = round(here + motor.sign * speed_rad_s * ahead_s / motor.rad_per_pulse)
        motor.is_standing = False
        layout = self.layout
        await self._send(motor, move_values(motor, target, rpm, layout.accel_rad_s2), generation, valid_until_s)
        return True

    def _to_steer(self, steers_rad: Mapping[str, float]) -> list[DriveMotor]:
        """The steering motors that were not sent where they shall stand, the farthest first."""

        def off(motor: DriveMotor) -> float:
            return math.inf if motor.told_rad is None else abs(motor.told_rad - steers_rad[motor.wheel])

        return sorted((motor for motor in self._steers if off(motor) > STEER_STEP_RAD), key=off, reverse=True)

    async def _steer(self, motor: DriveMotor, angle_rad: float, generation: int, valid_until_s: float) -> None:
        if motor.failed_s is not None:
            raise LinkTimeout(f"{motor.access.name} did not answer when polled last.")
        motor.told_rad = None
        target = round(motor.sign * angle_rad / motor.rad_per_pulse) - motor.offset
        rpm = max(1, round(self.layout.steer_speed_rad_s / motor.rad_per_rev * 60))
        motor.is_standing = False
        motor.sent_raw = target
        values = move_values(motor, target, rpm, self.layout.steer_accel_rad_s2)
        await self._send(motor, values, generation, valid_until_s)
        motor.told_rad = angle_rad

    async def _send(self, motor: DriveMotor, values: dict[str, float], generation: int, valid_until_s: float) -> None:
        """Write, up to TRIES times; what was overtaken or grew stale meanwhile does not go out any more."""
        loop = asyncio.get_running_loop()
        for attempt in range(1, TRIES + 1):
            if self._generation != generation:
                raise Rejected(f"{self.name}: command {self._seq} was overtaken by a stop or a newer one.")
            if loop.time() >= valid_until_s:
                raise Rejected(f"{self.name}: command {self._seq} grew stale while it waited for the bus.")
            if len(values) == 1:
                writing = motor.access.write("trigger", values["trigger"])
            else:
                writing = motor.access.write_block(values)
            self._sending = sending = asyncio.ensure_future(writing)
            timer = loop.call_at(valid_until_s, sending.cancel)
            try:
                await asyncio.wait((sending,))  # its own cancellation is not this task's
            finally:
                timer.cancel()
                if not sending.done():
                    sending.cancel()
                self._sending = None
            if sending.cancelled():
                continue  # by a stop, a newer command or the time: the next turn says which
            error = sending.exception()
            if error is None:
                return
            if not isinstance(error, _LOST) or attempt == TRIES:
                raise error
        raise Rejected(f"{self.name}: command {self._seq} did not get onto the bus.")

    def _check_ready(self) -> float:
        for motor in self._motors:
            if motor.lost is not None:
                raise DeviceReset(
                    f"{self.name} is not driven: {motor.access.name} {motor.lost} Find out why, then configure() again."
                )
        if self._timeout_s is None:
            raise NotReady(f"{self.name} is not driven: configure() must say how long a move may last first.")
        return self._timeout_s

    def _check_order(
        self, speeds_rad_s: Mapping[str, float], steers_rad: Mapping[str, float], seq: int, valid_until_s: float
    ) -> None:
        layout = self.layout
        check_values(self.name, "speed", speeds_rad_s, layout.drive, layout.speed_max_rad_s, "rad/s")
        check_values(self.name, "steering angle", steers_rad, layout.steer, layout.steer_max_rad, "rad")
        check_fresh(self.name, self._seq, seq, valid_until_s, asyncio.get_running_loop().time())

    async def stop(self) -> None:
        """Quick stop on every drive, ahead of all that waits; what was commanded before is not sent any more.

        Raises the first drive's error, after all have been asked: its move ends by itself.
        """
        self._generation += 1
        if self._sending is not None:
            self._sending.cancel()
        results = await asyncio.gather(*(self._stop(motor) for motor in self._motors), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _stop(self, motor: DriveMotor) -> None:
        generation = self._generation
        motor.told_rad = None
        for attempt in range(1, TRIES + 1):
            try:
                await motor.access.write("trigger", TRIGGER_STOP, urgent=True)
                break
            except _LOST:
                if attempt == TRIES or self._generation != generation:
                    raise
        motor.is_standing = self._generation == generation

    async def safe(self) -> None:
        """Stand still. May be called at any time and again."""
        await self.stop()

    # -- reading ------------------------------------------------------------------------------------------------

    async def poll(self) -> dict[str, Reading]:
        """All wheels' positions, one steering drive's and one drive's status.

        `<wheel>_angle_rad` (cumulative), `<wheel>_speed_rad_s`, `<wheel>_steer_rad`, `status_<unit>`, and `status`
        (all bits). These drives tell no current, voltage or temperature. A drive that does not answer is asked again
        every 0.5 s, and has its last values, BAD after 0.3 s (1 s for the steering, 3 s for the status).
        LinkTimeout if no drive answers.
        """
        errors: list[BridgeError] = []
        steers = [self._steers[self._turn % len(self._steers)]] if self._steers else []
        for motor in (*self._drives, *steers):
            await self._ask(motor, "position_pulses", errors)
        await self._ask(self._motors[self._turn % len(self._motors)], "motion_status", errors)
        self._turn += 1
        if errors and all(motor.failed_s is not None for motor in self._drives):
            raise type(errors[0])(f"{self.name}: no drive answers. First: {errors[0]}")
        return readings_of(self._motors, self._status, asyncio.get_running_loop().time())

    async def _ask(self, motor: DriveMotor, what: str, errors: list[BridgeError]) -> None:
        """Read one signal, if the drive answers these days."""
        loop = asyncio.get_running_loop()
        if motor.failed_s is not None and loop.time() - motor.failed_s < ASK_AGAIN_S:
            return
        try:
            value = await motor.access.value(what)
        except _LOST as error:
            motor.failed_s = loop.time()
            motor.told_rad = None
            motor.is_standing = False
            errors.append(error)
            return
        motor.failed_s = None
        if what == "motion_status":
            motor.status, motor.status_s = value, loop.time()
            if self._timeout_s is not None and motor.lost is None and not self._status.has(value, "enabled"):
                motor.lost = "is not enabled any more: it has restarted or tripped."
            elif motor.lost is None:
                motor.sure_raw = motor.raw
        else:
            self._take_position(motor, int(value))

    def _take_position(self, motor: DriveMotor, raw: int) -> None:
        now_s = asyncio.get_running_loop().time()
        dt_s = now_s - motor.read_s
        if math.isfinite(dt_s):
            top_rad_s = self.layout.steer_speed_rad_s if motor.is_steer else self.layout.speed_max_rad_s
            step_rad = abs(raw - motor.raw) * motor.rad_per_pulse
            if step_rad > 2 * top_rad_s * dt_s + JUMP_SPARE_REV * motor.rad_per_rev:
                if motor.lost is None:
                    motor.lost = f"has counted from {motor.raw} to {raw} in {dt_s:.3g} s: it has restarted."
                return
            if SPEED_FROM_S[0] <= dt_s <= SPEED_FROM_S[1]:
                motor.speed_rad_s = motor.sign * (raw - motor.raw) * motor.rad_per_pulse / dt_s
            elif dt_s < SPEED_FROM_S[0]:
                return  # too soon for a speed: wait for the next
            else:
                motor.speed_rad_s = 0.0
        motor.raw, motor.read_s = raw, now_s
