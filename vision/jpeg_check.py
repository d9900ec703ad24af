"""Is a JPEG file whole? OpenCV decodes what is damaged without a word: grey or shifted blocks, another brightness.

    flaw = jpeg_flaw(jpeg)          # "" where nothing is wrong

A file is walked as its decoder would walk it (ITU-T T.81): the segments must be there and agree, every Huffman code of
the scan must exist, no block may run over its 64 coefficients, brightness must stay in its range, the last block must
end where the data end, filled up with ones, and the end mark must follow. Most flipped bits throw the codes out of step
and are found. What is not: a bit of a coefficient's own value (the next code begins where it should), one in a
quantisation table, and a damaged code that happens to end in step with as many blocks. Cameras send no checksum with
their pictures; one that does (`Content-MD5`, `Digest`) is checked in `firmware_bridge.links.http_snapshot`. Of a
progressive file, which none of the cameras that were looked at makes, the segments alone are checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

SEGMENTS_MAX = 1000  # a picture has about ten
SIDE_PX_MAX = 20_000
SOI, EOI, SOS, DQT, DHT, DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
FRAMES = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, 0xCC}
DC_BITS_MAX, AC_BITS_MAX = 11, 10  # of 8-bit samples
DC_RANGE = 1024  # of a block's mean, less 128 and times 8
_SAYS = {
    1: "its data end in the middle of a block",
    2: "its data hold a code that does not exist",
    3: "a block has more than 64 coefficients",
    4: "a coefficient is larger than 8-bit pictures have",
    5: "its brightness leaves the range that there is",
    6: "its data go on behind the last block",
    7: "a restart mark is missing or out of turn",
}

Codes = NDArray[np.int16]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass
class _File:
    """What the segments in front of the scan say."""

    quantisers: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    tables: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)  # (class, number) -> its codes
    restart_every: int = 0
    frame: int = 0
    size_px: tuple[int, int] = (0, 0)
    components: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # id -> across, down, quantiser


class _Flawed(Exception):
    """The file breaks a rule; the text says which."""


@lru_cache(maxsize=16)
def jpeg_flaw(jpeg: bytes) -> str:
    """What is wrong with a JPEG file, as the end of a sentence; empty where nothing is. Never raises for its bytes.

    The last few files are remembered: runs of a campaign's seed show the same pictures until they part."""
    try:
        _check(jpeg)
    except _Flawed as flaw:
        return str(flaw)
    except (IndexError, ValueError):
        return "a segment ends too early"
    return ""


