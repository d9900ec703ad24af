"""A job, layer by layer: recoat, look, expose, close, commit; and the same again after an interruption.

Each layer goes through the journal's phases. A layer is committed only after its M400, with the position where the
plan ends, so that `blocks_claimed` never says more than the machine did. A run that finds layers in its journal
resumes: committed layers are left alone, a layer that was being exposed goes on at the first block in doubt (see
`control.resume_point`), and whatever may have been exposed twice is declared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from control.dry_planner import motion_time_s, stood_s
from control.errors import MoonkilnError
from control.idle_draw import still_draws
from control.inspection import Inspector
from control.interlock import Trip
from control.journal import Declaration, Journal, LayerPhase, LayerRecord, LayerStream
from control.journal_outcome import outcome_of_journal
from control.layer_energy import counted_beyond_plan_j
from control.light_watch import LightWatch
from control.machine import Machine
from control.offload import offload
from control.operator import Intent, Operator
from control.outcome import Outcome, Status
from control.resume_point import ResumePoint, block_at, line_end_mm, resume_point, tail
from control.states import RunEvent
from control.watch import Listener, MachineTripped
from firmware_bridge.devices.gantry import ChecksPlace
from firmware_bridge.errors import BridgeError
from slicer.errors import SlicerError
from slicer.exporters.gcode import LayerProgram, layer_program
from slicer.job import Job
from slicer.job_layer import JobLayer
from vision.inspect_bed import LayerInspection

TELLS_A_LAYER = 20  # how often an exposure says how far it is
LIGHT_EVERY_S = 0.5
QUEUE_SETTLE_S = 30.0  # beside the planned time: what the controller may take to run its planner empty
QUEUED_STOP = (
    "motion: its board has no EMERGENCY_PARSER, which the machine file accepts: a stop is heard there when its queue"
    " frees, while the beam is put out at once, over its own connection"
)


class Cancelled(MoonkilnError):
    """The operator gave the run up."""

    exit_code = 130


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a progress line."""

    layer: int  # layers finished
    layers: int
    share: float  # of the exposure, 0 to 1
    remaining_s: float
    bed_temp_c: float | None
    doing: str


class Observer(Listener, Protocol):
    """Who watches a run: telemetry, the report's pictures, the progress line."""

    def picture(self, layer: int, label: str, jpeg: bytes, inspection: LayerInspection) -> None:
        """A picture that was inspected; labels: powder, exposed."""

    def progress(self, progress: Progress) -> None:
        """A step forward."""


