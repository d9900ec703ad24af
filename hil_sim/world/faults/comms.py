"""Faults of a network connection, which a serial line does not have. Points of a TCP wire, in memory or on a socket:
`NAME.connection` (its events are the chunks of all its connections, either way) and `NAME.listener` (its events are
the connections that hosts try to make).
"""

from __future__ import annotations

from hil_sim.world.faults.argument import wait
from hil_sim.world.faults.schedule import Fault, Kind

_CONNECTION = ("*.connection",)
_TESTED = "tests/test_wire_faults_print.py::test_a_network_fault_on_the_bench_is_mended_or_stops_the_run"

KINDS: dict[str, Kind] = {
    "half_open": Kind(
        "the far end has forgotten the connection and nobody says so: its bytes vanish both ways, and what was lost is "
        "never made up; behind the window the next byte from the host is answered with a reset, at a chunk never",
        _CONNECTION,
        {},
        "the link's own time-out finds it out; the device's watchdog turns the beam off meanwhile; the run stops safe",
        "6 s",
        _TESTED,
        "at_chunk",
    ),
    "reset_connection": Kind(
        "the far end resets the connection in front of the chunk; a new one can be made at once",
        _CONNECTION,
        {},
        "the run stops with the lost connection named; nothing fires before the device is identified anew",
        "2 s",
        _TESTED,
        "at_chunk",
    ),
    "latency": Kind(
        "every chunk comes that much later, in order",
        _CONNECTION,
        {"delay_s": wait("how much later", 0.1)},
        "below the time-out nothing but time is lost; beyond it the run stops safe, and no late answer is taken for "
        "another's",
        "6 s",
        _TESTED,
        "at_chunk",
    ),
    "refuse": Kind(
        "no new connection is accepted; those that stand go on",
        ("*.listener",),
        {},
        "the host says who refuses it, before anything moves",
        "6 s",
        _TESTED,
        "at_event",
    ),
}


def latency_s(fault: Fault) -> float:
    """How much later a chunk comes under a `latency`."""
    return max(0.0, float(fault.arg("delay_s", 0.1)))
