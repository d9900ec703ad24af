"""A place on a wire where faults strike, and what passed there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hil_sim.world.faults.schedule import Fault, Faults

log = logging.getLogger(__name__)

Tap = Callable[[float, str, bytes], None]
"""tap(loop_time_s, point, bytes) hears every delivered chunk; point is `NAME.to_device` or `NAME.to_host`."""


@dataclass(slots=True)
class Point:
    """A place that faults can strike: one direction of a wire, through all its connections; or all its connections."""

    name: str
    faults: Faults | None = None
    tap: Tap | None = None
    chunks: int = 0
    bytes: int = 0
    lost_bytes: int = 0  # beyond the bound, or refused by the system: what a UART calls an overrun

    def __post_init__(self) -> None:
        if self.faults is not None and not self.faults.touches(self.name):
            self.faults = None

    def fault_now(self, now_s: float) -> Fault | None:
        """Count a chunk and return what strikes it."""
        self.chunks += 1
        return None if self.faults is None else self.faults.event(self.name, now_s)

    def lose(self, count: int) -> None:
        """`count` bytes are gone; said once, counted always."""
        if not self.lost_bytes:
            log.warning("%s: bytes are lost, nobody takes them as fast as they come", self.name)
        self.lost_bytes += count
