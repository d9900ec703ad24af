"""RepRapFirmware's strong line framing: a CRC-16 in five digits where Marlin's lines have an 8-bit XOR. No I/O.

A line is `N<number> <command>*<five digits>`. The CRC runs over every byte from the N to the one before the `*`: the
polynomial 0x1021, from 0, not reflected, nothing xored at the end (known as CRC-16/XMODEM). RepRapFirmware 3.4 and
later takes exactly five digits for a CRC, one to three for an XOR checksum, and any other count for a wrong one; so
the number is always padded. Each error of one or two bits and each burst of up to 16 is found.

It is used like `line_framing`: same names, same arguments. What the firmware does with a wrong line differs, though:
RepRapFirmware does not require that numbers follow each other, and 3.x drops a line with a wrong CRC without a word
(no ok, no Resend). Whoever streams with this framing must miss the ok; Marlin's proof by line order does not hold.

Sources: Duet3D/RepRapFirmware, src/GCodes/GCodeBuffer/StringParser.cpp (Put: reset to 0 at the N, every byte up to the
`*` added; LineFinished: five characters are a CRC, a line that fails is dropped) and src/Storage/CRC16.h (table and
start value); the maintainer's word in Duet3D/PanelDueFirmware #254.
"""

from __future__ import annotations

import re
from binascii import crc_hqx

LINE_BYTES_MAX = 200
"""Well under RepRapFirmware's longest G-code line (256 bytes)."""

FRAME_BYTES_MAX = 20
_BODY = re.compile(rb"N(\d{1,9}) ?(.*)", re.DOTALL)
_CHECK = re.compile(rb"\d{5}")
_SENDABLE = re.compile(rb"[A-Z][\x20-\x29\x2b-\x3a\x3c-\x7a\x7c\x7e]*")  # printable ASCII without * ; { }


def crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x1021 from 0 (0..65535); of b"123456789": 0x31C3."""
    return crc_hqx(data, 0)


def frame_line(number: int, line: bytes, *, guard: bool = True) -> bytes:
    """`line` with number and CRC, ready for the wire; with `guard` an empty line follows it, which gives no ok."""
    body = b"N%d %b" % (number, line)
    return b"%b*%05d\n%b" % (body, crc_hqx(body, 0), b"\n" if guard else b"")


def unframe_line(framed: bytes) -> tuple[int, bytes]:
    """Number and command of one framed line (line ends stripped). ValueError if the CRC is absent or wrong."""
    body, star, digits = framed.strip(b"\r\n").rpartition(b"*")
    if not star:
        raise ValueError(f"{framed!r} has no CRC")
    if _CHECK.fullmatch(digits) is None:
        raise ValueError(f"{framed!r}: a CRC has exactly five digits")
    if int(digits) != crc16(body):
        raise ValueError(f"{framed!r}: the CRC should be {crc16(body):05d}")
    match = _BODY.fullmatch(body)
    if match is None:
        raise ValueError(f"{framed!r} has no line number")
    return int(match[1]), match[2]


def unsendable(line: bytes) -> str | None:
    """Why `line` (a bare command) must not be sent, as the end of a sentence; None if it may."""
    if not line.strip():
        return "it is empty, and firmware gives no ok for an empty line"
    if _SENDABLE.fullmatch(line) is None or line.count(b'"') % 2:
        return (
            "it holds bytes that no G-code line may hold (line ends, '*', ';', braces, an open quote, small start or "
            "non-ASCII): the CRC would be taken for a part of it"
        )
    if len(line) > LINE_BYTES_MAX - FRAME_BYTES_MAX:
        return f"it is {len(line)} bytes long; {LINE_BYTES_MAX - FRAME_BYTES_MAX} are the most that is sent"
    return None
