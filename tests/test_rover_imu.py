"""Does the inertial unit's stream survive a hostile wire, and is a damaged frame never a value?"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.devices.imu import Imu, status_words
from firmware_bridge.errors import LinkError, LinkTimeout, Rejected, Unverified, WrongModel
from firmware_bridge.links.imu_frames import LENGTHS, SAMPLE, ImuDeframer, ImuLink, crc16, imu_frame, sample_of
from firmware_bridge.signals import LimitState, Quality
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.imu import ImuEmulator, Truth, checksum, packed
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import Wire, lay_virtual

GOLDEN = bytes.fromhex("a75c16539c0180bb7d000004aeff001000 0233ff7b06d0f800009a32")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "imu-frame.md"
GYRO, FORCE = (0.25, -0.125, 0.5), (0.25, -0.5, 1.625)  # whole steps


def virtually(main: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    run_virtual(main)


def unit(truth: Truth = lambda t_s: (GYRO, FORCE), *, rate_hz: int = 50, temp_c: float = 20.0) -> ImuEmulator:
    """Without bias and noise."""
    return ImuEmulator(
        truth,
        random.Random(1),
        temp_c=lambda t_s: temp_c,
        gyro_sigma_rad_s=0.0,
        accel_sigma_m_s2=0.0,
        rate_hz=rate_hz,
    )


async def opened(emulator: object, faults: FaultSchedule | None = None) -> tuple[ImuLink, Wire]:
    wire = await lay_virtual("imu", emulator, baud=115200, faults=faults)  # type: ignore[arg-type]
    return await ImuLink.open(f"{wire.url}?baud=115200"), wire


def frame(seq: int, last: int = 0) -> bytes:
    return packed(SAMPLE, struct.pack("<HI7hH", seq, seq * 20000, 1, 2, 3, 4, 5, 6, last, 0))


def read(data: bytes, cuts: list[int] | None = None) -> list[tuple[int, bytes]]:
    deframer = ImuDeframer()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    return [found for low, high in itertools.pairwise(edges) for found in deframer.feed(data[low:high])]


def test_the_documented_frame_is_read_as_documented() -> None:
    assert GOLDEN.hex(" ") in PAGE.read_text(encoding="utf-8")
    ((kind, payload),) = read(GOLDEN)
    sample = sample_of(payload, 7.0)
    assert kind == SAMPLE and sample is not None
    assert (sample.seq, sample.device_us, sample.status, sample.heard_s) == (412, 8_240_000, 0, 7.0)
    assert sample.gyro_rad_s == pytest.approx((0.125, -0.01001, 0.5), abs=1e-5)
    assert sample.accel_m_s2 == pytest.approx((0.5, -0.2002, 1.6201), abs=1e-4)
    assert sample.temp_c == pytest.approx(-18.4)


def test_the_check_value_of_the_crc_and_the_two_ways_to_it() -> None:
    assert crc16(b"123456789") == checksum(b"123456789") == 0x29B1
    assert imu_frame(0xD2, b"\x32\x00\x01") == packed(0xD2, b"\x32\x00\x01")
    with pytest.raises(ValueError, match="payload"):
        imu_frame(0xD2, b"")
    pairs = itertools.combinations(LENGTHS.items(), 2)
    assert min((a ^ c).bit_count() + (b ^ d).bit_count() for (a, b), (c, d) in pairs) >= 5


@given(bits=st.sets(st.integers(0, 8 * len(GOLDEN) - 1), min_size=1, max_size=3))
def test_up_to_three_flipped_bits_are_always_seen(bits: set[int]) -> None:
    damaged = bytearray(GOLDEN)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    assert read(bytes(damaged)) == []


@given(start=st.integers(0, len(GOLDEN) - 3), burst=st.integers(1, 0xFFFF))
def test_a_burst_of_sixteen_bits_is_always_seen(start: int, burst: int) -> None:
    damaged = bytearray(GOLDEN)
    damaged[start] ^= burst >> 8
    damaged[start + 1] ^= burst & 0xFF
    assert read(bytes(damaged)) == []


NOISE = st.binary(max_size=80).filter(lambda noise: b"\xa7\x5c\x16\x53" not in noise)


@settings(max_examples=150)
@given(
    pieces=st.lists(
        st.tuples(NOISE, st.sampled_from(["whole", "cut", "flip", "none"]), st.integers(1, 27)), max_size=8
    ),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
)
def test_noise_and_splits_lose_no_whole_frame_and_make_no_other(
    pieces: list[tuple[bytes, str, int]], cuts: list[int]
) -> None:
    """Resynchronised at once: a whole frame is found whatever stood before it, also in the head of a torn one."""
    data, sent = b"", []
    for seq, (noise, what, at) in enumerate(pieces):
        data += noise
        whole = frame(seq)
        if what == "whole":
            data += whole
            sent.append(seq)
        elif what == "cut":
            data += whole[:at]
        elif what == "flip":
            data += whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :]
    found = read(data + bytes(40), cuts)
    assert [struct.unpack("<H", payload[:2])[0] for kind, payload in found if kind == SAMPLE] == sent


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_what_is_accepted_of_pure_noise_has_a_true_crc(chunks: list[bytes]) -> None:
    deframer, heard = ImuDeframer(), b"".join(chunks)
    for chunk in chunks:
        for kind, payload in deframer.feed(chunk):
            assert imu_frame(kind, payload) in heard
    assert len(deframer._rest) < 28  # bounded, whatever comes


def test_a_meaningless_status_bit_is_no_sample() -> None:
    payload = struct.pack("<HI7hH", 1, 2, 0, 0, 0, 0, 0, 0, 0, 0x8000)
    assert sample_of(payload, 0.0) is None


def test_means_and_the_newest_at_the_rate_that_was_set() -> None:
    async def main(loop: VirtualLoop) -> None:
        times: list[float] = []

        def truth(t_s: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
            times.append(t_s)
            return (0.25, 0.0, t_s / 8), FORCE

        emulator = unit(truth, temp_c=-12.5)
        link, wire = await opened(emulator)
        imu = Imu(link)
        identity = await imu.identify()
        assert (identity.model, identity.rate_max_hz, identity.gyro_range_rad_s) == (0x4D49, 200, 3.9)
        for rate_hz in (20, 50, 200):
            await imu.configure(rate_hz)
            assert emulator.rate_hz == rate_hz
            await asyncio.sleep(0.1)
            await imu.poll()
            await asyncio.sleep(1.0)
            readings = await imu.poll()
            count = int(readings["samples"].value)
            assert abs(count - rate_hz) <= 1
            newest_s = max(t_s for t_s in times if t_s <= loop.time() - 0.003)  # the rest is still on the wire
            behind = times.index(newest_s) + 1
            mean_s = sum(times[behind - count : behind]) / count
            assert readings["gyro_z_rad_s"].value == pytest.approx(mean_s / 8, abs=1e-4)
            assert readings["latest_gyro_z_rad_s"].value == pytest.approx(newest_s / 8, abs=1e-4)
            assert readings["gyro_x_rad_s"].value == 0.25
            assert [readings[f"accel_{axis}_m_s2"].value for axis in "xyz"] == list(FORCE)
            assert readings["temp_c"].value == -12.5 and readings["lost"].value == 0
            assert {reading.quality for reading in readings.values()} == {Quality.GOOD}
            assert loop.time() - readings["gyro_x_rad_s"].time_s <= 1.1 / rate_hz + 0.01
            assert readings["device_s"].value == pytest.approx(newest_s, abs=1e-5)
        assert link.damaged == link.counters.lost == link.counters.foreign == 0
        await imu.safe()
        link.close()
        wire.close()

    virtually(main)


def test_bias_and_noise_are_those_of_the_seed() -> None:
    async def values(seed: int) -> list[float]:
        emulator = ImuEmulator(
            lambda t_s: (GYRO, FORCE), random.Random(seed), gyro_bias_rad_s=(0.01, 0.0, 0.0), gyro_sigma_rad_s=0.01
        )
        link, wire = await opened(emulator)
        await asyncio.sleep(4.0)
        samples, _ = link.take()
        link.close()
        wire.close()
        return [sample.gyro_rad_s[0] for sample in samples]

    async def main(loop: VirtualLoop) -> None:
        seen = await values(3)
        assert seen == await values(3) != await values(4)
        mean = sum(seen) / len(seen)
        sigma = math.sqrt(sum((value - mean) ** 2 for value in seen) / len(seen))
        assert mean == pytest.approx(0.26, abs=0.003) and sigma == pytest.approx(0.01, rel=0.2)

    virtually(main)


def test_before_the_first_sample_bad_and_after_silence_stale_with_its_old_time() -> None:
    async def main(loop: VirtualLoop) -> None:
        emulator = unit()
        link, wire = await opened(emulator)
        imu = Imu(link)
        first = await imu.poll()
        assert {reading.quality for reading in first.values()} == {Quality.BAD}
        await asyncio.sleep(1.0)
        names = set(await imu.poll())
        assert names == set(first)
        emulator.hush(3.0)
        await asyncio.sleep(0.05)
        await imu.poll()
        assert (await imu.poll())["gyro_x_rad_s"].quality is Quality.GOOD  # nothing new, and still fresh
        await asyncio.sleep(1.0)
        readings = await imu.poll()
        assert readings["gyro_x_rad_s"].quality is Quality.STALE and readings["gyro_x_rad_s"].time_s < 1.1
        assert readings["samples"].value == 0
        await asyncio.sleep(1.0)
        readings = await imu.poll()
        assert readings["gyro_x_rad_s"].quality is Quality.GOOD
        assert 95 <= readings["lost"].value <= 101 and readings["lost"].limit is LimitState.WARN
        link.close()
        with pytest.raises(LinkError, match="closed"):
            await imu.poll()
        wire.close()

    virtually(main)


def test_saturated_and_failed_sensors_are_bad_and_the_others_good() -> None:
    async def main(loop: VirtualLoop) -> None:
        rate = [0.0]
        emulator = unit(lambda t_s: ((rate[0], 0.0, 0.0), FORCE))
        link, wire = await opened(emulator)
        imu = Imu(link)
        await asyncio.sleep(0.2)
        await imu.poll()
        rate[0] = -20.0
        await asyncio.sleep(0.2)
        readings = await imu.poll()
        assert readings["gyro_x_rad_s"].quality is Quality.BAD
        assert readings["latest_gyro_x_rad_s"].value == pytest.approx(-3.9, abs=1e-3)
        assert readings["accel_x_m_s2"].quality is Quality.GOOD
        assert status_words(int(readings["status"].value)) == ["a rate out of range"]
        rate[0] = 0.0
        for sensors, bad, good in (
            ({"gyro": True}, "gyro_y_rad_s", "accel_y_m_s2"),
            ({"accel": True}, "accel_y_m_s2", "temp_c"),
            ({"temp": True}, "temp_c", "gyro_y_rad_s"),
        ):
            emulator.fail(**sensors)
            await asyncio.sleep(0.05)
            await imu.poll()
            await asyncio.sleep(0.2)
            readings = await imu.poll()
            assert readings[bad].quality is Quality.BAD and math.isnan(readings[bad].value)
            assert readings[bad].limit is LimitState.ALARM
            assert readings[good].quality is Quality.GOOD
        link.close()
        wire.close()

    virtually(main)


def test_a_unit_that_restarts_is_heard_again_and_noticed() -> None:
    async def main(loop: VirtualLoop) -> None:
        emulator = unit()
        link, wire = await opened(emulator)
        await asyncio.sleep(2.0)
        link.take()
        emulator.restart(loop.time())
        await asyncio.sleep(1.0)
        samples, lost = link.take()
        assert link.counters.restarts == 1 and 45 <= len(samples) <= 50 and lost == 0
        assert samples[-1].device_us < 1_010_000
        link.close()
        wire.close()

    virtually(main)


def test_sequence_and_time_go_round_without_a_loss() -> None:
    async def main(loop: VirtualLoop) -> None:
        emulator = unit(rate_hz=200)
        emulator.seq = 65500
        link, wire = await opened(emulator)
        await asyncio.sleep(1.0)
        assert link.counters.lost == link.counters.restarts == link.counters.repeated == 0
        await asyncio.sleep(2.0)
        samples, _ = link.take()
        assert len(samples) == 256 and link.counters.dropped > 300  # nobody took them: bounded
        link.close()
        wire.close()

    virtually(main)


@pytest.mark.parametrize("seed", range(15))
def test_a_wire_that_damages_gives_true_samples_or_none(seed: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        rng = random.Random(seed)
        faults = FaultSchedule(
            tuple(
                Fault(rng.choice(["flip", "drop", "duplicate"]), "imu.to_host", at_chunk=rng.randrange(600))
                for _ in range(60)
            )
        )

        emulator = unit(lambda t_s: ((t_s / 8, 0.0, 0.0), FORCE))
        link, wire = await opened(emulator, faults)
        imu = Imu(link)
        await imu.identify()
        await imu.configure(50)
        good = 0
        for _ in range(60):
            await asyncio.sleep(0.1)
            readings = await imu.poll()
            reading = readings["latest_gyro_x_rad_s"]
            if reading.is_good:
                good += 1
                assert abs(reading.value - readings["device_s"].value / 8) < 1e-3
                assert readings["latest_accel_z_m_s2"].value == FORCE[2]
        assert good > 55 and link.damaged + link.counters.lost + link.counters.repeated > 0
        link.close()
        wire.close()

    run_virtual(main, seed=seed)


class Silent:
    """Something that takes bytes and says what it was given to say."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.heard = b""

    def attach(self, send: Callable[[bytes], None]) -> Silent:
        self.send = send
        return self

    def received(self, data: bytes) -> None:
        self.heard += data
        if self.answer:
            self.send(self.answer)

    def closed(self) -> None:
        pass


