"""One register (or two, or some bits of one) with a meaning: what it says, and what may be written to it.

Addresses are PDU addresses (0-based, as sent). An encode that would leave the signal's range raises Rejected before
anything reaches the wire; a raw sentinel decodes to NaN and its Reading says what it stands for.

A register holds whole numbers. Of a quantity that is scaled (0.1 W) a driver's set-point goes to the nearest step; a
bit, a code or a count has nothing between its values, so nothing is rounded there. What a person types is never
rounded: `check_on_step` is for that.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from firmware_bridge.errors import Rejected
from firmware_bridge.signals import NO_LIMITS, Limits, Quality, Reading

FORMATS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f"}
_WORDS = {dtype: struct.calcsize(code) // 2 for dtype, code in FORMATS.items()}
_PACK_WORDS = {dtype: struct.Struct(f">{words}H").pack for dtype, words in _WORDS.items()}
_UNPACK = {dtype: struct.Struct(code).unpack for dtype, code in FORMATS.items()}
_RAW_BOUNDS = {"u16": (0, 0xFFFF), "i16": (-0x8000, 0x7FFF), "u32": (0, 0xFFFFFFFF), "i32": (-(2**31), 2**31 - 1)}

GOOD, BAD = Quality.GOOD, Quality.BAD
READ_RETRIES = 1  # reading twice changes nothing, unless the map says otherwise
NONVOLATILE_WRITES_PER_DAY = 10
EXPONENT_MAX = 12  # a device that tells a larger scale tells nonsense
STEP_TOLERANCE = 1e-5  # of a step: 20.1 is no binary number, nor is 20.1 / 0.1; no hand means so small a difference


class GoodWhen(NamedTuple):
    """A value is to be believed only while another signal lies in low..high; otherwise it is BAD because of `why`."""

    signal: str
    low: float
    high: float
    why: str


@dataclass(frozen=True)
class Signal:
    """value = raw * scale + offset, in `unit`; f32 has no raw bounds.

    `bit_field`: the lowest and the highest bit of the register that are meant (None: all of it); it is only read then.
    `scale_from`: the signal that holds s, where value = raw / 10**s. It is read in the same request, or, with
    `scale_once`, when the device is identified, since it cannot change while the device runs.
    `read_once`: what reading does to the device ("" if nothing): never repeated, nor read because it lies between.
    `write_retries`: how often a write may be repeated after a doubt: 0 unless the map knows that twice does no harm.
    `relative`: why a write must not be executed twice ("" if it may): it moves on from where the device stands.
    `read_back`: the signal that shows what was written, within `read_back_tolerance` ("": the signal itself, exactly).
    `nonvolatile`: why writes must be few ("" if they need not), at most `writes_per_day_max`.
    `unverified`: what no source confirms ("" if nothing).
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
    scale_once: bool = False
    bit_field: tuple[int, int] | None = None
    unit: str = ""
    access: str = "r"
    range: tuple[float, float] = (-math.inf, math.inf)
    sentinels: Mapping[int, str] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    good_when: tuple[GoodWhen, ...] = ()
    poll: bool = False
    read_retries: int = READ_RETRIES
    read_once: str = ""
    write_retries: int = 0
    relative: str = ""
    read_back: str = ""
    read_back_tolerance: float = 0.0
    rate_max_per_s: float = math.inf
    nonvolatile: str = ""
    writes_per_day_max: int = NONVOLATILE_WRITES_PER_DAY
    unverified: str = ""
    safe_values: tuple[float, ...] = ()
    _is_plain: bool = field(init=False, repr=False, compare=False)  # each raw number is a value; only scale and offset

    def __post_init__(self) -> None:
        object.__setattr__(self, "_is_plain", not self.sentinels and not self.scale_from and self.dtype != "f32")

    @property
    def words(self) -> int:
        """How many registers it takes."""
        return _WORDS[self.dtype]

    @property
    def step(self) -> float:
        """The distance between two neighbouring values, in `unit`; 0.0 of an f32, which has no steps."""
        return 0.0 if self.dtype == "f32" else abs(self.scale)

    def raw(self, registers: Sequence[int]) -> float:
        """The number in the registers before scaling."""
        if self.bit_field is not None:
            low, high = self.bit_field
            return registers[0] >> low & (1 << high - low + 1) - 1
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
        if not self.scale_from:
            return value
        return value * 10.0**-exponent if abs(exponent) <= EXPONENT_MAX else math.nan  # NaN of NaN as well

    def reading(self, raw: float, time_s: float, exponent: float = 0.0) -> Reading:
        """What a raw number that came at `time_s` says. BAD where it stands for no value; `exponent` as in decode."""
        if self._is_plain:
            value = raw * self.scale + self.offset
            return Reading(self.name, value, self.unit, time_s, GOOD, self.limits.state_of(value))
        value, why = self.scaled(raw, exponent), self.meaning(raw)
        if not why and self.scale_from and not math.isfinite(value):
            value, why = math.nan, f"its scale {self.scale_from} is {exponent:g}"
        return Reading(self.name, value, self.unit, time_s, BAD if why else GOOD, self.limits.state_of(value), why)

    def sentinel(self, registers: Sequence[int]) -> str:
        """What the raw value means if it stands for no value, else ""."""
        return self.meaning(self.raw(registers))

    def meaning(self, raw: float) -> str:
        """What `sentinel` says of a raw number."""
        return self.sentinels.get(int(raw), "") if math.isfinite(raw) else "not a number"

    def encode(self, value: float) -> list[int]:
        """A value in `unit` -> registers. Rejected if it may not be written: access, range, NaN, or no such raw.

        A scaled quantity is rounded to the nearest step; a bit, a code or a count (scale 1) off its step is Rejected.
        """
        if "w" not in self.access:
            raise Rejected(f"{self.name} cannot be written: its map says it is only read.")
        low, high = self.range
        if not math.isfinite(value) or not low <= value <= high:
            raise Rejected(f"{self._told(value)} is refused: {self._ranged(low, high)} may be.")
        if self.step == 1:
            self.check_on_step(value)
        raw = (value - self.offset) / self.scale
        if self.dtype == "f32":
            data = struct.pack(">f", raw)
        else:
            whole = round(raw)
            lowest, highest = _RAW_BOUNDS[self.dtype]
            if not lowest <= whole <= highest:
                raise Rejected(f"{self._told(value)} does not fit the register ({self.dtype}).")
            if whole in self.sentinels:
                raise Rejected(f"{self._told(value)} would mean '{self.sentinels[whole]}'.")
            if self.dtype == "u16":
                return [whole]
            data = struct.pack(FORMATS[self.dtype], whole)
        registers = list(struct.unpack(f">{self.words}H", data))
        return registers if self.word_order == "big" else registers[::-1]

    def check_on_step(self, value: float) -> None:
        """Rejected, with the nearest values, for a finite value in `unit` that the register can only hold rounded."""
        if not self.step:
            return
        raw = (value - self.offset) / self.scale
        if abs(raw - round(raw)) <= STEP_TOLERANCE:
            return
        low, high = sorted(whole * self.scale + self.offset for whole in (math.floor(raw), math.ceil(raw)))
        step = f"{self.step:g} {self.unit}".rstrip()
        raise Rejected(
            f"{self._told(value)} is refused: it goes in steps of {step}, and the nearest are {low:.12g} and"
            f" {f'{high:.12g} {self.unit}'.rstrip()}."
        )

    def _told(self, value: float) -> str:
        """`name = value unit`, with all the figures that somebody may have meant."""
        return f"{self.name} = {value:.12g} {self.unit}".rstrip()

    def _ranged(self, low: float, high: float) -> str:
        return f"{low:g} to {high:g} {self.unit}".rstrip()

    def has(self, value: float, bit: str) -> bool:
        """Whether the named bit of a status value is set."""
        return bool(int(value) >> self.bits[bit] & 1)
