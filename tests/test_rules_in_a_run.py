"""Does a run end UNSAFE, and name the rule, when a safety rule is broken in its plant? A hand moves the plant itself.

`test_invariants.py` asks the same of each rule alone; here the plant must tell what it does and the run must ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from job_helpers import head, square_layer, write_small_job

from control.host import Outcome, Status
from control.outcome import Totals
from hil_sim.harness.invariants import RULES
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import RunResult, simulate
from hil_sim.harness.scenario import Scenario
from hil_sim.virtual_run import run_virtual
from hil_sim.world.build import World
from hil_sim.world.emulators.beam_head import FIRE, POWER, SHUTTER, TOKEN, WATCHDOG
from hil_sim.world.plant.gantry import Move
from hil_sim.world.wiring import MACHINES
from slicer.job_writing import write_job

XY = tuple[float, float]
WATTS = 100.0
INSIDE = (52.0, 52.0), (58.0, 52.0)  # of the job's square, 50 to 60 mm
TO_CORNER = (40.0, 40.0)


class Hand:
    """What moves the plant in a host's place: axes, gantry and head, by hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = asyncio.get_running_loop()

    @property
    def now_s(self) -> float:
        return self.loop.time()

    async def axis(self, name: str, to_mm: float) -> None:
        """The blade or the piston goes there, and is there."""
        rests_s = getattr(self.world, name).move(self.now_s, to_mm, 200.0, 2000.0, 2000.0)
        await asyncio.sleep(max(rests_s - self.now_s, 0.0) + 0.01)

    async def lay(self, depth_mm: float) -> None:
        """A layer of powder, the blade there and back."""
        await self.axis("piston", depth_mm)
        await self.axis("blade", 300.0)
        await self.axis("blade", 4.0)

    async def go(self, to_mm: XY, *, s: float = 0.0, speed_mm_s: float = 500.0) -> None:
        """The gantry goes straight there; `s`: the beam's share meanwhile."""
        gantry, t_s = self.world.gantry, self.now_s
        true, told = gantry.position_at(t_s), gantry.controller_at(t_s)
        end = (to_mm[0] - true[0] + told[0], to_mm[1] - true[1] + told[1], told[2])
        ends_s = gantry.run(t_s, Move(told, end, speed_mm_s, speed_mm_s, speed_mm_s, 5000.0, speed_mm_s, s))
        await asyncio.sleep(ends_s - t_s + 0.01)

    async def draw(self, a_mm: XY = INSIDE[0], b_mm: XY = INSIDE[1]) -> None:
        """A vector of light, the way there dark."""
        await self.go(a_mm)
        self.fire()
        await self.go(b_mm, s=1.0, speed_mm_s=10.0)
        self.write(FIRE, 0)

    def write(self, register: int, value: int) -> None:
        self.world.beam_head.write_holding(register, [value], self.now_s)

    def fire(self) -> None:
        """Armed, open, firing; its watchdog as patient as it goes."""
        for register, value in ((WATCHDOG, 5000), (POWER, round(WATTS * 10)), (TOKEN, 77), (SHUTTER, 1), (FIRE, 1)):
            self.write(register, value)

    def leak(self, watts: float) -> None:
        """A source that emits whatever it is told, behind a shutter that stands open."""
        source = self.world.beam_head.source
        source.shutter_open, source.stuck_w = True, watts
        self.world.beam_head.source_changed(self.now_s)


Deed = Callable[[Hand], Awaitable[None]]


def run(tmp_path: Path, deed: Deed, *, world: str | None = None, job: Path | None = None, **changes: Any) -> RunResult:
    """A real run whose host only waits until the hand is through, and says that it has stopped."""
    through = asyncio.Event()
    late: list[Deed] = changes.pop("late", [])

    async def meddle(world: World) -> None:
        hand = Hand(world)
        await deed(hand)
        through.set()
        for more in late:
            await more(hand)

    async def host(_job: Path, _machine: Path, _folder: Path) -> Outcome:
        await through.wait()
        totals = Totals(layers=0, blocks_claimed=0, energy_j=0.0, lines_sent=0, polls=0, duration_s=0.0, sessions=1)
        return Outcome(
            status=Status.STOPPED, reason="by hand", exit_code=4, declared=[], layers=[], totals=totals,
            position_mm=None,
        )  # fmt: skip

    scenario = Scenario(schema_version=1, name="by hand", world=world, cell_xy_mm=10.0, sim_s_max=600.0, **changes)
    job = job or write_small_job(tmp_path / "part.kiln")
    return run_virtual(lambda loop: simulate(loop, scenario, job, tmp_path / "run", host, meddle=meddle))


def broken(result: RunResult) -> set[str]:
    """The rules that were broken; each is a reason of the verdict, and in the record."""
    assert (result.verdict is Verdict.UNSAFE) == bool(result.record.breaches), result.judgement
    for breach in result.record.breaches:
        assert breach.sentence in result.judgement.reasons
    return {breach.rule for breach in result.record.breaches}


def test_a_hand_that_keeps_every_rule_breaks_none(tmp_path: Path) -> None:
    async def deed(hand: Hand) -> None:
        for depth_mm in (0.5, 1.0):
            await hand.lay(depth_mm)
            await hand.draw()

    result = run(tmp_path, deed)
    assert broken(result) == set() and result.verdict is Verdict.DETECTED
    assert len(result.record.blocks) == 2 and result.record.end.beam_energy_j > 50.0


async def stands_still(hand: Hand) -> None:
    await hand.lay(0.5)
    await hand.go(INSIDE[0])
    hand.fire()
    hand.world.gantry.stand(hand.now_s, 1.0, hand.now_s + 1.5)
    await asyncio.sleep(1.6)
    hand.write(FIRE, 0)


