"""Does what happens to the bed reach it whole, in order, and in no more steps than it needs?"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hil_sim.world.plant.bed import Bed, BedConfig
from hil_sim.world.plant.bed_feed import STRIP_S, BedFeed

WINDOW_MM = (0.0, 40.0)


class Optics:
    """Gives the rows that a test lays down for it."""

    def __init__(self) -> None:
        self.rows: NDArray[np.float64] = np.zeros((0, 8))

    def take_exposures(self, t_s: float) -> NDArray[np.float64]:
        rows, self.rows = self.rows, np.zeros((0, 8))
        return rows


class Told(Bed):
    """A bed that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(BedConfig(x_mm=WINDOW_MM, y_mm=WINDOW_MM, cell_xy_mm=10.0, cell_z_mm=0.5, depth_mm=2.0))
        self.told: list[tuple[object, ...]] = []

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float = 1.0):
        self.told.append(("powder", round(t_s, 3), x_from_mm, x_to_mm, fill_fraction))
        super().spread(t_s, x_from_mm, x_to_mm, plane_drop_mm, fill_fraction)

    def expose(self, rows) -> None:
        self.told.append(("beam", len(rows)))
        super().expose(rows)


def feed() -> tuple[BedFeed, Told, Optics]:
    bed, optics = Told(), Optics()
    return BedFeed(bed, optics), bed, optics  # type: ignore[arg-type]


def strips(feed: BedFeed, *, every_s: float, from_s: float = 1.0, way: int = 1, fill: float = 1.0) -> None:
    for n in range(4):
        x_mm = 10.0 * (n if way > 0 else 3 - n)
        feed.spread(from_s + n * every_s, x_mm, x_mm + 10.0, 0.5, fill)


def carry_out(feed: BedFeed, t_s: float) -> None:
    feed.collect(t_s)
    feed.catch_up(t_s)


@pytest.mark.parametrize("way", [1, -1])
def test_strips_of_one_stroke_reach_the_bed_as_one_when_the_last_is_laid(way: int) -> None:
    one, bed, _ = feed()
    strips(one, every_s=0.1, way=way)
    carry_out(one, 2.0)
    assert bed.told == [("powder", 1.3, 0.0, 40.0, 1.0)]
    apart, slow, _ = feed()
    strips(apart, every_s=STRIP_S + 0.01, way=way)
    carry_out(apart, 9.0)
    assert len(slow.told) == 4 and slow.powder_kg == pytest.approx(bed.powder_kg, rel=1e-12) and bed.powder_kg > 0.0


def test_a_stroke_is_cut_into_pieces_of_half_a_second() -> None:
    one, bed, _ = feed()
    strips(one, every_s=0.3)
    carry_out(one, 9.0)
    assert bed.told == [("powder", 1.3, 0.0, 20.0, 1.0), ("powder", 1.9, 20.0, 40.0, 1.0)]


def test_thinner_powder_is_a_strip_of_its_own() -> None:
    one, bed, _ = feed()
    one.spread(1.0, 0.0, 10.0, 0.5, 1.0)
    one.spread(1.1, 10.0, 20.0, 0.5, 0.3)
    one.spread(1.2, 20.0, 30.0, 0.5, 0.3)
    carry_out(one, 2.0)
    assert bed.told == [("powder", 1.0, 0.0, 10.0, 1.0), ("powder", 1.2, 10.0, 30.0, 0.3)]


def test_what_the_beam_did_between_two_strips_comes_between_them() -> None:
    one, bed, optics = feed()
    one.spread(1.0, 0.0, 10.0, 0.5, 1.0)
    optics.rows = np.array([[1.01, 1.05, 5.0, 5.0, 6.0, 5.0, 10.0, 10.0]])
    one.spread(1.1, 10.0, 20.0, 0.5, 1.0)
    carry_out(one, 2.0)
    assert [what[0] for what in bed.told] == ["powder", "beam", "powder"]


def test_a_look_in_mid_stroke_sees_the_strips_that_were_laid() -> None:
    one, bed, _ = feed()
    one.spread(1.0, 0.0, 10.0, 0.5, 1.0)
    one.collect(1.05)
    view = one.view(1.05, 0.5)
    assert (view.cover_mm[:, 0] > 0.4).all() and not view.cover_mm[:, 1:].any()
    one.spread(1.1, 10.0, 20.0, 0.5, 1.0)
    carry_out(one, 1.2)
    assert [what[1] for what in bed.told] == [1.0, 1.1]
