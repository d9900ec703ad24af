"""Grbl's `$` settings and its EEPROM: numbers, ranges, printing, and how long a write makes the board deaf.

Numbers, units and defaults from Grbl's `interface.md`, `settings.c` and `defaults.h` (facts, page hosts 1b). An EEPROM
write stops all interrupts: bytes that arrive meanwhile are lost. It takes 3.4 ms (u: from the ATmega328P's data sheet,
not measured) for each byte that really changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

Point = tuple[float, float, float]

BYTE_WRITE_S = 3.4e-3
STARTUP_LINES = 2
COORDINATES = ("G54", "G55", "G56", "G57", "G58", "G59", "G28", "G30")
LONGEST_TEXT = 79

BAD_NUMBER, INVALID_STATEMENT, NEGATIVE_VALUE, PULSE_TOO_SHORT = 2, 3, 4, 6
SOFT_NEEDS_HOMING, STEP_RATE_TOO_HIGH = 10, 12


class GrblError(Exception):
    """A line that Grbl refuses with `error:NUMBER`."""

    def __init__(self, number: int) -> None:
        super().__init__(f"error:{number}")
        self.number = number


class _Kind(Enum):
    BYTE = "B"  # unsigned 8 bit: what is larger wraps, as in the firmware
    FLAG = "?"
    DECIMAL = "f"  # printed with three decimals
    WHOLE = "F"  # a float printed without decimals: spindle speeds


@dataclass(frozen=True, slots=True)
class _Setting:
    number: int
    kind: _Kind
    default: float


def _axes(first: int, value: float) -> list[_Setting]:
    return [_Setting(first + i, _Kind.DECIMAL, value) for i in range(3)]


# In the order in which `$$` prints them. The defaults are those of the stock build.
_TABLE = (
    _Setting(0, _Kind.BYTE, 10),  # step pulse, us
    _Setting(1, _Kind.BYTE, 25),  # step idle delay, ms
    _Setting(2, _Kind.BYTE, 0),  # step invert mask
    _Setting(3, _Kind.BYTE, 0),  # direction invert mask
    _Setting(4, _Kind.FLAG, 0),
    _Setting(5, _Kind.FLAG, 0),
    _Setting(6, _Kind.FLAG, 0),
    _Setting(10, _Kind.BYTE, 1),  # status report mask: 1 machine position, 2 buffers
    _Setting(11, _Kind.DECIMAL, 0.010),  # junction deviation, mm
    _Setting(12, _Kind.DECIMAL, 0.002),  # arc tolerance, mm
    _Setting(13, _Kind.FLAG, 0),  # report in inches
    _Setting(20, _Kind.FLAG, 0),  # soft limits
    _Setting(21, _Kind.FLAG, 0),  # hard limits
    _Setting(22, _Kind.FLAG, 0),  # homing
    _Setting(23, _Kind.BYTE, 0),  # homing direction mask
    _Setting(24, _Kind.DECIMAL, 25.0),  # homing locate rate, mm/min
    _Setting(25, _Kind.DECIMAL, 500.0),  # homing search rate, mm/min
    _Setting(26, _Kind.BYTE, 250),  # homing debounce, ms
    _Setting(27, _Kind.DECIMAL, 1.0),  # homing pull-off, mm
    _Setting(30, _Kind.WHOLE, 1000),  # largest S
    _Setting(31, _Kind.WHOLE, 0),  # least S
    _Setting(32, _Kind.FLAG, 0),  # laser mode
    *_axes(100, 250.0),  # steps/mm
    *_axes(110, 500.0),  # mm/min
    *_axes(120, 10.0),  # mm/s2
    *_axes(130, 200.0),  # travel, mm
)
_BY_NUMBER = {setting.number: setting for setting in _TABLE}


class Settings:
    """The values in force. `settings[110]` is the number as Grbl holds it; properties name what the motion needs."""

    def __init__(self, defaults: Mapping[int, float] | None = None) -> None:
        """`defaults` are the build's own, over the stock ones; an unknown number is our mistake (KeyError)."""
        self._values = {setting.number: setting.default for setting in _TABLE}
        for number, value in (defaults or {}).items():
            self._values[_BY_NUMBER[number].number] = float(value)

    def __getitem__(self, number: int) -> float:
        return self._values[number]

    def flag(self, number: int) -> bool:
        """A yes or no."""
        return bool(self._values[number])

    def axes(self, first: int) -> Point:
        """Three values of x, y and z from `first` on."""
        return (self._values[first], self._values[first + 1], self._values[first + 2])

    def store(self, number: int, value: float, max_step_rate_hz: float | None) -> None:
        """`$number=value`.

        Raises:
            GrblError: 3 no such setting, 4 negative, 6 pulse under 3 us, 10 soft limits without homing, 12 step rate
                over what the build allows.
        """
        if value < 0.0:
            raise GrblError(NEGATIVE_VALUE)
        setting = _BY_NUMBER.get(number)
        if setting is None:
            raise GrblError(INVALID_STATEMENT)
        if setting.kind in (_Kind.BYTE, _Kind.FLAG):
            value = float(int(min(value, 4294967295.0)) & 0xFF)
        if setting.kind is _Kind.FLAG:
            value = float(value != 0.0)
        if number == 0 and value < 3:
            raise GrblError(PULSE_TOO_SHORT)
        if number == 20 and value and not self._values[22]:
            raise GrblError(SOFT_NEEDS_HOMING)
        if max_step_rate_hz is not None and 100 <= number <= 112:
            other = self._values[number + 10 if number < 110 else number - 10]
            if value * other > max_step_rate_hz * 60.0:
                raise GrblError(STEP_RATE_TOO_HIGH)
        self._values[number] = _as_float32(value)
        if number == 22 and not value:
            self._values[20] = 0.0

    def lines(self) -> list[str]:
        """What `$$` prints."""
        return [f"${s.number}={_printed(s.kind, self._values[s.number])}" for s in _TABLE]

    def packed(self) -> bytes:
        """The bytes of the EEPROM record, to see which of them a write changes."""
        return b"".join(
            struct.pack("<B", int(self._values[s.number]) & 0xFF)
            if s.kind in (_Kind.BYTE, _Kind.FLAG)
            else struct.pack("<f", self._values[s.number])
            for s in _TABLE
        )


