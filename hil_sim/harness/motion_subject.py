"""A program of G-code lines against an emulated motion board over its wire: the smallest subject of a campaign.

Jumps and exposed vectors by turns, each with a power of its own, streamed by `control.host.stream_host` as a print
streams a layer. The truth is what the emulated gantry did, move by move: place, speed and energy, under a head that
emits `HEAD_W` as long as it is fed (`fed_head`): until the host has ended, and its watchdog's time behind that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from control.host import Status, StreamEnd, stream_host
from hil_sim.harness.digest import Digest, RunDigest
from hil_sim.harness.fed_head import FedHead
from hil_sim.harness.invariants import TIME_S, beam_after_the_host, beam_still
from hil_sim.harness.matching import ENERGY_SHARE, POSITION_MM
from hil_sim.harness.oracle import DWELL_SHARE, Verdict
from hil_sim.harness.runner import twin_of
from hil_sim.harness.series import Floats
from hil_sim.harness.subjects import Run, stop_at
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.faults.schedule import Faults, FaultSchedule
from hil_sim.world.machine_spec import MachineSpec, load_machine_spec
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.gantry import Run as MoveRun
from hil_sim.world.plant.optics import Optics
from hil_sim.world.safety import SafetySpec
from hil_sim.world.wire import lay_virtual
from hil_sim.world.wiring import WireSpec, refuse_strange

HEAD_W = 100.0
SIM_S_MAX = 900.0
WATCH_S = 20.0
"""How long the machine is watched when its host has ended."""
RUN_OUT_S = 15.0
"""A board that was cut off carries out what it holds, in the dark; it stands after this."""
HEADER, FOOTER = (b"M4 I S0",), (b"M5 I", b"M400")


class Vector(msgspec.Struct, frozen=True):
    """One move of the program: where it ends, mm, S of 1000 (0: a jump in the dark), and its speed, mm/s."""

    end_mm: tuple[float, float]
    s: int
    speed_mm_s: float


@dataclass(frozen=True)
class _Light:
    """What the rules of light read (`invariants.Lit`)."""

    rows: Floats
    safety: SafetySpec
    ended_s: float
    host_died: bool
    end_s: float


def _ways(spec: MachineSpec) -> list[str]:
    wire = spec.devices.motion.wire
    return [f"{wire}.to_device", f"{wire}.to_host"]


class MotionSubject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="motion", tag_field="subject"):
    """`vectors` lines that move, half of them jumps, on a machine's motion board."""

    vectors: int = 40
    machine: str = "bench"

    @property
    def name(self) -> str:
        """A word for reports."""
        return f"motion-{self.vectors}-{self.machine}"

    @property
    def length(self) -> int:
        """Lines that move."""
        return self.vectors

    @property
    def has_faults(self) -> bool:
        """It has none."""
        return False

    @property
    def own_seed(self) -> int:
        """0: it comes out the same under any."""
        return 0

    def shorter(self, length: int) -> MotionSubject:
        """The same with fewer lines."""
        return msgspec.structs.replace(self, vectors=length)

    def points(self) -> list[str]:
        """The two ways of the motion's wire."""
        return _ways(load_machine_spec(twin_of(self.machine)))

    def to_dict(self) -> dict[str, Any]:
        """See `Subject.to_dict`."""
        return msgspec.to_builtins(self)

    def job_bytes(self) -> bytes | None:
        """None: the program follows from the number of its lines."""
        return None

    def program(self) -> tuple[list[bytes], list[Vector]]:
        """The lines to stream and the moves that they mean; a short hatch, so that no line is like another."""
        moves = []
        for i in range(self.vectors):
            row, is_jump = i // 2, i % 2 == 0
            near, far = 20.0 + 0.3 * row, 24.0 + 0.5 * row
            x_mm = (near if row % 2 == 0 else far) if is_jump else (far if row % 2 == 0 else near)
            s, speed_mm_s = (0, 100.0) if is_jump else (400 + 25 * (row % 24), 40.0 + row % 5)
            moves.append(Vector((round(x_mm, 3), 20.0 + 0.5 * row), s, speed_mm_s))
        lines = [
            b"G%d X%.3f Y%.3f F%d S%d" % (1 if m.s else 0, *m.end_mm, round(m.speed_mm_s * 60), m.s) for m in moves
        ]
        return [*HEADER, *lines, *FOOTER], moves

    def run(
        self,
        schedule: FaultSchedule,
        seed: int,
        *,
        heard: RunDigest | None = None,
        until_s: float | None = None,
        pace: float | None = None,
        folder: Path | None = None,
    ) -> Run:
        """See `Subject.run`; nothing is left in `folder`."""
        return run_virtual(
            lambda loop: self._main(loop, schedule, heard or RunDigest(), until_s),
            seed=seed,
            pace=pace,
            tie_shuffle=True,
        )

    async def _main(self, loop: VirtualLoop, schedule: FaultSchedule, heard: RunDigest, until_s: float | None) -> Run:
        spec = load_machine_spec(twin_of(self.machine))
        motion = spec.devices.motion
        wires: dict[str, WireSpec] = spec.wires
        faults = Faults(schedule)
        refuse_strange(faults, _ways(spec))
        gantry = motion.gantry()
        head = FedHead(loop, gantry, power_w=HEAD_W)
        optics = head.optics
        baud = wires[motion.wire].baud
        wire = await lay_virtual(motion.wire, motion.board(gantry, baud), baud=baud, faults=faults, tap=heard.tap)
        if until_s is not None:
            stop_at(until_s)
        lines, moves = self.program()
        urls = {motion.wire: wire.url}
        end: StreamEnd | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SIM_S_MAX):
                end = await stream_host(lines, self.machine, ends_mm=moves[-1].end_mm, urls=urls)
        ended_s = loop.time()
        head.starve()
        optics.settle(ended_s)
        verdict, reasons = await self._judged(loop, end, moves, gantry, optics, spec.safety)
        done = _moves_done(gantry, end.began_s if end else None)
        truth = [(run.t0_s, run.t1_s, run.start_mm, run.end_mm, run.move.s_fraction) for run in done]
        job_end_s = done[-1].t1_s if end is not None and end.status is Status.DONE and done else ended_s
        struck = tuple((t_s, fault) for t_s, _, fault in faults.strikes)
        digest: Digest = heard.close(
            [truth, [(d.t0_s, d.t1_s, d.energy_j) for d in optics.dwells], ended_s],
            [(t_s, fault.to_dict()) for t_s, fault in struck],
            end,
        )
        events = Counter({wire.to_device.name: wire.to_device.chunks, wire.to_host.name: wire.to_host.chunks})
        if heard.log is not None:
            events = Counter(chunk.point for chunk in heard.log if chunk.t_s <= job_end_s)
        log, shown = tuple(heard.log or ()), frozenset(faults.shown)
        return Run(verdict, reasons, digest, struck, ended_s, job_end_s, loop.fired, events, log=log, shown=shown)

    async def _judged(
        self,
        loop: VirtualLoop,
        end: StreamEnd | None,
        moves: list[Vector],
        gantry: Gantry,
        optics: Optics,
        safety: SafetySpec,
    ) -> tuple[Verdict, tuple[str, ...]]:
        """What the truth says of the host's word, and of what the machine does when the host has ended."""
        ended_s, energy_j = loop.time(), optics.total_energy_j
        wrong, stood = ([], []) if end is None else (_deviations(end, moves, gantry, optics), _stood(optics))
        await asyncio.sleep(WATCH_S)
        optics.settle(loop.time())
        is_safe = end is not None and end.is_safe
        light = _Light(optics.exposures, safety, ended_s, not is_safe, loop.time())
        if unsafe := [*_moved_on(gantry, ended_s, is_safe), *_lit_on(light)]:
            return Verdict.UNSAFE, tuple(unsafe)
        if end is None:
            return Verdict.HANG, (f"the host had not ended after {SIM_S_MAX:g} simulated seconds",)
        if end.status is not Status.DONE:
            after_j = optics.total_energy_j - energy_j
            burnt = (f"{after_j:.3g} J were given after its end, until the head's watchdog struck",) if after_j else ()
            return Verdict.DETECTED, (f"the host says {end.status.value}: {end.reason}", *burnt)
        if wrong or (stood and not end.stood_s):
            return Verdict.SILENT, (*wrong, *stood)
        if end.stood_s:
            return Verdict.DEGRADED, (f"the host owns up to {end.stood_s:.2f} s at rest", *stood)
        return Verdict.EXACT, (f"each of {len(moves)} moves was made once, within {ENERGY_SHARE:.0%} of its energy",)


