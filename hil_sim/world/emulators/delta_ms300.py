"""A Delta MS300 frequency inverter on the motor of an auger or a conveyor.

After the MS300 manual, appendix A (p. 789-794; MH300 p. 1020-1025): command 2000H to 2002H (write only), status 2100H
to 211FH (read only), parameters at GGnnH, FC 03, 06 and 10H, at most 20 words a write. Status 2101H with its bits, and
the output current whose decimals stand in the high byte of 211FH, are the manual's. The bits of 2000H are those of
public drivers for Delta's drives; what Pr.09-02 and 09-03 do, and that both are delivered off (3 and 0.0 s), is from
the manual of the older VFD-B (p. 5-83): the drive then runs on for ever when the host is gone.

Unverified: 20 words for a read too, fault numbers (3 over-current, 21 overload, 49 external fault, 58 time-out) and
warning number (5 time-out), that a change of direction by bits 5-4 = 11 toggles, that commands are taken and have no
effect while Pr.00-20/00-21 name another source (as delivered), that every parameter that is written wears the memory,
that a time-out counts requests to this drive only, exception 04 for a parameter that a running drive does not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import IntEnum

from hil_sim.world.emulators.modbus_pdu import (
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    ModbusDevice,
    Refusal,
)
from hil_sim.world.plant.motor import InductionMotor

COMMAND, FREQUENCY, CONTROL = 0x2000, 0x2001, 0x2002
FAULTS, STATUS, SET_HZ, OUTPUT_HZ, CURRENT, BUS_V, OUTPUT_V = range(0x2100, 0x2107)
ANGLE, TORQUE, RPM, POWER, MAX_HZ, CURRENT_DIGITS = 0x210A, 0x210B, 0x210C, 0x210F, 0x211B, 0x211F
READABLE = frozenset(range(0x2100, 0x2110)) | {0x2116, MAX_HZ, CURRENT_DIGITS}
WORDS_MAX = 20

FREQUENCY_SOURCE, COMMAND_SOURCE, STOP_METHOD = 0x0014, 0x0015, 0x0016
TOP_HZ, ACCELERATION, DECELERATION, JOG_HZ = 0x0100, 0x010C, 0x010D, 0x0116
ADDRESS, BAUD, TIMEOUT_ACTION, TIMEOUT, PROTOCOL, RESPONSE_DELAY = 0x0900, 0x0901, 0x0902, 0x0903, 0x0904, 0x0909
RANGES = {
    FREQUENCY_SOURCE: (0, 9), COMMAND_SOURCE: (0, 5), STOP_METHOD: (0, 1), TOP_HZ: (0, 59900),
    ACCELERATION: (0, 60000), DECELERATION: (0, 60000), JOG_HZ: (0, 59900), ADDRESS: (1, 254), BAUD: (48, 1152),
    TIMEOUT_ACTION: (0, 3), TIMEOUT: (0, 1000), PROTOCOL: (1, 20), RESPONSE_DELAY: (0, 2000),
}  # fmt: skip
NOT_WHILE_RUNNING = frozenset({FREQUENCY_SOURCE, COMMAND_SOURCE, TOP_HZ})
OVER_RS485 = {FREQUENCY_SOURCE: 1, COMMAND_SOURCE: 2}

OVERLOAD_S, OVERLOAD, OVERCURRENT = 60.0, 1.5, 2.2  # parts of the rated current
MAINS_BUS_DV = 3100
WARN, RAMP, COAST = 0, 1, 2  # Pr.09-02


class Fault(IntEnum):
    """What the low byte of 2100H shows (unverified)."""

    NONE = 0
    OVERCURRENT = 3
    OVERLOAD = 21
    EXTERNAL = 49
    TIMEOUT = 58


TIMEOUT_WARNING = 5


class DeltaMs300(ModbusDevice):
    """The inverter. `over_rs485`: whether somebody has given the line the command of it (Pr.00-20 and 00-21); as
    delivered the keypad has it. `current_decimals`: 2 on small drives, 1 on big ones.

    It looks at its motor whenever it is asked or `settle` is called: a watchdog, a trip has its effect from the moment
    on at which it was due.
    """

    def __init__(
        self, motor: InductionMotor, *, over_rs485: bool = True, current_decimals: int = 2, t_s: float = 0.0
    ) -> None:
        self.motor = motor
        self.nonvolatile_writes = 0
        self.watchdog_trips = 0
        self._digits = current_decimals
        self._parameters = {
            FREQUENCY_SOURCE: 0, COMMAND_SOURCE: 0, STOP_METHOD: 0, TOP_HZ: 6000, ACCELERATION: 1000,
            DECELERATION: 1000, JOG_HZ: 600, ADDRESS: 1, BAUD: 96, TIMEOUT_ACTION: 3, TIMEOUT: 0, PROTOCOL: 12,
            RESPONSE_DELAY: 20,
        }  # fmt: skip
        if over_rs485:
            self._parameters |= OVER_RS485
        self._set_chz = 0  # hundredths of a hertz
        self._running = self._jogging = self._reverse = False
        self._fault = Fault.NONE
        self._warning = 0
        self._base_block = False
        self._fed_s = t_s
        self._overload_since_s: float | None = None
        self._seen_s = t_s
        self.reply_delay_s = 0.002

    # -- time
    def settle(self, t_s: float) -> None:
        """Let strike what was due by `t_s`: the time-out of the line, an overload."""
        due: list[tuple[float, Callable[[float], None]]] = []
        if self._timeout_s() <= t_s:
            due.append((self._timeout_s(), self._lose_host))
        if self._overload_since_s is not None and self._overload_since_s + OVERLOAD_S <= t_s:
            due.append((self._overload_since_s + OVERLOAD_S, lambda at_s: self._trip(Fault.OVERLOAD, at_s)))
        for at_s, strike in sorted(due, key=lambda item: item[0]):
            strike(max(at_s, self._seen_s))
        self._seen_s = max(self._seen_s, t_s)

    def load_changed(self, t_s: float, load: float) -> None:
        """The auger meets something, or is free again: torque in parts of the motor's rated one."""
        self.settle(t_s)
        self.motor.set_load(t_s, load)
        self._watch_current(t_s)

    def power_cycle(self, t_s: float) -> None:
        """The motor coasts; faults and orders are forgotten, parameters are in its memory."""
        self.settle(t_s)
        self._running = self._jogging = self._reverse = self._base_block = False
        self._fault, self._warning, self._set_chz = Fault.NONE, 0, 0
        self._overload_since_s = None
        self._let_go(t_s)

    def _timeout_s(self) -> float:
        parameters = self._parameters
        if parameters[TIMEOUT] == 0 or parameters[TIMEOUT_ACTION] > COAST or self._warning or self._fault:
            return math.inf
        return self._fed_s + parameters[TIMEOUT] / 10

    def _lose_host(self, t_s: float) -> None:
        self.watchdog_trips += 1
        if self._parameters[TIMEOUT_ACTION] == WARN:
            self._warning = TIMEOUT_WARNING
        else:
            self._trip(Fault.TIMEOUT, t_s, ramp=self._parameters[TIMEOUT_ACTION] == RAMP)

    def _trip(self, fault: Fault, t_s: float, *, ramp: bool = False) -> None:
        if self._fault:
            return
        self._fault = fault
        self._running = self._jogging = False
        if ramp:
            self._drive_to(0.0, t_s)
        else:
            self._let_go(t_s)

    def _feed(self, t_s: float) -> None:
        self.settle(t_s)
        self._fed_s = t_s
        self._warning = 0

    # -- the motor
    def _drive_to(self, hz: float, t_s: float) -> None:
        top_hz = self._parameters[TOP_HZ] / 100
        up_s, down_s = (max(self._parameters[p], 1) / 100 for p in (ACCELERATION, DECELERATION))
        self.motor.ramp(t_s, hz, max(top_hz, 0.01) / up_s, max(top_hz, 0.01) / down_s)
        self._watch_current(t_s)

    def _let_go(self, t_s: float) -> None:
        self.motor.release(t_s)
        self._overload_since_s = None

    def _watch_current(self, t_s: float) -> None:
        """The load decides on the current, so it need be looked at only when load or output change."""
        turning = self._running or self.motor.frequency_hz(t_s) != 0.0
        config = self.motor.config
        torque_a = math.sqrt(config.rated_a**2 - config.magnetising_a**2) * self.motor.load
        share = math.hypot(config.magnetising_a, torque_a) / config.rated_a if turning else 0.0
        if share > OVERCURRENT:
            self._trip(Fault.OVERCURRENT, t_s)
        elif share <= OVERLOAD:
            self._overload_since_s = None
        elif self._overload_since_s is None:
            self._overload_since_s = t_s

    def _obey(self, t_s: float) -> None:
        """Make the motor do what has been commanded."""
        if self._fault or self._base_block:
            return
        if self._running:
            hz = self._target_hz()
            self._drive_to(-hz if self._reverse else hz, t_s)
        elif self.motor.frequency_hz(t_s) != 0.0:
            if self._parameters[STOP_METHOD] == 1:
                self._let_go(t_s)
            else:
                self._drive_to(0.0, t_s)

    def _target_hz(self) -> float:
        return (self._parameters[JOG_HZ] if self._jogging else self._set_chz) / 100

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        self._feed(t_s)
        if count > WORDS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        return [self._read(register, t_s) & 0xFFFF for register in range(address, address + count)]

    def _read(self, register: int, t_s: float) -> int:
        if register in self._parameters:
            return self._parameters[register]
        if register not in READABLE:
            raise Refusal(ILLEGAL_ADDRESS)
        motor = self.motor
        hz = motor.frequency_hz(t_s)
        match register:
            case 0x2100:
                return self._warning << 8 | self._fault
            case 0x2101:
                return self._status(t_s)
            case 0x2102:
                return self._set_chz
            case 0x2103:
                return round(abs(hz) * 100)
            case 0x2104:
                return round(motor.current_a(t_s) * 10**self._digits)
            case 0x2105:
                return MAINS_BUS_DV
            case 0x2106:
                return round(min(abs(hz) / motor.config.rated_hz, 1.0) * motor.config.rated_v * 10)
            case 0x210B:
                return round(motor.load * 1000) if motor.current_a(t_s) else 0
            case 0x210C:
                return round(abs(motor.speed_rpm(t_s)))
            case 0x210F:
                return round(motor.power_kw(t_s) * 1000)
            case 0x211B:
                return self._parameters[TOP_HZ]
            case 0x211F:
                return self._digits << 8
        return 0  # counters, multi-step speed and encoder, of which there are none

    def _status(self, t_s: float) -> int:
        hz = self.motor.frequency_hz(t_s)
        if self._running:
            bits = 0b11 if hz or self._target_hz() else 0b10
        else:
            bits = 0b01 if hz else 0b00
        if self._jogging:
            bits |= 1 << 2
        turns_back = hz < 0.0 or (hz == 0.0 and self._reverse)
        direction = {(False, False): 0b00, (False, True): 0b01, (True, False): 0b10, (True, True): 0b11}
        bits |= direction[self._reverse, turns_back] << 3
        bits |= (self._parameters[FREQUENCY_SOURCE] == OVER_RS485[FREQUENCY_SOURCE]) << 8
        return bits | (self._parameters[COMMAND_SOURCE] == OVER_RS485[COMMAND_SOURCE]) << 10

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        """All or nothing."""
        self._feed(t_s)
        if len(values) > WORDS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        wanted = dict(zip(range(address, address + len(values)), values, strict=True))
        for register, value in wanted.items():
            self._check(register, value, t_s)
        for register, value in wanted.items():
            if register in self._parameters:
                self._parameters[register] = value
                self.nonvolatile_writes += 1
        self.reply_delay_s = self._parameters[RESPONSE_DELAY] / 10000
        if FREQUENCY in wanted and self._parameters[FREQUENCY_SOURCE] == OVER_RS485[FREQUENCY_SOURCE]:
            self._set_chz = wanted[FREQUENCY]
        if CONTROL in wanted:
            self._control(wanted[CONTROL], t_s)
        if COMMAND in wanted and self._parameters[COMMAND_SOURCE] == OVER_RS485[COMMAND_SOURCE]:
            self._command(wanted[COMMAND])
        if wanted.keys() & {COMMAND, FREQUENCY, CONTROL}:
            self._obey(t_s)

    def _check(self, register: int, value: int, t_s: float) -> None:
        if register in RANGES:
            low, high = RANGES[register]
            if not low <= value <= high:
                raise Refusal(ILLEGAL_VALUE)
            if register in NOT_WHILE_RUNNING and (self._running or self.motor.frequency_hz(t_s) != 0.0):
                raise Refusal(DEVICE_FAILURE)
        elif register == FREQUENCY:
            if value > self._parameters[TOP_HZ]:
                raise Refusal(ILLEGAL_VALUE)
        elif register not in (COMMAND, CONTROL):
            raise Refusal(ILLEGAL_ADDRESS)

    def _command(self, word: int) -> None:
        turn = word >> 4 & 0b11
        if turn == 0b11:
            self._reverse = not self._reverse
        elif turn:
            self._reverse = turn == 0b10
        run = word & 0b11
        if run and not self._fault:
            self._running = run != 0b01
            self._jogging = run == 0b11

    def _control(self, word: int, t_s: float) -> None:
        if word & 2:
            self._fault = Fault.NONE  # and the run command is gone: it must be given again
        if word & 1:
            self._trip(Fault.EXTERNAL, t_s)
        blocked, self._base_block = self._base_block, bool(word & 4)
        if self._base_block and not blocked:
            self._let_go(t_s)
