"""The rover's power unit: battery, array, heater and load switch behind moonkiln's own register map.

Registers (PDU addresses): 0 id, 1 map version, 2 battery 0.01 V, 3 battery 0.01 A (discharge positive), 4 charge
0.01 %, 5 capacity 0.1 Wh, 6 battery 0.1 degC, 7 array 0.01 V, 8 array 0.01 A, 9 array 0.1 W, 10 heater 0.1 W,
11 status, 12 heater set-point 0.1 W, 13 watchdog ms, 14-15 wake after s (high word first), 16 load switch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from hil_sim.world.emulators.modbus_pdu import DEVICE_FAILURE, ILLEGAL_ADDRESS, ModbusDevice, Refusal

MODEL_ID, MAP_VERSION = 0x4D50, 1
(ID, VERSION, VOLTS, AMPS, CHARGE, CAPACITY, TEMP, SOLAR_V, SOLAR_A, SOLAR_W, HEATER_W, STATUS, HEATER_SET, WATCHDOG,
 WAKE_HIGH, WAKE_LOW, LOAD) = range(17)  # fmt: skip
WRITABLE = {HEATER_SET: (0, 2000), WATCHDOG: (500, 60000), WAKE_HIGH: (0, 45), WAKE_LOW: (0, 65535), LOAD: (0, 1)}
WAKE_S = (60, 3_000_000)
LOAD_OFF_DELAY_S = 5.0
SIGNED_LOWEST, UNSIGNED_HIGHEST = 0x8000, 0xFFFF  # no value


class PowerModel(Protocol):
    """Battery, array and heater of the world. t_s: loop time. NaN: the sensor gives no value."""

    def battery_v(self, t_s: float) -> float: ...

    def battery_a(self, t_s: float) -> float:
        """Positive while it discharges."""

    def soc(self, t_s: float) -> float:
        """0 to 1."""

    def capacity_wh(self, t_s: float) -> float: ...

    def battery_temp_c(self, t_s: float) -> float: ...

    def solar_v(self, t_s: float) -> float: ...

    def solar_a(self, t_s: float) -> float: ...

    def heater_w(self, t_s: float) -> float:
        """What it draws now."""

    def set_heater_w(self, t_s: float, power_w: float) -> None:
        """What it shall draw from now on."""

    def set_load(self, t_s: float, on: bool) -> None:
        """Everything but heater and power unit."""


class Timer(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> object: ...


class Timers(Protocol):
    """The two things that the unit asks of the event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class RoverPowerEmulator(ModbusDevice):
    """The unit's firmware: watchdog of the heater, load switch with a delay, waking.

    From power-up the heater is at `keep_alive_w`, which keeps the battery alive through the night. A set-point holds
    as long as something is written within the watchdog's time; after that it is `keep_alive_w` again. Hibernation:
    0 into the load switch, with a wake time set, cuts the load 5 s later and gives it back when the time is over.
    `timers` is the event loop: each of them strikes at its own time, though nobody asks.
    """

    reply_delay_s = 0.002

    def __init__(self, model: PowerModel, timers: Timers, *, keep_alive_w: float, undervoltage_v: float = 0.0) -> None:
        if not 0.0 <= keep_alive_w <= 200.0:
            raise ValueError(f"keep-alive heating of {keep_alive_w} W: the heater has 0 to 200 W")
        self.model = model
        self.keep_alive_w = keep_alive_w
        self.undervoltage_v = undervoltage_v
        self.watchdog_trips = 0
        self.hibernations = 0
        self._timers = timers
        self._set_dw = round(keep_alive_w * 10)
        self._watchdog_ms = 5000
        self._commanded = False  # a host's set-point is in force
        self._tripped = False
        self._fed_s = 0.0
        self._wake_after_s = 0
        self._load_wanted = True
        self._load_on = True
        self._off_s = math.inf  # when the load is cut
        self._wake_s = math.inf  # when it comes back
        self._timer: Timer | None = None
        model.set_heater_w(timers.time(), keep_alive_w)

    @property
    def load_on(self) -> bool:
        """Whether the load has power."""
        self.settle(self._timers.time())
        return self._load_on

    # -- time
    def settle(self, t_s: float) -> None:
        """Let strike in their order what was due by `t_s`: at most watchdog, load off and waking, once each."""
        for _ in range(3):
            watchdog_s = self._watchdog_s()
            due_s = min(watchdog_s, self._off_s, self._wake_s)
            if due_s > t_s:
                break
            if due_s == watchdog_s:
                self._fall_back(due_s)
            elif due_s == self._off_s:
                self._off_s = math.inf
                self._load_on = False
                self.hibernations += 1
                self._wake_s = due_s + self._wake_after_s
                self.model.set_load(due_s, False)
            else:
                self._wake(due_s)
        self._arm()

    def _watchdog_s(self) -> float:
        return self._fed_s + self._watchdog_ms / 1000 if self._commanded else math.inf

    def _fall_back(self, t_s: float) -> None:
        self._commanded = False
        self._tripped = True
        self.watchdog_trips += 1
        self._set_dw = round(self.keep_alive_w * 10)
        self.model.set_heater_w(t_s, self.keep_alive_w)

    def _wake(self, t_s: float) -> None:
        self._off_s = self._wake_s = math.inf
        self._wake_after_s = 0  # each hibernation needs its own
        self._load_wanted = True
        if not self._load_on:
            self._load_on = True
            self.model.set_load(t_s, True)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = min(self._watchdog_s(), self._off_s, self._wake_s)
        if due_s < math.inf:
            self._timer = self._timers.call_at(due_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.settle(self._timers.time())

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        if address + count > LOAD + 1:
            raise Refusal(ILLEGAL_ADDRESS)
        self.settle(t_s)
        return [self._read(register, t_s) for register in range(address, address + count)]

    def _read(self, register: int, t_s: float) -> int:
        model = self.model
        match register:
            case 0:
                return MODEL_ID
            case 1:
                return MAP_VERSION
            case 2:
                return _unsigned(model.battery_v(t_s), 100)
            case 3:
                return _signed(model.battery_a(t_s), 100)
            case 4:
                return _unsigned(model.soc(t_s), 10000)
            case 5:
                return _unsigned(model.capacity_wh(t_s), 10)
            case 6:
                return _signed(model.battery_temp_c(t_s), 10)
            case 7:
                return _unsigned(model.solar_v(t_s), 100)
            case 8:
                return _signed(model.solar_a(t_s), 100)
            case 9:
                return _unsigned(model.solar_v(t_s) * model.solar_a(t_s), 10)
            case 10:
                return _unsigned(model.heater_w(t_s), 10)
            case 11:
                return self._status(t_s)
            case 12:
                return self._set_dw
            case 13:
                return self._watchdog_ms
            case 14:
                return self._wake_after_s >> 16
            case 15:
                return self._wake_after_s & 0xFFFF
        return int(self._load_wanted)

    def _status(self, t_s: float) -> int:
        volts, amps, temp = self.model.battery_v(t_s), self.model.battery_a(t_s), self.model.battery_temp_c(t_s)
        return (
            int(self._load_on)
            | int(not self._load_on) << 1
            | int(self._tripped) << 2
            | int(volts < self.undervoltage_v) << 3
            | int(any(map(math.isnan, (volts, amps, temp)))) << 4
            | int(amps < 0.0) << 5
        )

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        """All or nothing. Both words of the wake time are written together."""
        self.settle(t_s)
        wanted = dict(zip(range(address, address + len(values)), values, strict=True))
        if not wanted.keys() <= WRITABLE.keys():
            raise Refusal(ILLEGAL_ADDRESS)
        if any(not WRITABLE[register][0] <= value <= WRITABLE[register][1] for register, value in wanted.items()):
            raise Refusal(DEVICE_FAILURE)
        wake_s = self._wake_after_s
        if (WAKE_HIGH in wanted) != (WAKE_LOW in wanted):
            raise Refusal(DEVICE_FAILURE)
        if WAKE_HIGH in wanted:
            wake_s = wanted[WAKE_HIGH] << 16 | wanted[WAKE_LOW]
            if not WAKE_S[0] <= wake_s <= WAKE_S[1]:
                raise Refusal(DEVICE_FAILURE)
        if wanted.get(LOAD) == 0 and not wake_s:
            raise Refusal(DEVICE_FAILURE)  # nobody would ever wake it
        self._fed_s = t_s
        self._wake_after_s = wake_s
        self._watchdog_ms = wanted.get(WATCHDOG, self._watchdog_ms)
        if HEATER_SET in wanted:
            self._set_dw = wanted[HEATER_SET]
            self._commanded, self._tripped = True, False
            self.model.set_heater_w(t_s, self._set_dw / 10)
        if wanted.get(LOAD) == 1:
            self._wake(t_s)
        elif wanted.get(LOAD) == 0 and self._load_wanted:
            self._load_wanted = False
            self._off_s = t_s + LOAD_OFF_DELAY_S
        self._arm()


def _unsigned(value: float, steps: int) -> int:
    return UNSIGNED_HIGHEST if math.isnan(value) else min(max(round(value * steps), 0), UNSIGNED_HIGHEST - 1)


def _signed(value: float, steps: int) -> int:
    return SIGNED_LOWEST if math.isnan(value) else min(max(round(value * steps), -0x7FFF), 0x7FFF) & 0xFFFF
