"""Does the motion controller know where it is, stay inside its travel, and end up safe?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from marlin_link_helpers import FakeMarlin, Notes, lines, talk

from firmware_bridge.devices.motion import MotionController
from firmware_bridge.errors import DeviceHalted, LinkError, LinkTimeout, NotReady, Rejected, WrongModel
from hil_sim.virtual_run import run_virtual


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


async def gantry() -> tuple[MotionController, FakeMarlin]:
    link, peer = await talk(emergency_parser=True)
    place = {"X": 0.0, "Y": 0.0, "Z": 0.0}

    def act(number: int, text: str) -> list[str] | None:
        if text.startswith("G0 "):
            place.update({word[0]: float(word[1:]) for word in text.split()[1:] if word[0] in place})
        if text == "M114":
            return ["X:{X:.2f} Y:{Y:.2f} Z:{Z:.2f} E:0.00 Count X:0 Y:0 Z:0".format(**place), "ok"]
        return None

    peer.on_line = act
    return MotionController(link), peer


def test_identify_home_jog_and_stream() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        assert (await motion.identify())["FIRMWARE_NAME"] == "Marlin 2.1.2"
        with pytest.raises(NotReady, match="home it before"):
            await motion.jog(1, 0, 0, speed_mm_s=10)
        await motion.home()
        assert await motion.jog(10, 5.5, 0, speed_mm_s=20) == (10.0, 5.5, 0.0)
        assert await motion.jog(-2, 0, 1, speed_mm_s=20) == (8.0, 5.5, 1.0)
        assert "G0 X8.000 Y5.500 Z1.000 F1200 S0" in peer.taken
        for move in ((300, 0, 0), (0, -6, 0), (0, 0, float("nan"))):
            with pytest.raises(Rejected, match="is refused"):
                await motion.jog(*move, speed_mm_s=20)
        with pytest.raises(Rejected, match="mm/s"):
            await motion.jog(1, 0, 0, speed_mm_s=101)
        assert await motion.approach(12.0, 7.5) == (12.0, 7.5, 1.0)  # its height is its own
        assert "G0 X12.000 Y7.500 Z1.000 F6000 S0" in peer.taken
        with pytest.raises(Rejected, match="x = 251 mm is refused"):
            await motion.approach(251.0, 0.0)
        assert await motion.stream(lines(40), Notes()) == 40
        await motion.wait_idle(timeout_s=10)
        await motion.laser_off()
        assert [line for line in peer.taken if not line.startswith("M118")][-2:] == ["M400", "M5"]
        assert motion.silent_s() < 0.1

    virtually(main)


def test_another_firmware_is_refused() -> None:
    async def main() -> None:
        motion, _ = await gantry()
        motion.link.identity.fields["FIRMWARE_NAME"] = "Grbl 1.1"
        with pytest.raises(WrongModel, match=r"Grbl 1\.1"):
            await motion.identify()

    virtually(main)


def test_a_position_that_cannot_be_read_is_an_error() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        peer.on_line = lambda number, text: ["X:1.0 Y:", "ok"] if text == "M114" else None
        with pytest.raises(LinkError, match="gave none"):
            await motion.position()

    virtually(main)


def test_a_capability_whose_line_was_lost_is_asked_for_again() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        motion.link.identity.capabilities.pop("EMERGENCY_PARSER")
        assert motion.stop_queues
        await motion.identify()
        assert not motion.stop_queues and peer.taken.count("M115") == 1

    virtually(main)


def test_a_board_without_emergency_parser_is_refused_unless_it_is_accepted() -> None:
    async def main() -> None:
        link, _ = await talk(emergency_parser=False)
        with pytest.raises(Rejected, match=r"does not say Cap:EMERGENCY_PARSER:1.*emergency_parser = false"):
            await MotionController(link).identify()
        motion = MotionController(link, needs_emergency_parser=False)
        await motion.identify()
        assert motion.stop_queues

    virtually(main)


def test_safe_switches_off_and_halts_what_does_not_answer() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        await motion.safe()
        await motion.safe()
        assert peer.taken.count("M5") == 2
        peer.on_line = lambda number, text: []
        with pytest.raises(LinkTimeout, match=r"it was halted \(M112\), and says so"):
            await motion.safe()
        assert b"M112" in peer.raw_lines
        await motion.safe()
        with pytest.raises(DeviceHalted, match="has halted"):
            await motion.wait_idle()

    virtually(main)


@pytest.mark.parametrize("verb", ["safe", "quick_stop"])
def test_a_halt_that_nobody_confirmed_is_not_said_to_have_been(verb: str) -> None:
    async def main() -> None:
        motion, peer = await gantry()
        peer.deaf = True
        with pytest.raises(LinkTimeout, match="M112 was sent and nobody confirmed it: it may still be moving") as told:
            await getattr(motion, verb)()
        assert "halted" not in str(told.value) and "M112" in str(peer.raw_lines[-1])
        with pytest.raises(DeviceHalted, match="is not confirmed yet"):  # nor is it taken for safe when asked again
            await getattr(motion, verb)()
        peer.deaf = False
        peer.say("Error:Printer halted. kill() called!")
        await asyncio.sleep(0.1)
        await getattr(motion, verb)()

    virtually(main)


def test_a_quick_stop_that_is_not_answered_ends_in_a_halt_that_is() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        peer.on_line = lambda number, text: []
        with pytest.raises(LinkTimeout, match="did not come to rest within 20 s of the stop; it was halted") as told:
            await motion.quick_stop()
        assert motion.stop_report == str(told.value) and peer.raw_lines.count(b"M410") == 16
        await motion.quick_stop()

    virtually(main)


def test_stop_is_at_once() -> None:
    async def main() -> None:
        motion, peer = await gantry()
        motion.stop()
        assert peer.raw_lines[-2] == b"M112"
        with pytest.raises(DeviceHalted, match="software stop"):
            await motion.position()
        await asyncio.sleep(0.1)
        await motion.safe()  # by then it has said that it halted

    virtually(main)
