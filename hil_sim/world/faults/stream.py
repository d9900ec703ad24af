"""Faults of a byte stream, struck per chunk where a wire delivers it. Points: `NAME.to_device`, `NAME.to_host`.

They strike on every lay of every wire: in memory, on a pty, on TCP, where they are what a serial-to-Ethernet gateway
with a bad line behind it does. Only `replug` knows a difference: what comes back on TCP has kept its address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hil_sim.world.faults.argument import BYTES_MAX, Arg, back_after, hex_bytes, number, seed, share, wait, whole
from hil_sim.world.faults.garble import draw, noisy, resampled
from hil_sim.world.faults.schedule import Fault, Kind

_WIRES = ("*.to_device", "*.to_host")
_SENT_AGAIN = "what was lost is noticed by checksum, number or silence, and sent again; never executed unverified"
_STOPPED = "the run stops with the lost line named; nothing moves before the device is identified anew"
_TESTED = "tests/test_wire_faults_print.py::test_a_stream_fault_on_the_bench_is_mended_or_stops_the_run"


def _kind(
    models: str, args: Mapping[str, Arg] = {}, reaction: str = _SENT_AGAIN, bound: str = "1 frame",
    counted: str | None = "at_chunk",
) -> Kind:  # fmt: skip
    return Kind(models, _WIRES, args, reaction, bound, _TESTED, counted)


_BYTE = whole("which byte of the chunk, modulo its length", 0, 0, BYTES_MAX)

KINDS: dict[str, Kind] = {
    "drop": _kind("the chunk is lost"),
    "flip": _kind(
        "one bit of the chunk is inverted",
        {"byte": _BYTE, "bit": whole("which bit of it", 0, 0, 7)},
    ),
    "noise": _kind(
        "bits of the chunk are inverted here and there: a cable beside a motor's",
        {"rate": share("how likely each bit is", 0.001), "seed": seed()},
    ),
    "baud": _kind(
        "the chunk is heard at another baud rate than it was sent with, and is another text altogether",
        {"factor": number("the listener's baud rate over the sender's", 2.0, 0.05, 20.0)},
        bound="6 s",  # a window of it is silence; the slowest meter's values are stale after 5 s
    ),
    "truncate": _kind("the end of the chunk is lost", {"bytes": whole("how many bytes of it", 1, 1, BYTES_MAX)}),
    "strip_eol": _kind("the last line end of the chunk is lost, so that its last line runs into the next chunk's"),
    "merge": _kind("all line ends in the chunk are lost, so that its lines run into each other"),
    "duplicate": _kind("the chunk comes twice"),
    "insert": _kind("bytes that nobody sent come before the chunk", {"hex": hex_bytes("the bytes", "00")}),
    "garbage": _kind(
        "random bytes come before the chunk: a plug that is pushed in, a bootloader that speaks at its own rate",
        {"bytes": whole("how many", 8, 1, BYTES_MAX), "seed": seed()},
        bound="4 s",  # a board says that it does not know a line when its turn has come, behind all that it holds
    ),
    "non_utf8": _kind(
        "a byte of the chunk becomes FF, which no text has",
        {"byte": _BYTE},
    ),
    "echo": _kind(
        "the chunk also comes back to its sender: an RS-485 adapter that hears itself, a terminal's echo",
        bound="5 s",
    ),
    "delay": _kind(
        "the chunk, and what follows it, comes late",
        {"delay_s": wait("how late", 0.1)},
        "the link waits within its time-out and asks again behind it; what comes late answers nothing else",
        "6 s",
    ),
    "split": _kind(
        "the chunk comes in two pieces",
        {
            "byte": whole("behind which byte it breaks, modulo its length", None, 0, BYTES_MAX, left_out="its half"),
            "gap_s": wait("the pause between", 0.02),
        },
        "a frame is whole when it is whole, not when a read ends; one that is torn by silence is asked for again",
    ),
    "swap": _kind(
        "the chunk comes behind the one that follows it: a gateway with two queues",
        {"wait_s": wait("how long it waits for one to follow", 0.25)},
    ),
    "stall": _kind(
        "nothing passes while it lasts, then all of it comes at once: an adapter or a network that holds its breath",
        {},
        "longer than a time-out it is a silence, and the run stops safe; nothing that comes late is taken for new",
        "6 s",
        None,
    ),
    "overrun": _kind(
        "nobody reads the receiver's ring while it lasts; it fills, what comes beyond is lost, then the rest comes",
        {"bytes": whole("how many the ring holds", 128, 0, BYTES_MAX)},
        bound="6 s",
        counted=None,
    ),
    "disconnect": _kind(
        "the line is cut in front of the chunk",
        {"back_after_s": back_after("when it can be opened again", 1.0)},
        _STOPPED,
        "2 s",
    ),
    "replug": _kind(
        "the plug is pulled in front of the chunk and comes back as another port; a by-id name finds it again",
        {"back_after_s": back_after("when it is back", 2.0)},
        _STOPPED,
        "2 s",
    ),
}

CARRIED_BY_WIRE = frozenset({"disconnect", "replug", "stall", "overrun", "split", "swap", "echo"})
"""Kinds that take more than the chunk: time, its neighbours, or the line itself."""


def strike_chunk(fault: Fault, chunk: bytes, n: int = 0) -> tuple[float, bytes]:
    """What comes of the `n`-th chunk of a point (never empty): (delay in s, bytes, possibly none).

    Raises ValueError for a kind of another family, for one that is the wire's to carry out, and for an argument that
    cannot be.
    """
    if fault.kind == "delay":
        return float(fault.arg("delay_s", 0.1)), chunk
    return 0.0, _struck(fault, chunk, n)


def _struck(fault: Fault, chunk: bytes, n: int) -> bytes:
    match fault.kind:
        case "drop":
            return b""
        case "flip":
            return _with_byte(fault, chunk, lambda byte: byte ^ (1 << (int(fault.arg("bit", 0)) % 8)))
        case "non_utf8":
            return _with_byte(fault, chunk, lambda byte: 0xFF)
        case "noise":
            return noisy(chunk, float(fault.arg("rate", 0.001)), _seed(fault, n))
        case "baud":
            return resampled(chunk, float(fault.arg("factor", 2.0)))
        case "truncate":
            return chunk[: max(0, len(chunk) - int(fault.arg("bytes", 1)))]
        case "strip_eol":
            return _without_last_line_end(chunk)
        case "merge":
            return chunk.translate(None, b"\r\n")
        case "duplicate":
            return chunk + chunk
        case "insert":
            return bytes.fromhex(str(fault.arg("hex", "00"))) + chunk
        case "garbage":
            return draw(_seed(fault, n), int(fault.arg("bytes", 8))) + chunk
    if fault.kind in CARRIED_BY_WIRE:
        raise ValueError(f"'{fault.kind}' at {fault.point} takes more than a chunk: the wire carries it out")
    raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of a byte stream; known are {', '.join(KINDS)}")


def split_at(fault: Fault, chunk: bytes) -> int:
    """Behind how many bytes a `split` breaks this chunk; 0 for one byte, which cannot break."""
    return int(fault.arg("byte", len(chunk) // 2)) % len(chunk)


def _with_byte(fault: Fault, chunk: bytes, change: Callable[[int], int]) -> bytes:
    place = int(fault.arg("byte", 0)) % len(chunk)
    return chunk[:place] + bytes((change(chunk[place]),)) + chunk[place + 1 :]


def _without_last_line_end(chunk: bytes) -> bytes:
    end = chunk.rfind(b"\n")
    if end < 0:
        return chunk
    begin = end - 1 if chunk[end - 1 : end] == b"\r" else end
    return chunk[:begin] + chunk[end + 1 :]


def _seed(fault: Fault, n: int) -> str:
    """Of this chunk's random numbers: another for every chunk, the same in every run."""
    return f"{fault.kind} {fault.point} {fault.arg('seed', 0)} {n}"
