"""Blade and build piston: two closed-loop stepper drives (Leadshine CS2RS) that only ever make finite moves.

A move is never repeated on a doubt. It is absolute, so after a lost reply the drive is asked where it is and whether it
runs, and the move either ends where it should or is reported as Unverified with the position that was read.
"""

from __future__ import annotations

import asyncio
import math

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import (
    BridgeError,
    FrameError,
    LinkError,
    LinkTimeout,
    Mismatch,
    NotReady,
    Rejected,
    Unverified,
)
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import NO_LIMITS, Reading

MODE_ABSOLUTE = 1
TRIGGER_PR0 = 0x10
TRIGGER_HOME = 0x20
TRIGGER_STOP = 0x40
RAMP_MS_PER_1000_RPM = 100
POLL_S = 0.1
START_GRACE_S = 0.5  # a drive may take this long to say that it runs
MARGIN_S = 3.0
STANDS_WITHIN_S = 1.0  # told to stop: its ramp from the fastest is 0.06 s, and an order may be lost
HOME_TIMEOUT_S = 120.0
TOLERANCE_MM = 0.02


class StepperDrive(MappedUnit):
    """One axis from 0 to `travel_mm`, moved at `speed_mm_s`."""

    def __init__(
        self,
        link: ModbusLink,
        unit: int,
        table: RegisterMap,
        *,
        name: str,
        mm_per_rev: float,
        travel_mm: float,
        speed_mm_s: float,
    ) -> None:
        super().__init__(link, unit, table, name)
        self.travel_mm = travel_mm
        self.mm_per_rev = mm_per_rev
        self.speed_rpm = max(1, round(speed_mm_s / mm_per_rev * 60))
        self._pulses_per_rev = 10000.0
        self._status_signal = table.signal("motion_status")
        self._moving = asyncio.Lock()
        self._triggered_s = -math.inf

    async def identify(self) -> dict[str, float]:
        """WrongModel if another model answers, or one whose pulses per revolution are not the map's."""
        seen = await super().identify()
        self._pulses_per_rev = seen["pulses_per_rev"]
        return seen

    async def configure(self) -> None:
        """Enable the drive if it is not, and read that back. NotReady if it reports a fault."""
        await self._access.ensure("enable", 1)
        status = await self._access.value("motion_status")
        if self._status_signal.has(status, "fault"):
            raise NotReady(f"{self.name}: the drive reports a fault. Read its display, remove the cause, clear it.")
        if not self._status_signal.has(status, "enabled"):
            raise Unverified(f"{self.name} was enabled and does not say so. Check its supply and its enable input.")

    async def poll(self) -> dict[str, Reading]:
        """motion_status and position_mm."""
        readings = await super().poll()
        pulses = readings.pop("position_pulses")
        value = self._to_mm(pulses.value)
        readings["position_mm"] = Reading(
            "position_mm", value, "mm", pulses.time_s, pulses.quality, NO_LIMITS.state_of(value)
        )
        return readings

    async def position_mm(self) -> float:
        """Where the encoder says the axis stands."""
        return self._to_mm(await self._access.value("position_pulses"))

    async def is_homed(self) -> bool:
        """Whether the drive knows where it is."""
        return self._status_signal.has(await self._access.value("motion_status"), "homed")

    async def home(self) -> None:
        """Find the axis' zero; returns when it stands there. Bounded by 120 s."""
        async with self._moving:
            await self._check_ready()
            await self._start({"trigger": TRIGGER_HOME})
            await self._wait(0.0, HOME_TIMEOUT_S, "homed")

    async def move_to(self, position_mm: float) -> None:
        """Move to an absolute position and return when the encoder says that it is there.

        Rejected outside 0..travel, NotReady on a fault or before homing, Unverified if it ends elsewhere.
        """
        if not (math.isfinite(position_mm) and -1e-6 <= position_mm <= self.travel_mm + 1e-6):
            raise Rejected(f"{self.name}: {position_mm:g} mm is refused: the axis has 0 to {self.travel_mm:g} mm.")
        async with self._moving:
            await self._check_ready(homed=True)
            here_mm = await self.position_mm()
            ramp_s = RAMP_MS_PER_1000_RPM * 1e-3 * self.speed_rpm / 1000
            move_s = abs(position_mm - here_mm) / (self.speed_rpm * self.mm_per_rev / 60) + 2 * ramp_s
            await self._start(
                {
                    "pr0_mode": MODE_ABSOLUTE,
                    "pr0_position": round(position_mm / self.mm_per_rev * self._pulses_per_rev),
                    "pr0_velocity_rpm": self.speed_rpm,
                    "pr0_acceleration": RAMP_MS_PER_1000_RPM,
                    "pr0_deceleration": RAMP_MS_PER_1000_RPM,
                    "pr0_pause": 0,
                    "pr0_trigger": TRIGGER_PR0,
                }
            )
            await self._wait(position_mm, 1.5 * move_s + MARGIN_S, "path_done")

    async def stop(self) -> None:
        """Stop the axis where it is, ahead of everything else on the bus."""
        await self._access.write("trigger", TRIGGER_STOP, urgent=True)

    async def safe(self) -> None:
        """Stand still, by the drive's own word. May be called at any time and again.

        One that was triggered less than `START_GRACE_S` ago, or is being triggered, may stand and start yet: its word
        counts from then on. What goes on is told again. Unverified if it has not come to rest `STANDS_WITHIN_S` behind
        that; where the bus fails, its last error by then.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            failure: BridgeError | None = None
            try:
                await self.stop()
                if self._status_signal.has(await self._access.value("motion_status", urgent=True), "running"):
                    failure = Unverified(
                        f"{self.name} was told to stop and goes on by its own word: its move is finite; keep clear of"
                        " it."
                    )
            except (LinkError, Rejected) as error:
                failure = error
            sure_s = self._triggered_s + START_GRACE_S
            if failure is None and loop.time() >= sure_s:
                return
            if loop.time() >= min(max(began_s, sure_s), began_s + START_GRACE_S) + STANDS_WITHIN_S:
                raise failure or Unverified(
                    f"{self.name} was told to stop while a move of it was being sent: keep clear of it and look whether"
                    " it stands."
                )
            await asyncio.sleep(POLL_S)

    # -- inside -------------------------------------------------------------------------------------------------

    def _to_mm(self, pulses: float) -> float:
        return pulses / self._pulses_per_rev * self.mm_per_rev

    async def _check_ready(self, *, homed: bool = False) -> None:
        status = await self._access.value("motion_status")
        has = self._status_signal.has
        if has(status, "fault"):
            raise NotReady(f"{self.name}: the drive reports a fault. Read its display, remove the cause, clear it.")
        if not has(status, "enabled"):
            raise NotReady(f"{self.name} is not enabled: configure() it.")
        if has(status, "running"):
            raise NotReady(f"{self.name} is moving already: wait for it or stop it.")
        if homed and not has(status, "homed"):
            raise NotReady(f"{self.name} does not know where it is: home it first.")

    async def _start(self, values: dict[str, float]) -> None:
        """Send a move once. A lost reply is no reason to send it again: what the drive does next tells."""
        self._triggered_s = math.inf  # when is known behind it
        try:
            if len(values) == 1:
                await self._access.write("trigger", values["trigger"])
            else:
                await self._access.write_block(values)
        except (LinkTimeout, FrameError, Mismatch):
            await asyncio.sleep(POLL_S)
        finally:  # it may have waited for its turn on the bus
            self._triggered_s = asyncio.get_running_loop().time()

    async def _wait(self, target_mm: float, limit_s: float, done_bit: str) -> None:
        """Until the drive says done and stands at the target; bounded."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        has = self._status_signal.has
        while True:
            readings = await self._access.read("motion_status", "position_pulses")
            status = readings["motion_status"].value
            here_mm = self._to_mm(readings["position_pulses"].value)
            if has(status, "fault"):
                await self._stop_quietly()
                raise NotReady(f"{self.name}: the drive reports a fault at {here_mm:.3f} mm. Read its display.")
            is_still = not has(status, "running")
            if is_still and has(status, done_bit) and abs(here_mm - target_mm) <= TOLERANCE_MM:
                return
            waited_s = loop.time() - began_s
            if waited_s > limit_s or (is_still and waited_s > START_GRACE_S):
                await self._stop_quietly()
                what = "did not arrive in time" if waited_s > limit_s else "stands still elsewhere"
                raise Unverified(
                    f"{self.name} was sent to {target_mm:.3f} mm and {what}: it reads {here_mm:.3f} mm. The move is "
                    "not repeated; look for an obstacle, then home it."
                )
            await asyncio.sleep(POLL_S)

    async def _stop_quietly(self) -> None:
        """Stop as part of a failure that is being reported anyway."""
        try:
            await self.stop()
        except (LinkTimeout, FrameError, Mismatch, Rejected):
            return  # the caller's error says more; the move is finite and ends by itself
