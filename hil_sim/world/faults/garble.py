"""What a bad line makes of bytes, bit by bit: noise, another baud rate, bytes out of nowhere. Pure and repeatable."""

from __future__ import annotations

import math
import random

_DATA_BITS = 8
_FRAME_BITS = 10  # start, eight data bits from the lowest, stop


def draw(seed: str, count: int) -> bytes:
    """`count` bytes that nobody sent; the same for the same seed."""
    return random.Random(seed).randbytes(count)


def noisy(data: bytes, rate: float, seed: str) -> bytes:
    """`data` with each of its bits inverted with probability `rate`, 0 to 1; the same for the same seed."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"noise that inverts {rate} of the bits cannot be; give a rate from 0 to 1")
    if rate in (0.0, 1.0):
        return data if not rate else bytes(byte ^ 0xFF for byte in data)
    rng = random.Random(seed)
    struck = bytearray(data)
    place = _gap(rng, rate)
    while place < 8 * len(struck):
        struck[place >> 3] ^= 1 << (place & 7)
        place += 1 + _gap(rng, rate)
    return bytes(struck)


def _gap(rng: random.Random, rate: float) -> int:
    """How many bits come through in front of the next inverted one (drawn at once: noise is rare)."""
    return int(math.log(1.0 - rng.random()) / math.log(1.0 - rate))


def resampled(data: bytes, factor: float) -> bytes:
    """What a receiver makes of bytes that come without a pause while it listens at `factor` times their baud rate.

    A falling edge begins a byte; its bits are read in their middles by the receiver's own clock. A stop bit that is low
    is let pass (as a UART without error checks hands such a byte on), and the next edge is awaited. Raises ValueError
    for a factor outside 0.05 to 20.
    """
    if not 0.05 <= factor <= 20.0:
        raise ValueError(f"a receiver at {factor} times the baud rate of its sender makes no bytes; give 0.05 to 20")
    levels = [bit for byte in data for bit in (0, *(byte >> n & 1 for n in range(_DATA_BITS)), 1)]
    heard = bytearray()
    at = 0.0  # in bit times of the sender
    while (start := _falling_edge(levels, at)) is not None:
        bits = (_level(levels, start + (n + 1.5) / factor) for n in range(_DATA_BITS))
        heard.append(sum(bit << n for n, bit in enumerate(bits)))
        at = start + (_FRAME_BITS - 0.5) / factor
    return bytes(heard)


def _falling_edge(levels: list[int], since: float) -> int | None:
    """The first edge from high to low at `since` or later; the line is high in front of its bits."""
    for place in range(math.ceil(since), len(levels)):
        if not levels[place] and (place == 0 or levels[place - 1]):
            return place
    return None


def _level(levels: list[int], at: float) -> int:
    place = int(at)
    return levels[place] if place < len(levels) else 1
