"""Is the gantry on a Grbl controller what a print expects: line for line, safe at the end, opened by its kind?"""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest
from grbl_link_helpers import FakeGrbl, Notes, differs, due_moves, layer, talk, virtually

from control.assembly import KINDS, Wires
from control.config import MachineConfig, envelope_from, load_machine
from firmware_bridge.devices.motion_grbl import GrblMotionController, in_grbl_words
from firmware_bridge.errors import DeviceHalted, LinkError, LinkTimeout, NotReady, Rejected
from firmware_bridge.links.grbl import GrblLink
from firmware_bridge.transport import Receiver, Transport, register_scheme
from slicer.exporters.dialects import GRBL
from slicer.exporters.gcode import layer_program
from slicer.job_layer import JobLayer
from slicer.layers import Layer
from slicer.scan import KIND_HATCH, ScanPath


async def gantry() -> tuple[GrblMotionController, FakeGrbl]:
    link, peer = await talk()
    return GrblMotionController(link), peer


def square() -> JobLayer:
    corners = np.array([[50.0, 50.0], [60.0, 50.0], [60.0, 60.0], [50.0, 60.0], [50.0, 50.0]])
    path = ScanPath.uniform(np.hstack([corners[:-1], corners[1:]]), KIND_HATCH, 100.0, 50.0)
    return JobLayer(Layer(0, 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64)), path)


@pytest.mark.parametrize(
    ("marlin", "grbl"),
    [
        (b"M4 I S0", b"M4 S0"), (b"M5 I", b"M5"), (b"M400", b"G4 P0"), (b"G4 P500", b"G4 P0.500"), (b"G21", b"G21"),
        (b"G0 X1.000 Y-2.000 F6000 S0", b"G0 X1.000 Y-2.000"), (b"G1 X1 Y2 F3000 S1000", b"G1 X1 Y2 F3000 S1000"),
        (b"G28", b"G28"), (b"G0 X1 S5", b"G0 X1 S5"),
    ],
)  # fmt: skip
def test_each_of_the_slicers_lines_in_grbl_words(marlin: bytes, grbl: bytes) -> None:
    assert in_grbl_words(marlin) == grbl


def test_a_layers_program_is_carried_out_line_for_line_as_the_grbl_export_says() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        planner = envelope_from(load_machine("bench"))
        lines = layer_program(square(), planner).lines
        notes = Notes()
        assert await motion.stream(lines, notes) == len(lines)
        assert notes.acks == list(range(len(lines)))
        assert differs(peer.done, due_moves(layer_program(square(), planner, GRBL).lines)) == ""
        assert sum(move.power > 0 for move in peer.done) == 4

    virtually(main)


def test_home_jog_and_its_limits() -> None:
    async def main() -> None:
        motion, _ = await gantry()
        assert (await motion.identify())["FIRMWARE_NAME"] == "Grbl 1.1h.20190825"
        with pytest.raises(NotReady, match="home it before"):
            await motion.jog(1, 0, 0, speed_mm_s=10)
        await motion.home()
        assert await motion.jog(10, 5.5, 0, speed_mm_s=20) == (10.0, 5.5, 0.0)
        assert await motion.jog(-2, 0, 1, speed_mm_s=20) == (8.0, 5.5, 1.0)
        for move in ((300, 0, 0), (0, -6, 0), (0, 0, float("nan"))):
            with pytest.raises(Rejected, match="is refused"):
                await motion.jog(*move, speed_mm_s=20)
        with pytest.raises(Rejected, match="mm/s"):
            await motion.jog(1, 0, 0, speed_mm_s=101)

    virtually(main)


def test_homing_is_no_silence() -> None:
    async def main() -> None:
        motion, _ = await gantry()
        task = asyncio.ensure_future(motion.home())
        await asyncio.sleep(4.0)
        assert motion.link.is_homing and motion.silent_s() == 0.0
        await task
        await asyncio.sleep(5.0)
        assert 0 <= motion.silent_s() < 1.5

    virtually(main)


