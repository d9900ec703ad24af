"""A Watlow EZ-ZONE PM temperature controller: floats with the low word first, degrees Fahrenheit on the wire, and a
block of pointers with which a host lays scattered parameters side by side.

After the users' guides (PM integrated p. 64 and 232, PM PID p. 112, RUI gateway p. 13, RMC p. 38 for the word order).
Temperatures are degF over Modbus whatever the display shows, until 15 (degC) is written to 2490; 30 is degF. A float is
written whole, both words in one FC 16. Registers 40 to 119 say what 200 to 279 show, register for register. There is
no watchdog on the line.

Unverified: the numbers of the control modes (62, 10, 54), of input errors (61 none, 65 open), of alarm states (61 none,
37 high, 53 low), of non-volatile saving (2494: 106 yes, 59 no), that half a float is refused with 03 and a value out of
range too (as another Watlow controller's manual has it), that the register above a 16-bit parameter reads 0, that a
pointer to nothing reads 0, PV at its last value while the sensor is open, the reply delay of 10 ms.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

from hil_sim.world.emulators.heating_loop import HeatingLoop, Tuning
from hil_sim.world.emulators.modbus_pdu import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusDevice, Refusal
from hil_sim.world.plant.heater import HeaterPlate

# floats, by the address of the word that comes first
PV, ALARM_HIGH, ALARM_LOW, HEAT_POWER, OUTPUT_POWER = 360, 1480, 1482, 1904, 1908
CLOSED_SP, OPEN_SP, ACTIVE_CLOSED_SP, ACTIVE_OPEN_SP = 2160, 2162, 2172, 2174
FLOATS = frozenset({PV, ALARM_HIGH, ALARM_LOW, HEAT_POWER, OUTPUT_POWER, CLOSED_SP, OPEN_SP, ACTIVE_CLOSED_SP,
                    ACTIVE_OPEN_SP})  # fmt: skip
# 16-bit parameters
INPUT_ERROR, DECIMALS, ALARM_STATE, MODE, ACTIVE_MODE, UNITS, SAVING = 362, 398, 1496, 1880, 1882, 2490, 2494
CHOICES = {MODE: {62, 10, 54}, UNITS: {15, 30}, SAVING: {106, 59}, DECIMALS: {105, 94, 40, 96}}
WORDS = frozenset(CHOICES) | {INPUT_ERROR, ALARM_STATE, ACTIVE_MODE}
OFF, AUTO, BY_HAND = 62, 10, 54
NO_ERROR, SENSOR_OPEN, NO_ALARM, HIGH_ALARM, LOW_ALARM = 61, 65, 61, 37, 53
CELSIUS, FAHRENHEIT, YES, NO = 15, 30, 106, 59
POINTERS, WORKING, POINTER_COUNT = 40, 200, 80
DELIVERED_POINTERS = (1880, 1881, 2160, 2161, 2162, 2163, 1480, 1481, 1482, 1483)  # those that the manual tells

CONTROL_PERIOD_S = 0.1
_FLOAT = struct.Struct(">f")


class WatlowPm(ModbusDevice):
    """The controller on `plate`. `low_word_first`: as delivered; the display can swap it, and nothing on the wire
    tells. `sp_c`, `sp_limits_c`: set point in its memory and its limits. Each parameter that is written wears the
    memory unless 2494 says not to save.
    """

    reply_delay_s = 0.010

    def __init__(
        self,
        plate: HeaterPlate,
        *,
        t_s: float = 0.0,
        sp_c: float = 23.9,
        sp_limits_c: tuple[float, float] = (-18.0, 400.0),
        low_word_first: bool = True,
        on_power: Callable[[float, float], object] | None = None,
        on_temp: Callable[[float, float], object] | None = None,
    ) -> None:
        self.loop = HeatingLoop(plate, period_s=CONTROL_PERIOD_S, t_s=t_s, on_power=on_power, on_temp=on_temp)
        self.plate = plate
        self.nonvolatile_writes = 0
        self._low_first = low_word_first
        self._sp_limits_c = sp_limits_c
        self._temps_c = {CLOSED_SP: sp_c, ALARM_HIGH: 150.0, ALARM_LOW: 0.0}
        self._open_sp_percent = 0.0
        self._choices = {MODE: AUTO, UNITS: FAHRENHEIT, SAVING: YES, DECIMALS: 105}
        self._pointers = [*DELIVERED_POINTERS, *[0] * (POINTER_COUNT - len(DELIVERED_POINTERS))]
        self._tuning = Tuning(band_c=14.0, integral_s=180.0, derivative_s=0.0)
        self._last_c = plate.sensor_c(t_s)
        self._sensor_broken = False

    # -- what the world does to it
    def set_sensor_break(self, t_s: float, broken: bool) -> None:
        """The thermocouple opens, or is mended."""
        self.advance_to(t_s)
        self._last_c = self._pv_c(t_s)
        self._sensor_broken = broken

    def advance_to(self, t_s: float) -> None:
        """Run every control period that has come by `t_s`."""
        self.loop.advance_to(t_s, self._demand)

    def _demand(self, t_s: float, temp_c: float) -> float:
        if self._active_mode() == BY_HAND:
            return max(self._open_sp_percent, 0.0)  # there is nothing that cools
        if self._active_mode() == OFF:
            return 0.0
        return self.loop.pid(temp_c, self._temps_c[CLOSED_SP], self._tuning)

    def _active_mode(self) -> int:
        return OFF if self._sensor_broken and self._choices[MODE] == AUTO else self._choices[MODE]

    def _pv_c(self, t_s: float) -> float:
        return self._last_c if self._sensor_broken else self.loop.sense(t_s)

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        self.advance_to(t_s)
        return [self._word(register, t_s) for register in range(address, address + count)]

    def _word(self, register: int, t_s: float) -> int:
        if POINTERS <= register < POINTERS + POINTER_COUNT:
            return self._pointers[register - POINTERS]
        if WORKING <= register < WORKING + POINTER_COUNT:
            target = self._pointers[register - WORKING]
            return self._parameter_word(target, t_s) if _base(target) is not None else 0
        return self._parameter_word(register, t_s)

    def _parameter_word(self, register: int, t_s: float) -> int:
        base = _base(register)
        if base is None:
            raise Refusal(ILLEGAL_ADDRESS)
        if base in WORDS:
            return self._plain(base, t_s) if register == base else 0
        return self._halves(self._number(base, t_s))[register - base]

    def _plain(self, register: int, t_s: float) -> int:
        if register in self._choices:
            return self._choices[register]
        if register == INPUT_ERROR:
            return SENSOR_OPEN if self._sensor_broken else NO_ERROR
        if register == ACTIVE_MODE:
            return self._active_mode()
        pv_c = self._pv_c(t_s)
        if pv_c > self._temps_c[ALARM_HIGH]:
            return HIGH_ALARM
        return LOW_ALARM if pv_c < self._temps_c[ALARM_LOW] else NO_ALARM

    def _number(self, base: int, t_s: float) -> float:
        if base == PV:
            return self._told(self._pv_c(t_s))
        if base in self._temps_c:
            return self._told(self._temps_c[base])
        if base == ACTIVE_CLOSED_SP:
            return self._told(self._temps_c[CLOSED_SP])
        if base in (OPEN_SP, ACTIVE_OPEN_SP):
            return self._open_sp_percent
        return self.loop.output_percent

    def _told(self, temp_c: float) -> float:
        """A temperature in the units of the line."""
        return temp_c if self._choices[UNITS] == CELSIUS else temp_c * 1.8 + 32.0

    def _halves(self, number: float) -> tuple[int, int]:
        high, low = struct.unpack(">HH", _FLOAT.pack(number))
        return (low, high) if self._low_first else (high, low)

    # -- writing
    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        """All or nothing."""
        self.advance_to(t_s)
        pointers: dict[int, int] = {}
        words: dict[int, int] = {}
        for register, value in zip(range(address, address + len(values)), values, strict=True):
            if POINTERS <= register < POINTERS + POINTER_COUNT:
                pointers[register - POINTERS] = value
            elif WORKING <= register < WORKING + POINTER_COUNT:
                words[self._pointers[register - WORKING]] = value
            else:
                words[register] = value
        choices, numbers = self._checked(words)
        for index, target in pointers.items():
            if target and _base(target) is None:
                raise Refusal(ILLEGAL_VALUE)
            self._pointers[index] = target
        self._take(choices, numbers)
        if self._choices[SAVING] == YES or SAVING in choices:
            self.nonvolatile_writes += len(choices) + len(numbers) + (len(pointers) + 1) // 2

    def _checked(self, words: dict[int, int]) -> tuple[dict[int, int], dict[int, float]]:
        """The parameters that a block sets, by address, temperatures in degC. Changes nothing."""
        choices: dict[int, int] = {}
        numbers: dict[int, float] = {}
        for register, value in words.items():
            base = _base(register)
            if base in CHOICES:
                if register == base and value not in CHOICES[base]:
                    raise Refusal(ILLEGAL_VALUE)
                if register == base:
                    choices[base] = value
            elif base in self._temps_c or base == OPEN_SP:
                assert base is not None
                if base not in words or base + 1 not in words:
                    raise Refusal(ILLEGAL_VALUE)
                numbers[base] = self._understood(base, words[base], words[base + 1])
            else:
                raise Refusal(ILLEGAL_ADDRESS)
        return choices, numbers

    def _understood(self, base: int, first: int, second: int) -> float:
        high, low = (second, first) if self._low_first else (first, second)
        (number,) = _FLOAT.unpack(struct.pack(">HH", high, low))
        if not math.isfinite(number):
            raise Refusal(ILLEGAL_VALUE)
        if base == OPEN_SP:
            limits = (-100.0, 100.0)
        else:
            number = number if self._choices[UNITS] == CELSIUS else (number - 32.0) / 1.8
            limits = self._sp_limits_c if base == CLOSED_SP else (-1128.0, 5537.0)  # -1999 to 9999 degF
        if not limits[0] <= number <= limits[1]:
            raise Refusal(ILLEGAL_VALUE)
        return float(number)

    def _take(self, choices: dict[int, int], numbers: dict[int, float]) -> None:
        self._choices |= choices
        for base, number in numbers.items():
            if base == OPEN_SP:
                self._open_sp_percent = number
            else:
                self._temps_c[base] = number


def _base(register: int) -> int | None:
    """The parameter that a register belongs to; None where there is none. Each takes two registers."""
    if register in FLOATS or register in WORDS:
        return register
    below = register - 1
    return below if below in FLOATS or below in WORDS else None