@dataclass
class Eeprom:
    """What outlives resets and power cycles. Each write returns the seconds for which the board hears nothing."""

    defaults: Mapping[int, float]
    settings: Settings = field(init=False)
    coordinates: dict[str, Point] = field(init=False)
    startup: list[str] = field(init=False)
    build_info: str = ""
    spoilt: bool = False  # the checksum of the settings does not fit any more: found at the next power-up

    def __post_init__(self) -> None:
        self.settings = Settings(self.defaults)
        self.coordinates = dict.fromkeys(COORDINATES, (0.0, 0.0, 0.0))
        self.startup = [""] * STARTUP_LINES

    def store_setting(self, number: int, value: float, max_step_rate_hz: float | None) -> float:
        """`$number=value`; raises GrblError as `Settings.store`."""
        before = self.settings.packed()
        self.settings.store(number, value, max_step_rate_hz)
        return _write_s(before, self.settings.packed())

    def store_coordinates(self, name: str, offset_mm: Point) -> float:
        """An offset (G54 to G59) or a position (G28, G30), mm."""
        before, self.coordinates[name] = self.coordinates[name], offset_mm
        return _write_s(struct.pack("<3f", *before), struct.pack("<3f", *offset_mm))

    def store_startup(self, index: int, line: str) -> float:
        """One of the startup lines; another index writes elsewhere in the real EEPROM and is left out here."""
        if index >= len(self.startup):
            return 0.0
        before, self.startup[index] = self.startup[index], line
        return _write_text_s(before, line)

    def store_build_info(self, text: str) -> float:
        """What `$I=` keeps."""
        before, self.build_info = self.build_info, text
        return _write_text_s(before, text)

    def restore(self, what: str) -> float:
        """`$RST=` with `$` (settings), `#` (coordinates) or `*` (everything)."""
        seconds = 0.0
        if what in "$*":
            before, self.settings = self.settings.packed(), Settings(self.defaults)
            seconds += _write_s(before, self.settings.packed())
        if what in "#*":
            for name in COORDINATES:
                seconds += self.store_coordinates(name, (0.0, 0.0, 0.0))
        if what == "*":
            for index in range(STARTUP_LINES):
                seconds += self.store_startup(index, "")
            seconds += self.store_build_info("")
        return seconds


def _printed(kind: _Kind, value: float) -> str:
    return f"{value:.3f}" if kind is _Kind.DECIMAL else f"{value:.0f}"


def _as_float32(value: float) -> float:
    """What a 32-bit float keeps of it; larger than it can hold is infinite, as on the board."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf")


def _write_text_s(before: str, after: str) -> float:
    old, new = (text.encode("latin-1")[:LONGEST_TEXT].ljust(LONGEST_TEXT + 1, b"\0") for text in (before, after))
    return _write_s(old, new)


def _write_s(before: Iterable[int], after: Iterable[int]) -> float:
    """Unchanged bytes are only read; the checksum byte behind changed ones changes too."""
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    return (changed + 1) * BYTE_WRITE_S if changed else 0.0
