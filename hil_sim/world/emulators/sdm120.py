"""An Eastron SDM120 energy meter on the feeder: input registers only, each parameter a float in two of them, high
word first.

Addresses after the SDM manuals (FC 04, at most 30 parameters a read, a parameter never cut in half). Reply delay
unverified.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from hil_sim.world.emulators.modbus_pdu import ILLEGAL_ADDRESS, ILLEGAL_VALUE, READ_INPUT, ModbusDevice, Refusal
from hil_sim.world.plant.power import Meter

VOLTS, AMPS, WATTS, VOLT_AMPS, VARS, POWER_FACTOR = 0x0000, 0x0006, 0x000C, 0x0012, 0x0018, 0x001E
HERTZ, IMPORT_KWH, EXPORT_KWH, TOTAL_KWH = 0x0046, 0x0048, 0x004A, 0x0156
END = TOTAL_KWH + 2
PARAMETERS_MAX = 30
_FLOAT = struct.Struct(">f")
_WORDS = struct.Struct(">HH")


class Sdm120(ModbusDevice):
    """The instrument. A parameter it does not measure reads 0.0, as on the real one."""

    functions = frozenset({READ_INPUT})
    reply_delay_s = 0.060

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def read_input(self, address: int, count: int, t_s: float) -> Sequence[int]:
        if count % 2 or count > 2 * PARAMETERS_MAX:
            raise Refusal(ILLEGAL_VALUE)
        if address % 2 or address + count > END:
            raise Refusal(ILLEGAL_ADDRESS)
        measured = self._measure(t_s)
        words: list[int] = []
        for parameter in range(address, address + count, 2):
            words.extend(_WORDS.unpack(_FLOAT.pack(measured.get(parameter, 0.0))))
        return words

    def _measure(self, t_s: float) -> dict[int, float]:
        volts, amps, watts = self.meter.electrical(t_s)
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
