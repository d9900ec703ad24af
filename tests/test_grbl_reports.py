"""What every Grbl must know, a full buffer that users report as its death, and a cable that comes back.

The link's own side of these reports is in `test_grbl_link_faults.py`; `docs/failure-rows.md` has the whole list.
"""

from __future__ import annotations

import asyncio

import pytest
from grbl_helpers import BENCH, Host, with_board
from stream_boards import Board, grbl, marlin, opened

from firmware_bridge.errors import BridgeError, TransportError
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

MODES = [
    "G0 X1", "G1 X1 F600", "G2 X2 Y0 R1 F600", "G3 X2 Y0 I1 J0 F600", "G4 P0.1", "G10 L2 P1 X1", "G10 L20 P2 Y3",
    "G17", "G18", "G19", "G20", "G21", "G28.1", "G28", "G30.1", "G30", "G38.3 X1 F100", "G38.5 X1 F100", "G53 G0 X1",
    "G54", "G55", "G56", "G57", "G58", "G59", "G80", "G90", "G91", "G91.1", "G92 X1", "G92.1", "G93 G1 X1 F60", "G94",
    "G40", "G43.1 Z1", "G49", "G61", "M0", "M2", "M30", "M3 S10", "M4 S10", "M5", "M7", "M8", "M9",
    "F100", "S100", "T3", "N7 G90", "$J=X1 F100", "$C", "$X", "$G", "$#", "$$", "$I", "$N",
]  # fmt: skip


@pytest.mark.parametrize("line", MODES)
def test_every_line_of_the_list_is_carried_out(line: str) -> None:
    async def story(host: Host) -> None:
        host.send(line)
        if line == "M0":
            await asyncio.sleep(1.0)
            assert host.answers == [], "it waits for a cycle start"
            host.send(b"~")
        await host.until(lambda: len(host.answers) == 1, within_s=20.0)
        assert host.answers == ["ok"]

    with_board(story, settings=BENCH, line_numbers=True, mist_coolant=True)


def test_every_setting_of_the_list_is_there_and_no_other() -> None:
    listed = [*range(7), *range(10, 14), *range(20, 28), *range(30, 33), 100, 101, 102, 110, 111, 112, 120, 121, 122]
    listed += [130, 131, 132]

    async def story(host: Host) -> None:
        lines = await host.ask("$$")
        assert [line.partition("=")[0] for line in lines] == [*(f"${number}" for number in listed), "ok"]
        assert {"$10=1", "$11=0.010", "$32=0", "$110=500.000", "$120=10.000"} <= set(lines), "as delivered"

    with_board(story, settings={})


@pytest.mark.parametrize("byte", [b"\x18", b"!", b"?", b"\x84"])
def test_a_full_buffer_is_no_death(byte: bytes) -> None:
    """Reported: over 128 bytes, and the controller is deaf until its power is cut. A real-time byte still reaches it,
    and a reset empties it."""

    async def story(host: Host) -> None:
        await host.feed(*(f"G1 X{i + 1} F60" for i in range(16)))
        host.send(b"G1 X50\n" * 60)
        assert host.board.dropped_bytes > 0
        before = len(host.lines)
        host.send(byte)
        await asyncio.sleep(2.0)
        if byte != b"\x18":
            seen = {b"!": "<Hold:0|", b"?": "<Run|", b"\x84": "<Door:"}[byte]
            if byte != b"?":
                host.send(b"?")
                await asyncio.sleep(0.1)
            assert any(line.startswith(seen) for line in host.lines[before:])
        await host.soft_reset()
        await host.ask("$X")
        assert await host.ask("G90") == ["ok"]

    with_board(story)


# ---- a connection that comes back -----------------------------------------------------------------------------------


BOARDS = {"marlin": marlin(MarlinBuild(advanced_ok=False)), "grbl": grbl(line_numbers=False)}


@pytest.mark.parametrize("name", BOARDS)
def test_nothing_goes_on_by_itself_when_the_cable_is_back(name: str) -> None:
    """Reported: a host that reconnects and prints on, beside its part. Here the stream ends with the cable, and not one
    byte goes to the board until somebody opens the line anew."""
    board: Board = BOARDS[name]
    cut = Fault(
        "disconnect", "motion.to_device", at_s=12.0 if name == "grbl" else 3.0, for_s=0.1, args=(("back_after_s", 0.5),)
    )

    async def main(loop: VirtualLoop) -> None:
        device = board.emulator(Gantry(start_mm=board.start_mm))
        wire = await lay_virtual("motion", device, baud=115200, faults=FaultSchedule((cut,)))
        motion = await opened(board)
        taken: list[int] = []

        class Notes:
            async def ahead(self, first: int, last: int) -> None:
                pass

            def acked(self, index: int) -> None:
                taken.append(index)

        with pytest.raises(TransportError, match="was lost"):
            await motion.stream(board.lines, Notes())
        assert 0 < len(taken) < len(board.lines), "what was acknowledged says nothing of what was executed"
        sent = wire.to_device.bytes
        await asyncio.sleep(600.0)
        assert wire.to_device.bytes == sent
        with pytest.raises(BridgeError):
            await motion.position()
        with pytest.raises(BridgeError):
            await motion.stream(board.lines[:3], Notes())
        assert wire.to_device.bytes == sent

    run_virtual(main)
