"""Faults of a byte stream, struck per chunk where a wire delivers it. Points: `NAME.to_device`, `NAME.to_host`."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

_WIRES = ("*.to_device", "*.to_host")

KINDS: dict[str, Kind] = {
    "drop": Kind("the chunk is lost", _WIRES, {}),
    "flip": Kind(
        "one bit of the chunk is inverted",
        _WIRES,
        {"byte": "which byte of the chunk, modulo its length (0)", "bit": "which bit of it, 0 to 7 (0)"},
    ),
    "duplicate": Kind("the chunk comes twice", _WIRES, {}),
    "merge": Kind("the line ends in the chunk are lost, so that its lines run into each other", _WIRES, {}),
    "delay": Kind("the chunk, and what follows it, comes late", _WIRES, {"delay_s": "how late, s (0.1)"}),
    "insert": Kind("bytes that nobody sent come before the chunk", _WIRES, {"hex": "the bytes, in hex ('00')"}),
    "disconnect": Kind(
        "the line is cut in front of the chunk",
        _WIRES,
        {"back_after_s": "when it can be opened again, s; negative: never (1.0)"},
    ),
}


def strike_chunk(fault: Fault, chunk: bytes) -> tuple[float, bytes]:
    """What comes of `chunk`: (delay in s, bytes, possibly none). `disconnect` is the wire's to carry out."""
    if fault.kind == "drop" or fault.kind == "disconnect":
        return 0.0, b""
    if fault.kind == "flip":
        place = int(fault.arg("byte", 0)) % len(chunk)
        flipped = chunk[place] ^ (1 << (int(fault.arg("bit", 0)) % 8))
        return 0.0, chunk[:place] + bytes((flipped,)) + chunk[place + 1 :]
    if fault.kind == "duplicate":
        return 0.0, chunk + chunk
    if fault.kind == "merge":
        return 0.0, chunk.translate(None, b"\r\n")
    if fault.kind == "delay":
        return float(fault.arg("delay_s", 0.1)), chunk
    if fault.kind == "insert":
        return 0.0, bytes.fromhex(str(fault.arg("hex", "00"))) + chunk
    raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of a byte stream; known are {', '.join(KINDS)}")
