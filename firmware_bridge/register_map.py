"""Register maps: a TOML file says what a Modbus device holds, this turns it into Signals that encode and decode.

    eurotherm = load_map("eurotherm_3200")
    eurotherm.signal("bed_temp_c").decode([0x00FA])        # 25.0

Every key and every bound is checked here, where the file is read; each refusal names the file, the key and the remedy.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from firmware_bridge.map_folders import known_names, places_of
from firmware_bridge.register_blocks import Block, Identity, MapError, RegisterMap, Variant, nearest
from firmware_bridge.register_signals import FORMATS, NONVOLATILE_WRITES_PER_DAY, READ_RETRIES, GoodWhen, Signal
from firmware_bridge.signals import Limits

__all__ = ["Block", "Identity", "MapError", "RegisterMap", "Signal", "Variant", "load_map", "nearest"]

RETRIES_MAX = 5
WRITES_PER_DAY_MAX = 1000


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
    return _map_of(name, text)


@lru_cache(maxsize=128)
def _map_of(name: str, text: str) -> RegisterMap:
    """A map is frozen, so that one text need be read once: a host asks for the same maps again and again."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(f"register map {name} is no TOML: {error}.") from error
    return _Reader(name).map(table)


_SIGNAL_KEYS = {
    "fc", "addr", "dtype", "word_order", "scale", "offset", "scale_from", "scale_once", "bit_field", "unit", "access",
    "range", "sentinels", "bits", "limits", "good_when", "poll", "read_retries", "read_once", "write_retries",
    "relative", "read_back", "read_back_tolerance", "rate_max_per_s", "nonvolatile", "writes_per_day_max", "unverified",
    "note", "safe_values",
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
        self.keys(table, {"device", "identify", "watchdog", "signal", "variant"}, "top level")
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
        watchdog = self.keys(table.get("watchdog", {}), {"kind", "why", "needs_contactor"}, "[watchdog]")
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
            needs_contactor=self.get(watchdog, "needs_contactor", bool, "[watchdog]", False),
            variants=tuple(self.variant(entry, signals) for entry in table.get("variant", [])),
        )
        for signal in signals.values():
            self.check_in_map(result, signal)
        return result

    def check_in_map(self, table: RegisterMap, signal: Signal) -> None:
        """What a signal says of the others must be so, and it must be readable at all."""
        where = f"[signal.{signal.name}]"
        for key, other in (
            ("scale_from", signal.scale_from),
            ("read_back", signal.read_back),
            *(("good_when", condition.signal) for condition in signal.good_when),
        ):
            if other and other not in table.signals:
                raise self.fail(where, f"'{key}' = '{other}' names no signal{nearest(other, table.signals)}")
        if signal.words > table.max_words:
            raise self.fail(where, f"{signal.words} registers do not fit 'max_words' = {table.max_words}")
        for low, high in table.holes:
            if signal.address <= high and signal.address + signal.words > low:
                raise self.fail(where, f"'addr' = {signal.address} lies in the hole [{low}, {high}]")
        if signal.scale_from and not signal.scale_once:
            self.check_scale(table, signal)

    def check_scale(self, table: RegisterMap, signal: Signal) -> None:
        """A scale must be read in the same request as its value, or it belongs to another moment."""
        where = f"[signal.{signal.name}]"
        scale = table.signals[signal.scale_from]
        if not any(signal in block.signals and scale in block.signals for block in table.blocks([signal])):
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

    def variant(self, entry: Any, signals: Mapping[str, Signal]) -> Variant:
        where = "[[variant]]"
        self.keys(entry, {"model", "signal", "between", "scales", "ranges"}, where)
        name = self.get(entry, "signal", str, where)
        scales = self.get(entry, "scales", dict, where, {})
        ranges = self.get(entry, "ranges", dict, where, {})
        for known in (name, *scales, *ranges):
            if known not in signals:
                raise self.fail(where, f"there is no signal '{known}'{nearest(known, signals)}")
        low, high = self.pair(entry.get("between"), where, "between")
        return Variant(
            model=self.get(entry, "model", str, where),
            signal=name,
            low=low,
            high=high,
            scales={key: self.scale(scales, key, where) for key in scales},
            ranges={key: self.pair(value, where, f"ranges.{key}") for key, value in ranges.items()},
        )

    def scale(self, table: dict[str, Any], key: str, where: str) -> float:
        scale = float(self.get(table, key, (int, float), where, 1.0))
        if not math.isfinite(scale) or scale == 0.0:
            raise self.fail(where, f"'{key}' = {scale}; a finite number other than 0 belongs here")
        return scale

    def good_when(self, table: Any, where: str) -> tuple[GoodWhen, ...]:
        """One condition, or a list of them."""
        conditions = []
        for entry in table if isinstance(table, list) else [table]:
            self.keys(entry, {"signal", "between", "why"}, f"{where} good_when")
            low, high = self.pair(entry.get("between"), where, "good_when.between")
            why = self.get(entry, "why", str, where)
            conditions.append(GoodWhen(self.get(entry, "signal", str, where), low, high, why))
        return tuple(conditions)

    def whole(self, table: dict[str, Any], key: str, where: str, default: int, highest: int) -> int:
        value: int = self.get(table, key, int, where, default)
        if not 0 <= value <= highest:
            raise self.fail(where, f"'{key}' = {value}; 0 to {highest} may be")
        return value

    def bit_field(self, table: dict[str, Any], where: str) -> tuple[int, int] | None:
        if "bit_field" not in table:
            return None
        low, high = self.pair(table["bit_field"], where, "bit_field")
        if table.get("dtype") != "u16" or "w" in table.get("access", "r"):
            raise self.fail(where, "a 'bit_field' is of a u16 register that is only read")
        if not (low.is_integer() and high.is_integer() and 0 <= low <= high <= 15):
            raise self.fail(where, "'bit_field' is [lowest bit, highest bit] of 16, counted from 0")
        return int(low), int(high)

    def safe_values(self, value: Any, where: str) -> tuple[float, ...]:
        if not isinstance(value, list) or not all(isinstance(part, int | float) for part in value):
            raise self.fail(where, "'safe_values' is a list of values that are safe to write")
        return tuple(float(part) for part in value)

    def check_writes(self, signal: Signal, where: str) -> None:
        """What may never be: a repeated relative move, a polled register that reading changes for nothing."""
        if signal.relative and signal.write_retries:
            raise self.fail(where, "a 'relative' write is never repeated: 'write_retries' must be 0")
        if "w" not in signal.access and (signal.relative or signal.write_retries or signal.read_back):
            raise self.fail(where, "'relative', 'write_retries' and 'read_back' are for signals that are written")
        if signal.access == "w" and signal.poll:
            raise self.fail(where, "it is only written and cannot be polled")
        if signal.scale_once and not signal.scale_from:
            raise self.fail(where, "'scale_once' needs a 'scale_from'")
        if signal.scale_from and "w" in signal.access:
            raise self.fail(where, "a signal with 'scale_from' is only read")

    def signal(self, name: str, table: Any) -> Signal:
        where = f"[signal.{name}]"
        self.keys(table, _SIGNAL_KEYS, where)
        dtype = self.one_of(self.get(table, "dtype", str, where), tuple(FORMATS), where, "dtype")
        address = self.get(table, "addr", int, where)
        if not 0 <= address <= 0xFFFF - (0 if dtype.endswith("16") else 1):
            raise self.fail(where, f"'addr' = {address}; PDU addresses go from 0 to 65535 (not 30001 or 40001)")
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
        signal = Signal(
            name=name,
            fc=fc,
            address=address,
            dtype=dtype,
            word_order=self.one_of(table.get("word_order", "big"), ("big", "little"), where, "word_order"),
            scale=self.scale(table, "scale", where),
            offset=float(self.get(table, "offset", (int, float), where, 0.0)),
            scale_from=self.get(table, "scale_from", str, where, ""),
            scale_once=self.get(table, "scale_once", bool, where, False),
            bit_field=self.bit_field(table, where),
            unit=self.get(table, "unit", str, where, ""),
            access=access,
            range=self.pair(table["range"], where, "range") if "range" in table else (-math.inf, math.inf),
            sentinels={int(raw): str(meaning) for raw, meaning in sentinels.items()},
            bits=dict(bits),
            limits=Limits(**{key: float(value) for key, value in limits.items()}),
            good_when=self.good_when(table.get("good_when", []), where),
            poll=self.get(table, "poll", bool, where, False),
            read_retries=self.whole(table, "read_retries", where, READ_RETRIES, RETRIES_MAX),
            read_once=self.get(table, "read_once", str, where, ""),
            write_retries=self.whole(table, "write_retries", where, 0, RETRIES_MAX),
            relative=self.get(table, "relative", str, where, ""),
            read_back=self.get(table, "read_back", str, where, ""),
            read_back_tolerance=float(self.get(table, "read_back_tolerance", (int, float), where, 0.0)),
            rate_max_per_s=float(self.get(table, "rate_max_per_s", (int, float), where, math.inf)),
            nonvolatile=self.get(table, "nonvolatile", str, where, ""),
            writes_per_day_max=self.whole(
                table, "writes_per_day_max", where, NONVOLATILE_WRITES_PER_DAY, WRITES_PER_DAY_MAX
            ),
            unverified=self.get(table, "unverified", str, where, ""),
            safe_values=self.safe_values(table.get("safe_values", []), where),
        )
        self.check_writes(signal, where)
        return signal
