"""Does a disk that takes its time, or refuses, ever hold up whoever writes the record; and is what is written whole?"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control import log_file
from control.files import Files
from control.log_file import LogBehind
from control.telemetry import Telemetry
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


class Disk:
    """The disk behind every log: holds its writes until it is let go, or refuses them."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.refuses: OSError | None = None

    def open(self, path: Path, mode: str) -> io.FileIO:
        disk = self

        class Slow(io.FileIO):
            def write(self, data: object) -> int:
                assert disk.free.wait(60.0), "nobody let the disk go"
                if disk.refuses is not None:
                    raise disk.refuses
                return super().write(bytes(data)[:7])  # type: ignore[call-overload]  # a disk may take a part

        return Slow(path, mode)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk()
    monkeypatch.setattr(log_file, "FileIO", made.open)
    yield made
    made.free.set()


def test_nobody_waits_for_a_disk_that_does_not_answer_and_all_is_there_in_the_end(disk: Disk, tmp_path: Path) -> None:
    log = LogBehind(tmp_path / "log")
    pieces = [bytes([n]) * 50 for n in range(100)]
    for piece in pieces:
        assert log.write(piece) == 50  # were it to wait, it would wait for ever: the disk is let go below
    assert (tmp_path / "log").read_bytes() == b""
    disk.free.set()
    log.close()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"".join(pieces)


def test_what_waits_is_bounded(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "WAITING_BYTES_MAX", 1000)
    monkeypatch.setattr(log_file, "CLOSE_S", 0.0)
    log = LogBehind(tmp_path / "log")
    for _ in range(10):
        log.write(b"x" * 100)
    with pytest.raises(OSError, match="the disk is too slow, 1000 bytes wait"):
        log.write(b"y")
    with pytest.raises(OSError, match="too slow"):
        log.close()


def test_a_refusal_comes_with_a_later_write_or_at_the_end(disk: Disk, tmp_path: Path) -> None:
    disk.refuses = OSError(28, "No space left on device")
    disk.free.set()
    log = LogBehind(tmp_path / "log")
    with pytest.raises(OSError, match="No space left"):
        for _ in range(10_000):
            log.write(b"x")
    again = LogBehind(tmp_path / "again")
    again.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        again.close()


def test_the_record_of_a_real_run_is_written_beside_its_loop(disk: Disk, tmp_path: Path) -> None:
    async def main() -> str | None:
        with Telemetry.open(tmp_path / "t.mcap", 0) as telemetry:
            for n in range(100):
                telemetry.event("info", f"{n} " + "x" * 20_000)
            assert telemetry.failure is None
            disk.free.set()
        return telemetry.failure

    assert asyncio.run(main()) is None
    assert (tmp_path / "t.mcap").read_bytes().endswith(b"\x89MCAP0\r\n")


def test_in_virtual_time_it_is_written_at_once(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop) -> None:
        with Files().open_log(tmp_path / "log") as log:
            assert not isinstance(log.raw, LogBehind)  # type: ignore[attr-defined]

    run_virtual(main)
