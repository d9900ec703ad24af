"""Can others read what a run recorded, and does a full disk cost the record only?"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from print_helpers import Printed, print_virtual
from test_print_virtual import plate

from control.host import Status
from control.telemetry import Telemetry
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

EPOCH_NS = 1_856_736_000_000_000_000  # 2028-11-02T00:00:00Z


def messages(path: Path) -> list[tuple[str, Any, Any]]:
    """(topic, MCAP message, decoded protobuf) of a whole file, by the MCAP project's own reader."""
    with open(path, "rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [(channel.topic, message, decoded) for _, channel, message, decoded in reader.iter_decoded_messages()]


def metadata(path: Path) -> dict[str, str]:
    with open(path, "rb") as file:
        (record,) = [m for m in make_reader(file).iter_metadata() if m.name == "moonkiln.run"]
    return record.metadata


def reading(name: str, value: float, quality: Quality = Quality.GOOD, time_s: float = 0.0) -> Reading:
    return Reading(name, value, "", time_s, quality, LimitState.NORMAL)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    job = plate(tmp_path_factory.mktemp("job"), 1)
    done = print_virtual(job, tmp_path_factory.mktemp("run"))
    assert done.outcome is not None and done.outcome.status is Status.DONE
    return done


def test_each_topic_of_a_print_is_there_and_decodes(printed: Printed) -> None:
    seen = Counter(topic for topic, _, _ in messages(printed.run_dir / "telemetry.mcap"))
    devices = {f"/printer/{name}" for name in ("beam", "heater", "meter", "recoater", "piston")}
    looks = {f"/{place}/{label}" for place in ("camera/bed", "vision") for label in ("powder", "exposed")}
    assert devices | looks | {"/printer/progress", "/events"} == set(seen)
    assert all(seen[topic] == 1 for topic in looks), "one look before and one after the layer"
    assert printed.outcome is not None
    behind_it = sum(seen[topic] for topic in devices) - printed.outcome.totals.polls
    assert 0 <= behind_it <= 2, "polls that were under way when the outcome was made"


def test_log_time_is_the_start_plus_the_loops_time(printed: Printed) -> None:
    rows = messages(printed.run_dir / "telemetry.mcap")
    times = [message.log_time for _, message, _ in rows]
    assert min(times) >= EPOCH_NS and max(times) <= EPOCH_NS + round(printed.end.time_s * 1e9)
    heater = [message.log_time for topic, message, _ in rows if topic == "/printer/heater"]
    gaps = [(b - a) / 1e9 for a, b in itertools.pairwise(heater)]
    assert max(gaps) < 0.7, "the heater is polled at 2 Hz, and its readings carry that time"


def test_messages_have_a_field_a_signal_and_real_values(printed: Printed) -> None:
    rows = messages(printed.run_dir / "telemetry.mcap")
    heater = [decoded for topic, _, decoded in rows if topic == "/printer/heater"]
    assert all(message.quality == "GOOD" for message in heater)
    assert 15.0 < heater[-1].bed_temp_c < 40.0
    beam = [decoded for topic, _, decoded in rows if topic == "/printer/beam"]
    assert 90.0 < max(message.emission_w for message in beam) <= 100.5
    assert {message.DESCRIPTOR.full_name for message in beam} == {"moonkiln.Beam"}
    shares = [decoded.share for topic, _, decoded in rows if topic == "/printer/progress"]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == pytest.approx(1.0)
    image = next(decoded for topic, _, decoded in rows if topic == "/camera/bed/powder")
    assert image.format == "jpeg" and image.data[:2] == b"\xff\xd8"
    texts = [decoded.message for topic, _, decoded in rows if topic == "/events"]
    assert any("armed -> exposing" in text for text in texts) and texts[-1].startswith("run done")


def test_the_metadata_says_what_was_printed_on_what(printed: Printed) -> None:
    facts = metadata(printed.run_dir / "telemetry.mcap")
    assert (facts["machine"], facts["recipe"], facts["layers"], facts["simulated"]) == (
        "bench",
        "wire_small",
        "1",
        "True",
    )


@pytest.mark.parametrize(
    ("qualities", "worst"),
    [
        ([Quality.GOOD, Quality.GOOD], "GOOD"),
        ([Quality.GOOD, Quality.BAD], "BAD"),
        ([Quality.STALE, Quality.GOOD], "STALE"),
        ([Quality.BAD, Quality.STALE], "BAD"),
    ],
)
def test_a_poll_is_as_good_as_its_worst_reading(tmp_path: Path, qualities: list[Quality], worst: str) -> None:
    async def main(_loop: VirtualLoop) -> None:
        with Telemetry.open(tmp_path / "t.mcap", EPOCH_NS) as telemetry:
            telemetry.readings("meter", {f"v{n}": reading(f"v{n}", 1.0, q) for n, q in enumerate(qualities)})

    run_virtual(main)
    ((_, _, decoded),) = messages(tmp_path / "t.mcap")
    assert decoded.quality == worst


def test_an_earlier_sessions_file_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    async def main(_loop: VirtualLoop) -> None:
        for session in range(3):
            with Telemetry.open(tmp_path / "telemetry.mcap", EPOCH_NS) as telemetry:
                telemetry.event("info", f"session {session}")

    run_virtual(main)
    said = {path.name: messages(path)[0][2].message for path in tmp_path.iterdir()}
    assert said == {
        "telemetry.1.mcap": "session 0",
        "telemetry.2.mcap": "session 1",
        "telemetry.mcap": "session 2",
    }


# ---- a full disk


def test_a_full_disk_ends_the_file_says_so_once_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = tmp_path / "telemetry.mcap"

    async def main(_loop: VirtualLoop) -> Telemetry:
        telemetry = Telemetry(Path("/dev/full"), EPOCH_NS, None)
        for second in range(3000):
            await asyncio.sleep(1.0)
            telemetry.readings("meter", {"voltage_v": reading("voltage_v", 230.0, time_s=float(second))})
            telemetry.event("info", "x" * 1000)
        telemetry.close()
        telemetry.close()
        return telemetry

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with caplog.at_level(logging.WARNING):
        telemetry = run_virtual(main)
    assert telemetry.failure is not None and "telemetry ends here" in telemetry.failure
    assert "No space left" in telemetry.failure
    assert sum("telemetry ends here" in record.message for record in caplog.records) == 1
    assert not full.exists()


def test_a_full_disk_at_the_very_end_is_met_when_the_file_is_closed(tmp_path: Path) -> None:
    """A short run stays in the buffers until then."""

    async def main(_loop: VirtualLoop) -> Telemetry:
        with Telemetry(Path("/dev/full"), EPOCH_NS, None) as telemetry:
            telemetry.event("info", "one line")
        return telemetry

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert "telemetry ends here" in (run_virtual(main).failure or "")


def test_a_run_whose_telemetry_fails_is_printed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    opened = Telemetry.open.__func__  # type: ignore[attr-defined]

    def on_full_disk(cls: type[Telemetry], path: Path, *more: Any) -> Telemetry:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")
        return cls(path, *more)

    assert opened is not None
    monkeypatch.setattr(Telemetry, "open", classmethod(on_full_disk))
    done = print_virtual(plate(tmp_path, 1), tmp_path / "run")
    assert done.outcome is not None and done.outcome.status is Status.DONE and done.error is None
    from control.journal import Journal

    journal = Journal.open(tmp_path / "run" / "run.sqlite")
    assert any("telemetry ends here" in text for _, _, _, text in journal.events())
    journal.close()