def _check(jpeg: bytes) -> None:
    if jpeg[:2] != bytes((0xFF, SOI)):
        raise _Flawed("it does not begin as a JPEG")
    file, at = _File(), 2
    for _ in range(SEGMENTS_MAX):
        while jpeg[at] == 0xFF and jpeg[at + 1] == 0xFF:  # fill bytes
            at += 1
        if jpeg[at] != 0xFF:
            raise _Flawed(f"there is no mark at byte {at}, where a segment ends")
        marker = jpeg[at + 1]
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        body = jpeg[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise _Flawed("a segment is longer than the file")
        at += 2 + length
        if marker == SOS:
            _check_scan(file, body, jpeg, at)
            return
        if marker in (SOI, EOI) or marker < 0xC0:
            raise _Flawed(f"the mark {marker:#04x} stands where none may")
        _note(file, marker, body)
    raise _Flawed(f"it has more than {SEGMENTS_MAX} segments")


def _note(file: _File, marker: int, body: bytes) -> None:
    """Take in what a segment says; those of the application and comments say nothing."""
    if marker == DQT:
        while body:
            wide, number = body[0] >> 4, body[0] & 15
            size = 64 * (1 + wide)
            if wide > 1 or number > 3 or len(body) < 1 + size:
                raise _Flawed("a quantisation table is none")
            values = np.frombuffer(body[1 : 1 + size], np.dtype(">u2") if wide else np.uint8).astype(np.int64)
            if not values.all():
                raise _Flawed("a quantisation table holds a 0")
            file.quantisers[number], body = values, body[1 + size :]
    elif marker == DHT:
        while body:
            kind, number, counts = body[0] >> 4, body[0] & 15, body[1:17]
            size = 17 + sum(counts)
            if kind > 1 or number > 3 or len(counts) < 16 or len(body) < size:
                raise _Flawed("a table of codes is none")
            file.tables[kind, number], body = (counts, body[17:size]), body[size:]
    elif marker == DRI:
        if len(body) != 2:
            raise _Flawed("its restart interval is none")
        file.restart_every = int.from_bytes(body, "big")
    elif marker in FRAMES:
        _note_frame(file, marker, body)


def _note_frame(file: _File, marker: int, body: bytes) -> None:
    if file.frame:
        raise _Flawed("it has two frame headers")
    file.frame = marker
    height, width, count = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
    if body[0] != 8 or not (0 < width <= SIDE_PX_MAX and 0 < height <= SIDE_PX_MAX) or len(body) != 6 + 3 * count:
        raise _Flawed(f"its frame header says {width} x {height} pixels of {body[0]} bits in {count} colours")
    file.size_px = (width, height)
    for n in range(count):
        number, sampling, quantiser = body[6 + 3 * n : 9 + 3 * n]
        across, down = sampling >> 4, sampling & 15
        if not (1 <= across <= 4 and 1 <= down <= 4) or quantiser not in file.quantisers:
            raise _Flawed("its frame header names what is not there")
        file.components[number] = (across, down, quantiser)


def _check_scan(file: _File, body: bytes, jpeg: bytes, at: int) -> None:
    """The scan header, and the data behind it up to the end of the file."""
    if not file.frame:
        raise _Flawed("it has no frame header")
    if jpeg.rfind(bytes((0xFF, EOI)), at) < 0:
        raise _Flawed("its end mark is missing")
    if file.frame == PROGRESSIVE:
        return
    if file.frame not in SEQUENTIAL:
        raise _Flawed(f"its coding ({file.frame:#04x}) is one that no decoder here knows")
    count = body[0]
    if count != len(file.components) or len(body) != 4 + 2 * count or body[-3:] != b"\x00\x3f\x00":
        raise _Flawed("its scan header does not fit its frame header")
    blocks: list[tuple[int, int, int]] = []  # of one unit: component, its two tables
    tables: list[tuple[bytes, bytes]] = []
    quantisers = []
    across_max = max(across for across, _, _ in file.components.values())
    down_max = max(down for _, down, _ in file.components.values())
    for n in range(count):
        number, chosen = body[1 + 2 * n], body[2 + 2 * n]
        dc, ac = file.tables.get((0, chosen >> 4)), file.tables.get((1, chosen & 15))
        if number not in file.components or dc is None or ac is None:
            raise _Flawed("its scan header names what is not there")
        across, down, quantiser = file.components[number]
        if count == 1:
            across = down = across_max = down_max = 1  # a single colour is not interleaved
        quantisers.append(int(file.quantisers[quantiser][0]))
        blocks += [(n, len(tables), len(tables) + 1)] * (across * down)
        tables += [dc, ac]
    width, height = file.size_px
    units = -(-width // (8 * across_max)) * -(-height // (8 * down_max))
    code, behind = _decode(
        np.frombuffer(jpeg, np.uint8)[at:], units, file.restart_every, np.array(blocks, np.int64),
        _look_ups(tuple(tables)), np.array(quantisers, np.int64),
    )  # fmt: skip
    if code:
        raise _Flawed(_SAYS[int(code)])
    if jpeg[at + int(behind) : at + int(behind) + 2] != bytes((0xFF, EOI)):
        raise _Flawed("its end mark does not follow its last block")


@lru_cache(maxsize=4)  # a camera's tables are mostly the same in all its pictures
def _look_ups(tables: tuple[tuple[bytes, bytes], ...]) -> Codes:
    return np.stack([_look_up(counts, symbols) for counts, symbols in tables])


def _look_up(counts: bytes, symbols: bytes) -> Codes:
    """By the next 16 bits: length * 256 + symbol, -1 where there is no such code (T.81, annex C)."""
    table = np.full(1 << 16, -1, np.int16)
    code = taken = 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[taken : taken + count]:
            first = code << (16 - length)
            if first + (1 << (16 - length)) > 1 << 16:
                raise _Flawed("a table of codes has more than there can be")
            table[first : first + (1 << (16 - length))] = length * 256 + symbol
            code += 1
        taken += count
        code <<= 1
    return table


@njit(cache=True)
def _decode(
    data: Bytes, units: int, restart_every: int, blocks: Ints, tables: Codes, quantisers: Ints
) -> tuple[int, np.int64]:  # pragma: no cover
    """Walk the codes of a sequential scan. Returns (what is wrong as in _SAYS or 0, bytes taken)."""
    at, held, bits = np.int64(0), np.int64(0), np.int64(0)
    n = len(data)
    means = np.zeros(len(quantisers), np.int64)
    restart = 0
    for unit in range(units):
        if restart_every and unit and unit % restart_every == 0:
            if bits >= 8 or (held & ((1 << bits) - 1)) != (1 << bits) - 1:
                return 7, at
            if at + 1 >= n or data[at] != 0xFF or data[at + 1] != 0xD0 + restart:
                return 7, at
            at, held, bits = at + 2, np.int64(0), np.int64(0)
            restart = (restart + 1) % 8
            means[:] = 0
        for b in range(len(blocks)):
            component = blocks[b, 0]
            index = np.int64(0)
            while index < 64:
                while bits <= 32 and at < n:  # 16 of a code and up to 15 of its value
                    byte = np.int64(data[at])
                    if byte == 0xFF:
                        if at + 1 >= n or data[at + 1] != 0:
                            break  # a mark: never past it
                        at += 1
                    held = ((held << 8) | byte) & 0xFF_FFFF_FFFF
                    bits += 8
                    at += 1
                ahead = (held >> (bits - 16) if bits >= 16 else (held << (16 - bits))) & 0xFFFF
                entry = np.int64(tables[blocks[b, 1] if index == 0 else blocks[b, 2], ahead])
                if entry < 0:
                    return (1 if bits < 16 else 2), at
                length, symbol = entry >> 8, entry & 255
                size = symbol if index == 0 else symbol & 15
                if length + size > bits:
                    return 1, at
                bits -= length
                value = np.int64(0)
                if size:
                    bits -= size
                    value = (held >> bits) & ((1 << size) - 1)
                    if value < 1 << (size - 1):
                        value -= (1 << size) - 1
                if index == 0:
                    if size > DC_BITS_MAX:
                        return 4, at
                    means[component] += value
                    if abs(means[component] * quantisers[component]) > DC_RANGE + quantisers[component]:
                        return 5, at
                    index = np.int64(1)
                elif size == 0:
                    run = symbol >> 4
                    if run == 15:
                        index += 16
                    elif run == 0:
                        break
                    else:
                        return 2, at
                    if index > 63:
                        return 3, at
                else:
                    if size > AC_BITS_MAX:
                        return 4, at
                    index += symbol >> 4
                    if index > 63:
                        return 3, at
                    index += 1
    if bits >= 8:
        return 6, at
    if (held & ((1 << bits) - 1)) != (1 << bits) - 1:
        return 6, at
    return 0, at
