"""A layer's powder: lowered, spread, looked at; spread again where it is thin."""

from __future__ import annotations

from control.inspection import Inspector
from control.interlock import Trip
from control.journal import Declaration, Journal
from control.machine import Machine
from control.run_teller import RunTeller
from control.watch import MachineTripped
from firmware_bridge.errors import BridgeError
from slicer.job_layer import JobLayer
from vision.inspect_bed import LayerInspection


class Recoating:
    """Blade, piston and the camera over them. `is_resumed`: an earlier session had this run; `piston_was_lost`: the
    piston had to be homed, which carries the powder that lies there about."""

    def __init__(self, machine: Machine, journal: Journal, inspector: Inspector, teller: RunTeller) -> None:
        self._machine = machine
        self._journal = journal
        self._inspector = inspector
        self._teller = teller
        self.is_resumed = False
        self.piston_was_lost = False

    async def bring_back_to_height(self, index: int, job_layer: JobLayer) -> None:
        """A layer that goes on lies where it lay; what a piston that was homed has carried about is spread anew."""
        machine = self._machine
        if self.piston_was_lost:
            await self._teller.say(
                "warning", f"layer {index}: the piston had lost its place and was homed; spreading again"
            )
            await self._declare(index)
            await self.recoat(index, job_layer, again=True)
            return
        await machine.guarded(machine.move_axis("piston", job_layer.layer.z_mm))
        await machine.guarded(machine.move_axis("recoater", machine.config.print.recoat_park_mm))

    async def recoat(self, index: int, job_layer: JobLayer, *, again: bool) -> None:
        """Lower the piston, spread, look; a short feed is spread again, up to the machine file's number of tries.

        again: an earlier session may have spread this layer. MachineTripped if it stays thin, or, where the machine
        file wants that, if a picture tells nothing.
        """
        machine, p = self._machine, self._machine.config.print
        self._teller.tell(f"layer {index + 1}: recoating")
        await machine.guarded(machine.move_axis("piston", job_layer.layer.z_mm))
        if self.is_resumed and not self._inspector.has_seen:
            # Whoever knew the last picture is gone: a camera that hangs would show that as if it were this powder.
            before = await machine.guarded(machine.devices.camera.snapshot(self._teller.warn))
            self._inspector.remember(before, is_other_powder=not again)
        for attempt in range(p.recoat_tries_max):
            await machine.guarded(machine.spread())
            if attempt == 1:  # it lies there now, whatever the picture will say of it
                await self._declare(index)
            inspection = await machine.guarded(self._look_at_powder(index, job_layer))
            if inspection.quality == "unknown":
                if p.on_unknown_picture == "stop":
                    raise MachineTripped(
                        [Trip("camera", f"the powder of layer {index} cannot be judged: {inspection.reason}")]
                    )
                await self._teller.say(
                    "warning", f"layer {index}: the powder cannot be judged ({inspection.reason}); going on"
                )
                return
            if inspection.thin_area_mm2 <= p.thin_area_mm2_max:
                return
            await self._teller.say(
                "warning", f"layer {index}: {inspection.thin_area_mm2:.0f} mm2 of the powder are thin; spreading again"
            )
        still = f"layer {index} is still thin after {p.recoat_tries_max} strokes: fill the hopper, then resume"
        raise MachineTripped([Trip("recoater", still)])

    async def look_at_exposed(self, index: int, job_layer: JobLayer) -> None:
        """A picture for the record; what it finds is reported, and a camera that fails now stops nothing."""
        try:
            jpeg = await self._machine.devices.camera.snapshot(self._teller.warn)
        except BridgeError as error:
            await self._teller.say("warning", f"layer {index}: no picture after exposure: {error}")
            return
        inspection = await self._inspector.exposed(jpeg, job_layer)
        self._teller.picture(index, "exposed", jpeg, inspection)

    async def _look_at_powder(self, index: int, job_layer: JobLayer) -> LayerInspection:
        jpeg = await self._machine.devices.camera.snapshot(self._teller.warn)
        inspection = await self._inspector.powder(jpeg, job_layer)
        self._teller.picture(index, "powder", jpeg, inspection)
        return inspection

    async def _declare(self, index: int) -> None:
        await self._journal.declare(Declaration("recoated", index, -1, -1))