def test_safe_at_rest_is_m5_and_may_be_asked_again_and_again() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        for _ in range(3):
            await motion.safe()
        assert peer.parser.spindle == "M5" and motion.link.error is None

    virtually(main)


@pytest.mark.parametrize("verb", ["safe", "quick_stop"])
def test_in_motion_what_is_planned_is_dropped(verb: str) -> None:
    async def main() -> None:
        motion, peer = await gantry()
        task = asyncio.ensure_future(motion.stream(layer(30), Notes()))
        await asyncio.sleep(1.5)
        task.cancel()
        await asyncio.wait({task})
        await getattr(motion, verb)()
        done = len(peer.done)
        await asyncio.sleep(10.0)
        assert len(peer.done) == done and peer.state == "Idle" and peer.parser.spindle == "M5"
        assert motion.link.error is None

    virtually(main)


@pytest.mark.parametrize("verb", ["safe", "quick_stop"])
def test_after_a_failure_it_is_safe_if_its_reset_was_seen_and_says_so_if_not(verb: str) -> None:
    async def main(confirms: bool) -> None:
        motion, peer = await gantry()
        task = asyncio.ensure_future(motion.stream(layer(30), Notes()))
        await asyncio.sleep(1.5)
        peer.deaf = not confirms
        if confirms:
            peer.say("error:20")
        with pytest.raises(LinkError, match="refused" if confirms else "has not answered"):
            await task
        if confirms:
            await getattr(motion, verb)()
        else:
            with pytest.raises(LinkTimeout, match="switch it off"):
                await getattr(motion, verb)()

    virtually(lambda: main(True))
    virtually(lambda: main(False))


@pytest.mark.parametrize("confirms", [True, False])
def test_a_laser_that_is_not_switched_off_in_time_is_reset_and_that_is_said_only_if_it_was(confirms: bool) -> None:
    async def main() -> None:
        motion, peer = await gantry()
        motion.link.beam_off = lambda: asyncio.sleep(1e9)  # type: ignore[method-assign]
        if not confirms:
            asyncio.get_running_loop().call_later(9.9, setattr, peer, "deaf", True)
        said = "within 10 s: it was reset, and stands" if confirms else "It did not confirm its reset: switch it off"
        with pytest.raises(LinkTimeout if confirms else DeviceHalted, match=said):
            await motion.safe()

    virtually(main)


def test_stop_is_at_once_and_safe_afterwards() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        motion.stop()
        assert peer.written[-1] == b"\x18"
        await motion.safe()
        with pytest.raises(DeviceHalted):
            await motion.position()

    virtually(main)


def test_a_machine_file_that_says_grbl_opens_one() -> None:
    """Kind, link and settings go together: full power is the machine file's."""

    async def main() -> None:
        peers: list[FakeGrbl] = []

        async def opener(url: str, receiver: Receiver, timeout_s: float) -> Transport:
            link = GrblLink.__new__(GrblLink)
            link._wire = receiver  # type: ignore[assignment]
            link.attach = lambda transport: None  # type: ignore[method-assign]
            peers.append(FakeGrbl(link))
            return peers[-1]

        register_scheme("fakegrbl", opener)
        bench = load_machine("bench")
        document = msgspec.to_builtins(bench.with_urls({"motion": "fakegrbl:one"}))
        document["devices"]["motion"]["kind"] = "grbl"
        config = msgspec.convert(document, MachineConfig)
        wires = Wires(config)
        motion = await KINDS[config.devices.motion.kind](wires, config)
        assert isinstance(motion, GrblMotionController)
        assert motion.link.expected.s_max == config.envelope.s_max
        assert motion.travel_mm == (250.0, 150.0, 100.0)
        wires.close()
        assert not peers[0].is_open

    virtually(main)
