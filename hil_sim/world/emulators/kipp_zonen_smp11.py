"""A Kipp & Zonen SMP11 pyranometer: irradiance as a number whose scale stands beside it and may change.

After the SMP manual p. 41-47 (FC 01 to 06 and 16; the golden frame of p. 46). Holding and input registers are one list,
coils and discrete inputs another. The scale factor s of register 4 holds for the registers 5, 6 (value = raw / 10^s)
and comes from a default that register 34 overrules until the next power-up, or by itself while coil 21 (auto-range) is
set: it must be read in one block with what it scales. The standard deviation (register 7, 0.1 W/m2) is that of the
time since it was last read: reading it begins anew, whoever reads.

Unverified: the bits of register 3 (as the discrete inputs from 2 on), the thresholds of auto-range, that the register
stands at its end when the value does not fit, time constant 0.7 s, limits -40 to 80 degC and -400 to 4000 W/m2, 03 for
a scale that does not exist, 02 for a coil that a user may not write, 2 s for a restart, the reply delay of 10 ms, 0.1 K
in register 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hil_sim.world.emulators.modbus_pdu import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusDevice, Refusal

TYPE, DATA_MODEL, MODE, STATUS, SCALE, IRRADIANCE, RAW, DEVIATION, BODY_TEMP, SUPPLY = range(10)
BODY_TEMP_K, ERROR_CODE, RESTARTS, ON_TIME, DEFAULT_SCALE, SERIAL, NODE = 13, 26, 30, 32, 34, 42, 45
RESETTABLE = range(26, 34)
REGISTERS_END, BITS_END = 46, 24
TRUE, VOID, OVERFLOW, UNDERFLOW, HARDWARE_ERROR, ADC_ERROR = 1, 2, 3, 4, 5, 6
CLEAR_ERROR, RESTART, ROUND_OFF, AUTO_RANGE, FAST_RESPONSE, TRACKING = 10, 18, 20, 21, 22, 23
WRITABLE_BITS = frozenset({CLEAR_ERROR, RESTART, ROUND_OFF, AUTO_RANGE, FAST_RESPONSE, TRACKING})
SCALES = (2, 1, 0, -1)
SMP11_VOLTS = 603

SAMPLE_S = 0.1
SAMPLES_MAX = 10_000  # a longer silence is sampled over its last 1000 s only
TIME_CONSTANT_S = 0.7
TEMP_LIMITS_C, IRRADIANCE_LIMITS = (-40.0, 80.0), (-400.0, 4000.0)
RESTART_S = 2.0

OverTime = Callable[[float], float]
"""A quantity of the world at a loop time."""


class KippZonenSmp11(ModbusDevice):
    """The instrument. `irradiance_w_m2`, `body_temp_c`, `supply_v`: the world, by loop time; `raw_drift_per_k`: how far
    the raw signal is off, a kelvin away from 20 degC. It samples ten times a second, caught up when it is asked, so
    that who asks when changes the deviation only."""

    functions = frozenset({1, 2, 3, 4, 5, 6, 16})
    reply_delay_s = 0.010

    def __init__(
        self,
        irradiance_w_m2: OverTime,
        *,
        body_temp_c: OverTime = lambda _: 20.0,
        supply_v: OverTime = lambda _: 24.0,
        raw_drift_per_k: float = 2e-4,
        device_type: int = SMP11_VOLTS,
        node: int = 1,
        t_s: float = 0.0,
    ) -> None:
        self._irradiance = irradiance_w_m2
        self._body_temp_c = body_temp_c
        self._supply_v = supply_v
        self._drift = raw_drift_per_k
        self._type = device_type
        self._node = node
        self._start_s = t_s
        self._tick = 0
        self._signal = irradiance_w_m2(t_s)
        self._restarts = 0
        self._errors = 0
        self._adc_error = False
        self._power_up(t_s)

    def _power_up(self, t_s: float) -> None:
        self._default_scale = 0
        self._options = {ROUND_OFF: True, AUTO_RANGE: False, FAST_RESPONSE: False, TRACKING: True}
        self._on_since_s = t_s
        self._begin_deviation()

    # -- what the world does to it
    def fail_converter(self) -> None:
        """The analogue-to-digital converter fails; the flags stay until coil 10 clears them."""
        self._adc_error = True
        self._errors += 1

    # -- measuring
    def _begin_deviation(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def _settle(self, t_s: float) -> None:
        due = int((t_s - self._start_s) / SAMPLE_S + 1e-9)
        if due - self._tick > SAMPLES_MAX:
            self._tick = due - SAMPLES_MAX
            self._signal = self._irradiance(self._start_s + self._tick * SAMPLE_S)
        share = -math.expm1(-SAMPLE_S / TIME_CONSTANT_S)
        while self._tick < due:
            self._tick += 1
            self._signal += share * (self._irradiance(self._start_s + self._tick * SAMPLE_S) - self._signal)
            self._count += 1
            away = self._signal - self._mean
            self._mean += away / self._count
            self._squares += away * (self._signal - self._mean)

    def _deviation_dw(self) -> int:
        """Since it was last asked, in tenths of W/m2."""
        deviation = math.sqrt(self._squares / self._count) if self._count else 0.0
        self._begin_deviation()
        return min(round(deviation * 10), 0x7FFF)

    def _scale(self) -> int:
        if not self._options[AUTO_RANGE]:
            return self._default_scale
        size = abs(self._signal)
        return 2 if size < 300.0 else 1 if size < 3000.0 else 0

    def _scaled(self, value: float) -> int:
        low, high = IRRADIANCE_LIMITS
        steps = min(max(value, low), high) * 10.0 ** self._scale()
        whole = round(steps) if self._options[ROUND_OFF] else math.trunc(steps)
        return min(max(whole, -0x7FFF), 0x7FFF)

    def _raw(self, t_s: float) -> float:
        return self._signal * (1.0 + self._drift * (self._body_temp_c(t_s) - 20.0))

    def _bit(self, number: int, t_s: float) -> bool:
        low, high = IRRADIANCE_LIMITS
        steps = 10.0 ** self._scale()
        match number:
            case 1:
                return True
            case 2:
                cold, hot = TEMP_LIMITS_C
                in_range = cold <= self._body_temp_c(t_s) <= hot
                return not in_range or self._bit(OVERFLOW, t_s) or self._bit(UNDERFLOW, t_s)
            case 3:
                return self._signal > high or self._signal * steps > 0x7FFF
            case 4:
                return self._signal < low or self._signal * steps < -0x7FFF
            case 5 | 6:
                return self._adc_error
        return self._options.get(number, False)

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        if address + count > REGISTERS_END:
            raise Refusal(ILLEGAL_ADDRESS)
        self._settle(t_s)
        return [self._read(register, t_s) & 0xFFFF for register in range(address, address + count)]

    def read_input(self, address: int, count: int, t_s: float) -> Sequence[int]:
        return self.read_holding(address, count, t_s)

    def _read(self, register: int, t_s: float) -> int:
        match register:
            case 0:
                return self._type
            case 1:
                return 102
            case 2:
                return 1  # normal operation
            case 3:
                return sum(self._bit(VOID + bit, t_s) << bit for bit in range(8))
            case 4:
                return self._scale()
            case 5:
                return self._scaled(self._signal)
            case 6:
                return self._scaled(self._raw(t_s))
            case 7:
                return self._deviation_dw()
            case 8:
                return round(self._body_temp_c(t_s) * 10)
            case 9:
                return round(self._supply_v(t_s) * 10)
            case 13:
                return round((self._body_temp_c(t_s) + 273.15) * 10)
            case 26:
                return 1 if self._adc_error else 0
            case 28:
                return self._errors
            case 30:
                return self._restarts
            case 32 | 33:
                return int(t_s - self._on_since_s) >> (16 if register == ON_TIME else 0)
            case 34:
                return self._default_scale
            case 42:
                return 110011 & 0xFFFF
            case 45:
                return self._node
        return 0  # second sensor, auxiliary inputs, counts of the converter, what is the factory's

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        """All or nothing."""
        self._settle(t_s)
        wanted = dict(zip(range(address, address + len(values)), values, strict=True))
        if not wanted.keys() <= {*RESETTABLE, DEFAULT_SCALE}:
            raise Refusal(ILLEGAL_ADDRESS)
        scale = wanted.get(DEFAULT_SCALE, 0)
        scale -= 0x10000 if scale & 0x8000 else 0
        if scale not in SCALES:
            raise Refusal(ILLEGAL_VALUE)
        if DEFAULT_SCALE in wanted:
            self._default_scale = scale
        if RESTARTS in wanted:
            self._restarts = 0
        if wanted.keys() & {28, 29}:
            self._errors = 0
        if wanted.keys() & {ON_TIME, ON_TIME + 1}:
            self._on_since_s = t_s

    # -- bits
    def read_discretes(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        if address + count > BITS_END:
            raise Refusal(ILLEGAL_ADDRESS)
        self._settle(t_s)
        return [self._bit(number, t_s) for number in range(address, address + count)]

    def read_coils(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        return self.read_discretes(address, count, t_s)

    def write_coils(self, address: int, values: Sequence[bool], t_s: float) -> None:
        self._settle(t_s)
        for number, on in enumerate(values, start=address):
            if number not in WRITABLE_BITS:
                raise Refusal(ILLEGAL_ADDRESS)
            if number == CLEAR_ERROR and on:
                self._adc_error = False
            elif number == RESTART and on:
                self._restarts += 1
                self._power_up(t_s)
                self.silent_until_s = t_s + RESTART_S
            elif number in self._options:
                self._options[number] = on