async def burns_the_plate(hand: Hand) -> None:
    await hand.draw()


async def leaves_the_part(hand: Hand) -> None:
    await hand.lay(0.5)
    await hand.draw((52.0, 70.0), (58.0, 70.0))


async def hits_the_blade(hand: Hand) -> None:
    await hand.lay(0.5)
    await hand.go(INSIDE[0])
    hand.fire()
    hand.world.gantry.stand(hand.now_s, 1.0, hand.now_s + 0.9)
    await hand.axis("blade", 120.0)  # x = 95, past the beam at 52
    hand.write(FIRE, 0)
    await hand.axis("blade", 4.0)


async def drives_into_the_blade(hand: Hand) -> None:
    await hand.axis("blade", 80.0)  # x = 55
    await hand.go(TO_CORNER)


async def runs_past_the_travel(hand: Hand) -> None:
    await hand.axis("blade", 400.0)


@pytest.mark.parametrize(
    "rule, deed",
    [
        ("still", stands_still),
        ("powder", burns_the_plate),
        ("outside", leaves_the_part),
        ("blade", hits_the_blade),
        ("collision", drives_into_the_blade),
        ("travel", runs_past_the_travel),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_that_the_plant_breaks_makes_the_run_unsafe(tmp_path: Path, rule: str, deed: Deed) -> None:
    assert broken(run(tmp_path, deed)) == {rule}


@pytest.mark.parametrize("rule, kind", [("door", "door_open"), ("purge", "purge_lost")])
def test_a_beam_that_stays_on_behind_an_open_switch(tmp_path: Path, rule: str, kind: str) -> None:
    async def deed(hand: Hand) -> None:
        await hand.lay(0.5)
        await hand.go(INSIDE[0])
        assert hand.now_s < 8.0
        await asyncio.sleep(8.0 - hand.now_s)
        hand.leak(WATTS)
        hand.world.beam_head.source.stick_shutter(True)  # else the head closes it
        await hand.go(INSIDE[1], speed_mm_s=10.0)  # the switch opens on the way
        hand.leak(0.0)

    def opened(at_s: float) -> set[str]:
        fault = {"kind": kind, "point": f"interlock.{rule}", "at_s": at_s, "for_s": 30.0}
        return broken(run(tmp_path / f"{at_s:g}", deed, faults=[fault]))

    (tmp_path / "8.3").mkdir()
    (tmp_path / "9.5").mkdir()
    assert opened(8.3) == {rule}
    assert opened(9.5) == set(), "the beam had gone before the switch opened"


def test_a_beam_behind_the_host(tmp_path: Path) -> None:
    async def deed(hand: Hand) -> None:
        await hand.lay(0.5)

    assert broken(run(tmp_path, deed, late=[Hand.draw])) == {"after"}


def test_a_layer_has_its_own_outline_in_a_run_too(tmp_path: Path) -> None:
    """What lies in the first layer's outline alone is outside of the second one's, which only the count tells."""
    job = tmp_path / "step.kiln"
    write_job(job, head(), (square_layer(n, side_mm=5.0 if n else 20.0) for n in range(3)))

    async def deed(hand: Hand) -> None:
        await hand.lay(0.5)
        await hand.draw((60.0, 60.0), (66.0, 60.0))
        await hand.lay(1.0)
        await hand.draw((60.0, 60.0), (66.0, 60.0))

    result = run(tmp_path, deed, job=job)
    assert broken(result) == {"outside"}
    (breach,) = result.record.breaches
    assert breach.t0_s > result.record.blocks[0].t1_s


@pytest.mark.parametrize("limit", ["plate_temp_c_max = 60.0", "bed_temp_c_max = 25.0"])
def test_what_grows_too_hot(tmp_path: Path, limit: str) -> None:
    """A machine of lower limits, so that the warmth need not be waited for."""
    text = (MACHINES / "bench.toml").read_text(encoding="utf-8") + f"\n[safety]\n{limit}\n"
    world = tmp_path / "tender.toml"
    world.write_text(text, encoding="utf-8")

    async def warms(hand: Hand) -> None:
        await hand.lay(0.5)
        if limit.startswith("plate"):
            await asyncio.sleep(30.0)  # while something under the plate is on fire
            return
        for n in range(12):
            await hand.draw(*(INSIDE if n % 2 else INSIDE[::-1]))

    async def stays_cool(hand: Hand) -> None:
        await hand.lay(0.5)

    blaze = [{"kind": "runaway", "point": "plate.heat", "at_s": 1.0, "for_s": 60.0, "args": {"extra_w": 20_000.0}}]
    faults = blaze if limit.startswith("plate") else []
    (tmp_path / "cool").mkdir()
    assert broken(run(tmp_path / "cool", stays_cool, world=str(world))) == set()
    assert broken(run(tmp_path, warms, world=str(world), faults=faults)) == {"temperature"}


def test_the_oracles_own_rules_are_asked_of_the_plant_as_well(tmp_path: Path) -> None:
    async def crash(hand: Hand) -> None:
        await hand.go((-20.0, 40.0))

    async def stays_live(hand: Hand) -> None:
        hand.leak(0.5)
        await asyncio.sleep(0.1)

    for name, deed, words in (("crash", crash, "ran into its frame"), ("live", stays_live, "could still fire")):
        (tmp_path / name).mkdir()
        result = run(tmp_path / name, deed)
        assert result.verdict is Verdict.UNSAFE and any(words in reason for reason in result.judgement.reasons)


def test_every_rule_is_broken_here_in_a_run() -> None:
    """`switch` is two: the door's and the purge's."""
    assert set(RULES) - {"switch"} == {
        "still", "powder", "outside", "after", "blade", "collision", "travel", "temperature",
    }  # fmt: skip
