"""Whether a run goes the way of an earlier one, told as soon as it does not.

An earlier run leaves a mark of what its wires had carried at every few chunks (`Marked`). A later one that is held to
these marks (`Following`) is ended with `Stopped` at the first that is not its own, which is mostly soon: a campaign
asks for each fault whether the run is the same without it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hil_sim.harness.digest import RunDigest
from hil_sim.harness.subjects import end_now

MARK_EVERY = 8
"""Chunks between two marks: a copy of a hash costs as much as hearing a chunk."""


class Marked(RunDigest):
    """A digest that keeps marks of the way to it."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[bytes] = []

    def tap(self, t_s: float, point: str, data: bytes) -> None:
        """See `RunDigest.tap`."""
        super().tap(t_s, point, data)
        if self.chunks % MARK_EVERY == 0:
            self.marks.append(self.so_far())


class Following(RunDigest):
    """A digest of a run that is ended, with `Stopped`, once its wires carry anything but what these marks stand for.

    A run that carries less, or does something else without a word on a wire, comes to its end: its digest tells.
    """

    def __init__(self, marks: Sequence[bytes]) -> None:
        super().__init__()
        self._marks = marks
        self._parted = False

    def tap(self, t_s: float, point: str, data: bytes) -> None:
        """See `RunDigest.tap`."""
        super().tap(t_s, point, data)
        number, rest = divmod(self.chunks, MARK_EVERY)
        if rest or self._parted:
            return
        if number > len(self._marks) or self._marks[number - 1] != self.so_far():
            self._parted = True
            end_now(f"it parts from the earlier run at {t_s:g} s")
