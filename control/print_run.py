"""A job, layer by layer: recoat, look, expose, close, commit; and the same again after an interruption.

Each layer goes through the journal's phases. A layer is committed only after its M400, with the position where the
plan ends, so that `blocks_claimed` never says more than the machine did. A run that finds layers in its journal
resumes: committed layers are left alone, a layer that was being exposed goes on at the first block in doubt (see
`control.resume_point`), and whatever may have been exposed twice is declared.
"""

from __future__ import annotations

import asyncio

from control.errors import MoonkilnError
from control.exposing import Exposing
from control.idle_draw import still_draws
from control.inspection import Inspector
from control.interlock import Trip
from control.journal import Declaration, Journal, LayerPhase, LayerRecord
from control.journal_outcome import outcome_of_journal
from control.machine import Machine
from control.operator import Intent, Operator
from control.outcome import Outcome, Status
from control.place import Place
from control.recoating import Recoating
from control.resume_point import ResumePoint, resume_point
from control.run_teller import Observer, RunTeller
from control.states import RunEvent
from control.watch import MachineTripped
from firmware_bridge.errors import BridgeError
from slicer.errors import SlicerError
from slicer.job import Job
from slicer.job_layer import JobLayer

LIGHT_EVERY_S = 0.5
QUEUED_STOP = (
    "motion: its board has no EMERGENCY_PARSER, which the machine file accepts: a stop is heard there when its queue"
    " frees, while the beam is put out at once, over its own connection"
)


