"""What several commands of the simulator take: paces and times that a clock can keep, and how many seeds."""

from __future__ import annotations

import math
from typing import Any

import click

from hil_sim.harness.time_span import PACE_MAX


class Finite(click.FloatRange):
    """A range that holds no NaN, which is within any for click, and no infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. A click usage error for one that is none, or out of the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that a clock can keep.", param, ctx)
        return number


PACE = Finite(min=0, min_open=True, max=PACE_MAX)
UNTIL = Finite(min=0, min_open=True)
SEEDS_MAX = 1_000_000
"""Seeds of one campaign, whose rows are held in memory until it ends."""
FIRST_MAX = 2**63 - SEEDS_MAX
"""So that every seed behind the first one is still a number that tables hold, 64 bits with its sign."""
