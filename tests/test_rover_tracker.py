"""Does the tracker's line survive the wire, and is a damaged one never half believed?"""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices.tracker import Tracker
from firmware_bridge.errors import LinkTimeout
from firmware_bridge.links.tracker_lines import TrackerLink, parse_fix, parse_line, tracker_line
from firmware_bridge.signals import Quality
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.tracker import TrackerEmulator
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import lay_virtual

GOLDEN = b"$MKTRK,412,123450,12.0312,-4.5520,0.1180,1.57080,0.0500,0*7A83"


def station(sigma_m: float = 0.0) -> TrackerEmulator:
    return TrackerEmulator(
        lambda t_s: (0.1 * t_s, -2.0, 0.25, 0.5), random.Random(1), sigma_m=sigma_m, sigma_heading_rad=0.0
    )


async def opened(emulator: TrackerEmulator, faults: FaultSchedule | None = None) -> TrackerLink:
    wire = await lay_virtual("tracker", emulator, baud=115200, faults=faults)
    return await TrackerLink.open(f"{wire.url}?baud=115200")


def test_the_documented_line_is_read_as_documented() -> None:
    name, fields = parse_line(GOLDEN) or (b"", [])
    fix = parse_fix(fields, 7.0)
    assert name == b"MKTRK" and fix is not None
    assert (fix.seq, fix.device_ms, fix.x_m, fix.y_m, fix.z_m) == (412, 123450, 12.0312, -4.552, 0.118)
    assert (fix.heading_rad, fix.sigma_m, fix.heard_s) == (1.5708, 0.05, 7.0)


@given(at=st.integers(0, len(GOLDEN) - 1), bit=st.integers(0, 7))
def test_one_flipped_bit_is_always_seen(at: int, bit: int) -> None:
    damaged = bytearray(GOLDEN)
    damaged[at] ^= 1 << bit
    assert parse_line(bytes(damaged)) is None


@given(st.binary(max_size=200))
def test_noise_is_no_line(noise: bytes) -> None:
    parsed = parse_line(noise)
    assert parsed is None or tracker_line(parsed[0], tuple(parsed[1])).rstrip() == noise.rstrip(b"\r")


NO_FIXES = (
    b"1,2,3,4,5,6,0.1,2",
    b"1,2,nan,4,5,6,0.1,0",
    b"1,2,3,4,5,9,0.1,0",
    b"1,2,3,4,5,6,0,0",
    b"1,2,,4,5,6,0.1,0",
    b"1,2,3,4",
    b"x,2,3,4,5,6,0.1,0",
    b"1,2,3e5,4,5,6,0.1,0",
)


@pytest.mark.parametrize("fields", NO_FIXES)
def test_fields_that_are_no_fix_are_refused(fields: bytes) -> None:
    with pytest.raises(ValueError):
        parse_fix(fields.split(b","), 0.0)


def test_fixes_stream_over_the_wire_at_the_rate_that_was_set() -> None:
    async def main(loop):
        link = await opened(station())
        tracker = Tracker(link)
        assert (await tracker.identify())["model"] == "moonkiln-tracker"
        await tracker.configure(5)
        before, start_s = link.counters.fixes, loop.time()
        await asyncio.sleep(10.0)
        readings = await tracker.poll()
        assert abs(link.counters.fixes - before - 50) <= 1
        assert readings["x_m"].quality is Quality.GOOD
        assert abs(readings["x_m"].value - 0.1 * loop.time()) < 0.025
        assert loop.time() - readings["x_m"].time_s <= 0.2 and start_s > 0
        link.close()

    run_virtual(main)


def test_a_station_that_searches_gives_stale_readings_with_their_old_time() -> None:
    async def main(loop):
        emulator = station()
        link = await opened(emulator)
        await asyncio.sleep(1.0)
        emulator.lose_sight(5.0)
        await asyncio.sleep(2.0)
        reading = (await Tracker(link).poll())["x_m"]
        assert reading.quality is Quality.STALE and reading.time_s < 1.2
        await asyncio.sleep(3.0)
        assert (await Tracker(link).poll())["x_m"].quality is Quality.GOOD
        link.close()

    run_virtual(main)


def test_before_the_first_fix_everything_is_bad() -> None:
    async def main(loop):
        link = await opened(station())
        assert {r.quality for r in (await Tracker(link).poll()).values()} == {Quality.BAD}
        link.close()

    run_virtual(main)


@pytest.mark.parametrize("seed", range(20))
def test_a_wire_that_damages_gives_true_fixes_or_none(seed: int) -> None:
    async def main(loop):
        rng = random.Random(seed)
        faults = FaultSchedule(
            tuple(
                Fault(rng.choice(["flip", "drop", "duplicate"]), "tracker.to_host", at_chunk=rng.randrange(200))
                for _ in range(20)
            )
        )
        link = await opened(station(), faults)
        seen = 0
        for _ in range(200):
            await asyncio.sleep(0.1)
            if (fix := link.latest) is not None:
                seen += 1
                assert abs(fix.x_m - fix.device_ms * 1e-4) < 2e-4 and fix.y_m == -2.0
        assert seen > 150 and link.counters.damaged + link.counters.lost > 0
        link.close()

    run_virtual(main, seed=seed)


def test_nothing_that_answers_is_a_sentence() -> None:
    class Mute:
        def attach(self, send):
            return self

        def received(self, data):
            pass

        def closed(self):
            pass

    async def main(loop):
        wire = await lay_virtual("mute", Mute())
        link = await TrackerLink.open(wire.url)
        with pytest.raises(LinkTimeout, match="is a tracker connected there"):
            await Tracker(link).identify()
        link.close()

    run_virtual(main)
