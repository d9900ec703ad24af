"""A device's registers as a whole: which requests read what is wanted, which model it is, what guards it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from firmware_bridge.errors import BridgeError
from firmware_bridge.register_signals import Signal


class MapError(BridgeError):
    """A register map that cannot be used: which file, which key, and what would be right."""


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: `count` registers from `address`, and the signals in it.

    `plan`: each signal with where its registers begin and end in the reply. `retries`: how often the request may be
    repeated, as often as the most careful of its signals allows. `is_plain`: no signal needs another to be understood.
    """

    fc: int
    address: int
    count: int
    signals: tuple[Signal, ...]
    plan: tuple[tuple[Signal, int, int], ...] = field(init=False, repr=False, compare=False)
    retries: int = field(init=False, repr=False, compare=False)
    is_plain: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = ((signal, signal.address - self.address) for signal in self.signals)
        plan = tuple((signal, start, start + signal.words) for signal, start in starts)
        retries = min(0 if signal.read_once else signal.read_retries for signal in self.signals)
        object.__setattr__(self, "plan", plan)
        object.__setattr__(self, "retries", retries)
        is_plain = not any(signal.scale_from or signal.good_when for signal in self.signals)
        object.__setattr__(self, "is_plain", is_plain)


@dataclass(frozen=True)
class Identity:
    """A signal that tells the model: its value lies in low..high (equal for an id)."""

    signal: str
    low: float
    high: float


@dataclass(frozen=True)
class Variant:
    """One model of a family, told by a signal in low..high, and what its registers are scaled by."""

    model: str
    signal: str
    low: float
    high: float
    scales: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class RegisterMap:
    """A device's registers. `watchdog`: "device", or "none" and then `watchdog_why` says why that is safe.

    `needs_contactor`: it is safe only behind a contactor of its own. `variants`: not empty while it is not known which
    model answers; only what means the same on every model may be read or written then.
    """

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
    needs_contactor: bool = False
    variants: tuple[Variant, ...] = ()

    def signal(self, name: str) -> Signal:
        """The signal of that name. MapError naming the nearest if there is none."""
        if name not in self.signals:
            raise MapError(f"map {self.name} has no signal '{name}'{nearest(name, self.signals)}.")
        return self.signals[name]

    @cached_property
    def polled(self) -> tuple[Signal, ...]:
        """The signals that a poll reads."""
        return tuple(signal for signal in self.signals.values() if signal.poll)

    def is_open(self, signal: Signal) -> bool:
        """Whether what `signal` says still depends on which model answers."""
        return any(signal.name in variant.scales or signal.name in variant.ranges for variant in self.variants)

    def for_model(self, values: Mapping[str, float]) -> RegisterMap | None:
        """The map of the one model that the identifying `values` tell; None if no variant is that model."""
        if not self.variants:
            return self
        for variant in self.variants:
            if variant.low <= values.get(variant.signal, float("nan")) <= variant.high:
                signals = {
                    name: replace(
                        signal,
                        scale=variant.scales.get(name, signal.scale),
                        range=variant.ranges.get(name, signal.range),
                    )
                    for name, signal in self.signals.items()
                }
                return replace(self, model=variant.model, signals=signals, variants=())
        return None

    def blocks(self, signals: Iterable[Signal]) -> list[Block]:
        """The fewest requests that read `signals`: up to `max_words` each, gaps up to `max_gap`, never over a hole, and
        never over a register in between that reading changes."""
        wanted = self._with_companions(signals)
        avoided = [s for s in self.signals.values() if s.read_once and s.name not in wanted]
        blocks: list[Block] = []
        for signal in sorted(wanted.values(), key=lambda signal: (signal.fc, signal.address)):
            end = signal.address + signal.words
            if blocks:
                last = blocks[-1]
                reach = last.address + last.count
                if (
                    last.fc == signal.fc
                    and signal.address - reach <= self.max_gap
                    and end - last.address <= self.max_words
                    and not any(low < end and high >= reach for low, high in self.holes)
                    and not any(s.fc == signal.fc and reach <= s.address < signal.address for s in avoided)
                ):
                    count = max(reach, end) - last.address
                    blocks[-1] = Block(last.fc, last.address, count, (*last.signals, signal))
                    continue
            blocks.append(Block(signal.fc, signal.address, signal.words, (signal,)))
        return blocks

    def _with_companions(self, signals: Iterable[Signal]) -> dict[str, Signal]:
        """`signals` by name, and what they cannot be understood without: scales and states."""
        wanted = {signal.name: signal for signal in signals}
        for signal in list(wanted.values()):
            if signal.scale_from and not signal.scale_once:
                wanted[signal.scale_from] = self.signal(signal.scale_from)
            for condition in signal.good_when:
                wanted[condition.signal] = self.signal(condition.signal)
        return wanted

    def reply_delay_s(self, baud: int) -> float:
        """How long the device thinks before it answers at this baud rate (the entry at or below it, else the first)."""
        rates = sorted(self.reply_delay_ms)
        if not rates:
            return 0.0
        below = [rate for rate in rates if rate <= baud]
        return self.reply_delay_ms[below[-1] if below else rates[0]] * 1e-3


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` or ""."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
