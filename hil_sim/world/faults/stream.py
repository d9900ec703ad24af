"""Faults of a byte stream, struck per chunk where a wire delivers it. Points: `NAME.to_device`, `NAME.to_host`."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

_WIRES = ("*.to_device", "*.to_host")
_SENT_AGAIN = "what was lost is noticed by checksum, number or silence, and sent again; never executed unverified"
_TESTED = "tests/test_faults.py::test_every_kind_of_the_stream_catalogue_is_carried_out"


def _kind(models: str, args: dict[str, str], reaction: str = _SENT_AGAIN, bound: str = "1 frame") -> Kind:
    return Kind(models, _WIRES, args, reaction, bound, _TESTED, "at_chunk")


KINDS: dict[str, Kind] = {
    "drop": _kind("the chunk is lost", {}),
    "flip": _kind(
        "one bit of the chunk is inverted",
        {"byte": "which byte of the chunk, modulo its length (0)", "bit": "which bit of it, 0 to 7 (0)"},
    ),
    "duplicate": _kind("the chunk comes twice", {}),
    "merge": _kind("the line ends in the chunk are lost, so that its lines run into each other", {}),
    "delay": _kind("the chunk, and what follows it, comes late", {"delay_s": "how late, s (0.1)"}),
    "insert": _kind("bytes that nobody sent come before the chunk", {"hex": "the bytes, in hex ('00')"}),
    "disconnect": _kind(
        "the line is cut in front of the chunk",
        {"back_after_s": "when it can be opened again, s; negative: never (1.0)"},
        "the run stops with the lost line named; nothing moves before the device is identified anew",
        "2 s",
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
