"""An Eastron SDM120 energy meter on the feeder: each parameter a float in two registers, high word first.

Addresses after the SDM manuals (measurements by FC 04, at most 30 parameters a read, a parameter never cut in half;
settings by FC 03 and 16, one parameter a message: SDM72D-M manual p. 15). The settings of the line are taken only while
the meter shows SET, after a 3 s press of its button, and hold from the next power-up on (public notes on the SDM120).
What manuals call 30001 is address 0.

Unverified: the reply delay, the exceptions 03 for half a parameter and 04 outside SET, the range of each setting.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence

from hil_sim.world.emulators.modbus_pdu import (
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    READ_HOLDING,
    READ_INPUT,
    WRITE_REGISTERS,
    ModbusDevice,
    Refusal,
)
from hil_sim.world.plant.power import Meter

VOLTS, AMPS, WATTS, VOLT_AMPS, VARS, POWER_FACTOR = 0x0000, 0x0006, 0x000C, 0x0012, 0x0018, 0x001E
HERTZ, IMPORT_KWH, EXPORT_KWH, TOTAL_KWH = 0x0046, 0x0048, 0x004A, 0x0156
END = TOTAL_KWH + 2
PARAMETERS_MAX = 30
PULSE_MS, PARITY_STOP, NODE, PASSWORD, BAUD = 0x000C, 0x0012, 0x0014, 0x0018, 0x001C
ALLOWED = {
    PULSE_MS: frozenset({60.0, 100.0, 200.0}),
    PARITY_STOP: frozenset({0.0, 1.0, 2.0, 3.0}),
    NODE: frozenset(float(node) for node in range(1, 248)),
    PASSWORD: frozenset(float(word) for word in range(10000)),
    BAUD: frozenset({0.0, 1.0, 2.0, 5.0}),  # 2400, 4800, 9600, 1200
}
OF_THE_LINE = frozenset({PARITY_STOP, NODE, BAUD})
_FLOAT = struct.Struct(">f")
_WORDS = struct.Struct(">HH")


class Sdm120(ModbusDevice):
    """The instrument. A parameter it does not measure reads 0.0, as on the real one. `set_mode`: it shows SET."""

    functions = frozenset({READ_HOLDING, READ_INPUT, WRITE_REGISTERS})
    reply_delay_s = 0.060

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.sense_w: Callable[[float], float] | None = None  # what it makes of the power
        self.set_mode = False
        self.nonvolatile_writes = 0
        self._settings = {PULSE_MS: 100.0, PARITY_STOP: 0.0, NODE: 1.0, PASSWORD: 1000.0, BAUD: 0.0}

    def read_input(self, address: int, count: int, t_s: float) -> Sequence[int]:
        _check_block(address, count, END)
        measured = self._measure(t_s)
        return _as_words(measured.get(parameter, 0.0) for parameter in range(address, address + count, 2))

    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        _check_block(address, count, BAUD + 2)
        return _as_words(self._settings.get(parameter, 0.0) for parameter in range(address, address + count, 2))

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        if len(values) != 2:
            raise Refusal(ILLEGAL_VALUE)
        if address not in self._settings:
            raise Refusal(ILLEGAL_ADDRESS)
        (wanted,) = _FLOAT.unpack(_WORDS.pack(*values))
        if wanted not in ALLOWED[address]:
            raise Refusal(ILLEGAL_VALUE)
        if address in OF_THE_LINE and not self.set_mode:
            raise Refusal(DEVICE_FAILURE)
        self._settings[address] = wanted
        self.nonvolatile_writes += 1

    def _measure(self, t_s: float) -> dict[int, float]:
        volts, amps, watts = self.meter.electrical(t_s)
        if self.sense_w is not None and watts > 0.0:
            seen_w = self.sense_w(t_s)
            amps, watts = amps * seen_w / watts, seen_w
        volt_amps = volts * amps
        kwh = self.meter.energy_wh(t_s) / 1000.0
        return {
            VOLTS: volts,
            AMPS: amps,
            WATTS: watts,
            VOLT_AMPS: volt_amps,
            VARS: math.sqrt(max(volt_amps**2 - watts**2, 0.0)),
            POWER_FACTOR: self.meter.power_factor,
            HERTZ: self.meter.frequency_hz,
            IMPORT_KWH: kwh,
            EXPORT_KWH: 0.0,
            TOTAL_KWH: kwh,
        }


def _check_block(address: int, count: int, end: int) -> None:
    if count % 2 or count > 2 * PARAMETERS_MAX:
        raise Refusal(ILLEGAL_VALUE)
    if address % 2 or address + count > end:
        raise Refusal(ILLEGAL_ADDRESS)


def _as_words(numbers: Iterable[float]) -> list[int]:
    return [word for number in numbers for word in _WORDS.unpack(_FLOAT.pack(number))]
