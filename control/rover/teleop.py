"""Driving by hand: keys move the rover while they are held, and the guard has its say over every one of them.

A key is an order that is good for KEY_VALID_S; the terminal's key repeat keeps it alive, and letting go ends it. There
is no route and no place: path, fence, hazards and slip are not watched, the person who drives watches them. Tilt,
currents, temperatures, battery and silences of wheels, inertial unit and battery hold the rover as on a route. A
tracker without sight does not: driving by hand is how a rover gets back into its sight.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple

from control.operator import Operator
from control.rover.config import geometry_of
from control.rover.drive.attitude import tip_margin_rad
from control.rover.drive.guard import (
    Action,
    Cause,
    Command,
    Decision,
    Facts,
    GuardState,
    guard_step,
    limits_from,
)
from control.rover.drive.inclination import Inclination
from control.rover.drive.kinematics import STOP, Geometry, Twist2D, inverse
from control.rover.machine import Rover
from control.rover.wheel_facts import board_temp_c, by_wheel, dead_wheels, incline, odometry
from firmware_bridge.errors import LinkError, Rejected

KEY_VALID_S = 0.4
REFUSED_MAX = 20  # commands in a row that the wheels did not take
MOVES = {
    "w": "forward",
    "up": "forward",
    "s": "back",
    "down": "back",
    "a": "left",
    "left": "left",
    "d": "right",
    "right": "right",
}
ARROWS = {b"A": "up", b"B": "down", b"C": "right", b"D": "left"}


class TeleopStep(NamedTuple):
    """One cycle, for whoever shows it. `held`: why the rover does not do what was asked, or goes slower; or empty."""

    moving: bool
    speed_m_s: float
    tilt_deg: float
    charge: float
    held: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a key asked for, and how long it is good."""

    command: Command
    word: str


def keys_of(data: bytes) -> tuple[list[str], bytes]:
    """The keys in what a terminal sent, and the beginning of one that is not complete yet.

    Unknown keys and escape sequences are left out.
    """
    keys: list[str] = []
    at = 0
    while at < len(data):
        if data[at] != 0x1B:
            keys.append(chr(data[at]).lower())
            at += 1
            continue
        rest = data[at + 1 :]
        if not rest or (rest[:1] in (b"[", b"O") and len(rest) < 2):
            return keys, data[at:]
        if rest[:1] in (b"[", b"O"):
            end = next((n for n in range(1, len(rest)) if 0x40 <= rest[n] <= 0x7E), None)
            if end is None:
                return keys, data[at : at + 16]
            if end == 1 and rest[1:2] in ARROWS:  # with a modifier it is another key
                keys.append(ARROWS[rest[1:2]])
            at += end + 2
        else:
            at += 1  # Esc by itself, or Alt with a key: the key alone counts
    return keys, b""


def twists(geometry: Geometry, cruise_m_s: float) -> dict[str, Twist2D]:
    """What each direction means. A rover that cannot turn on the spot turns in its tightest forward arc."""
    if geometry.mode == "skid" or not math.isfinite(geometry.curvature_max_per_m):
        speed, omega = 0.0, cruise_m_s / max(math.hypot(w.x_m, w.y_m) for w in geometry.wheels)
    else:
        speed, omega = cruise_m_s, cruise_m_s * geometry.curvature_max_per_m
    return {
        "forward": Twist2D(cruise_m_s, 0.0, 0.0),
        "back": Twist2D(-cruise_m_s, 0.0, 0.0),
        "left": Twist2D(speed, 0.0, omega),
        "right": Twist2D(speed, 0.0, -omega),
    }


