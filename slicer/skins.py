"""Skins: what of a layer is open to above, and what hangs over powder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

from slicer import regions
from slicer.layers import Layer, loops_area_mm2
from slicer.offsets import Loops, offset_loops

CORNER_PART = 0.75
"""What was made half a track smaller is grown by this part of a track, which fills corners down to 84 deg again."""


@dataclass(frozen=True)
class Neighbours:
    """The outlines of the layers next to one: `above` upwards, `below` downwards, those that there are.

    `open_above`: whether the part ends within the layers that were asked for. Below the lowest layer is the plate,
    which holds the powder: nothing hangs there.
    """

    above: tuple[Loops, ...]
    below: tuple[Loops, ...]
    open_above: bool

    @staticmethod
    def of(layers: Sequence[Layer], index: int, count: int) -> Neighbours:
        """The `count` layers above and below layer `index`."""
        above = [_outline(layer) for layer in layers[index + 1 : index + 1 + count]]
        below = [_outline(layer) for layer in layers[max(0, index - count) : index][::-1]]
        return Neighbours(tuple(above), tuple(below), len(above) < count)


@dataclass(frozen=True)
class Overhang:
    """A piece of a layer that hangs over powder by more than was allowed; `at_mm`: its middle."""

    layer: int
    area_mm2: float
    at_mm: tuple[float, float]


def skin_regions(inside: Loops, neighbours: Neighbours, track_mm: float) -> tuple[Loops, Loops, Loops]:
    """The region that is hatched, parted into (core, up-skin, down-skin); together they are that region.

    A place is down-skin where one of the layers below has nothing, else up-skin where one of those above has nothing.
    What is narrower than a track stays with the core.
    """
    if not len(inside[0]):
        return inside, regions.EMPTY, regions.EMPTY
    down = regions.EMPTY
    if neighbours.below:
        down = _wide(regions.difference(inside, reduce(regions.intersection, neighbours.below)), track_mm)
    up = inside
    if not neighbours.open_above:
        up = regions.difference(inside, reduce(regions.intersection, neighbours.above)) if neighbours.above else inside
    up = _wide(regions.difference(up, down), track_mm)
    core = regions.difference(regions.difference(inside, up), down)
    return core, up, down


def overhangs(layers: Sequence[Layer], reach_part: float) -> list[Overhang]:
    """Where layers reach out over powder, beyond the layer below them, by more than so many times the height between
    the two (1: 45 deg).

    Powder holds what lies on it, so nothing falls; but it sags and sinters deeper there, and a plan should say so.
    """
    found = []
    for below, layer in pairwise(layers):
        reach_mm = reach_part * 0.5 * (below.thickness_mm + layer.thickness_mm)
        held = offset_loops(below, reach_mm) if len(below.points_mm) else regions.EMPTY
        for points, starts in regions.bodies(regions.difference(_outline(layer), held)):
            area_mm2 = loops_area_mm2(points, starts)
            if area_mm2 > 1e-6:
                x, y = points.mean(axis=0).tolist()
                found.append(Overhang(layer.index, area_mm2, (x, y)))
    return found


def _wide(region: Loops, track_mm: float) -> Loops:
    """The region without what is narrower than a track, but with its corners."""
    if not len(region[0]):
        return region
    eroded = offset_loops(region, -0.5 * track_mm)
    if not len(eroded[0]):
        return regions.EMPTY
    return regions.intersection(offset_loops(eroded, CORNER_PART * track_mm), region)


def _outline(layer: Layer) -> Loops:
    return layer.points_mm, layer.loop_starts
