"""An Omron E5CC temperature controller: two windows on one set of data, operation commands, and writes that it refuses
until they are allowed.

After the communications manuals H175 (p. 3-25, 4-8 to 4-14, 5-2) and H186 (p. 4-12). In the four-byte window (0000 up)
an element is 32 bits in two words, high word first, at even addresses only; in the two-byte window (2000 up) one word.
A read takes at most 106 words, a write 104. Every write but the command that allows it is refused with 04 while
communications writing is off, which it is from power-up. A value out of range is 03 here, not 04: the manual says so.
There is no watchdog on the line: what was set goes on.

Unverified: the decimal point monitor at 2410 (0420; from memory of the manual's list), what an address without a
parameter answers inside a block (02 here), the reading while the sensor is broken (the upper end of the range here,
with its bit in the status), setting changes saved one by one, the reset's 3 s, the reply delay of 20 ms. Not emulated:
auto-tuning, banks, programs, remote set-point, setup area 1 beyond its stopping the control; their commands are refused
with 04, as ones that cannot be carried out now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hil_sim.world.emulators.heating_loop import HeatingLoop, Tuning
from hil_sim.world.emulators.modbus_pdu import (
    DEVICE_FAILURE,
    DIAGNOSTICS,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    READ_HOLDING,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    ModbusDevice,
    Refusal,
)
from hil_sim.world.plant.heater import HeaterPlate

# elements by their address in the two-byte window; in the four-byte window they stand at twice its low bytes
PV, STATUS, INTERNAL_SP, HEATER_CURRENT, MV_HEAT, MV_COOL = 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005
SET_POINT, ALARM_1, ALARM_1_UPPER, ALARM_1_LOWER = 0x2103, 0x2104, 0x2105, 0x2106
ALARM_2, ALARM_2_UPPER, ALARM_2_LOWER = 0x2107, 0x2108, 0x2109
PV_AGAIN, SP_AGAIN, STATUS_AGAIN, STATUS_UPPER, DECIMALS = 0x2402, 0x2403, 0x2406, 0x2407, 0x2410
WRITABLE = (SET_POINT, ALARM_1, ALARM_1_UPPER, ALARM_1_LOWER, ALARM_2, ALARM_2_UPPER, ALARM_2_LOWER)
READABLE = frozenset(
    {
        PV,
        STATUS,
        INTERNAL_SP,
        HEATER_CURRENT,
        MV_HEAT,
        MV_COOL,
        PV_AGAIN,
        SP_AGAIN,
        STATUS_AGAIN,
        STATUS_UPPER,
        DECIMALS,
    }
    | set(WRITABLE)
)
TWO_BYTE_WINDOW, COMMANDS = 0x2000, frozenset({0x0000, 0xFFFF})
READ_WORDS_MAX, WRITE_WORDS_MAX = 106, 104
ALARM_RANGE = (-1999, 9999)

(
    ALLOW_WRITING, RUN_STOP, MULTI_SP, AUTO_TUNING, WRITE_MODE, SAVE, RESET, SETUP_AREA, PROTECT, AUTO_MANUAL
) = range(10)  # fmt: skip
CANCEL_LATCH = 0x0C
KNOWN_COMMANDS = frozenset(range(10)) | {0x0B, CANCEL_LATCH, 0x0D, 0x0E, 0x11}
ON_OFF = frozenset({ALLOW_WRITING, RUN_STOP, WRITE_MODE, AUTO_MANUAL})

INPUT_ERROR, HEATING_ON, ALARM_1_ON, ALARM_2_ON = 1 << 6, 1 << 8, 1 << 12, 1 << 13
RAM_WRITING, UNSAVED, IN_SETUP, STOPPED, WRITING_ALLOWED, MANUAL = (1 << bit for bit in (20, 21, 22, 24, 25, 26))

CONTROL_PERIOD_S = 0.25
RESET_S = 3.0
HEATER_V = 230.0


class OmronE5cc(ModbusDevice):
    """The controller on `plate`. `decimals`: of the input type (0 or 1), which only a monitor tells;
    `sp_limits_c`: of the set point; `sp_c`: the one in its memory. In backup mode (from power-up) each setting that is
    written wears the memory; in RAM write mode none does until it is saved.
    """

    functions = frozenset({READ_HOLDING, WRITE_REGISTER, DIAGNOSTICS, WRITE_REGISTERS})
    reply_delay_s = 0.020

    def __init__(
        self,
        plate: HeaterPlate,
        *,
        t_s: float = 0.0,
        sp_c: float = 0.0,
        sp_limits_c: tuple[float, float] = (0.0, 400.0),
        range_c: tuple[float, float] = (-20.0, 500.0),
        decimals: int = 1,
        on_power: Callable[[float, float], object] | None = None,
        on_temp: Callable[[float, float], object] | None = None,
    ) -> None:
        if decimals not in (0, 1):
            raise ValueError(f"an E5CC shows 0 or 1 decimals of a temperature, not {decimals}")
        self.loop = HeatingLoop(plate, period_s=CONTROL_PERIOD_S, t_s=t_s, on_power=on_power, on_temp=on_temp)
        self.plate = plate
        self.nonvolatile_writes = 0
        self._steps = 10**decimals
        self._sp_limits = tuple(round(limit_c * self._steps) for limit_c in sp_limits_c)
        self._range = tuple(round(limit_c * self._steps) for limit_c in range_c)
        self._saved = dict.fromkeys(WRITABLE, 0) | {SET_POINT: round(sp_c * self._steps)}
        self._held = dict(self._saved)
        self._flags = 0  # the bits of the status that commands set
        self._tuning = Tuning(band_c=8.0, integral_s=233.0, derivative_s=40.0)  # as delivered
        self._manual_percent = 0.0
        self._sensor_broken = False

    # -- what the world does to it
    def set_sensor_break(self, t_s: float, broken: bool) -> None:
        """The thermocouple opens, or is mended."""
        self.advance_to(t_s)
        self._sensor_broken = broken

    def power_cycle(self, t_s: float) -> None:
        """As after a software reset."""
        self.advance_to(t_s)
        self._restart(t_s)

    def advance_to(self, t_s: float) -> None:
        """Run every control period that has come by `t_s`."""
        self.loop.advance_to(t_s, self._demand)

    def _demand(self, t_s: float, temp_c: float) -> float:
        if self._flags & (STOPPED | IN_SETUP) or self._sensor_broken or t_s < self.silent_until_s:
            return 0.0
        if self._flags & MANUAL:
            return self._manual_percent
        return self.loop.pid(temp_c, self._held[SET_POINT] / self._steps, self._tuning)

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        if count > READ_WORDS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        elements = _elements(address, count)
        if not READABLE.issuperset(elements):
            raise Refusal(ILLEGAL_ADDRESS)
        self.advance_to(t_s)
        words: list[int] = []
        for element in elements:
            value = self._value(element, t_s) & 0xFFFFFFFF
            if address < TWO_BYTE_WINDOW:
                words += (value >> 16, value & 0xFFFF)
            else:
                words.append(value >> 16 if element == STATUS_UPPER else value & 0xFFFF)
        return words

    def _value(self, element: int, t_s: float) -> int:
        if element in self._held:
            return self._held[element]
        if element in (PV, PV_AGAIN):
            return self._pv(t_s)
        if element in (INTERNAL_SP, SP_AGAIN):
            return self._held[SET_POINT]
        if element == HEATER_CURRENT:
            return min(round(self.plate.power_w / HEATER_V * 10), 550)
        if element == MV_HEAT:
            return round(self.loop.output_percent * 10)
        if element == MV_COOL:
            return 0
        if element == DECIMALS:
            return 1 if self._steps == 10 else 0
        return self._status(t_s)

    def _pv(self, t_s: float) -> int:
        low, high = self._range
        if self._sensor_broken:
            return high
        return min(max(round(self.loop.sense(t_s) * self._steps), low), high)

    def _status(self, t_s: float) -> int:
        bits = self._flags
        if self._held != self._saved:
            bits |= UNSAVED
        if self._sensor_broken:
            bits |= INPUT_ERROR
        if self.loop.output_percent > 0.0:
            bits |= HEATING_ON
        above = self._pv(t_s) - self._held[SET_POINT]  # deviation alarms, upper limit; 0 switches one off (unverified)
        for alarm, bit in ((ALARM_1, ALARM_1_ON), (ALARM_2, ALARM_2_ON)):
            if self._held[alarm] and above >= self._held[alarm]:
                bits |= bit
        return bits

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        self.advance_to(t_s)
        if len(values) == 1 and address in COMMANDS:
            self._command(values[0] >> 8, values[0] & 0xFF, t_s)
            return
        if len(values) > WRITE_WORDS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        elements = _elements(address, len(values))
        if not self._held.keys() >= set(elements):
            raise Refusal(ILLEGAL_ADDRESS)
        wanted = dict(zip(elements, _numbers(values, wide=address < TWO_BYTE_WINDOW), strict=True))
        for element, value in wanted.items():
            low, high = self._sp_limits if element == SET_POINT else ALARM_RANGE
            if not low <= value <= high:
                raise Refusal(ILLEGAL_VALUE)
        if not self._flags & WRITING_ALLOWED:
            raise Refusal(DEVICE_FAILURE)
        self._held |= wanted
        if not self._flags & RAM_WRITING:
            self.nonvolatile_writes += len(wanted)
            self._saved |= wanted

    def diagnose(self, sub_function: int, data: bytes, t_s: float) -> bytes:
        """The echo-back test."""
        if sub_function != 0:
            raise Refusal(ILLEGAL_VALUE)
        return data

    # -- operation commands
    def _command(self, code: int, info: int, t_s: float) -> None:
        if code not in KNOWN_COMMANDS or (code in ON_OFF and info > 1):
            raise Refusal(ILLEGAL_VALUE)
        if code != ALLOW_WRITING and not self._flags & WRITING_ALLOWED:
            raise Refusal(DEVICE_FAILURE)
        match code:
            case 0:
                self._flag(WRITING_ALLOWED, info == 1)
            case 1:
                self._flag(STOPPED, info == 1)
            case 4:
                self._flag(RAM_WRITING, info == 1)
                if info == 0:
                    self._save()
            case 5:
                self._save()
            case 6:
                self._restart(t_s)
            case 7:
                self._flag(IN_SETUP, True)  # control stops; only a reset leads back
            case 9:
                self._manual_percent = self.loop.output_percent  # the change is without a jump
                self._flag(MANUAL, info == 1)
            case 0x0C:
                pass  # no alarm of this unit is latched
            case _:
                raise Refusal(DEVICE_FAILURE)

    def _flag(self, bit: int, on: bool) -> None:
        self._flags = self._flags | bit if on else self._flags & ~bit

    def _save(self) -> None:
        self.nonvolatile_writes += sum(self._held[element] != self._saved[element] for element in WRITABLE)
        self._saved = dict(self._held)

    def _restart(self, t_s: float) -> None:
        """A software reset is never answered. What was only in RAM is gone."""
        self.silent_until_s = t_s + RESET_S
        self._held = dict(self._saved)
        self._flags &= STOPPED | MANUAL  # run and mode outlive the power


def _elements(address: int, count: int) -> list[int]:
    """The elements of a block, by their two-byte addresses. In the four-byte window it must begin at an even address
    (02) and hold whole elements (03)."""
    if address >= TWO_BYTE_WINDOW:
        return list(range(address, address + count))
    if address % 2:
        raise Refusal(ILLEGAL_ADDRESS)
    if count % 2:
        raise Refusal(ILLEGAL_VALUE)
    return [TWO_BYTE_WINDOW + (at & 0xFF00) + (at & 0xFF) // 2 for at in range(address, address + count, 2)]


def _numbers(words: Sequence[int], *, wide: bool) -> list[int]:
    """Signed numbers of a block."""
    if not wide:
        return [word - 0x10000 if word & 0x8000 else word for word in words]
    joined = [high << 16 | low for high, low in zip(words[::2], words[1::2], strict=True)]
    return [number - (1 << 32) if number & 0x80000000 else number for number in joined]