def _moved_on(gantry: Gantry, ended_s: float, is_safe: bool) -> list[str]:
    """Whether the gantry moves when it should stand, in a sentence."""
    still_s = ended_s if is_safe else ended_s + RUN_OUT_S
    if not any(isinstance(e, MoveRun) and e.t1_s > still_s + TIME_S and e.duration_s > 0.0 for e in gantry.history):
        return []
    if is_safe:
        return ["the gantry moves on after the host said that it is safe"]
    return [f"the gantry still moves {RUN_OUT_S:g} s after the host had ended"]


def _lit_on(light: _Light) -> list[str]:
    """Where the light broke a rule that holds for any run, in sentences."""
    return [breach.sentence for rule in (beam_still, beam_after_the_host) for breach in rule(light)]


def _moves_done(gantry: Gantry, since_s: float | None) -> list[MoveRun]:
    """The moves since then, a block that its controller re-planned counted once, with the end of its last part."""
    done: list[MoveRun] = []
    for run in gantry.history:
        if not isinstance(run, MoveRun) or since_s is None or run.t0_s < since_s:
            continue
        if run.joins and done:
            done.pop()
        done.append(run)
    return done


def _deviations(end: StreamEnd, moves: list[Vector], gantry: Gantry, optics: Optics) -> list[str]:
    """What was done otherwise than planned, in sentences."""
    done = _moves_done(gantry, end.began_s)
    wrong = []
    if len(done) != len(moves):
        wrong.append(f"{len(done)} moves were made of {len(moves)}")
    for number, (run, due) in enumerate(zip(done, moves)):
        off_mm = max(abs(at - want) for at, want in zip(run.end_mm, due.end_mm))
        if off_mm > POSITION_MM:
            wrong.append(f"move {number} ended {off_mm:.2f} mm from its place")
        per_mm = run.move.s_fraction / run.move.nominal_mm_s
        want_per_mm = due.s / 1000.0 / due.speed_mm_s
        if abs(per_mm - want_per_mm) > ENERGY_SHARE * want_per_mm:
            wrong.append(f"move {number} got {per_mm * HEAD_W:.3g} J/mm of {want_per_mm * HEAD_W:.3g} J/mm")
    early = [block for block in optics.executed if end.began_s is None or block.t0_s < end.began_s]
    if early:
        wrong.append(f"{len(early)} moves were lit before the program began")
    return wrong


def _stood(optics: Optics) -> list[str]:
    """Where the beam stood, in sentences."""
    found = []
    for dwell in optics.dwells:
        before = optics.executed[dwell.after_block].energy_j if dwell.after_block >= 0 else 0.0
        if dwell.energy_j > max(DWELL_SHARE * before, 1e-6):
            found.append(f"the beam stood at {dwell.at_mm[:2]} and gave {dwell.energy_j:.3g} J")
    return found