class Cancelled(MoonkilnError):
    """The operator gave the run up."""

    exit_code = 130


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
        self._operator = operator
        self._dry_run = dry_run
        self._afterwards: list[str] = []  # what else went wrong on the way out
        self._teller = RunTeller(job, machine, journal, observer)
        self._place = Place(machine, journal, job.manifest.layer_count)
        self._recoating = Recoating(machine, journal, inspector, self._teller)
        self._exposing = Exposing(job, machine, journal, self._teller, self._place, self._wants_break, dry_run=dry_run)

    async def run(self) -> Outcome:
        """Print what is left of the job and say how it ended. The machine is safe on return."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        session = self._journal.begin_session()
        self._recoating.is_resumed = session > 1
        records = {record.layer: record for record in self._journal.layers()}
        self._operator.when_stopped(self._machine.stop)
        self._machine.witness = self._exposing.witness
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
                doubt = loop.create_task(self._exposing.settle_doubt())  # beside: a slow disk must not keep the beam on
                try:
                    unsafe = await self._machine.make_safe()
                    left_on = await self._draw_at_rest()
                finally:
                    if flaw := await doubt:
                        self._afterwards.append(flaw)
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
            lines_sent=self._exposing.lines_sent,
            polls=self._machine.polls,
            duration_s=loop.time() - began_s,
            position_mm=self._place.position_mm,
        ).owning_up(unsafe, left_on)

    async def _draw_at_rest(self) -> str:
        meter = self._machine.config.devices.meter
        if self._dry_run:  # nothing was switched on
            return ""
        return await still_draws(self._machine.devices.meter, meter.idle_w_max, meter.idle_w_min)

    # -- the run ------------------------------------------------------------------------------------------------

    async def _print(self, records: dict[int, LayerRecord], session: int) -> None:
        machine, job = self._machine, self._job
        committed = {r.layer for r in records.values() if r.phase is LayerPhase.COMMITTED}
        if doubted := sorted(n for n in committed if records[n].doubt_from is not None):
            raise MoonkilnError(
                f"layers {doubted[0]} to {doubted[-1]} of this run may lie elsewhere than planned, since the gantry had"
                " lost steps: inspect the part, then print a new job",
                4,
            )
        self._teller.layers_done = len(committed)
        self._teller.exposed_s = job.manifest.beam_on_s * len(committed) / job.manifest.layer_count
        self._teller.tell("bringing up the machine")
        await machine.guarded(machine.bring_up())
        await self._journal.event("info", f"session {session}: machine {machine.config.name} is ready")
        if machine.devices.motion.stop_queues:
            await self._teller.say("warning", QUEUED_STOP)
        point = await self._reconcile(records)
        # The gantry stands, and nothing is switched on yet: what is drawn was left on before, or a relay has welded.
        if on := await machine.guarded(self._draw_at_rest()):
            raise MachineTripped([Trip("meter", on)])
        if not self._dry_run:
            await machine.guarded(machine.home_axis("recoater", unless_homed=session > 1))
            self._recoating.piston_was_lost = await machine.guarded(
                machine.home_axis("piston", unless_homed=session > 1)
            )
            if job.recipe.bed_temp_c is not None:
                self._teller.tell(f"heating the bed to {job.recipe.bed_temp_c:g} degC")
                await machine.guarded(machine.heat(job.recipe.bed_temp_c))
        for index in range(job.manifest.layer_count):
            await self._obey()
            if index in committed:
                continue
            job_layer = job.layer(index)
            self._place.unsure_from = index if self._place.unsure_from is None else self._place.unsure_from
            await self._print_layer(
                index, job_layer, records.get(index), point if point and point.layer == index else None
            )

    async def _reconcile(self, records: dict[int, LayerRecord]) -> ResumePoint | None:
        """Find out where the machine is, and where an interrupted layer goes on. Homes unless the place is known."""
        motion = self._machine.devices.motion
        interrupted = next((r for r in records.values() if r.phase is LayerPhase.EXPOSING), None)
        if interrupted is None:
            self._teller.tell("homing")
            await self._machine.guarded(motion.home())
            return None
        self._teller.tell("waiting for the machine to come to rest")
        job_layer = self._job.layer(interrupted.layer)
        await self._machine.guarded(motion.wait_idle(timeout_s=self._exposing.idle_s_max))
        await self._machine.guarded(motion.laser_off())  # the last move's S may still stand
        position = None if motion.has_lost_place else await self._machine.guarded(motion.position())
        tolerance_mm = self._machine.config.print.position_tolerance_mm
        at_mm = position[:2] if position is not None else None
        point = resume_point(interrupted, job_layer, self._job.envelope, at_mm, tolerance_mm, motion.planned_moves)
        if point.position_known and self._machine.config.devices.motion.home_check_layers:
            await self._machine.guarded(motion.home())  # what the board counts is not where it must stand
        if not point.position_known:
            where = "does not know its place" if at_mm is None else f"stands at {at_mm}, how it came there is not sure"
            await self._teller.say("warning", f"the machine {where}: homing")
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
            await self._teller.say(
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
            await self._recoating.recoat(index, job_layer, again=record is not None)
        elif not self._dry_run:
            await self._recoating.bring_back_to_height(index, job_layer)
        energy_j = job_layer.path.energy_j
        first_block = point.first_block if point is not None else 0
        while first_block < blocks:
            await self._obey()  # before the beam is armed for nothing
            await self._await_light(index)
            first_block = await self._exposing.expose(index, job_layer, first_block)
        if self._dry_run:
            return
        await self._place.check(index)
        await self._journal.commit_layer(index, blocks=blocks, energy_j=energy_j)
        self._teller.layers_done += 1
        self._teller.exposed_s += job_layer.path.exposure_time_s
        await self._recoating.look_at_exposed(index, job_layer)
        self._teller.tell(f"layer {index + 1} committed")

    async def _obey(self) -> None:
        """Carry out what the operator asked for since the last time; a pause waits here for its end."""
        while (intent := self._operator.take()) is not None:
            if intent is Intent.CANCEL:
                raise Cancelled("the operator cancelled the run")
            if intent is Intent.PAUSE:
                self._machine.enter(RunEvent.PAUSE)
                await self._teller.say("info", "paused by the operator")
                while (answer := await self._machine.guarded(self._operator.next())) not in (
                    Intent.RESUME,
                    Intent.CANCEL,
                ):
                    pass  # another pause changes nothing; a stop trips the machine and ends the guarded wait
                if answer is Intent.CANCEL:
                    raise Cancelled("the operator cancelled the run")
                self._machine.enter(RunEvent.RESUME)
                await self._teller.say("info", "resumed by the operator")

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
        await self._teller.say("warning", f"layer {index}: {why}; waiting for light")
        self._teller.tell(f"layer {index + 1}: waiting for light")
        while why := self._machine.lacks_light(is_waiting=True):
            if loop.time() >= deadline_s:
                waited = f"after waiting {pyranometer.wait_s_max:g} s " if pyranometer.wait_s_max else ""
                raise MachineTripped([Trip("pyranometer", f"{waited}{why}: resume the run in better light")])
            await self._machine.guarded(asyncio.sleep(LIGHT_EVERY_S))
            await self._obey()
        await self._teller.say("info", f"layer {index}: there is light again")
