"""One attempt at a layer: armed, streamed to its M400 or to where the operator breaks in, put away, and accounted for.

What was lit is claimed by two witnesses: the lines that the board took, and the head, asked again and again whether it
fires. Behind the last time that it said so all is in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from control.dry_planner import motion_time_s, stood_s
from control.errors import MoonkilnError
from control.interlock import Trip
from control.journal import Declaration, Journal, LayerStream
from control.layer_energy import counted_beyond_plan_j
from control.light_watch import LightWatch
from control.machine import Machine
from control.offload import offload
from control.place import Place
from control.resume_point import block_at, line_end_mm, tail
from control.run_teller import RunTeller
from control.watch import MachineTripped
from slicer.exporters.gcode import LayerProgram, layer_program
from slicer.job import Job
from slicer.job_layer import JobLayer

TELLS_A_LAYER = 20  # how often an exposure says how far it is
QUEUE_SETTLE_S = 30.0  # beside the planned time: what the controller may take to run its planner empty


class Exposing:
    """The beam's part of a run. `lines_sent`: taken by the board so far."""

    def __init__(
        self,
        job: Job,
        machine: Machine,
        journal: Journal,
        teller: RunTeller,
        place: Place,
        wants_break: Callable[[], bool],
        *,
        dry_run: bool,
    ) -> None:
        self._machine = machine
        self._journal = journal
        self._teller = teller
        self._place = place
        self._wants_break = wants_break
        self._dry_run = dry_run
        self._envelope = job.envelope
        self.idle_s_max = max(job.manifest.build_time_s, 1e-9) + QUEUE_SETTLE_S
        self.lines_sent = 0
        self._layer: int | None = None  # that is being exposed
        self._layer_s = 0.0  # its planned exposure time from where this attempt begins
        self._layer_lines = 1
        self._acked_line = -1  # in the layer under way
        self._lit_line = -1  # acknowledged when the head was last seen to fire: from 16 before it on, all is in doubt
        self._next_tell_line = 0

    async def expose(self, index: int, job_layer: JobLayer, first_block: int) -> int:
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
            self._layer = index
            self._layer_s, self._layer_lines, self._next_tell_line = rest.path.exposure_time_s, len(program.lines), 0
            taken = await machine.guarded(motion.stream(program.lines, stream, cancelled=self._wants_break))
            machine.light = None  # its end is judged by the whole count
        self.lines_sent += taken
        complete = taken == len(program.lines)
        if not complete:
            # Broken off between two lines: what was taken comes to its end, then the beam is put away.
            await machine.guarded(motion.laser_off())
            await machine.guarded(motion.wait_idle(timeout_s=self.idle_s_max))
        reached = first_block + (len(rest.path) if complete else block_at(program, taken))
        ended_s = asyncio.get_running_loop().time()
        if taken:
            await self._place.close(index, line_end_mm(program, taken - 1))
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
        self._layer, self._teller.under_way_s = None, 0.0
        if not complete:
            if not self._dry_run:  # at rest: a host that dies during the pause has nothing in doubt
                await self._journal.expose_layer(index, blocks=len(job_layer.path), base_block=reached)
            if reached < len(job_layer.path):
                await self._journal.declare(Declaration("interrupted", index, reached, reached))
        return reached

    def witness(self) -> Callable[[], None]:
        """Before the head is asked whether it fires: the lines acknowledged so far are lit if it says that it does."""
        line = self._acked_line

        def lit() -> None:
            self._lit_line = max(self._lit_line, line)

        return lit

    async def settle_doubt(self) -> str:
        """Of a layer broken off: lines since the head was last seen to fire may have run without their beam. Returns
        why that cannot be noted, "" if it is."""
        if self._layer is None or self._dry_run:
            return ""
        try:
            planned = self._machine.devices.motion.planned_moves
            await self._journal.doubt(self._layer, max(0, self._lit_line + 1 - planned))
        except MoonkilnError as error:  # the reason why it was broken off is not to be lost behind this one
            return str(error)
        return ""

    # -- inside -------------------------------------------------------------------------------------------------

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
        await self._teller.say(
            "warning",
            f"layer {index}: the motion took {stood:.2f} s longer than it needs: the controller waited for lines, and"
            f" the beam gave up to {stood * power_w:.0f} J too much. Look at its wire, or at the acceleration that the"
            " machine file says",
        )

    async def _check_disarmed(self) -> None:
        """A dry run's promise, read back from the head."""
        if await self._machine.devices.beam.is_armed():
            raise MachineTripped([Trip("beam", "the head says that it is armed during a dry run")])

    def _note_ack(self, line: int) -> None:
        self._acked_line = line
        if line >= self._next_tell_line and self._layer is not None:
            self._next_tell_line = line + max(1, self._layer_lines // TELLS_A_LAYER)
            self._teller.under_way_s = (line + 1) / self._layer_lines * self._layer_s
            self._teller.tell(f"layer {self._layer + 1}: exposing")


class _Unjournalled:
    """A dry run's stream journal: nothing is exposed, so nothing needs to be remembered."""

    async def ahead(self, first: int, last: int) -> None:
        """Nothing to note."""

    def acked(self, index: int) -> None:
        """Nothing to note."""
