"""A layer's light while it is exposed: what the head has counted, against what its lines may have let out by now.

The count at a layer's end says whether all of it came; this says so while it is going on, at every poll of the head.
The controller tells which lines it has taken, not which it has carried out, so both bounds leave room for what it may
hold: a source that is weak, dead or stuck on is seen as soon as that room is used up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from control.dry_planner import line_times_s
from slicer.envelope import Envelope
from slicer.exporters.gcode import LayerProgram
from slicer.scan import ScanPath

SPARE_LINES = 4  # beside what the controller may hold: an answer that came twice counts a line too many
SPARE_J = 1.0  # the head counts in tenths, S in thousandths
LOOKS = 2  # in a row: a single count may have been damaged on its way


class LightWatch:
    """One attempt at a layer. Built before the beam is armed; `look` at each count of the head while it fires.

    energy_share_max: by which the light may differ from its plan. held_lines: what the controller may have taken and
    not carried out. dark_at_rest: the beam goes out where the motion waits for lines; else it may stand with its power
    on.
    """

    def __init__(
        self,
        program: LayerProgram,
        path: ScanPath,
        start_mm: tuple[float, float],
        envelope: Envelope,
        *,
        energy_share_max: float,
        held_lines: int,
        dark_at_rest: bool,
    ) -> None:
        self._until_j = np.concatenate([[0.0], np.cumsum(_line_energies_j(program, path))])
        self._until_s = np.concatenate([[0.0], np.cumsum(line_times_s(program.lines, start_mm, envelope))])
        self._power_w = program.power_set_w
        self._share = energy_share_max
        self._held = held_lines + SPARE_LINES
        self._dark_at_rest = dark_at_rest
        self._taken_before = 0  # lines, at the look before
        self._odd = 0

    def look(self, counted_j: float, fired_s: float, taken: int, sent: int) -> str:
        """What is wrong with the light so far, as a sentence; empty for nothing.

        counted_j: by the head, since it was armed. fired_s: how long it has fired, or longer. taken, sent: lines that
        the controller has acknowledged, and that may have gone to it.
        """
        done = max(0, self._taken_before - self._held)  # by the look before: the count is older than `taken`
        self._taken_before = taken
        least_j = float(self._until_j[done])
        if self._dark_at_rest:
            most_j = float(self._until_j[min(sent, len(self._until_j) - 1)])
        else:
            most_j = least_j + self._power_w * max(fired_s - float(self._until_s[done]), 0.0)
        slack_j = self._share * most_j + SPARE_J
        self._odd = self._odd + 1 if not least_j - slack_j <= counted_j <= most_j + slack_j else 0
        if self._odd < LOOKS:
            return ""
        bound = f"at least {least_j:.1f}" if counted_j < least_j else f"at most {most_j:.1f}"
        return (
            f"it has given {counted_j:.1f} J of light where its lines ask for {bound} J by now: the source is weak,"
            " dead or stuck on; look at the head and its supply"
        )


def _line_energies_j(program: LayerProgram, path: ScanPath) -> NDArray[np.float64]:
    """Light of each line by plan, J."""
    each_j = np.append(path.power_w * path.lengths_mm / path.speed_mm_s, 0.0)  # the last: of a line without a block
    return np.asarray(each_j[program.block_of_line], np.float64)