class PrintRun:
    """One host's work on one run. `await PrintRun(...).run()` never raises for what the world does: it tells."""

    def __init__(
        self,
        job: Job,
        machine: Machine,
        journal: Journal,
        inspector: Inspector,
        operator: Operator,
        observer: Observer,
        *,
        dry_run: bool = False,
    ) -> None:
        self._job = job
        self._machine = machine
        self._journal = journal
        self._inspector = inspector
        self._operator = operator
        self._observer = observer
        self._dry_run = dry_run
        self._envelope = job.envelope
        self._committed: set[int] = set()
        self._lines_sent = 0
        self._position_mm: tuple[float, float, float] | None = None
        self._acked_line = -1  # in the layer under way
        self._lit_line = -1  # acknowledged when the head was last seen to fire: from 16 before it on, all is in doubt
        self._afterwards: list[str] = []  # what else went wrong on the way out
        self._piston_was_lost = False
        self._is_resumed = False
        self._unsure_from: int | None = None  # the first layer since the gantry's place was last made sure of
        self._exposing: int | None = None
        self._planned_s = max(job.manifest.build_time_s, 1e-9)
        self._exposed_s = 0.0  # planned exposure time of the layers behind us, for the progress line
        self._layer_s = 0.0  # and of the attempt under way
        self._layer_lines = 1
        self._next_tell_line = 0

    async def run(self) -> Outcome:
        """Print what is left of the job and say how it ended. The machine is safe on return."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        session = self._journal.begin_session()
        self._is_resumed = session > 1
        records = {record.layer: record for record in self._journal.layers()}
        self._operator.when_stopped(self._machine.stop)
        self._machine.witness = self._witness
        self._machine.devices.motion.on_button = self._operator.press
        unsafe: list[str] = []
        left_on = ""
        try:
            try:
                await self._print(records, session)
                status, reason, code = Status.DONE, "every layer is committed", 0
                if self._dry_run:
                    reason = "dry run: every line was streamed with the beam disarmed"
            finally:
                doubt = loop.create_task(self._settle_doubt())  # beside: a slow disk must not keep the beam on
                try:
                    unsafe = await self._machine.make_safe()
                    left_on = await self._draw_at_rest()
                finally:
                    await doubt
                    if report := self._machine.devices.motion.stop_report:
                        self._afterwards.append(report.rstrip("."))
        except MachineTripped as error:
            status, reason, code = Status.STOPPED, str(error), 130 if error.stopped else error.exit_code
        except Cancelled as error:
            status, reason, code = Status.CANCELLED, str(error), error.exit_code
        except (MoonkilnError, SlicerError) as error:
            status, reason, code = Status.FAILED, str(error), getattr(error, "exit_code", 2)
        except BridgeError as error:
            status, reason, code = Status.FAILED, str(error), 3
        return outcome_of_journal(
            self._journal,
            status,
            "; ".join([reason, *self._afterwards]),
            code,
            self._dry_run,
            lines_sent=self._lines_sent,
            polls=self._machine.polls,
            duration_s=loop.time() - began_s,
            position_mm=self._position_mm,
        ).owning_up(unsafe, left_on)

    async def _draw_at_rest(self) -> str:
        meter = self._machine.config.devices.meter
        if self._dry_run:  # nothing was switched on
            return ""
        return await still_draws(self._machine.devices.meter, meter.idle_w_max)

    # -- the run ------------------------------------------------------------------------------------------------

    async def _print(self, records: dict[int, LayerRecord], session: int) -> None:
        machine, job = self._machine, self._job
        self._committed = {r.layer for r in records.values() if r.phase is LayerPhase.COMMITTED}
        if doubted := sorted(n for n in self._committed if records[n].doubt_from is not None):
            raise MoonkilnError(
                f"layers {doubted[0]} to {doubted[-1]} of this run may lie elsewhere than planned, since the gantry had"
                " lost steps: inspect the part, then print a new job",
                4,
            )
        self._exposed_s = job.manifest.beam_on_s * len(self._committed) / job.manifest.layer_count
        self._tell("bringing up the machine")
        await machine.guarded(machine.bring_up())
        await self._journal.event("info", f"session {session}: machine {machine.config.name} is ready")
        if machine.devices.motion.stop_queues:
            await self._say("warning", QUEUED_STOP)
        point = await self._reconcile(records)
        # The gantry stands, and nothing is switched on yet: what is drawn was left on before, or a relay has welded.
        if on := await machine.guarded(self._draw_at_rest()):
            raise MachineTripped([Trip("meter", on)])
        if not self._dry_run:
            await machine.guarded(machine.home_axis("recoater", unless_homed=session > 1))
            self._piston_was_lost = await machine.guarded(machine.home_axis("piston", unless_homed=session > 1))
            if job.recipe.bed_temp_c is not None:
                self._tell(f"heating the bed to {job.recipe.bed_temp_c:g} degC")
                await machine.guarded(machine.heat(job.recipe.bed_temp_c))
        for index in range(job.manifest.layer_count):
            await self._obey()
            if index in self._committed:
                continue
            job_layer = job.layer(index)
            self._unsure_from = index if self._unsure_from is None else self._unsure_from
            await self._print_layer(
                index, job_layer, records.get(index), point if point and point.layer == index else None
            )

    async def _reconcile(self, records: dict[int, LayerRecord]) -> ResumePoint | None:
        """Find out where the machine is, and where an interrupted layer goes on. Homes unless the place is known."""
        motion = self._machine.devices.motion
        interrupted = next((r for r in records.values() if r.phase is LayerPhase.EXPOSING), None)
        if interrupted is None:
            self._tell("homing")
            await self._machine.guarded(motion.home())
            return None
        self._tell("waiting for the machine to come to rest")
        job_layer = self._job.layer(interrupted.layer)
        await self._machine.guarded(motion.wait_idle(timeout_s=self._planned_s + QUEUE_SETTLE_S))
        await self._machine.guarded(motion.laser_off())  # the last move's S may still stand
        position = None if motion.has_lost_place else await self._machine.guarded(motion.position())
        tolerance_mm = self._machine.config.print.position_tolerance_mm
        at_mm = position[:2] if position is not None else None
        point = resume_point(interrupted, job_layer, self._envelope, at_mm, tolerance_mm, motion.planned_moves)
        if point.position_known and self._machine.config.devices.motion.home_check_layers:
            await self._machine.guarded(motion.home())  # what the board counts is not where it must stand
        if not point.position_known:
            where = "does not know its place" if at_mm is None else f"stands at {at_mm}, how it came there is not sure"
            await self._say("warning", f"the machine {where}: homing")
            await self._machine.guarded(motion.home())
        if point.last_block >= point.first_block:
            if self._job.recipe.resume_policy == "stop":
                raise MoonkilnError(
                    f"layer {point.layer} was interrupted with blocks {point.first_block} to {point.last_block} in"
                    " doubt, and the recipe's resume_policy is 'stop': inspect the part, then print a new job",
                    4,
                )
            for kind in ("interrupted", "re_exposed"):
                await self._journal.declare(Declaration(kind, point.layer, point.first_block, point.last_block))
            await self._say(
                "warning",
                f"layer {point.layer} goes on at block {point.first_block};"
                f" up to block {point.last_block} it may be exposed twice",
            )
        return point

    async def _print_layer(
        self, index: int, job_layer: JobLayer, record: LayerRecord | None, point: ResumePoint | None
    ) -> None:
        blocks = len(job_layer.path)
        if point is None and not self._dry_run:
            await self._journal.prepare_layer(index, blocks=blocks)
            if record is not None:
                await self._journal.declare(Declaration("recoated", index, -1, -1))
            await self._recoat(index, job_layer, again=record is not None)
        elif not self._dry_run:
            await self._bring_back_to_height(index, job_layer)
        energy_j = job_layer.path.energy_j
        first_block = point.first_block if point is not None else 0
        while first_block < blocks:
            await self._obey()  # before the beam is armed for nothing
            await self._await_light(index)
            first_block = await self._expose(index, job_layer, first_block)
        if self._dry_run:
            return
        await self._check_place(index)
        await self._journal.commit_layer(index, blocks=blocks, energy_j=energy_j)
        self._committed.add(index)
        self._exposed_s += job_layer.path.exposure_time_s
        self._layer_s = 0.0
        await self._look_at_exposed(index, job_layer)
        self._tell(f"layer {index + 1} committed")

    async def _bring_back_to_height(self, index: int, job_layer: JobLayer) -> None:
        """A layer that goes on lies where it lay; a piston that had to be homed has carried its powder about."""
        machine = self._machine
        if self._piston_was_lost:
            await self._say("warning", f"layer {index}: the piston had lost its place and was homed; spreading again")
            await self._journal.declare(Declaration("recoated", index, -1, -1))
            await self._recoat(index, job_layer, again=True)
            return
        await machine.guarded(machine.move_axis("piston", job_layer.layer.z_mm))
        await machine.guarded(machine.move_axis("recoater", machine.config.print.recoat_park_mm))

    async def _recoat(self, index: int, job_layer: JobLayer, *, again: bool) -> None:
        """Lower the piston, spread, look; a short feed is spread again, up to the machine file's number of tries.

        again: an earlier session may have spread this layer.
        """
        machine, p = self._machine, self._machine.config.print
        self._tell(f"layer {index + 1}: recoating")
        await machine.guarded(machine.move_axis("piston", job_layer.layer.z_mm))
        if self._is_resumed and not self._inspector.has_seen:
            # Whoever knew the last picture is gone: a camera that hangs would show that as if it were this powder.
            before = await machine.guarded(machine.devices.camera.snapshot(self._warn))
            self._inspector.remember(before, is_other_powder=not again)
        for attempt in range(p.recoat_tries_max):
            await machine.guarded(machine.spread())
            if attempt == 1:  # it lies there now, whatever the picture will say of it
                await self._journal.declare(Declaration("recoated", index, -1, -1))
            inspection = await machine.guarded(self._look_at_powder(index, job_layer))
            if inspection.quality == "unknown":
                if p.on_unknown_picture == "stop":
                    raise MachineTripped(
                        [Trip("camera", f"the powder of layer {index} cannot be judged: {inspection.reason}")]
                    )
                await self._say(
                    "warning", f"layer {index}: the powder cannot be judged ({inspection.reason}); going on"
                )
                return
            if inspection.thin_area_mm2 <= p.thin_area_mm2_max:
                return
            await self._say(
                "warning", f"layer {index}: {inspection.thin_area_mm2:.0f} mm2 of the powder are thin; spreading again"
            )
        raise MachineTripped(
            [
                Trip(
                    "recoater",
                    f"layer {index} is still thin after {p.recoat_tries_max} strokes: fill the hopper, then resume",
                )
            ]
        )

    async def _look_at_powder(self, index: int, job_layer: JobLayer) -> LayerInspection:
        jpeg = await self._machine.devices.camera.snapshot(self._warn)
        inspection = await self._inspector.powder(jpeg, job_layer)
        self._observer.picture(index, "powder", jpeg, inspection)
        return inspection

    async def _look_at_exposed(self, index: int, job_layer: JobLayer) -> None:
        """A picture for the record; what it finds is reported, and a camera that fails now stops nothing."""
        try:
            jpeg = await self._machine.devices.camera.snapshot(self._warn)
        except BridgeError as error:
            await self._say("warning", f"layer {index}: no picture after exposure: {error}")
            return
        inspection = await self._inspector.exposed(jpeg, job_layer)
        self._observer.picture(index, "exposed", jpeg, inspection)

    # -- exposing -----------------------------------------------------------------------------------------------

    async def _expose(self, index: int, job_layer: JobLayer, first_block: int) -> int:
        """One attempt: stream a layer from `first_block` until its M400 is answered, or the operator breaks in.

        Returns the block at which to go on: the layer's number of blocks when it is complete.
        """
        machine, motion = self._machine, self._machine.devices.motion
        rest = tail(job_layer, first_block)
        program = layer_program(rest, self._envelope)
        motion.check(program.lines)  # before the beam is armed
        self._acked_line = self._lit_line = -1
        if self._dry_run:
            await self._check_disarmed()
            taken = await machine.guarded(motion.stream(program.lines, _Unjournalled(), cancelled=self._wants_break))
        else:
            await self._journal.expose_layer(index, blocks=len(job_layer.path), base_block=first_block)
            # Before the shutter opens: light that nobody asked for must not fall outside the part.
            begins_mm = rest.path.vectors_mm[0]
            start_mm = await machine.guarded(motion.approach(float(begins_mm[0]), float(begins_mm[1])))
            stream = LayerStream(self._journal, index, on_acked=self._note_ack, lit=lambda: self._lit_line)
            light = await self._light_watch(program, rest, (start_mm[0], start_mm[1]))
            await machine.guarded(machine.arm_and_fire(program.power_set_w))
            machine.light = lambda counted_j, fired_s: light.look(counted_j, fired_s, stream.taken, stream.sent)
            self._exposing = index
            self._layer_s, self._layer_lines, self._next_tell_line = rest.path.exposure_time_s, len(program.lines), 0
            taken = await machine.guarded(motion.stream(program.lines, stream, cancelled=self._wants_break))
            machine.light = None  # its end is judged by the whole count
        self._lines_sent += taken
        complete = taken == len(program.lines)
        if not complete:
            # Broken off between two lines: what was taken comes to its end, then the beam is put away.
            await machine.guarded(motion.laser_off())
            await machine.guarded(motion.wait_idle(timeout_s=self._planned_s + QUEUE_SETTLE_S))
        reached = first_block + (len(rest.path) if complete else block_at(program, taken))
        ended_s = asyncio.get_running_loop().time()
        if taken:
            await self._close_position(index, line_end_mm(program, taken - 1))
        if self._dry_run:
            await self._check_disarmed()
        else:
            await machine.guarded(machine.confirm_firing())  # to the end: what ran dark is not claimed
            energy_j = await machine.guarded(machine.cease_and_disarm())
            await stream.settle()
            took_s = ended_s - (stream.began_s or ended_s)
            stood = stood_s(took_s, program.lines[:taken], start_mm[:2], self._envelope)
            over_s = max(took_s - motion_time_s(program.lines[:taken], start_mm[:2], self._envelope), 0.0)
            dwell_j = 0.0 if motion.is_dark_at_rest else over_s * program.power_set_w
            share_max = machine.config.devices.beam.energy_share_max
            excess_j = counted_beyond_plan_j(index, rest.path, reached - first_block, energy_j, dwell_j, share_max)
            stood = max(stood, excess_j / program.power_set_w)
            if stood and not motion.is_dark_at_rest:
                await self._own_up_to_standing(index, first_block, reached, stood, program.power_set_w)
        self._exposing = None
        if not complete:
            if not self._dry_run:  # at rest: a host that dies during the pause has nothing in doubt
                await self._journal.expose_layer(index, blocks=len(job_layer.path), base_block=reached)
            if reached < len(job_layer.path):
                await self._journal.declare(Declaration("interrupted", index, reached, reached))
        return reached

    async def _light_watch(self, program: LayerProgram, rest: JobLayer, start_mm: tuple[float, float]) -> LightWatch:
        motion, share = self._machine.devices.motion, self._machine.config.devices.beam.energy_share_max
        return await offload(
            lambda: LightWatch(
                program,
                rest.path,
                start_mm,
                self._envelope,
                energy_share_max=share,
                held_lines=motion.planned_moves,
                dark_at_rest=motion.is_dark_at_rest,
            )
        )

    async def _own_up_to_standing(
        self, index: int, first_block: int, reached: int, stood: float, power_w: float
    ) -> None:
        """The motion controller ran dry: it stood with the last block's power on, and does not say where."""
        await self._journal.declare(Declaration("interrupted", index, first_block, max(first_block, reached - 1)))
        await self._say(
            "warning",
            f"layer {index}: the motion took {stood:.2f} s longer than it needs: the controller waited for lines, and"
            f" the beam gave up to {stood * power_w:.0f} J too much. Look at its wire, or at the acceleration that the"
            " machine file says",
        )

    async def _close_position(self, index: int, ends_mm: NDArray[np.float64]) -> None:
        """The machine must stand where the last line that it took ends: else lines went astray."""
        position = await self._machine.guarded(self._machine.devices.motion.position())
        self._position_mm = position
        off_mm = float(np.max(np.abs(np.asarray(position[:2]) - ends_mm)))
        tolerance_mm = self._machine.config.print.position_tolerance_mm
        if off_mm > tolerance_mm:  # NaN, before the first move, is not
            reason = f"layer {index} ended {off_mm:.3f} mm from where its plan ends (allowed {tolerance_mm:g} mm)"
            raise MachineTripped([Trip("motion", reason)])

    async def _check_place(self, index: int) -> None:
        """Every so many layers as the machine file says, and behind the last: have x and y lost steps? Before the layer
        is claimed, since the board itself only counts the steps that it gave."""
        c, motion = self._machine.config.devices.motion, self._machine.devices.motion
        is_due = (index + 1) % max(c.home_check_layers, 1) == 0 or index == self._job.manifest.layer_count - 1
        if not c.home_check_layers or not is_due or not isinstance(motion, ChecksPlace):
            return
        if flaw := await self._machine.guarded(motion.check_place(c.home_check_mm)):
            which = f"layer {index}" if index == self._unsure_from else f"layers {self._unsure_from} to {index}"
            for layer in range(self._unsure_from if self._unsure_from is not None else index, index + 1):
                await self._journal.doubt(layer, 0)
            reason = f"{flaw}: steps were lost, or the switch fails; {which} may lie elsewhere than planned"
            raise MachineTripped([Trip("motion", reason)])
        self._unsure_from = index + 1
        self._position_mm = await self._machine.guarded(motion.position())

    async def _check_disarmed(self) -> None:
        """A dry run's promise, read back from the head."""
        if await self._machine.devices.beam.is_armed():
            raise MachineTripped([Trip("beam", "the head says that it is armed during a dry run")])

    async def _obey(self) -> None:
        """Carry out what the operator asked for since the last time; a pause waits here for its end."""
        while (intent := self._operator.take()) is not None:
            if intent is Intent.CANCEL:
                raise Cancelled("the operator cancelled the run")
            if intent is Intent.PAUSE:
                self._machine.enter(RunEvent.PAUSE)
                await self._say("info", "paused by the operator")
                while (answer := await self._machine.guarded(self._operator.next())) not in (
                    Intent.RESUME,
                    Intent.CANCEL,
                ):
                    pass  # another pause changes nothing; a stop trips the machine and ends the guarded wait
                if answer is Intent.CANCEL:
                    raise Cancelled("the operator cancelled the run")
                self._machine.enter(RunEvent.RESUME)
                await self._say("info", "resumed by the operator")

    def _wants_break(self) -> bool:
        return self._operator.wants_break or (not self._dry_run and bool(self._machine.lacks_light()))

    async def _await_light(self, index: int) -> None:
        """Where the machine file sets a floor of irradiance: wait for it before the beam is armed, and so long as the
        file allows. MachineTripped after that: the run can be resumed in better light."""
        why = "" if self._dry_run else self._machine.lacks_light()
        pyranometer = self._machine.config.devices.pyranometer
        if not why or pyranometer is None:
            return
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + pyranometer.wait_s_max
        await self._say("warning", f"layer {index}: {why}; waiting for light")
        self._tell(f"layer {index + 1}: waiting for light")
        while why := self._machine.lacks_light(is_waiting=True):
            if loop.time() >= deadline_s:
                waited = f"after waiting {pyranometer.wait_s_max:g} s " if pyranometer.wait_s_max else ""
                raise MachineTripped([Trip("pyranometer", f"{waited}{why}: resume the run in better light")])
            await self._machine.guarded(asyncio.sleep(LIGHT_EVERY_S))
            await self._obey()
        await self._say("info", f"layer {index}: there is light again")

    def _note_ack(self, line: int) -> None:
        self._acked_line = line
        if line >= self._next_tell_line and self._exposing is not None:
            self._next_tell_line = line + max(1, self._layer_lines // TELLS_A_LAYER)
            self._tell(f"layer {self._exposing + 1}: exposing")

    def _witness(self) -> Callable[[], None]:
        """Before the head is asked whether it fires: the lines acknowledged so far are lit if it says that it does."""
        line = self._acked_line

        def lit() -> None:
            self._lit_line = max(self._lit_line, line)

        return lit

    async def _settle_doubt(self) -> None:
        """A layer broken off: lines since the head was last seen to fire may have run without their beam."""
        if self._exposing is None or self._dry_run:
            return
        try:
            planned = self._machine.devices.motion.planned_moves
            await self._journal.doubt(self._exposing, max(0, self._lit_line + 1 - planned))
        except MoonkilnError as error:  # the reason why it was broken off is not to be lost behind this one
            self._afterwards.append(str(error))

    # -- telling ------------------------------------------------------------------------------------------------

    async def _say(self, level: str, text: str) -> None:
        await self._journal.event(level, text)
        self._observer.event(level, text)

    def _warn(self, text: str) -> None:
        self._observer.event("warning", text)

    def _tell(self, doing: str) -> None:
        reading = self._machine.readings.get("heater", {}).get("bed_temp_c")
        done = len(self._committed)
        part = (self._acked_line + 1) / self._layer_lines if self._exposing is not None else 0.0
        share = min(1.0, (self._exposed_s + part * self._layer_s) / max(self._job.manifest.beam_on_s, 1e-9))
        self._observer.progress(
            Progress(
                done,
                self._job.manifest.layer_count,
                share,
                self._planned_s * (1.0 - share),
                reading.value if reading is not None else None,
                doing,
            )
        )


class _Unjournalled:
    """A dry run's stream journal: nothing is exposed, so nothing needs to be remembered."""

    async def ahead(self, first: int, last: int) -> None:
        """Nothing to note."""

    def acked(self, index: int) -> None:
        """Nothing to note."""
