"""Faults of the computer that the host runs on: its disk, its clock, its process.

Points: `host.files`, whose events are all writes of a host, in order; `host.journal` and `host.telemetry`, those to one
file alone; `host`, the process itself. They are struck where a host's file-system port and its process are simulated.
"""

from __future__ import annotations

import errno

from hil_sim.world.faults.argument import BYTES_MAX, back_after, number, wait, whole, word
from hil_sim.world.faults.schedule import Kind

FILES, JOURNAL, TELEMETRY, HOST = "host.files", "host.journal", "host.telemetry", "host"
POINTS = (FILES, JOURNAL, TELEMETRY, HOST)

_WRITES = (FILES, JOURNAL, TELEMETRY)
_BACK = {"back_after_s": back_after("when another host resumes the run", 1.0)}
_RESUMED = (
    "the devices' own watchdogs make safe; the next host resumes from the journal and the machine's own word: every"
    " vector is exposed, none twice beyond the declared window"
)
_TESTS = "tests/test_faults_process.py::test_"

ERRNO = {"enospc": errno.ENOSPC, "eio": errno.EIO}
"""What a write meets that the disk refuses."""

KINDS: dict[str, Kind] = {
    "enospc": Kind(
        "the disk is full: nothing can grow; what has its room already can be written",
        _WRITES,
        {},
        "the record ends and is told of, control goes on in the journal's own room; without it the run stops safe",
        "1 write",
        _TESTS + "a_full_disk_costs_the_record_and_not_the_part",
        "at_event",
    ),
    "eio": Kind(
        "the disk answers a write with an error",
        _WRITES,
        {},
        "the record ends and is told of; a journal that cannot be written stops the run safe and is named",
        "1 write",
        _TESTS + "a_journal_that_cannot_be_written_stops_the_run_safe_and_is_named",
        "at_event",
    ),
    "slow_disk": Kind(
        "a write takes its time",
        _WRITES,
        {"delay_s": wait("how long each write takes", 0.2)},
        "lines wait for the journal; a beam that stood meanwhile is owned up to; for the record nobody waits, it ends"
        " and is told of when 8 MB of it wait",
        "1 layer",
        _TESTS + "a_slow_disk_is_waited_for",
        "at_event",
    ),
    "torn_write": Kind(
        "the host dies in the middle of a write, of which the beginning is on the disk",
        _WRITES,
        {"bytes": whole("how many bytes of it, modulo its length", 1, 0, BYTES_MAX), **_BACK},
        _RESUMED,
        "start of the next host",
        _TESTS + "a_torn_write_is_as_if_it_had_never_been_begun",
        "at_event",
    ),
    "crash": Kind(
        "the host dies as by kill -9, at a write or at a moment",
        (*_WRITES, HOST),
        {"when": word("at a write: before it or after it is on the disk", "before", "after"), **_BACK},
        _RESUMED,
        "start of the next host",
        _TESTS + "a_host_that_dies_at_a_write_is_followed_by_one_that_completes_the_part",
        "at_event",
    ),
    "clock_jump": Kind(
        "the computer's wall clock is set, and set right again at the end of the window",
        (HOST,),
        {"to_s": number("what it shows at the beginning, s since 1970", 0, 0, 4e9)},
        "nothing but labels: control goes by a clock that nobody sets",
        "-",
        _TESTS + "a_wall_clock_that_jumps_changes_nothing",
    ),
    "loop_blocked": Kind(
        "the host's event loop is held: nothing of it runs, the machine goes on",
        (HOST,),
        {},
        "the devices' own watchdogs make safe; the host sees on waking that the head went dark or a device is unheard",
        "on waking",
        _TESTS + "a_host_that_is_held_up_finds_the_machine_made_safe",
    ),
}
