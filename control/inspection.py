"""The run's eyes: a picture and a layer in, vision's finding out, off the loop."""

from __future__ import annotations

from control.config import MachineConfig
from control.offload import offload
from slicer.job_layer import JobLayer
from vision.inspect_bed import LayerInspection, PlateGeometry, inspect_exposed, inspect_powder


class Inspector:
    """Judges pictures of one machine's bed. Remembers the layer's powder picture to compare the exposed one with."""

    def __init__(self, config: MachineConfig) -> None:
        camera = config.devices.camera
        self._plate = PlateGeometry(
            x_mm=config.envelope.x_mm,
            y_mm=config.envelope.y_mm,
            fiducials={int(marker): centre for marker, centre in camera.fiducials.items()},
            fiducial_size_mm=camera.fiducial_size_mm,
        )
        self._powder: bytes | None = None
        self._file: bytes | None = None  # the newest picture of a bed without light, whatever it shows

    @property
    def has_seen(self) -> bool:
        """Whether there is a picture to tell the next one from."""
        return self._file is not None

    def remember(self, jpeg: bytes, *, is_other_powder: bool) -> None:
        """What the bed shows before powder is spread that the next picture is of: a camera that hangs shows it again.
        is_other_powder: its grain must change; powder that is spread over its own layer may keep it.
        """
        self._file = jpeg
        self._powder = jpeg if is_other_powder else None

    async def powder(self, jpeg: bytes, job_layer: JobLayer) -> LayerInspection:
        """How well the powder covers what this layer will expose; the same grain as before, or the very same file,
        means that nothing was spread or the camera hangs.
        """
        before, layer = jpeg if jpeg == self._file else self._powder, job_layer.layer
        self._powder = self._file = jpeg
        return await offload(
            lambda: inspect_powder(jpeg, self._plate, layer.points_mm, layer.loop_starts, reference=before)
        )

    async def exposed(self, jpeg: bytes, job_layer: JobLayer) -> LayerInspection:
        """How well what was sintered matches the layer's outline."""
        before, layer = self._powder, job_layer.layer
        return await offload(lambda: inspect_exposed(before, jpeg, self._plate, layer.points_mm, layer.loop_starts))
