"""Faults of Modbus units, struck in the slave per request. Points: the names of devices (`heater`, `beam`, ...); their
events are the requests that come to that unit whole, counted from 0, broadcasts left out.

A kind that needs a request of some sort (a write, an answer with a count) and is anchored at one of another sort
strikes the next that suits; `count` of them. Those anchored in time strike every request of their window that suits.
"""

from __future__ import annotations

from hil_sim.world.faults.argument import Arg, hex_bytes, wait, whole
from hil_sim.world.faults.schedule import Kind

RTU_UNITS = ("heater", "meter", "recoater", "piston", "conveyor", "supply", "pyranometer", "power")
TCP_UNITS = ("beam",)
UNITS = (*RTU_UNITS, *TCP_UNITS)

_SENT_AGAIN = (
    "the answer is refused, the line drained, and asked again where twice does no harm; else the device is lost"
)
_LOST = "the device counts as lost after three failed polls, or as stale; the run stops, safe, and names it"
_TESTED = "tests/test_faults_of_modbus.py::test_each_kind_changes_the_answer_as_it_says"
_PRINTED = "tests/test_faults_of_modbus_print.py::test_a_print_ends_well_and_says_why"


def _kind(
    models: str,
    args: dict[str, Arg] | None = None,
    reaction: str = _SENT_AGAIN,
    bound: str = "1 s",
    *,
    points: tuple[str, ...] = UNITS,
    test: str = _TESTED,
) -> Kind:
    return Kind(models, points, args or {}, reaction, bound, test, "at_request")


KINDS: dict[str, Kind] = {
    "no_reply": _kind("the request is carried out and its answer is lost"),
    "late_reply": _kind(
        "the answer comes late, by when the host may have given up and asked again",
        {"delay_s": wait("how late, beside the device's own delay", 0.5)},
        "the late answer is thrown away and is nobody's: neither that of the next request nor a second one",
    ),
    "double_reply": _kind(
        "the answer comes twice", {}, "the second is thrown away and is not taken for that of the next request"
    ),
    "wrong_unit": _kind("the answer bears another unit's address, all else is right"),
    "wrong_function": _kind("the answer bears another function code, its check is right"),
    "wrong_count": _kind("a read is answered with one register too few, a block write with another count"),
    "wrong_echo": _kind("a write is carried out and answered with another address"),
    "bad_crc": _kind("the answer's CRC is wrong", points=RTU_UNITS),
    "short_reply": _kind(
        "only the beginning of the answer comes", {"bytes": whole("how many bytes of it come", 3, 1, 300)}
    ),
    "noise_first": _kind(
        "bytes that nobody sent come right before the answer", {"hex": hex_bytes("the bytes", "00ff")}
    ),
    "wrong_transaction": _kind("the answer bears another transaction's number", points=TCP_UNITS),
    "exception": _kind(
        "the request is refused with an exception and not carried out",
        {"code": whole("the exception's code", 4, 1, 255)},
        "a poll is tried again at its next turn; a write that acts is reported with the code, and the run stops",
        "5 s",
    ),
    "busy": _kind(
        "this request and those behind it are answered with exception 6, server device busy",
        {"times": whole("how many requests in all", 2, 1, 1_000_000)},
        "asked again at the next turn; a write that acts is reported, and the run stops",
        "5 s",
    ),
    "stale": _kind(
        "reads are answered as they were answered before the fault began; writes are carried out",
        {},
        "a set-point or a move that does not show is found by reading back; a frozen measurement by the rules of its"
        " device (the heater's watch, the drive's arrival, the beam's emission)",
        "60 s",
        test=_PRINTED,
    ),
    "ignored_write": _kind(
        "a write is answered as if carried out, and is not",
        {},
        "every write that matters is read back; one that is not is renewed, or missed by the device's own watchdog",
        "12 s",
        test=_PRINTED,
    ),
    "unit_dead": _kind("the unit neither hears nor answers", {}, _LOST, "5 s", test=_PRINTED),
    "reboot": _kind(
        "the unit restarts: its registers are those of power-on, it is deaf meanwhile, and what it moved or"
        " heated is let go",
        {"off_s": wait("how long it is deaf", 1.0)},
        "found by what it then lacks (arming, homing, remote set-point); the run stops and nothing moves unhomed",
        "10 s",
        points=("heater", "meter", "beam", "recoater", "piston", "conveyor", "supply"),
        test=_PRINTED,
    ),
}
