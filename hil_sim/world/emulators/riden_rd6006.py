"""A Riden RD6006 bench supply and its brothers: one register list, whose scale depends on the model that stands in
register 0.

After the lists of ShayBox/Riden and Baldanos/rd6006 and the models of riden-modbus; there is no manual of the maker.
FC 03, 06 and 16 over USB, 115200 8N1. The sign of a temperature stands in a register of its own, charge and energy are
32 bits, high word first (mAh, mWh). An over-voltage or over-current switches the output off and stays to be read. There
is no watchdog: what is switched on stays on, so that a contactor of somebody else's must stand behind it.

Unverified: that the power is 32 bits from 12 on, its scale on the P model, that a value out of range is 03, that the
trip is cleared by switching on again, that 80 and 81 follow 8 and 9, that charge and energy count from each switching
on, which registers wear the memory (the ten presets, settings, calibration), the reply delay of 5 ms, that
calibration can be written at all without a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil_sim.world.emulators.modbus_pdu import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusDevice, Refusal
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply

MODEL_ID, SERIAL, FIRMWARE = 0, 1, 3
TEMP_SIGN, TEMP_C, TEMP_F_SIGN, TEMP_F = 4, 5, 6, 7
SET_V, SET_A, OUT_V, OUT_A, POWER, INPUT_V, KEY_LOCK, TRIP, CONSTANT_CURRENT, OUTPUT_ON, PRESET = (
    8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19
)  # fmt: skip
CHARGE, ENERGY, CLOCK, CALIBRATION, SETTINGS, PRESETS = 38, 40, range(48, 54), range(55, 63), range(66, 73), 80
PRESET_WORDS, PRESET_COUNT = 4, 10
END = PRESETS + PRESET_WORDS * PRESET_COUNT
NO_TRIP, OVER_VOLTAGE, OVER_CURRENT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Model:
    """Steps of a volt, an ampere and a watt; the largest voltage and current."""

    model_id: int
    volt_steps: int
    amp_steps: int
    watt_steps: int
    max_v: float
    max_a: float


RD6006 = Model(60062, 100, 1000, 100, 60.0, 6.0)
RD6006P = Model(60065, 1000, 10000, 1000, 60.0, 6.0)
RD6012 = Model(60121, 100, 100, 100, 60.0, 12.0)


class RidenSupply(ModbusDevice):
    """The supply's firmware before `stage`. `calibration_writes`: how often somebody has written what makes it measure
    right (a host never should)."""

    reply_delay_s = 0.005

    def __init__(self, stage: DcSupply, model: Model = RD6006, *, input_v: float = 65.0) -> None:
        self.stage = stage
        self.model = model
        self.input_v = input_v
        self.nonvolatile_writes = 0
        self.calibration_writes = 0
        self._on = False
        self._trip = NO_TRIP
        self._lock = 0
        self._preset = 0
        self._plain = dict.fromkeys((*CLOCK, *SETTINGS), 0) | dict.fromkeys(CALIBRATION, 0x1000)
        over_v, over_a = round((model.max_v + 2.0) * model.volt_steps), round((model.max_a + 0.2) * model.amp_steps)
        self._presets = [0, 0, min(over_v, 0xFFFF), min(over_a, 0xFFFF)] * PRESET_COUNT

    # -- what the world does to it
    def load_changed(self, t_s: float, load: DcLoad) -> None:
        """Something else hangs on the terminals."""
        self.stage.set_load(t_s, load)
        self._protect(t_s)

    def power_cycle(self, t_s: float) -> None:
        """The output is off, and a trip forgotten; presets are in its memory."""
        self._trip = NO_TRIP
        self._on = False
        self._apply(t_s)

    def _apply(self, t_s: float) -> None:
        volts, amps = self._presets[0] / self.model.volt_steps, self._presets[1] / self.model.amp_steps
        self.stage.set_output(t_s, on=self._on, volts=volts, amps=amps)
        self._protect(t_s)

    def _protect(self, t_s: float) -> None:
        """Over-voltage and over-current switch off at once."""
        if not self._on:
            return
        out, model = self.stage.output, self.model
        if round(out.volts * model.volt_steps) > self._presets[2]:
            self._trip = OVER_VOLTAGE
        elif round(out.amps * model.amp_steps) > self._presets[3]:
            self._trip = OVER_CURRENT
        else:
            return
        self._on = False
        self._apply(t_s)

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        if address + count > END:
            raise Refusal(ILLEGAL_ADDRESS)
        return [self._read(register, t_s) & 0xFFFF for register in range(address, address + count)]

    def _read(self, register: int, t_s: float) -> int:
        if register >= PRESETS:
            return self._presets[register - PRESETS]
        if register in self._plain:
            return self._plain[register]
        if register in (CHARGE, CHARGE + 1):
            return _half(self.stage.charge_ah(t_s) * 1000, register - CHARGE)
        if register in (ENERGY, ENERGY + 1):
            return _half(self.stage.energy_wh(t_s) * 1000, register - ENERGY)
        if TEMP_SIGN <= register <= TEMP_F:
            celsius = self.stage.temp_c(t_s)
            degrees = round(celsius if register <= TEMP_C else celsius * 1.8 + 32.0)
            return int(degrees < 0) if register in (TEMP_SIGN, TEMP_F_SIGN) else abs(degrees)
        out, model = self.stage.output, self.model
        match register:
            case 0:
                return model.model_id
            case 2:
                return 3917
            case 3:
                return 141
            case 8 | 9:
                return self._presets[register - SET_V]
            case 10:
                return round(out.volts * model.volt_steps)
            case 11:
                return round(out.amps * model.amp_steps)
            case 12 | 13:
                return _half(out.watts * model.watt_steps, register - POWER)
            case 14:
                return round(self.input_v * 100)
            case 15:
                return self._lock
            case 16:
                return self._trip
            case 17:
                return int(out.constant_current)
            case 18:
                return int(self._on)
            case 19:
                return self._preset
        return 0

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        """All or nothing."""
        wanted = dict(zip(range(address, address + len(values)), values, strict=True))
        for register, value in wanted.items():
            self._check(register, value)
        for register, value in wanted.items():
            self._write(register, value, t_s)
        self._apply(t_s)

    def _check(self, register: int, value: int) -> None:
        if register in (SET_V, SET_A):
            highest = self._highest(register - SET_V)
        elif register in (KEY_LOCK, OUTPUT_ON):
            highest = 1
        elif register == PRESET:
            highest = PRESET_COUNT - 1
        elif PRESETS <= register < END:
            highest = self._highest((register - PRESETS) % PRESET_WORDS)
        elif register in self._plain:
            highest = 0xFFFF
        else:
            raise Refusal(ILLEGAL_ADDRESS)
        if value > highest:
            raise Refusal(ILLEGAL_VALUE)

    def _highest(self, part: int) -> int:
        """Of voltage, current, over-voltage, over-current, in their steps: protections reach a little further."""
        model = self.model
        if part in (0, 2):
            return min(round((model.max_v + part) * model.volt_steps), 0xFFFF)
        return min(round((model.max_a + (part - 1) * 0.1) * model.amp_steps), 0xFFFF)

    def _write(self, register: int, value: int, t_s: float) -> None:
        if register in (SET_V, SET_A):
            self._presets[register - SET_V] = value
        elif register == KEY_LOCK:
            self._lock = value
        elif register == PRESET:
            self._preset = value
            start = PRESET_WORDS * value
            self._presets[:PRESET_WORDS] = self._presets[start : start + PRESET_WORDS]
        elif register == OUTPUT_ON:
            self._switch(value == 1, t_s)
        else:
            if register in CALIBRATION:
                self.calibration_writes += 1
            if register not in CLOCK:
                self.nonvolatile_writes += 1
            if register >= PRESETS:
                self._presets[register - PRESETS] = value
            else:
                self._plain[register] = value

    def _switch(self, on: bool, t_s: float) -> None:
        if on and not self._on:
            self._trip = NO_TRIP
            self.stage.clear_counts(t_s)
        self._on = on


def _half(value: float, word: int) -> int:
    """A word of a 32-bit number, 0 the high one."""
    return min(round(value), 0xFFFFFFFF) >> (0 if word else 16)