def test_nobody_another_model_and_a_rate_that_is_not_taken_are_sentences() -> None:
    async def main(loop: VirtualLoop) -> None:
        first: tuple[tuple[Silent, type[Exception], str], ...] = (
            (Silent(), LinkTimeout, "115200"),
            (Silent(packed(0x49, struct.pack("<HHIHHH", 0x1234, 1, 1, 1, 1, 50))), WrongModel, "0x1234"),
        )
        for device, kind, sentence in first:
            link, wire = await opened(device)
            with pytest.raises(kind, match=sentence):
                await Imu(link).identify()
            assert loop.time() < 5.0
            link.close()
            wire.close()
        more: tuple[tuple[Silent, type[Exception], str], ...] = (
            (Silent(packed(0x6E, struct.pack("<HHB", 50, 20, 1))), Unverified, "streams at 20 Hz"),
            (Silent(packed(0x6E, struct.pack("<HHB", 50, 50, 9))), LinkTimeout, "answers"),  # an older answer
        )
        for device, kind, sentence in more:
            link, wire = await opened(device)
            imu = Imu(link)
            for rate_hz in (0, 201, -1):
                with pytest.raises(Rejected, match="1 to 200 Hz"):
                    await imu.configure(rate_hz)
            assert device.heard == b""
            with pytest.raises(kind, match=sentence):
                await imu.configure(50)
            link.close()
            wire.close()

    virtually(main)


def test_the_emulator_obeys_no_damaged_command() -> None:
    async def main(loop: VirtualLoop) -> None:
        emulator = unit()
        out: list[bytes] = []
        session = emulator.attach(out.append)
        good = imu_frame(0xD2, struct.pack("<HB", 100, 1))
        for at in range(len(good)):
            bad = bytearray(good)
            bad[at] ^= 0x20
            session.received(bytes(bad) + bytes(12))
        assert emulator.rate_hz == 50 and out == [] and emulator.damaged > 0
        session.received(b"\xa7" + good[:3])
        session.received(good[3:])
        assert emulator.rate_hz == 100 and len(out) == 1
        session.closed()

    virtually(main)
