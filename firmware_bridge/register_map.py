"""Register maps: a TOML file says what a Modbus device holds, this turns it into Signals that encode and decode.

    eurotherm = load_map("eurotherm_3200")
    eurotherm.signal("bed_temp_c").decode([0x00FA])        # 25.0

Addresses are PDU addresses (0-based, as sent). Every bound is checked where a value passes: an encode that would leave
the signal's range raises Rejected before anything reaches the wire; a raw sentinel decodes to NaN and is named.
"""

from __future__ import annotations

import difflib
import math
import struct
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from firmware_bridge.errors import BridgeError, Rejected
from firmware_bridge.map_folders import known_names, places_of
from firmware_bridge.signals import NO_LIMITS, Limits, Quality, Reading

GOOD, BAD = Quality.GOOD, Quality.BAD

_FORMATS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f"}
_WORDS = {dtype: struct.calcsize(code) // 2 for dtype, code in _FORMATS.items()}
_PACK_WORDS = {dtype: struct.Struct(f">{words}H").pack for dtype, words in _WORDS.items()}
_UNPACK = {dtype: struct.Struct(code).unpack for dtype, code in _FORMATS.items()}
_RAW_BOUNDS = {"u16": (0, 0xFFFF), "i16": (-0x8000, 0x7FFF), "u32": (0, 0xFFFFFFFF), "i32": (-(2**31), 2**31 - 1)}


class MapError(BridgeError):
    """A register map that cannot be used: which file, which key, and what would be right."""


@dataclass(frozen=True)
class Signal:
    """One register (or two) with a meaning. value = raw * scale + offset, in `unit`; f32 has no raw bounds.

    `scale_from`: the signal of the same block read that holds s, where value = raw / 10**s.
    `nonvolatile`: why writes must be few ("" if they need not). `unverified`: what no source confirms ("" if nothing).
    `rate_max_per_s`: the fastest change that may be written, in the unit per second.
    `safe_values`: what may be written by hand without a word that the machine is looked after; nothing else may.
    """

    name: str
    fc: int
    address: int
    dtype: str
    word_order: str = "big"
    scale: float = 1.0
    offset: float = 0.0
    scale_from: str = ""
    unit: str = ""
    access: str = "r"
    range: tuple[float, float] = (-math.inf, math.inf)
    sentinels: Mapping[int, str] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    poll: bool = False
    rate_max_per_s: float = math.inf
    nonvolatile: str = ""
    unverified: str = ""
    safe_values: tuple[float, ...] = ()
    _is_plain: bool = field(init=False, repr=False, compare=False)  # each raw number is a value; only scale and offset

    def __post_init__(self) -> None:
        object.__setattr__(self, "_is_plain", not self.sentinels and not self.scale_from and self.dtype != "f32")

    @property
    def words(self) -> int:
        """How many registers it takes."""
        return _WORDS[self.dtype]

    def raw(self, registers: Sequence[int]) -> float:
        """The number in the registers before scaling."""
        if self.dtype == "u16":
            return registers[0]
        ordered = registers if self.word_order == "big" else registers[::-1]
        return _UNPACK[self.dtype](_PACK_WORDS[self.dtype](*ordered))[0]

    def decode(self, registers: Sequence[int], exponent: float = 0.0) -> float:
        """Registers (u16 each) -> value in `unit`; NaN for a sentinel. `exponent`: value of the `scale_from` signal."""
        return self.scaled(self.raw(registers), exponent)

    def scaled(self, raw: float, exponent: float = 0.0) -> float:
        """What `decode` makes of a raw number."""
        if raw in self.sentinels:
            return math.nan
        value = raw * self.scale + self.offset
        return value * 10.0**-exponent if self.scale_from else value

    def reading(self, raw: float, time_s: float, exponent: float = 0.0) -> Reading:
        """What a raw number that came at `time_s` says. BAD where it stands for no value; `exponent` as in decode."""
        if self._is_plain:
            value, quality = raw * self.scale + self.offset, GOOD
        else:
            value, quality = self.scaled(raw, exponent), BAD if self.meaning(raw) else GOOD
        return Reading(self.name, value, self.unit, time_s, quality, self.limits.state_of(value))

    def sentinel(self, registers: Sequence[int]) -> str:
        """What the raw value means if it stands for no value, else ""."""
        return self.meaning(self.raw(registers))

    def meaning(self, raw: float) -> str:
        """What `sentinel` says of a raw number."""
        return self.sentinels.get(int(raw), "") if math.isfinite(raw) else "not a number"

    def encode(self, value: float) -> list[int]:
        """A value in `unit` -> registers. Rejected if it may not be written: access, range, NaN, or no such raw."""
        if "w" not in self.access:
            raise Rejected(f"{self.name} cannot be written: its map says it is only read.")
        low, high = self.range
        if not math.isfinite(value) or not low <= value <= high:
            raise Rejected(f"{self.name} = {value:g} {self.unit} is refused: {low:g} to {high:g} {self.unit} may be.")
        raw = (value - self.offset) / self.scale
        if self.dtype == "f32":
            data = struct.pack(">f", raw)
        else:
            whole = round(raw)
            lowest, highest = _RAW_BOUNDS[self.dtype]
            if not lowest <= whole <= highest:
                raise Rejected(f"{self.name} = {value:g} {self.unit} does not fit the register ({self.dtype}).")
            if whole in self.sentinels:
                raise Rejected(f"{self.name} = {value:g} {self.unit} would mean '{self.sentinels[whole]}'.")
            if self.dtype == "u16":
                return [whole]
            data = struct.pack(_FORMATS[self.dtype], whole)
        registers = list(struct.unpack(f">{self.words}H", data))
        return registers if self.word_order == "big" else registers[::-1]

    def has(self, value: float, bit: str) -> bool:
        """Whether the named bit of a status value is set."""
        return bool(int(value) >> self.bits[bit] & 1)


@dataclass(frozen=True)
class Block:
    """One read request: `count` registers from `address`, and the signals in it."""

    fc: int
    address: int
    count: int
    signals: tuple[Signal, ...]

    @cached_property
    def plan(self) -> tuple[tuple[Signal, int, int], ...]:
        """Each signal with where its registers begin and end in the reply."""
        starts = ((signal, signal.address - self.address) for signal in self.signals)
        return tuple((signal, start, start + signal.words) for signal, start in starts)


@dataclass(frozen=True)
class Identity:
    """A signal that tells the model: its value lies in low..high (equal for an id)."""

    signal: str
    low: float
    high: float


@dataclass(frozen=True)
class RegisterMap:
    """A device's registers. `watchdog`: "device", or "none" and then `watchdog_why` says why that is safe."""

    name: str
    model: str
    protocol: str
    source: str
    signals: Mapping[str, Signal]
    identify: tuple[Identity, ...]
    watchdog: str
    watchdog_why: str
    max_words: int
    max_gap: int
    holes: tuple[tuple[int, int], ...]
    reply_delay_ms: Mapping[int, float]

    def signal(self, name: str) -> Signal:
        """The signal of that name. MapError naming the nearest if there is none."""
        if name not in self.signals:
            raise MapError(f"map {self.name} has no signal '{name}'{nearest(name, self.signals)}.")
        return self.signals[name]

    @property
    def polled(self) -> tuple[Signal, ...]:
        """The signals that a poll reads."""
        return tuple(signal for signal in self.signals.values() if signal.poll)

    def blocks(self, signals: Iterable[Signal]) -> list[Block]:
        """The fewest requests that read `signals`: up to `max_words` each, gaps up to `max_gap`, never over a hole."""
        wanted = {signal.name: signal for signal in signals}
        for signal in list(wanted.values()):
            if signal.scale_from:
                wanted[signal.scale_from] = self.signal(signal.scale_from)
        blocks: list[Block] = []
        for signal in sorted(wanted.values(), key=lambda signal: (signal.fc, signal.address)):
            end = signal.address + signal.words
            if blocks:
                last = blocks[-1]
                reach = last.address + last.count
                spans_hole = any(low < end and high >= reach for low, high in self.holes)
                if (
                    last.fc == signal.fc
                    and signal.address - reach <= self.max_gap
                    and end - last.address <= self.max_words
                    and not spans_hole
                ):
                    count = max(reach, end) - last.address
                    blocks[-1] = Block(last.fc, last.address, count, (*last.signals, signal))
                    continue
            blocks.append(Block(signal.fc, signal.address, signal.words, (signal,)))
        return blocks

    def reply_delay_s(self, baud: int) -> float:
        """How long the device thinks before it answers at this baud rate (the entry at or below it, else the first)."""
        rates = sorted(self.reply_delay_ms)
        if not rates:
            return 0.0
        below = [rate for rate in rates if rate <= baud]
        return self.reply_delay_ms[below[-1] if below else rates[0]] * 1e-3


def load_map(name_or_path: str | Path) -> RegisterMap:
    """Read a map: a name (shipped, or in a folder of `map_folders`), or a path to a TOML file.

    Raises MapError with file, key and remedy.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        name = path.stem
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise MapError(f"register map {path} cannot be read: {error.strerror}.") from error
    else:
        name = str(name_or_path)
        places = places_of(name)
        if not places:
            known = known_names()
            raise MapError(f"there is no register map '{name}'{nearest(name, known)}; known are {', '.join(known)}.")
        if len(places) > 1:
            where = " and ".join(map(str, places))
            raise MapError(f"there are {len(places)} register maps named '{name}': {where}. Rename all but one.")
        try:
            text = places[0].read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MapError(f"register map {places[0]} cannot be read: {error}.") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(f"register map {name} is no TOML: {error}.") from error
    return _Reader(name).map(table)


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` or ""."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


_SIGNAL_KEYS = {
    "fc", "addr", "dtype", "word_order", "scale", "offset", "scale_from", "unit", "access", "range", "sentinels",
    "bits", "limits", "poll", "rate_max_per_s", "nonvolatile", "unverified", "note",
    "safe_values",
}  # fmt: skip
_DEVICE_KEYS = {"model", "protocol", "source", "max_words", "max_gap", "holes", "reply_delay_ms", "note"}
_LIMIT_KEYS = {"alarm_low", "warn_low", "warn_high", "alarm_high"}


class _Reader:
    """Checks every key and bound of one map file, with sentences."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, where: str, what: str) -> MapError:
        return MapError(f"register map {self.name}, {where}: {what}.")

    def keys(self, table: Any, known: set[str], where: str) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self.fail(where, "a table belongs here")
        for key in table:
            if key not in known:
                raise self.fail(where, f"unknown key '{key}'{nearest(key, known)}")
        return table

    def get(
        self, table: dict[str, Any], key: str, kinds: type | tuple[type, ...], where: str, default: Any = None
    ) -> Any:
        if key not in table:
            if default is None:  # no default: the key is required
                raise self.fail(where, f"the key '{key}' is missing")
            return default
        value = table[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self.fail(where, f"'{key}' = {value!r} has the wrong type")
        return value

    def one_of(self, value: Any, allowed: Sequence[Any], where: str, key: str) -> Any:
        if value not in allowed:
            raise self.fail(where, f"'{key}' = {value!r}; allowed are {', '.join(map(str, allowed))}")
        return value

    def pair(self, value: Any, where: str, key: str) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2 or not all(isinstance(part, int | float) for part in value):
            raise self.fail(where, f"'{key}' is a pair [low, high]")
        if not value[0] <= value[1]:
            raise self.fail(where, f"'{key}' = {value}: the low end is above the high end")
        return float(value[0]), float(value[1])

    def map(self, table: dict[str, Any]) -> RegisterMap:
        self.keys(table, {"device", "identify", "watchdog", "signal"}, "top level")
        device = self.keys(table.get("device", {}), _DEVICE_KEYS, "[device]")
        protocol = self.get(device, "protocol", str, "[device]")
        self.one_of(protocol, ("modbus-rtu", "modbus-tcp"), "[device]", "protocol")
        max_words = self.get(device, "max_words", int, "[device]", 125)
        if not 1 <= max_words <= 125:
            raise self.fail("[device]", f"'max_words' = {max_words}; one request reads 1 to 125 registers")
        signals = {
            name: self.signal(name, signal) for name, signal in self.get(table, "signal", dict, "top level").items()
        }
        holes = [self.pair(hole, "[device]", "holes") for hole in device.get("holes", [])]
        delays = self.get(device, "reply_delay_ms", dict, "[device]", {})
        if not all(rate.isdigit() and isinstance(delay, int | float) and delay >= 0 for rate, delay in delays.items()):
            raise self.fail("[device.reply_delay_ms]", "entries are baud = milliseconds")
        watchdog = self.keys(table.get("watchdog", {}), {"kind", "why"}, "[watchdog]")
        kind = self.one_of(self.get(watchdog, "kind", str, "[watchdog]"), ("device", "none"), "[watchdog]", "kind")
        why = self.get(watchdog, "why", str, "[watchdog]")
        identify = tuple(self.identity(entry, signals) for entry in table.get("identify", []))
        if not identify:
            raise self.fail("[[identify]]", "at least one signal must tell this model from another")
        result = RegisterMap(
            name=self.name,
            model=self.get(device, "model", str, "[device]"),
            protocol=protocol,
            source=self.get(device, "source", str, "[device]"),
            signals=signals,
            identify=identify,
            watchdog=kind,
            watchdog_why=why,
            max_words=max_words,
            max_gap=self.get(device, "max_gap", int, "[device]", 0),
            holes=tuple((int(low), int(high)) for low, high in holes),
            reply_delay_ms={int(rate): float(delay) for rate, delay in delays.items()},
        )
        for signal in signals.values():
            if signal.scale_from:
                self.check_scale(result, signal)
        return result

    def check_scale(self, table: RegisterMap, signal: Signal) -> None:
        """A scale must be read in the same request as its value, or it belongs to another moment."""
        where = f"[signal.{signal.name}]"
        if signal.scale_from not in table.signals:
            raise self.fail(where, f"'scale_from' = '{signal.scale_from}'{nearest(signal.scale_from, table.signals)}")
        if len(table.blocks([signal])) != 1:
            raise self.fail(where, f"'{signal.scale_from}' is not read in the same block: raise max_gap or max_words")

    def identity(self, entry: Any, signals: Mapping[str, Signal]) -> Identity:
        where = "[[identify]]"
        self.keys(entry, {"signal", "equals", "between"}, where)
        name = self.get(entry, "signal", str, where)
        if name not in signals:
            raise self.fail(where, f"there is no signal '{name}'{nearest(name, signals)}")
        if ("equals" in entry) == ("between" in entry):
            raise self.fail(where, "give either 'equals' or 'between'")
        if "equals" in entry:
            value = float(self.get(entry, "equals", (int, float), where))
            return Identity(name, value, value)
        return Identity(name, *self.pair(entry["between"], where, "between"))

    def signal(self, name: str, table: Any) -> Signal:
        where = f"[signal.{name}]"
        self.keys(table, _SIGNAL_KEYS, where)
        dtype = self.one_of(self.get(table, "dtype", str, where), tuple(_FORMATS), where, "dtype")
        address = self.get(table, "addr", int, where)
        if not 0 <= address <= 0xFFFF - (0 if dtype.endswith("16") else 1):
            raise self.fail(where, f"'addr' = {address}; PDU addresses go from 0 to 65535 (not 30001 or 40001)")
        scale = float(self.get(table, "scale", (int, float), where, 1.0))
        if not math.isfinite(scale) or scale == 0.0:
            raise self.fail(where, f"'scale' = {scale}; a finite number other than 0 belongs here")
        access = self.one_of(self.get(table, "access", str, where, "r"), ("r", "w", "rw"), where, "access")
        fc = self.one_of(self.get(table, "fc", int, where), (3, 4), where, "fc")
        if "w" in access and fc == 4:
            raise self.fail(where, "input registers (fc 4) cannot be written")
        if "w" in access and "range" not in table:
            raise self.fail(where, "a signal that is written needs a 'range'")
        limits = self.keys(table.get("limits", {}), _LIMIT_KEYS, f"{where} limits")
        bits = table.get("bits", {})
        if not isinstance(bits, dict) or not all(isinstance(bit, int) and 0 <= bit < 32 for bit in bits.values()):
            raise self.fail(where, "'bits' is a table of name = bit number")
        sentinels = self.get(table, "sentinels", dict, where, {})
        return Signal(
            name=name,
            fc=fc,
            address=address,
            dtype=dtype,
            word_order=self.one_of(table.get("word_order", "big"), ("big", "little"), where, "word_order"),
            scale=scale,
            offset=float(self.get(table, "offset", (int, float), where, 0.0)),
            scale_from=self.get(table, "scale_from", str, where, ""),
            unit=self.get(table, "unit", str, where, ""),
            access=access,
            range=self.pair(table["range"], where, "range") if "range" in table else (-math.inf, math.inf),
            sentinels={int(raw): str(meaning) for raw, meaning in sentinels.items()},
            bits=dict(bits),
            limits=Limits(**{key: float(value) for key, value in limits.items()}),
            poll=self.get(table, "poll", bool, where, False),
            rate_max_per_s=float(self.get(table, "rate_max_per_s", (int, float), where, math.inf)),
            nonvolatile=self.get(table, "nonvolatile", str, where, ""),
            unverified=self.get(table, "unverified", str, where, ""),
            safe_values=self.safe_values(table.get("safe_values", []), where),
        )

    def safe_values(self, value: Any, where: str) -> tuple[float, ...]:
        if not isinstance(value, list) or not all(isinstance(part, int | float) for part in value):
            raise self.fail(where, "'safe_values' is a list of values that are safe to write")
        return tuple(float(part) for part in value)
