"""The beam head of the bench printer: moonkiln's own register map behind Modbus TCP, with the watchdog that makes
it safe without a host.

Registers (PDU addresses, u16): 0 id, 1 set-point 0.1 W, 2 shutter, 3 arm token, 4 fire, 5 emission 0.1 W, 6 status,
7 watchdog ms, 8 stop, 9-10 energy since it was armed 0.1 J (high word first; what its photodiode has seen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hil_sim.world.emulators.modbus_pdu import DEVICE_FAILURE, ILLEGAL_ADDRESS, ModbusDevice, Refusal
from hil_sim.world.plant.beam_source import BeamSource

MODEL_ID = 0x4B48
TOKEN_LIFE_S = 30.0
POWER_MAX_DW = 2000  # tenths of a watt
WATCHDOG_MS = (100, 5000)
ID, POWER, SHUTTER, TOKEN, FIRE, EMISSION, STATUS, WATCHDOG, STOP, ENERGY, ENERGY_LOW = range(11)
REGISTERS = 11
READ_ONLY = frozenset({ID, EMISSION, STATUS, ENERGY, ENERGY_LOW})


class Timer(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> object: ...


class Timers(Protocol):
    """The two things the head asks of the event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class BeamHead(ModbusDevice):
    """The head's firmware: arm, fire, token expiry, watchdog, stop latch and interlock.

    `on_emission(t_s, watts)` is called whenever the power it would emit at S = 1 changes, `on_leak(t_s, watts)` when
    what it emits whatever fire and S say does; `emission_w(t_s)` is the power that leaves it now (W), `energy_j(t_s)`
    all that has left it so far (J). `source`: what stands behind the firmware. `timers` is the event loop: the watchdog
    and the token strike at their own time, though nobody asks. A block write (FC16) is checked for addresses and ranges
    whole before anything changes; then registers take their values in rising order until one is refused by the head's
    state.
    """

    reply_delay_s = 0.002

    def __init__(
        self,
        *,
        on_emission: Callable[[float, float], None],
        emission_w: Callable[[float], float],
        timers: Timers,
        energy_j: Callable[[float], float] = lambda _t_s: 0.0,
        on_leak: Callable[[float, float], None] = lambda _t_s, _watts: None,
        on_made: Callable[[float, float], None] = lambda _t_s, _watts: None,
        source: BeamSource | None = None,
    ) -> None:
        self.source = source or BeamSource()
        self._on_emission = on_emission
        self._on_leak = on_leak
        self._on_made = on_made
        self.made_w = 0.0
        """The light that its source makes at S = 1 or by itself, whether it leaves the head or warms its shutter."""
        self._emission_w = emission_w
        self._energy_j = energy_j
        self.sense_w: Callable[[float], float] = self.emitted_w  # what its photodiode shows
        self._timers = timers
        self._power_dw = 0
        self._token = 0
        self._firing = False
        self._watchdog_ms = 1000
        self._tripped = False
        self._stopped = False
        self._interlock_ok = True
        self._fault = False
        self._token_ends_s = 0.0
        self._fed_s = 0.0
        self._capability_w = self._leak_w = 0.0
        self._armed_at_j = 0.0
        self._timer: Timer | None = None
        self._timer_at_s = 0.0
        self.watchdog_trips = 0
        self.token_expiries = 0

    # -- what the world does to it
    @property
    def capability_w(self) -> float:
        """Power it would emit at S = 1, W."""
        return self._capability_w

    def emitted_w(self, t_s: float) -> float:
        """Power that leaves it now, W."""
        return self._emission_w(t_s) if self._capability_w + self._leak_w > 0 else 0.0

    @property
    def leak_w(self) -> float:
        """Power that leaves it now whatever it was told, W."""
        return self._leak_w

    @property
    def armed(self) -> bool:
        return self._token != 0

    @property
    def _shutter_open(self) -> bool:
        """Where the blade's switch sees it."""
        return self.source.shutter_open

    @_shutter_open.setter
    def _shutter_open(self, is_open: bool) -> None:
        self.source.move_shutter(is_open)

    def source_changed(self, t_s: float) -> None:
        """Something has happened to what stands behind the firmware; a blade that came free goes where it should."""
        self.settle(t_s)
        self._report(t_s)

    def set_interlock(self, t_s: float, ok: bool) -> None:
        """The door, seen by the head's own switch."""
        self.settle(t_s)
        self._interlock_ok = ok
        if not ok:
            self._close_and_disarm(t_s)

    def set_fault(self, t_s: float, present: bool) -> None:
        """A failure inside the head."""
        self.settle(t_s)
        self._fault = present
        if present:
            self._close_and_disarm(t_s)

    def power_cycle(self, t_s: float) -> None:
        """Dark, disarmed, shutter closed, latches and settings as delivered."""
        self.settle(t_s)
        self._power_dw, self._watchdog_ms = 0, 1000
        self._tripped = self._stopped = False
        self._close_and_disarm(t_s)
        self._armed_at_j = self._energy_j(t_s)

    # -- time
    def settle(self, t_s: float) -> None:
        """Let token or watchdog strike if its time has come by `t_s`."""
        if self._token == 0:
            return
        watchdog_s = self._fed_s + self._watchdog_ms / 1000
        if min(watchdog_s, self._token_ends_s) > t_s:
            return
        if watchdog_s <= self._token_ends_s:
            self._tripped = True
            self.watchdog_trips += 1
        else:
            self.token_expiries += 1
        self._close_and_disarm(t_s)

    def _watch(self) -> None:
        """Keep one timer at the next deadline or before it: feeding only moves it when it fires."""
        if self._token == 0:
            return
        deadline_s = min(self._fed_s + self._watchdog_ms / 1000, self._token_ends_s)
        if self._timer is not None:
            if self._timer_at_s <= deadline_s:
                return
            self._timer.cancel()
        self._timer = self._timers.call_at(deadline_s, self._on_deadline)
        self._timer_at_s = deadline_s

    def _on_deadline(self) -> None:
        self._timer = None
        self.settle(
            max(self._timer_at_s, self._timers.time())
        )  # a loop may fire a hair early; fed meanwhile, nothing strikes
        self._watch()

    def _close_and_disarm(self, t_s: float) -> None:
        self._shutter_open = False
        self._disarm(t_s)

    def _disarm(self, t_s: float) -> None:
        self._token = 0
        self._firing = False
        self._report(t_s)

    def _report(self, t_s: float) -> None:
        watts = self.source.gated_w(self._power_dw / 10) if self._firing else 0.0
        if watts != self._capability_w:
            self._capability_w = watts
            self._on_emission(t_s, watts)
        leak_w = self.source.leak_w
        if leak_w != self._leak_w:
            self._leak_w = leak_w
            self._on_leak(t_s, leak_w)
        made_w = self.source.made_w(self._power_dw / 10 if self._firing else 0.0)
        if made_w != self.made_w:
            self.made_w = made_w
            self._on_made(t_s, made_w)

    # -- registers
    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        if address + count > REGISTERS:
            raise Refusal(ILLEGAL_ADDRESS)
        self.settle(t_s)
        return [self._read(register, t_s) for register in range(address, address + count)]

    def _read(self, register: int, t_s: float) -> int:
        if register == ID:
            return MODEL_ID
        if register == POWER:
            return self._power_dw
        if register == SHUTTER:
            return int(self._shutter_open)
        if register == TOKEN:
            return self._token
        if register == FIRE:
            return int(self._firing)
        if register == EMISSION:
            return min(max(round(self.sense_w(t_s) * 10), 0), 0xFFFF)
        if register == STATUS:
            return (
                int(self._interlock_ok)
                | int(self.armed) << 1
                | int(self._firing) << 2
                | int(self._tripped) << 3
                | int(self._fault) << 4
            )
        if register == WATCHDOG:
            return self._watchdog_ms
        if register in (ENERGY, ENERGY_LOW):
            tenths = min(max(round((self._energy_j(t_s) - self._armed_at_j) * 10), 0), 0xFFFF_FFFF)
            return tenths >> 16 if register == ENERGY else tenths & 0xFFFF
        return int(self._stopped)

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        end = address + len(values)
        if end > REGISTERS or any(register in READ_ONLY for register in range(address, end)):
            raise Refusal(ILLEGAL_ADDRESS)
        self.settle(t_s)
        for register, value in zip(range(address, end), values, strict=True):
            self._check_range(register, value)
        for register, value in zip(range(address, end), values, strict=True):
            self._write(register, value, t_s)
        self._fed_s = t_s
        self._watch()  # a shorter watchdog brings the deadline forward

    @staticmethod
    def _check_range(register: int, value: int) -> None:
        allowed = {POWER: (0, POWER_MAX_DW), SHUTTER: (0, 1), FIRE: (0, 1), WATCHDOG: WATCHDOG_MS, STOP: (0, 1)}
        low, high = allowed.get(register, (0, 0xFFFF))
        if not low <= value <= high:
            raise Refusal(DEVICE_FAILURE)

    def _write(self, register: int, value: int, t_s: float) -> None:
        if register == POWER:
            self._power_dw = value
        elif register == SHUTTER:
            if value and not self._interlock_ok:
                raise Refusal(DEVICE_FAILURE)
            self._shutter_open = value == 1
            self._firing = self._firing and value == 1 and self._shutter_open
        elif register == TOKEN:
            self._write_token(value, t_s)
        elif register == FIRE:
            if value and not (self.armed and self._shutter_open and self._interlock_ok and not self._fault):
                raise Refusal(DEVICE_FAILURE)
            self._firing = value == 1
        elif register == WATCHDOG:
            self._watchdog_ms = value
        elif register == STOP and value:
            self._stopped = True
            self._close_and_disarm(t_s)
        self._report(t_s)

    def _write_token(self, value: int, t_s: float) -> None:
        if value == 0:
            self._tripped = self._stopped = False
            self._disarm(t_s)
            return
        if self._tripped or self._stopped or not self._interlock_ok or self._token not in (0, value):
            raise Refusal(DEVICE_FAILURE)
        if self._token == 0:
            self._armed_at_j = self._energy_j(t_s)
        self._token = value
        self._token_ends_s = t_s + TOKEN_LIFE_S
        self._fed_s = t_s
        self._watch()
