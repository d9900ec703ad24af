"""A Leadshine CS2RS closed-loop stepper drive on a linear axis: paths, jog, homing, stop, alarms and its status words.

After the CS2RS manual p. 15-59 and the iEM-RS manual p. 19: parameters are 32 bits in two registers, high word first,
so that the useful half stands at the odd address; a message has 200 bytes at most (p. 15); 0x1901 tells how saving went
and forgets it when it is read; a jog lives 50 ms. The codes of 0x6002, 0x1003 and 0x600A, the jog's registers (0x01E1
rpm, 0x01E7 ms per 1000 rpm), that velocity mode takes a signed speed and what a longer message than 200 bytes is told
(03), and the reply delay are unverified (contract of the bench printer). Both manuals say that a wrong CRC is answered
with exception 08; `answers_bad_crc` makes it so, and is off because the conformance list wants silence. It has no
watchdog on its line: a path or a jog ends by itself, velocity mode (2) does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from hil_sim.world.emulators.modbus_pdu import (
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    ModbusDevice,
    Refusal,
)

PULSES_PER_REV, SOFTWARE_ENABLE, PEAK_CURRENT, JOG_RPM, JOG_ACC = 0x0001, 0x000F, 0x0191, 0x01E1, 0x01E7
DELIVERED = {PULSES_PER_REV: 10000, PEAK_CURRENT: 10, JOG_RPM: 60, JOG_ACC: 100}  # unverified but the first
READ_WORDS_MAX, WRITE_WORDS_MAX = (200 - 5) // 2, (200 - 9) // 2
PARAMETERS_END = 0x0200
MOTION_STATUS, POSITION, PROFILE_VELOCITY, FEEDBACK_VELOCITY = 0x1003, 0x1014, 0x1044, 0x1046
CONTROL, CONTROL_STATUS = 0x1801, 0x1901
PATH_CONTROL, TRIGGER = 0x6000, 0x6002
HOMING_MODE, HOMING_RPM, HOMING_CREEP_RPM, HOMING_ACC, HOMING_DEC = 0x600A, 0x600F, 0x6010, 0x6011, 0x6012
PATH_CONTROL_END = 0x6020
PATHS, PATH_WORDS, PATH_COUNT = 0x6200, 8, 16
PATHS_END = PATHS + PATH_WORDS * PATH_COUNT
INSTANT_TRIGGER = PATHS + 7  # the last word of path 0 is the trigger word again: one block sets a move and starts it

POWER_ON_HOMING = {HOMING_MODE: 0, HOMING_RPM: 200, HOMING_CREEP_RPM: 50, HOMING_ACC: 100, HOMING_DEC: 100}

RUN, HOME, SET_ZERO, STOP = 0x10, 0x20, 0x21, 0x40
MODE_ABSOLUTE, MODE_VELOCITY, MODE_RELATIVE = 0x01, 0x02, 0x41
ALARM_RESET, HISTORY_RESET, SAVE_PARAMETERS, PARAMETER_RESET, FACTORY_RESET, SAVE_MAPPING = (
    0x1111, 0x1122, 0x2211, 0x2222, 0x2233, 0x2244
)  # fmt: skip
JOG_FORWARD, JOG_BACK = 0x4001, 0x4002
JOG_LIFE_S = 0.050
ENDLESS_REV = 1e6  # where velocity mode is going
NOT_SAVED, DONE_OK, DONE_WRONG = 0x1111, 0x5555, 0xAAAA
FAULT, ENABLED, RUNNING, COMMAND_DONE, PATH_DONE, HOMED = 0x01, 0x02, 0x04, 0x10, 0x20, 0x40
STATUS_ADDRESSES = frozenset(
    {MOTION_STATUS, CONTROL, CONTROL_STATUS}
    | {base + half for base in (POSITION, PROFILE_VELOCITY, FEEDBACK_VELOCITY) for half in (0, 1)}
)
EMERGENCY_MM_S2 = 5000.0


class Axis(Protocol):
    """What the motor moves: `plant.linear_axis.LinearAxis`, or a wheel. Time in s first, then mm and mm/s (or rad)."""

    @property
    def travel_mm(self) -> tuple[float, float]: ...

    @property
    def struck_s(self) -> float | None: ...

    def moving(self, t_s: float) -> bool: ...

    def position_at(self, t_s: float) -> float: ...

    def velocity_at(self, t_s: float) -> float: ...

    def move(self, t_s: float, target: float, speed: float, acceleration: float, deceleration: float, /) -> float:
        """Go there from the present motion, whatever that is; returns when it will rest."""

    def stop(self, t_s: float, deceleration: float, /) -> float: ...


class LeadshineDrive(ModbusDevice):
    """The drive, its motor and its counter on one axis.

    `mm_per_rev`: of the screw or belt; negative when a positive count moves the axis backwards. `home_mm`: where on
    the axis the home switch stands. The counter is 0 wherever the axis stands at power-up, until homed. A move into
    the end of travel strikes, and is a fault; a trigger while disabled or faulted is taken and does nothing, so a
    host must read the status.
    """

    def __init__(
        self,
        axis: Axis,
        *,
        mm_per_rev: float,
        baud: int = 115200,
        home_mm: float = 0.0,
        answers_bad_crc: bool = False,
        t_s: float = 0.0,
    ) -> None:
        self.bad_crc_exception = 0x08 if answers_bad_crc else None
        self.reply_delay_s = 0.00244 if baud >= 115200 else 0.0205 * 9600 / baud
        self.axis = axis
        self.sense_mm: Callable[[float], float] = axis.position_at  # what the encoder shows; the motor goes by steps
        self.mm_per_rev = mm_per_rev
        self.home_mm = home_mm
        self.nonvolatile_writes = 0
        self.jogs = self.jog_refreshes = 0
        self._parameters = [0] * PARAMETERS_END
        for register, value in DELIVERED.items():
            self._parameters[register] = value
        self._path_control = dict(POWER_ON_HOMING)
        self._paths = [0] * (PATH_WORDS * PATH_COUNT)
        self._control_status = NOT_SAVED
        self._jog_until_s = -math.inf
        self._saving_fails = False
        self._zero_mm = axis.position_at(t_s)
        self._fault = False
        self._homed = False
        self._homing = False
        self._running = False
        self._done_s = -math.inf  # when the running path or homing is over, its pause included
        self._done_bits = 0
        self._top_rpm = 0.0
        self._strike_seen_s: float | None = None

    # -- what the world does to it
    def fail(self, t_s: float) -> None:
        """An alarm inside the drive: it brakes hard and lets go."""
        self._settle(t_s)
        self._trip(t_s)

    def power_cycle(self, t_s: float) -> None:
        """The motor is let go where it stands, which is 0 from now on; not homed, not enabled, settings as delivered.
        Saved settings are not modelled: the bench's host saves none."""
        self._settle(t_s)
        if self.axis.moving(t_s):
            self.axis.stop(t_s, EMERGENCY_MM_S2)
        self._parameters = [DELIVERED.get(register, 0) for register in range(PARAMETERS_END)]
        self._path_control = dict(POWER_ON_HOMING)
        self._paths = [0] * (PATH_WORDS * PATH_COUNT)
        self._control_status, self._jog_until_s = NOT_SAVED, -math.inf
        self._zero_mm = self.axis.position_at(t_s)
        self._fault = self._homed = self._homing = self._running = False
        self._done_s, self._done_bits, self._top_rpm = -math.inf, 0, 0.0

    def break_memory(self) -> None:
        """From now on saving fails."""
        self._saving_fails = True

    def position_pulses(self, t_s: float) -> int:
        """The counter, which is what the host can read."""
        self._settle(t_s)
        revolutions = (self.sense_mm(t_s) - self._zero_mm) / self.mm_per_rev
        return round(revolutions * self._parameters[PULSES_PER_REV])

    # -- state
    @property
    def _enabled(self) -> bool:
        return self._parameters[SOFTWARE_ENABLE] == 1 and not self._fault

    def _settle(self, t_s: float) -> None:
        """Let what ended by `t_s` have ended: a strike, a path, a homing."""
        struck_s = self.axis.struck_s
        if struck_s is not None and struck_s != self._strike_seen_s and t_s >= struck_s:
            self._strike_seen_s = struck_s
            self._trip(t_s)
        elif self._running and t_s >= self._done_s:
            self._running = False
            self._done_bits = COMMAND_DONE | PATH_DONE
            if self._homing:
                self._homing = False
                self._homed = True
                self._zero_mm = self.home_mm

    def _trip(self, t_s: float) -> None:
        self._fault = True
        self._running = self._homing = False
        self._done_bits = 0
        if self.axis.moving(t_s):
            self.axis.stop(t_s, EMERGENCY_MM_S2)

    def _halt(self, t_s: float) -> None:
        """Brake as path 0 would: the command is over, its path is not done."""
        self._jog_until_s = -math.inf
        if self._running:
            self._running = self._homing = False
            self._done_bits = COMMAND_DONE
            if self.axis.moving(t_s):
                self.axis.stop(t_s, self._ramp_mm_s2(self._paths[5] or 100))

    def _ramp_mm_s2(self, ms_per_1000_rpm: int) -> float:
        return 1000.0 / 60.0 * abs(self.mm_per_rev) / (ms_per_1000_rpm / 1000.0)

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        self._settle(t_s)
        if count > READ_WORDS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        if address == POSITION and count == 2:  # what is asked ten times a second
            pulses = self.position_pulses(t_s)
            return [self._half(pulses, 0), self._half(pulses, 1)]
        words = []
        for register in range(address, address + count):
            if not self._exists(register):
                raise Refusal(ILLEGAL_ADDRESS)
            words.append(self._read(register, t_s))
        return words

    @staticmethod
    def _exists(register: int) -> bool:
        return (
            register < PARAMETERS_END
            or PATHS <= register < PATHS_END
            or PATH_CONTROL <= register < PATH_CONTROL_END
            or register in STATUS_ADDRESSES
        )

    def _read(self, register: int, t_s: float) -> int:
        if register < PARAMETERS_END:
            return self._parameters[register]
        if register >= PATHS:
            return self._paths[register - PATHS]
        if register == MOTION_STATUS:
            return self._status(t_s)
        if register in (POSITION, POSITION + 1):
            return self._half(self.position_pulses(t_s), register - POSITION)
        if register in (PROFILE_VELOCITY, PROFILE_VELOCITY + 1):
            return self._half(round(self._top_rpm) if self._running else 0, register - PROFILE_VELOCITY)
        if register in (FEEDBACK_VELOCITY, FEEDBACK_VELOCITY + 1):
            rpm = self.axis.velocity_at(t_s) / self.mm_per_rev * 60.0
            return self._half(round(rpm), register - FEEDBACK_VELOCITY)
        if register == CONTROL_STATUS:
            status, self._control_status = self._control_status, NOT_SAVED  # reading it clears it
            return status
        return self._path_control.get(register, 0)

    @staticmethod
    def _half(value: int, word: int) -> int:
        return (value >> (0 if word else 16)) & 0xFFFF

    def _status(self, t_s: float) -> int:
        bits = RUNNING if self._running or self.axis.moving(t_s) else self._done_bits
        if self._fault:
            bits |= FAULT
        if self._enabled:
            bits |= ENABLED
        if self._homed:
            bits |= HOMED
        return bits

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        self._settle(t_s)
        if len(values) > WRITE_WORDS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        registers = range(address, address + len(values))
        for register in registers:
            if not self._exists(register) or (register in STATUS_ADDRESSES and register != CONTROL):
                raise Refusal(ILLEGAL_ADDRESS)
        for register, value in zip(registers, values, strict=True):
            self._write(register, value, t_s)

    def _write(self, register: int, value: int, t_s: float) -> None:
        if register < PARAMETERS_END:
            self._write_parameter(register, value, t_s)
        elif register in (INSTANT_TRIGGER, TRIGGER):
            self._trigger(value, t_s)
        elif register >= PATHS:
            self._paths[register - PATHS] = value
        elif register == CONTROL:
            self._command(value, t_s)
        else:
            self._path_control[register] = value

    def _write_parameter(self, register: int, value: int, t_s: float) -> None:
        if (register == PULSES_PER_REV and not 200 <= value <= 51200) or (register == SOFTWARE_ENABLE and value > 1):
            raise Refusal(DEVICE_FAILURE)
        self._parameters[register] = value
        if register == SOFTWARE_ENABLE and value == 0:
            self._halt(t_s)

    def _command(self, value: int, t_s: float) -> None:
        if value == ALARM_RESET:
            self._fault = False
        elif value in (SAVE_PARAMETERS, SAVE_MAPPING):
            self.nonvolatile_writes += 1
            self._control_status = DONE_WRONG if self._saving_fails else DONE_OK
        elif value in (JOG_FORWARD, JOG_BACK):
            self._jog(1 if value == JOG_FORWARD else -1, t_s)
        elif value in (PARAMETER_RESET, FACTORY_RESET):
            self._halt(t_s)
            self._parameters = [DELIVERED.get(register, 0) for register in range(PARAMETERS_END)]
            self.nonvolatile_writes += 1
        elif value != HISTORY_RESET:
            raise Refusal(DEVICE_FAILURE)

    # -- motion
    def _trigger(self, value: int, t_s: float) -> None:
        if value == STOP:
            self._halt(t_s)
        elif value == HOME:
            self._home(t_s)
        elif value == SET_ZERO:
            self._zero_mm = self.axis.position_at(t_s)
            self._homed = True
        elif RUN <= value < RUN + PATH_COUNT:
            self._run(value - RUN, t_s)
        elif value != 0:
            raise Refusal(DEVICE_FAILURE)

    def _run(self, path: int, t_s: float) -> None:
        mode, high, low, rpm, acc, dec, pause_ms, _ = self._paths[PATH_WORDS * path : PATH_WORDS * (path + 1)]
        if mode not in (MODE_ABSOLUTE, MODE_VELOCITY, MODE_RELATIVE) or acc == 0 or dec == 0:
            raise Refusal(DEVICE_FAILURE)
        if not self._enabled:
            return
        if mode == MODE_VELOCITY:
            self._turn(rpm - 0x10000 if rpm & 0x8000 else rpm, acc, dec, t_s)
            return
        pulses = (high << 16) | low
        pulses -= 1 << 32 if pulses & 0x80000000 else 0
        start_mm = self._zero_mm if mode == MODE_ABSOLUTE else self.axis.position_at(t_s)
        target_mm = start_mm + pulses / self._parameters[PULSES_PER_REV] * self.mm_per_rev
        self._set_off(target_mm, rpm, acc, dec, t_s, pause_s=pause_ms / 1000.0)

    def _turn(self, rpm: int, acc: int, dec: int, t_s: float) -> None:
        """Velocity mode: until it is told otherwise, and nobody tells it when the host is gone."""
        if rpm == 0:
            self._halt(t_s)
            return
        endless_mm = math.copysign(ENDLESS_REV, rpm) * self.mm_per_rev
        self._set_off(self.axis.position_at(t_s) + endless_mm, abs(rpm), acc, dec, t_s)

    def _jog(self, side: int, t_s: float) -> None:
        """As far as 50 ms lead, and the way that braking takes: each repetition in time adds to it."""
        if not self._enabled:
            return
        if t_s <= self._jog_until_s:
            self.jog_refreshes += 1
        else:
            self.jogs += 1
        self._jog_until_s = t_s + JOG_LIFE_S
        rpm, ramp_ms = self._parameters[JOG_RPM], self._parameters[JOG_ACC] or 1
        if rpm == 0:
            return
        side_mm = math.copysign(1.0, side * self.mm_per_rev)
        speed_mm_s = rpm / 60.0 * abs(self.mm_per_rev)
        way_mm = _jog_way(self.axis.velocity_at(t_s) * side_mm, speed_mm_s, self._ramp_mm_s2(ramp_ms))
        self._set_off(self.axis.position_at(t_s) + side_mm * way_mm, rpm, ramp_ms, ramp_ms, t_s)

    def _home(self, t_s: float) -> None:
        """To the switch in the direction of bit 0 of the mode (0: falling count). In the wrong direction the axis
        finds the end of its travel instead."""
        if not self._enabled:
            return
        control = self._path_control
        rising = bool(control[HOMING_MODE] & 1)
        axis_side = math.copysign(1.0, self.mm_per_rev if rising else -self.mm_per_rev)
        low, high = self.axis.travel_mm
        target_mm = self.home_mm
        if (target_mm - self.axis.position_at(t_s)) * axis_side < 0.0:
            target_mm = high + 1.0 if axis_side > 0 else low - 1.0
        self._homed = False
        self._set_off(target_mm, control[HOMING_RPM], control[HOMING_ACC] or 1, control[HOMING_DEC] or 1, t_s)
        self._homing = True

    def _set_off(self, target_mm: float, rpm: int, acc: int, dec: int, t_s: float, pause_s: float = 0.0) -> None:
        self._running = True
        self._homing = False
        self._done_bits = 0
        self._top_rpm = float(rpm)
        if rpm == 0:  # the manual's own example does this: the drive says it runs, and never arrives
            self._done_s = math.inf
            return
        speed_mm_s = rpm / 60.0 * abs(self.mm_per_rev)
        rest_s = self.axis.move(t_s, target_mm, speed_mm_s, self._ramp_mm_s2(acc), self._ramp_mm_s2(dec))
        self._done_s = rest_s + pause_s


def _jog_way(start_mm_s: float, speed_mm_s: float, ramp_mm_s2: float) -> float:
    """How far a jog that is never repeated leads, mm, from a velocity along its side: 50 ms towards `speed_mm_s`, then
    to rest."""
    way_mm, left_s, velocity = 0.0, JOG_LIFE_S, start_mm_s
    for goal in (0.0, speed_mm_s) if start_mm_s < 0.0 else (speed_mm_s,):
        change_s = min(abs(goal - velocity) / ramp_mm_s2, left_s)
        reached = velocity + math.copysign(ramp_mm_s2 * change_s, goal - velocity)
        way_mm += (velocity + reached) / 2.0 * change_s
        velocity, left_s = reached, left_s - change_s
    return way_mm + velocity * left_s + velocity * abs(velocity) / (2.0 * ramp_mm_s2)
