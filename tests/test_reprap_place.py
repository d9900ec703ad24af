"""Does the look at a RepRapFirmware board's end switches keep its word when it is broken off, when lines are damaged,
and on a board that is not made for it?"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from functools import partial
from typing import Any

import pytest
from reprap_link_helpers import FakeReprap, talk

from firmware_bridge.devices.motion_reprap import RepRapMotionController
from firmware_bridge.errors import BridgeError, NotReady, Rejected, Unverified
from firmware_bridge.links.reprap import RepRapLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_machine import RepRapBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

FRAME = ((-3.0, -3.0, 0.0), (250.0, 150.0, 100.0))
STOOD_MM = (30.0, 20.0, 0.0)
LOST_MM = (0.0, -0.7, 0.7, -5.0, 5.0)
SOAKED = 20_000


class Bench:
    """A board on its gantry, homed, at STOOD_MM."""

    def __init__(self, loop: VirtualLoop, motion: RepRapMotionController, board: RepRapEmulator, wire: Any) -> None:
        self.loop, self.motion, self.board, self.wire = loop, motion, board, wire
        self.gantry = board.gantry

    @classmethod
    async def opened(cls, loop: VirtualLoop, faults: FaultSchedule | None = None) -> Bench:
        gantry = Gantry(start_mm=(9.0, 9.0, 9.0), frame_mm=FRAME, switches_mm=(0.0, 0.0, 0.0))
        board = RepRapEmulator(gantry, RepRapBuild(size_mm=FRAME[1], needs_crc=True))
        wire = await lay_virtual("motion", board, baud=115200, faults=faults)
        motion = RepRapMotionController(await RepRapLink.open(wire.url))
        await motion.home()
        await motion.approach(*STOOD_MM[:2])
        return cls(loop, motion, board, wire)

    @property
    def true_mm(self) -> tuple[float, float, float]:
        return self.gantry.position_at(self.loop.time())


# ---- broken off


@pytest.mark.parametrize("lost_mm", [0.0, -5.0])
def test_a_look_that_is_broken_off_leaves_limits_and_an_unsure_place(lost_mm: float) -> None:
    async def main(loop: VirtualLoop, after_s: float) -> bool:
        bench = await Bench.opened(loop)
        if lost_mm:
            bench.gantry.lose_steps(loop.time(), 0, lost_mm)
        look = asyncio.ensure_future(bench.motion.check_place(0.5))
        await asyncio.wait({look}, timeout=after_s)
        was_whole = look.done()
        look.cancel()
        await asyncio.wait({look})
        assert bench.board.machine.limits_axes and bench.gantry.crashes == 0
        assert bench.motion.has_lost_place is not (was_whole and not lost_mm)
        if not was_whole:
            with pytest.raises(NotReady, match="home it"):
                await bench.motion.jog(1.0, 0.0, 0.0, speed_mm_s=10.0)
        await bench.motion.home()
        assert await bench.motion.check_place(0.5) == "" and bench.gantry.crashes == 0
        bench.motion.link.close()
        return was_whole

    ends = [run_virtual(lambda loop, after_s=after_s: main(loop, after_s)) for after_s in (0.02, 0.1, 0.4, 0.8, 1.1, 5)]
    assert ends[0] is False and ends[-1] is True, "each moment of it was met"


def test_a_board_that_is_not_homed_is_not_looked_at() -> None:
    async def main(loop: VirtualLoop) -> None:
        bench = await Bench.opened(loop)
        bench.motion.link.is_homed = False
        moves = bench.board.machine.moves_done
        with pytest.raises(NotReady, match="home it before its place is checked"):
            await bench.motion.check_place(0.5)
        assert bench.board.machine.moves_done == moves
        bench.motion.link.close()

    run_virtual(main)


@pytest.mark.parametrize("margin_mm", [0.0, -1.0, 5.1])
def test_a_margin_beyond_reason_is_refused(margin_mm: float) -> None:
    async def main(loop: VirtualLoop) -> None:
        bench = await Bench.opened(loop)
        with pytest.raises(ValueError, match="above 0 to 5 mm"):
            await bench.motion.check_place(margin_mm)
        assert not bench.motion.has_lost_place
        bench.motion.link.close()

    run_virtual(main)


# ---- damaged lines


def noise(seed: int, first: dict[str, int], last: dict[str, int]) -> FaultSchedule:
    """One to six faults among the chunks of a look, either way."""
    rng = random.Random(seed)
    faults = []
    for _ in range(rng.randint(1, 6)):
        point = rng.choice(("motion.to_host", "motion.to_host", "motion.to_device"))
        kind = rng.choice(("flip", "flip", "drop", "duplicate"))
        args = {"byte": rng.randrange(64), "bit": rng.randrange(8)} if kind == "flip" else {}
        chunk = rng.randrange(first[point], last[point])
        faults.append(Fault(kind, point, at_chunk=chunk, count=rng.randint(1, 3), args=args, may_idle=True))
    return FaultSchedule(tuple(faults))


async def look(
    loop: VirtualLoop, faults: FaultSchedule | None = None, axis: int = 0, lost_mm: float = 0.0
) -> dict[str, Any]:
    """A look's end, and of the wire's chunks those between which it was."""
    bench = await Bench.opened(loop, faults)
    points = {"motion.to_host": bench.wire.to_host, "motion.to_device": bench.wire.to_device}
    first = {name: point.chunks for name, point in points.items()}
    if lost_mm:
        bench.gantry.lose_steps(loop.time(), axis, lost_mm)
    try:
        said = await bench.motion.check_place(0.5)
    except BridgeError as error:
        said = f"{type(error).__name__}: {error}"
    end = {
        "said": said, "crashes": bench.gantry.crashes, "true_mm": bench.true_mm,
        "limits": bench.board.machine.limits_axes, "knows": not bench.motion.has_lost_place,
        "first": first, "last": {name: point.chunks for name, point in points.items()},
        "bad": bench.board.bad_lines, "repeats": bench.motion.link.counters.repeats,
    }  # fmt: skip
    bench.motion.link.close()
    return end


def damaged_looks(seeds: range) -> Counter[str]:
    """How many looks ended how; each with what may not be refuted."""
    quiet = run_virtual(look)
    ends: Counter[str] = Counter()
    for seed in seeds:
        lost_mm, axis = LOST_MM[seed % len(LOST_MM)], seed // len(LOST_MM) % 2
        faults = noise(seed, quiet["first"], quiet["last"])
        end = run_virtual(partial(look, faults=faults, axis=axis, lost_mm=lost_mm))
        assert end["crashes"] == 0 and end["limits"], (seed, end)
        assert end["knows"] is (end["said"] == ""), (seed, end)
        if end["said"] == "":
            assert lost_mm == 0.0, (seed, end)
            assert end["true_mm"] == pytest.approx(STOOD_MM, abs=0.01), (seed, end)
        elif lost_mm == 0.0:
            assert "end switch" not in end["said"], (seed, end, "nothing was lost, and a switch is blamed")
        kind = "good" if end["said"] == "" else "found" if "end switch of" in end["said"] else "failed"
        ends[f"{'lost' if lost_mm else 'kept'}, {kind}"] += 1
        ends["repeats"] += end["repeats"]
        ends["bad"] += end["bad"]
    return ends


def test_a_damaged_line_never_calls_a_lost_place_good() -> None:
    ends = damaged_looks(range(300))
    assert ends["repeats"] > 150 and ends["bad"] > 30, "the faults did strike"
    assert ends["kept, good"] > 40 and ends["lost, found"] > 160, ends


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_damaged_line_never_calls_a_lost_place_good_thousands_of_times() -> None:
    print(damaged_looks(range(SOAKED)))


# ---- boards that are not made for it


def refused(change: Any, error: type[Exception], words: str) -> FakeReprap:
    async def main(_: VirtualLoop) -> FakeReprap:
        link, peer = await talk()
        await link.jog(STOOD_MM, speed_mm_s=100.0)
        peer.done.clear()
        change(peer)
        motion = RepRapMotionController(link)
        with pytest.raises(error, match=words):
            await motion.check_place(0.5)
        assert motion.has_lost_place
        link.close()
        return peer

    return run_virtual(main)


@pytest.mark.parametrize("state", ["no endstop", "at max stop"])
def test_a_board_without_switches_at_its_low_end_is_refused(state: str) -> None:
    def change(peer: FakeReprap) -> None:
        peer.endstops["Y"] = state

    refused(change, Rejected, f"'not stopped' and '{state}': a machine that does not have them at 0 cannot")


def test_a_board_that_refuses_such_a_move_is_refused() -> None:
    def change(peer: FakeReprap) -> None:
        moving = peer._move
        peer._move = lambda command, word: (  # type: ignore[method-assign]
            peer.say("Error: G1: Failed to enable endstops") if "H4" in command else moving(command, word)
        )

    refused(change, Rejected, "refuses to move to its end switches .*Failed to enable endstops")


def test_a_board_that_takes_such_a_move_and_does_not_make_it_is_found_out() -> None:
    def change(peer: FakeReprap) -> None:
        moving = peer._move
        peer._move = lambda command, word: None if "H4" in command else moving(command, word)  # type: ignore[method-assign]

    refused(change, Unverified, "was sent to .* and says it stands at")


def test_its_lines_are_dark_and_leave_the_limits_alone() -> None:
    async def main(_: VirtualLoop) -> list[str]:
        link, peer = await talk()
        await link.jog(STOOD_MM, speed_mm_s=100.0)
        peer.done.clear()
        assert await RepRapMotionController(link).check_place(0.5) == ""
        link.close()
        return peer.done

    done = run_virtual(main)
    moves = [line for line in done if line.startswith("G1")]
    assert moves == ["G1 H4 X0.5Y0.5F6000S0", "G1 H4 X-0.5Y-0.5F300S0", "G1 X30Y20Z0F6000S0"]
    assert not any(line.startswith(("M564", "M3", "M4 ", "G92", "G28")) for line in done), done