class Teleop:
    """One session at the keys. `keys` yields w a s d or arrows, space (stop), r (release), q (leave)."""

    def __init__(
        self,
        rover: Rover,
        keys: AsyncIterator[str],
        operator: Operator | None = None,
        show: Callable[[TeleopStep], None] | None = None,
    ) -> None:
        self.rover = rover
        self.operator = operator or Operator()
        self._keys = keys
        self._show = show
        self.geometry = geometry_of(rover.config)
        self._twists = twists(self.geometry, rover.config.drive.cruise_m_s)
        self._limits = limits_from(rover.config.drive.guard)
        self._guard = GuardState()
        self._tilt = Inclination()
        self._order: Order | None = None
        self._seq = self._released = self._refused = 0
        self._went = 1.0  # the sign of the last drive that was let through
        self._backing = False
        self._backed_m = 0.0
        self._leaving = False

    async def run(self) -> None:
        """Bring the rover up and drive it until q, the keys' end, or a stop. The wheels are stopped on the way out.

        Raises:
            MachineTripped: the operator's stop (`stopped`), or the rover tripped.
            BridgeError: a device that does not answer, or wheels that took no command REFUSED_MAX times.
        """
        self.operator.when_stopped(self.rover.stop)
        listening = None
        try:
            await self.rover.bring_up()
            self.rover.go()
            listening = asyncio.get_running_loop().create_task(self._listen(), name="teleop-keys")
            await self.rover.guarded(self._cycles())
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            await self.rover.make_safe()

    async def _listen(self) -> None:
        """Take keys as they come; when there are no more, whatever ended them, the session ends."""
        try:
            async for key in self._keys:
                self.press(key)
                if self._leaving:
                    return
        finally:
            self._order, self._leaving = None, True

    def press(self, key: str) -> None:
        """A key, now."""
        if key == "q":
            self._leaving = True
        elif key == "r":
            self._released += 1
        elif key == " ":
            self._order = None
        elif key in MOVES:
            self._seq += 1
            until_s = asyncio.get_running_loop().time() + KEY_VALID_S
            self._order = Order(Command(self._seq, until_s, self._twists[MOVES[key]]), MOVES[key])

    async def _cycles(self) -> None:
        loop = asyncio.get_running_loop()
        period_s = 1.0 / self.rover.config.drive.command_hz
        due_s = last_s = loop.time()
        while not self._leaving:
            now_s = loop.time()
            measured = self._know(now_s - last_s)
            last_s = now_s
            if self._order is not None and now_s >= self._order.command.valid_until_s:
                self._order = None
            decision = self._decide(now_s)
            twist, held = self._allowed(decision)
            await (self.rover.halt() if twist is None else self._command(twist))
            if self._show is not None:
                charge = self.rover.readings["power"]["soc_fraction"].value
                tilt = math.acos(math.cos(self._tilt.roll_rad) * math.cos(self._tilt.pitch_rad))
                self._show(TeleopStep(twist is not None, measured.vx_m_s, math.degrees(tilt), charge, held))
            due_s = max(due_s + period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())
        await self.rover.halt()

    def _know(self, dt_s: float) -> Twist2D:
        """Bring the inclination up to now; how the body moves by its wheels."""
        wheels, imu = self.rover.readings["wheels"], self.rover.readings["imu"]
        incline(self._tilt, imu)
        twist = odometry(self.geometry, wheels) or STOP
        if self._backing and twist.vx_m_s * self._went < 0:
            self._backed_m += abs(twist.vx_m_s) * dt_s
        return twist

    def _decide(self, now_s: float) -> Decision:
        """Ask the guard. What only a route, a map or a place could tell is said to be no trouble (see above)."""
        wheels, power = self.rover.readings["wheels"], self.rover.readings["power"]
        roll, pitch = self._tilt.roll_rad, self._tilt.pitch_rad
        facts = Facts(
            now_s=now_s,
            command=None if self._order is None else self._order.command,
            roll_rad=roll,
            pitch_rad=pitch,
            tilt_rate_rad_s=self._tilt.rate_rad_s,
            tip_margin_rad=tip_margin_rad(self.geometry, self.rover.config.body.height_of_mass_m, roll, pitch),
            slip=0.0,
            stuck=False,
            wheel_current_a=by_wheel(wheels, "_current_a"),
            motor_temp_c={},
            board_temp_c=board_temp_c(wheels),
            battery_temp_c=power["battery_temp_c"].value,
            charge=power["soc_fraction"].value,
            haven_charge=self.rover.config.energy.reserve_fraction,
            fence_m=math.inf,
            cross_track_m=0.0,
            corridor_m=math.inf,
            sigma_m=0.0,
            heading_sigma_rad=0.0,
            comms_silent_s=0.0,
            bad_readings=tuple(trip.device for trip in self.rover.silences() if trip.device != "tracker"),
            dead_wheels=dead_wheels(wheels, self.geometry.names),
            hazard_ahead_m=math.inf,
            hazard_behind_m=math.inf,
            operator_stop=self.operator.stop_reason is not None,
            operator_hold=False,
            release_seq=self._released,
            backed_m=self._backed_m,
        )
        self._guard, decision = guard_step(self._guard, facts, self._limits)
        return decision

    def _allowed(self, decision: Decision) -> tuple[Twist2D | None, str]:
        """What may be done of what is asked (None: stand), and why it is not all of it."""
        self._backing = decision.action is Action.BACK_OUT
        said = "" if decision.cause is None or decision.cause is Cause.COMMAND_STALE else decision.sentence
        if not decision.may_move or self._order is None:
            return None, said
        if decision.action is Action.HAVEN:
            return None, f"{said}: it is not driven on by hand"
        asked = self._order.command.twist
        if self._backing:
            if asked.vx_m_s * self._went >= 0 or asked.omega_rad_s != 0:
                return None, f"{said}: only straight back the way it came"
            return asked, said
        if asked.vx_m_s != 0:
            self._went = math.copysign(1.0, asked.vx_m_s)
        factor = decision.speed_factor
        return Twist2D(asked.vx_m_s * factor, asked.vy_m_s * factor, asked.omega_rad_s * factor), said

    async def _command(self, twist: Twist2D) -> None:
        try:
            await self.rover.command(*inverse(self.geometry, twist).by_name(self.geometry))
        except (LinkError, Rejected):  # the line was busy or damaged: the last command runs out by itself
            self._refused += 1
            if self._refused > REFUSED_MAX:
                raise
        else:
            self._refused = 0
