"""A Eurotherm 3200 temperature controller on the heated plate: its registers, its PID, and the memory that wears out.

Registers after manual HA028651 p. 81 (FC 03, 06, 16; i16, temperatures with as many decimals as the display shows);
122, 276, the bits of 75, the values of 199, the 5 s life of the remote set-point, the reply delay and what a register
does that the list leaves out are unverified (contract of the bench printer). Writes to 2, 24 and 25 go to a memory
good for 100 000 of them, so they are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hil_sim.world.emulators.heating_loop import HeatingLoop, Tuning
from hil_sim.world.emulators.modbus_pdu import DEVICE_FAILURE, ILLEGAL_ADDRESS, ModbusDevice, Refusal
from hil_sim.world.plant.heater import HeaterPlate

MODEL_ID = 0xE162
REMOTE_LIFE_S = 5.0
CONTROL_PERIOD_S = 0.25
SENSOR_BREAK = 1 << 5

PV, TARGET_SP, MANUAL_OP, WORKING_OP, WORKING_SP, PB, ACTION, TI, TD = 1, 2, 3, 4, 5, 6, 7, 8, 9
RANGE_LOW, RANGE_HIGH = 11, 12
ALARM_1, ALARM_2, SP_SELECT, SP1, SP2, REMOTE_SP, ERROR, STATUS = 13, 14, 15, 24, 25, 26, 39, 75
SP_HIGH, SP_LOW, IDENTITY, MODE, PV_OVER_COMMS, LOCAL_REMOTE = 111, 112, 122, 199, 203, 276
NONVOLATILE = frozenset({TARGET_SP, SP1, SP2})
READ_ONLY = frozenset({PV, WORKING_OP, WORKING_SP, ERROR, STATUS, IDENTITY})
ONLY_IN_CONFIG = frozenset({ACTION, RANGE_LOW, RANGE_HIGH})
NORMAL, STANDBY, CONFIG = 0, 1, 2


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


class Eurotherm3200(ModbusDevice):
    """The controller. It works every 0.25 s of world time, caught up whenever somebody asks or `advance_to` is called.

    `plate`: what it heats. `on_power(t_s, watts)`: told when the heater's power changes; `on_temp(t_s, temp_c)`:
    told when the plate has moved by more than 0.2 degC since it was last told (the bed's base follows it). `sp1_c`:
    local set-point from its memory; limits of every set-point in degC. `decimals`: what the display shows, 0 to 2: the
    registers follow it, and nothing on the wire tells.
    """

    reply_delay_s = 0.020

    def __init__(
        self,
        plate: HeaterPlate,
        *,
        t_s: float = 0.0,
        sp1_c: float = 20.0,
        sp_limits_c: tuple[float, float] = (0.0, 400.0),
        decimals: int = 1,
        on_power: Callable[[float, float], object] | None = None,
        on_temp: Callable[[float, float], object] | None = None,
    ) -> None:
        if decimals not in (0, 1, 2):
            raise ValueError(f"the display shows 0 to 2 decimals, not {decimals}")
        self.loop = HeatingLoop(plate, period_s=CONTROL_PERIOD_S, t_s=t_s, on_power=on_power, on_temp=on_temp)
        self.plate = plate
        self._steps = 10**decimals  # of a degree
        self._held: dict[int, int] = dict.fromkeys(
            (MANUAL_OP, ACTION, TD, ALARM_1, ALARM_2, SP_SELECT, SP2, REMOTE_SP, MODE, PV_OVER_COMMS, LOCAL_REMOTE), 0
        )
        low_c, high_c = sp_limits_c
        self._held |= {PB: 100, TI: 150, SP1: self._word(sp1_c), SP_HIGH: self._word(high_c), SP_LOW: self._word(low_c)}
        self._held |= {RANGE_LOW: self._word(-200.0), RANGE_HIGH: self._word(1372.0)}
        self._remote_written_s: float | None = None
        self._sensor_broken = False

    def _word(self, temp_c: float) -> int:
        return min(max(round(temp_c * self._steps), -32767), 32767)

    # -- what the world does to it
    def set_sensor_break(self, t_s: float, broken: bool) -> None:
        """The thermocouple opens, or is mended."""
        self.advance_to(t_s)
        self._sensor_broken = broken

    def power_cycle(self, t_s: float) -> None:
        """The remote set-point is gone and, unverified, the local one is in charge; the rest is in its memory."""
        self.advance_to(t_s)
        self._held |= {REMOTE_SP: 0, LOCAL_REMOTE: 0, MODE: NORMAL}
        self._remote_written_s = None

    def advance_to(self, t_s: float) -> None:
        """Run every control period that has come by `t_s`."""
        self.loop.advance_to(t_s, self._demand)

    def _demand(self, t_s: float, temp_c: float) -> float:
        held = self._held
        if self._sensor_broken or held[MODE] != NORMAL or held[ACTION] != 0:  # direct acting: it would cool
            return 0.0
        if t_s < self.silent_until_s:  # it has no power
            return 0.0
        tuning = Tuning(max(held[PB], 1) / 10, held[TI], held[TD])
        return self.loop.pid(temp_c, self._working_sp(t_s) / self._steps, tuning)

    def _working_sp(self, t_s: float) -> int:
        """The set-point in use, as a register holds it: the remote one while it is selected and fresh, else the local
        one."""
        written_s = self._remote_written_s
        if self._held[LOCAL_REMOTE] == 1 and written_s is not None and t_s - written_s <= REMOTE_LIFE_S:
            return self._held[REMOTE_SP]
        return self._held[SP2 if self._held[SP_SELECT] == 1 else SP1]

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        self.advance_to(t_s)
        return [self._read(register, t_s) & 0xFFFF for register in range(address, address + count)]

    def _read(self, register: int, t_s: float) -> int:
        held = self._held.get(register)
        if held is not None:
            return held
        if register == PV:
            return self._pv(t_s)
        if register == TARGET_SP:
            return self._held[SP2 if self._held[SP_SELECT] == 1 else SP1]
        if register == WORKING_OP:
            return round(self.loop.output_percent * 10)
        if register == WORKING_SP:
            return self._working_sp(t_s)
        if register == ERROR:
            return 0 if self._sensor_broken else self._pv(t_s) - self._working_sp(t_s)
        if register == STATUS:
            return self._status(t_s)
        if register == IDENTITY:
            return MODEL_ID
        raise Refusal(ILLEGAL_ADDRESS)

    def _pv(self, t_s: float) -> int:
        return -32768 if self._sensor_broken else self._word(self.loop.sense(t_s))

    def _status(self, t_s: float) -> int:
        if self._sensor_broken:
            return SENSOR_BREAK
        alarms = (self._held[ALARM_1], self._held[ALARM_2])  # full-scale high alarms; a threshold of 0 turns one off
        if alarms == (0, 0):
            return 0
        pv = self._pv(t_s)
        return sum(1 << bit for bit, threshold in enumerate(alarms) if threshold and pv > threshold)

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        self.advance_to(t_s)
        registers = range(address, address + len(values))
        for register in registers:
            if register in READ_ONLY or (register != TARGET_SP and register not in self._held):
                raise Refusal(ILLEGAL_ADDRESS)
        for register, word in zip(registers, values, strict=True):
            if register in ONLY_IN_CONFIG and self._held[MODE] != CONFIG:
                raise Refusal(DEVICE_FAILURE)
            self._check_range(register, _signed(word))
        for register, word in zip(registers, values, strict=True):
            if register in NONVOLATILE:
                self.nonvolatile_writes += 1
            if register == REMOTE_SP:
                self._remote_written_s = t_s
            if register == TARGET_SP:
                register = SP2 if self._held[SP_SELECT] == 1 else SP1
            self._held[register] = _signed(word)

    def _check_range(self, register: int, value: int) -> None:
        if register in (TARGET_SP, SP1, SP2, REMOTE_SP):
            low, high = self._held[SP_LOW], self._held[SP_HIGH]
        elif register in (SP_SELECT, LOCAL_REMOTE, ACTION):
            low, high = 0, 1
        elif register == MODE:
            low, high = NORMAL, CONFIG
        elif register == MANUAL_OP:
            low, high = 0, 1000
        elif register in (PB, TI, TD):
            low, high = (1 if register == PB else 0), 9999
        else:
            return
        if not low <= value <= high:
            raise Refusal(DEVICE_FAILURE)
